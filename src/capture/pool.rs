//! Heap buffers that frames borrow and give back.

use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;

use crate::frame::{Frame, FrameStamp, ImageLayout, LayoutError, PixelMemory};
use crate::handoff::{Lease, Leases};

/// A fixed number of byte buffers for a source that writes its own frames.
///
/// The way of a buffer: [`take`](Self::take) a lease, fill its [`buffer`](Self::buffer),
/// [`share`](Self::share) it as a frame; when the frame is dropped, on whatever thread, the
/// buffer is home again. Buffers grow to the largest picture they held and are then reused: no
/// allocation per frame in the steady state.
///
/// Empty (every buffer is in a frame somewhere): `take` waits for at most its limit, then gives
/// nothing, which a source passes on as [`Next::Idle`](super::Next::Idle).
pub struct FramePool {
    buffers: Vec<Arc<Vec<u8>>>,
    home: Leases,
}

impl FramePool {
    /// As many buffers as a pipeline holds at most, and some: one being filled, one paced, one
    /// in the mailbox, one in perception, two for publishers and viewers that look longer.
    pub const DEFAULT_COUNT: usize = 6;

    /// `count` (at most 64) buffers with room for `bytes` each.
    pub fn new(count: usize, bytes: usize) -> Self {
        let count = count.min(64);
        let buffers = (0..count).map(|_| Arc::new(Vec::with_capacity(bytes))).collect();
        Self { buffers, home: Leases::new(count) }
    }

    /// The right to a free buffer, waiting for at most `limit` until there is one.
    pub fn take(&mut self, limit: Duration) -> Option<Lease> {
        self.home.take_within(limit)
    }

    /// The buffer that `lease` is the right to, with whatever it held last.
    pub fn buffer(&mut self, lease: &Lease) -> &mut Vec<u8> {
        let slot = &mut self.buffers[lease.index()];
        // A frame drops its reference before its lease, so whoever has the lease is alone. If
        // somebody kept a reference all the same, it keeps the old memory and this is new:
        // `make_mut` would copy what is about to be overwritten.
        if Arc::get_mut(slot).is_none() {
            *slot = Arc::new(Vec::new());
        }
        Arc::make_mut(slot)
    }

    /// Makes a frame of a filled buffer.
    ///
    /// # Errors
    /// If the buffer is too short for `layout`; the buffer is then home again.
    pub fn share(
        &self,
        lease: Lease,
        layout: ImageLayout,
        stamp: FrameStamp,
    ) -> Result<Frame, LayoutError> {
        let memory: Arc<dyn PixelMemory> = self.buffers[lease.index()].clone();
        Frame::new(stamp, layout, ArrayVec::from_iter([memory]), Some(lease))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{ColorSpace, PixelFormat, Timebase};
    use crate::time::Timestamp;

    fn stamp() -> FrameStamp {
        FrameStamp {
            camera: 0,
            sequence: 0,
            captured: Timestamp::ZERO,
            timebase: Timebase::Media,
            dequeued: Timestamp::ZERO,
        }
    }

    fn grey(pool: &mut FramePool, value: u8) -> Option<Frame> {
        let lease = pool.take(Duration::ZERO)?;
        let buffer = pool.buffer(&lease);
        buffer.clear();
        buffer.resize(16, value);
        let layout = ImageLayout::packed(4, 4, PixelFormat::Gray8, ColorSpace::default());
        Some(pool.share(lease, layout, stamp()).unwrap())
    }

    #[test]
    fn a_frame_keeps_its_pixels_while_others_are_filled() {
        let mut pool = FramePool::new(2, 16);
        let first = grey(&mut pool, 1).unwrap();
        for value in 2..50 {
            let other = grey(&mut pool, value).unwrap();
            assert_eq!(other.plane(0), [value; 16]);
            assert_eq!(first.plane(0), [1; 16]);
        }
    }

    #[test]
    fn buffers_are_reused_and_not_replaced() {
        let mut pool = FramePool::new(3, 16);
        let mut addresses = std::collections::BTreeSet::new();
        for value in 0..30 {
            let frame = grey(&mut pool, value).unwrap();
            addresses.insert(frame.plane(0).as_ptr() as usize);
            std::thread::spawn(move || drop(frame)).join().unwrap();
        }
        assert!(addresses.len() <= 3, "{} buffers", addresses.len());
    }

    #[test]
    fn an_empty_pool_gives_nothing_until_a_frame_is_dropped() {
        let mut pool = FramePool::new(2, 16);
        let one = grey(&mut pool, 1).unwrap();
        let _two = grey(&mut pool, 2).unwrap();
        assert!(pool.take(Duration::from_millis(5)).is_none());
        drop(one);
        assert!(pool.take(Duration::from_millis(5)).is_some());
    }

    #[test]
    fn a_layout_that_does_not_fit_gives_the_buffer_back() {
        let mut pool = FramePool::new(1, 0);
        let lease = pool.take(Duration::ZERO).unwrap();
        pool.buffer(&lease).resize(3, 0);
        let layout = ImageLayout::packed(4, 4, PixelFormat::Gray8, ColorSpace::default());
        assert!(pool.share(lease, layout, stamp()).is_err());
        assert!(pool.take(Duration::ZERO).is_some());
    }
}
