//! Buffers that are lent out and come home by themselves.

use std::time::Duration;

use super::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering, deadline, lock, wait_until};

/// Which of up to 64 buffers are at home: one bit each, set by whoever drops the [`Lease`].
///
/// A buffer belongs to its source or to one frame, never to both: its bit is cleared by
/// [`take`](Self::take) and set by the lease's drop, nowhere else. Empty (all lent out): `take`
/// gives `None`, [`take_within`](Self::take_within) waits.
#[derive(Clone)]
pub struct Leases(Arc<Home>);

struct Home {
    bits: AtomicU64,
    /// Held only around waiting: a returning lease takes it between setting its bit and waking,
    /// so that the wake-up cannot fall between a waiter's look at the bits and its sleep.
    gate: Mutex<()>,
    returned: Condvar,
}

/// The right to one buffer. Dropping it, on any thread, sends the buffer home.
pub struct Lease {
    index: u8,
    home: Arc<Home>,
}

impl Leases {
    /// `count` buffers, all at home; more than 64 are treated as 64.
    pub fn new(count: usize) -> Self {
        let bits = if count >= 64 { u64::MAX } else { (1 << count) - 1 };
        Self(Arc::new(Home {
            bits: AtomicU64::new(bits),
            gate: Mutex::new(()),
            returned: Condvar::new(),
        }))
    }

    /// Lends a buffer that is at home, if there is one.
    pub fn take(&self) -> Option<Lease> {
        // Only this side clears bits, and drops only set them, so a bit seen set stays set until
        // the fetch_and below. Acquire pairs with the drop's Release: what the last holder did
        // with the memory happened before we lend it again.
        let bits = self.0.bits.load(Ordering::Acquire);
        if bits == 0 {
            return None;
        }
        let index = bits.trailing_zeros();
        let mask = 1u64 << index;
        if self.0.bits.fetch_and(!mask, Ordering::AcqRel) & mask == 0 {
            // Two threads took at once and the other won: not how it is used, but harmless.
            return None;
        }
        Some(Lease { index: index as u8, home: self.0.clone() })
    }

    /// Lends a buffer, waiting for at most `limit` until one comes home.
    pub fn take_within(&self, limit: Duration) -> Option<Lease> {
        if let Some(lease) = self.take() {
            return Some(lease);
        }
        let until = deadline(limit);
        let mut gate = lock(&self.0.gate);
        loop {
            if let Some(lease) = self.take() {
                return Some(lease);
            }
            let in_time;
            (gate, in_time) = wait_until(&self.0.returned, gate, until);
            if !in_time {
                return self.take();
            }
        }
    }

    /// How many buffers are at home.
    pub fn at_home(&self) -> u32 {
        self.0.bits.load(Ordering::Acquire).count_ones()
    }
}

impl Lease {
    /// Which buffer.
    pub fn index(&self) -> usize {
        usize::from(self.index)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.home.bits.fetch_or(1 << self.index, Ordering::AcqRel);
        drop(lock(&self.home.gate));
        self.home.returned.notify_one();
    }
}
