//! A mailbox for one value, where the newest wins.

use std::time::Duration;

use super::sync::{Condvar, Mutex, deadline, lock, wait_until};

/// A mailbox for one value. One thread puts, one takes; a slow taker finds the newest value, never
/// a backlog.
///
/// Full: [`put`](Self::put) displaces the unread value, frees it on the putter's thread and
/// counts it; [`put_when_empty`](Self::put_when_empty) waits instead. Empty:
/// [`take`](Self::take) waits, with a time limit.
pub struct Latest<T> {
    slot: Mutex<Slot<T>>,
    /// Both "a value is there" and "the slot is free": at most one thread waits at a time, because
    /// the slot is never both full and empty.
    changed: Condvar,
}

struct Slot<T> {
    value: Option<T>,
    closed: bool,
    displaced: u64,
}

/// What became of a value that was put.
#[derive(Debug, PartialEq, Eq)]
pub enum Put {
    /// It waits for the taker.
    Stored,
    /// It waits for the taker; an older one that nobody had read made room.
    Displaced,
    /// Nobody will take it any more; it was dropped.
    Closed,
}

/// What a taker got.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// The newest value.
    Value(T),
    /// Nothing came in time.
    TimedOut,
    /// Nothing is left and nothing will come.
    Closed,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Latest<T> {
    /// An empty mailbox.
    pub fn new() -> Self {
        let slot = Slot { value: None, closed: false, displaced: 0 };
        Self { slot: Mutex::new(slot), changed: Condvar::new() }
    }

    /// Puts the newest value; never waits for the taker.
    pub fn put(&self, value: T) -> Put {
        let mut slot = lock(&self.slot);
        if slot.closed {
            drop(slot);
            drop(value);
            return Put::Closed;
        }
        let old = slot.value.replace(value);
        slot.displaced += u64::from(old.is_some());
        drop(slot);
        self.changed.notify_all();
        if old.is_some() { Put::Displaced } else { Put::Stored }
    }

    /// Puts a value once the last one has been taken: how a recording is played without loss.
    ///
    /// # Errors
    /// Gives the value back if the last one was not taken within `limit`.
    pub fn put_when_empty(&self, value: T, limit: Duration) -> Result<Put, T> {
        let until = deadline(limit);
        let mut slot = lock(&self.slot);
        while slot.value.is_some() && !slot.closed {
            let in_time;
            (slot, in_time) = wait_until(&self.changed, slot, until);
            if !in_time && slot.value.is_some() && !slot.closed {
                drop(slot);
                return Err(value);
            }
        }
        if slot.closed {
            drop(slot);
            drop(value);
            return Ok(Put::Closed);
        }
        slot.value = Some(value);
        drop(slot);
        self.changed.notify_all();
        Ok(Put::Stored)
    }

    /// Takes the newest value, waiting for at most `limit`.
    pub fn take(&self, limit: Duration) -> Taken<T> {
        let until = deadline(limit);
        let mut slot = lock(&self.slot);
        loop {
            if let Some(value) = slot.value.take() {
                drop(slot);
                self.changed.notify_all();
                return Taken::Value(value);
            }
            if slot.closed {
                return Taken::Closed;
            }
            let in_time;
            (slot, in_time) = wait_until(&self.changed, slot, until);
            if !in_time && slot.value.is_none() && !slot.closed {
                return Taken::TimedOut;
            }
        }
    }

    /// Says that nothing more will be put (by the putter) or taken (by the taker). A value that is
    /// still there can be taken.
    pub fn close(&self) {
        lock(&self.slot).closed = true;
        self.changed.notify_all();
    }

    /// How many values were displaced unread.
    pub fn displaced(&self) -> u64 {
        lock(&self.slot).displaced
    }
}
