//! A bounded queue where the oldest falls out.

use std::collections::VecDeque;
use std::time::Duration;

use super::latest::{Put, Taken};
use super::sync::{Condvar, Mutex, deadline, lock, wait_until};

/// A bounded queue from the perception thread to one publisher.
///
/// Full: [`push`](Self::push) displaces the oldest value and counts it; it never waits, so that a
/// stalled publisher costs nobody else anything. Empty: [`take`](Self::take) waits, with a time
/// limit.
pub struct Ring<T> {
    inner: Mutex<Inner<T>>,
    filled: Condvar,
    capacity: usize,
}

struct Inner<T> {
    values: VecDeque<T>,
    closed: bool,
    displaced: u64,
}

impl<T> Ring<T> {
    /// A queue of at most `capacity` values (at least one).
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let inner =
            Inner { values: VecDeque::with_capacity(capacity), closed: false, displaced: 0 };
        Self { inner: Mutex::new(inner), filled: Condvar::new(), capacity }
    }

    /// Appends `value`; says if the oldest had to make room, or if the queue is closed and the
    /// value was dropped.
    pub fn push(&self, value: T) -> Put {
        let mut inner = lock(&self.inner);
        if inner.closed {
            drop(inner);
            return Put::Closed;
        }
        let oldest =
            if inner.values.len() == self.capacity { inner.values.pop_front() } else { None };
        inner.displaced += u64::from(oldest.is_some());
        inner.values.push_back(value);
        drop(inner);
        self.filled.notify_one();
        if oldest.is_some() { Put::Displaced } else { Put::Stored }
    }

    /// Takes the oldest value, waiting for at most `limit`.
    pub fn take(&self, limit: Duration) -> Taken<T> {
        let until = deadline(limit);
        let mut inner = lock(&self.inner);
        loop {
            if let Some(value) = inner.values.pop_front() {
                return Taken::Value(value);
            }
            if inner.closed {
                return Taken::Closed;
            }
            let in_time;
            (inner, in_time) = wait_until(&self.filled, inner, until);
            if !in_time && inner.values.is_empty() && !inner.closed {
                return Taken::TimedOut;
            }
        }
    }

    /// Says that nothing more will be pushed. What is there can still be taken.
    pub fn close(&self) {
        lock(&self.inner).closed = true;
        self.filled.notify_all();
    }

    /// How many values fell out unread.
    pub fn displaced(&self) -> u64 {
        lock(&self.inner).displaced
    }
}
