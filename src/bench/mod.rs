//! What poses cost: the measurements of `posewire bench`, and what is said of them.
//!
//! [`Meter`] stands before a publisher and notes when each frame passed; [`usage`] and [`power`]
//! read what the run takes; [`report`] is the whole of it, as JSON; [`compare`] puts two side by
//! side, [`plot`] draws one. The run itself is `cli::bench`.

pub mod compare;
pub mod gpu;
pub mod machine;
pub mod meter;
pub mod plot;
pub mod power;
pub mod report;
pub mod timing;
pub mod usage;

pub use meter::{Measured, Meter};
pub use report::Report;
