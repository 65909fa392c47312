//! Mailboxes for one value each, where the newest wins, and one taker that is fair to them.

use std::time::Duration;

use super::sync::{Condvar, Mutex, deadline, lock, wait_until};

/// A mailbox for one value of each of several sources. One thread puts for each source, one takes
/// from all; a slow taker finds the newest values, never a backlog.
///
/// Of several values that wait, the taker gets that of the source that was served longest ago: a
/// source that puts a hundred times as often as another gets no more of a slow taker's time.
///
/// Full: [`put`](Self::put) displaces the unread value, frees it on the putter's thread and
/// counts it; [`put_when_empty`](Self::put_when_empty) waits instead. Empty:
/// [`take`](Self::take) waits, with a time limit.
pub struct Latest<T> {
    state: Mutex<State<T>>,
    /// Both "a value is there" and "a box is free": each waiter looks for itself.
    changed: Condvar,
}

struct State<T> {
    boxes: Vec<Slot<T>>,
    /// How many values have been taken.
    turns: u64,
}

struct Slot<T> {
    value: Option<T>,
    closed: bool,
    displaced: u64,
    /// The turn of its last service.
    served: u64,
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

impl<T> Latest<T> {
    /// An empty mailbox for each of `sources` (at least one).
    pub fn new(sources: usize) -> Self {
        let slot = |_| Slot { value: None, closed: false, displaced: 0, served: 0 };
        let boxes = (0..sources.max(1)).map(slot).collect();
        Self { state: Mutex::new(State { boxes, turns: 0 }), changed: Condvar::new() }
    }

    /// Puts the newest value of `source`; never waits for the taker. A source that does not exist
    /// is as a closed one.
    pub fn put(&self, source: usize, value: T) -> Put {
        let mut state = lock(&self.state);
        let old = match state.boxes.get_mut(source) {
            Some(slot) if !slot.closed => {
                let old = slot.value.replace(value);
                slot.displaced += u64::from(old.is_some());
                old
            }
            _ => {
                drop(state);
                drop(value);
                return Put::Closed;
            }
        };
        drop(state);
        self.changed.notify_all();
        if old.is_some() { Put::Displaced } else { Put::Stored }
    }

    /// Puts a value of `source` once its last one has been taken: how a recording is played
    /// without loss.
    ///
    /// # Errors
    /// Gives the value back if the last one was not taken within `limit`.
    pub fn put_when_empty(&self, source: usize, value: T, limit: Duration) -> Result<Put, T> {
        let until = deadline(limit);
        let mut state = lock(&self.state);
        let mut in_time = true;
        loop {
            match state.boxes.get_mut(source) {
                Some(slot) if !slot.closed => {
                    if slot.value.is_none() {
                        slot.value = Some(value);
                        drop(state);
                        self.changed.notify_all();
                        return Ok(Put::Stored);
                    }
                    if !in_time {
                        drop(state);
                        return Err(value);
                    }
                }
                _ => {
                    drop(state);
                    drop(value);
                    return Ok(Put::Closed);
                }
            }
            (state, in_time) = wait_until(&self.changed, state, until);
        }
    }

    /// Takes the newest value of the source that was served longest ago of those that have one,
    /// and says which; waits for at most `limit`.
    pub fn take(&self, limit: Duration) -> Taken<(usize, T)> {
        let until = deadline(limit);
        let mut state = lock(&self.state);
        let mut in_time = true;
        loop {
            if let Some(taken) = state.next() {
                drop(state);
                self.changed.notify_all();
                return Taken::Value(taken);
            }
            if state.boxes.iter().all(|slot| slot.closed) {
                return Taken::Closed;
            }
            if !in_time {
                return Taken::TimedOut;
            }
            (state, in_time) = wait_until(&self.changed, state, until);
        }
    }

    /// Says that nothing more will be put by `source`. A value that is still there can be taken.
    pub fn close(&self, source: usize) {
        if let Some(slot) = lock(&self.state).boxes.get_mut(source) {
            slot.closed = true;
        }
        self.changed.notify_all();
    }

    /// Says that nothing more will be put, or taken.
    pub fn close_all(&self) {
        lock(&self.state).boxes.iter_mut().for_each(|slot| slot.closed = true);
        self.changed.notify_all();
    }

    /// How many values of `source` were displaced unread.
    pub fn displaced(&self, source: usize) -> u64 {
        lock(&self.state).boxes.get(source).map_or(0, |slot| slot.displaced)
    }
}

impl<T> State<T> {
    fn next(&mut self) -> Option<(usize, T)> {
        let waiting = self.boxes.iter_mut().enumerate().filter(|(_, slot)| slot.value.is_some());
        let (index, slot) = waiting.min_by_key(|(_, slot)| slot.served)?;
        let value = slot.value.take()?;
        self.turns += 1;
        slot.served = self.turns;
        Some((index, value))
    }
}
