//! How things pass from one thread to the next.
//!
//! | piece | carries | full | empty |
//! |---|---|---|---|
//! | [`Latest`] | the newest frame of each live source to one taker, fairly | the unread value is displaced, freed and counted | the taker waits, with a time limit |
//! | [`Latest`] by `put_when_empty` | every frame of a recording | the putter waits until the value is taken | the taker waits |
//! | [`Ring`] | poses to one publisher | the oldest is displaced and counted | the taker waits, with a time limit |
//! | [`Leases`] | buffers back to the capture thread | cannot be: one bit a buffer | the capture thread waits, with a time limit |
//!
//! The mailbox and the ring are a mutex held for the length of a move, with a condition variable
//! beside it. A lock-free slot was weighed (an atomic swap takes 5 ns against some 20 ns here) and
//! left: the taker sleeps between frames, so a wake-up of several microseconds, which needs the
//! mutex anyway, is the whole cost, and what is this small can be model-checked whole, wake-ups
//! included (`tests/loom`). Every value that falls out is dropped outside of the lock.
//!
//! Nothing here allocates after construction.

mod latest;
mod lease;
mod ring;
mod stop;
mod sync;

pub use latest::{Latest, Put, Taken};
pub use lease::{Lease, Leases};
pub use ring::Ring;
pub use stop::{Request, Stop};
