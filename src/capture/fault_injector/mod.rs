//! Faults on purpose, for tests and for rehearsals: wraps any source.
//!
//! URI: `faults:SETTINGS:URI`, as in `faults:drop=0.05,freeze_every=300,seed=7:/dev/video0`. The
//! same settings, seed and frames give the same faults; only how long a freeze or an absence lasts
//! is a matter of the clock.
//!
//! | setting | what happens |
//! |---|---|
//! | `drop=SHARE` | frames are lost; the numbering has a gap |
//! | `duplicate=SHARE` | a frame comes a second time, number and stamp and all |
//! | `late=SHARE`, `late_ms=100` | a frame is held back; its stamp stays |
//! | `jitter_ms=MS` | stamps are off by this standard deviation, in order |
//! | `corrupt=SHARE` | pieces of a frame's bytes are overwritten: half a picture, a broken JPEG |
//! | `error=SHARE` | a frame is reported as damaged by the driver |
//! | `freeze_every=N`, `freeze_s=3` | after every N frames nothing comes for a while, and no error |
//! | `unplug_every=N`, `unplug_s=3` | after every N frames the device is gone, for a while |
//! | `seed=N` | another course of events |

mod settings;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::pool::FramePool;
use super::{CaptureError, FrameSource, Next, SourceInfo};
use crate::frame::{Frame, FrameStamp, ImageLayout};
use crate::time::{Clock, Timestamp};

pub use settings::FaultSettings;

/// Until when devices are away that were unplugged here, by their URI: like a device itself, this
/// outlives whoever had it open.
static AWAY: Mutex<BTreeMap<String, Timestamp>> = Mutex::new(BTreeMap::new());

/// Fails as long as the device is away.
pub(super) fn check_present(uri: &str, clock: &dyn Clock) -> Result<(), CaptureError> {
    let mut away = AWAY.lock().unwrap_or_else(PoisonError::into_inner);
    match away.get(uri) {
        Some(until) if clock.now() < *until => {
            let problem = "unplugged on purpose".into();
            Err(CaptureError::Gone { uri: uri.to_owned(), problem })
        }
        Some(_) => {
            away.remove(uri);
            Ok(())
        }
        None => Ok(()),
    }
}

/// What was done to a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Frames swallowed.
    pub dropped: u64,
    /// Frames given twice.
    pub duplicated: u64,
    /// Frames held back.
    pub late: u64,
    /// Frames damaged.
    pub corrupted: u64,
    /// Frames reported as damaged.
    pub errors: u64,
    /// Freezes begun.
    pub freezes: u64,
}

/// A source with faults.
pub struct FaultInjector {
    uri: String,
    inner: Box<dyn FrameSource>,
    info: SourceInfo,
    settings: FaultSettings,
    clock: Arc<dyn Clock>,
    /// For frames whose bytes must be ours.
    pool: FramePool,
    /// Frames that came from the source.
    count: u64,
    /// Held until its time has come.
    late: Option<(Frame, Timestamp)>,
    /// Comes again with the next call.
    again: Option<Frame>,
    frozen_until: Option<Timestamp>,
    last_stamp: Option<Timestamp>,
    done: Injected,
}

/// Which draw: each kind of fault has its own sequence, so that adding one leaves the others.
#[derive(Clone, Copy)]
enum Draw {
    Drop,
    Duplicate,
    Late,
    Jitter(u64),
    Corrupt,
    Error,
    Byte(u64),
}

impl FaultInjector {
    /// Wraps `inner`, which was opened for `uri`.
    pub fn new(
        uri: &str,
        inner: Box<dyn FrameSource>,
        settings: FaultSettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut info = inner.describe().clone();
        info.summary.push_str(", with faults on purpose");
        Self {
            uri: uri.to_owned(),
            inner,
            info,
            settings,
            clock,
            pool: FramePool::new(FramePool::DEFAULT_COUNT, 0),
            count: 0,
            late: None,
            again: None,
            frozen_until: None,
            last_stamp: None,
            done: Injected::default(),
        }
    }

    /// What was done so far.
    pub fn injected(&self) -> Injected {
        self.done
    }

    /// Uniform in 0..1, for this frame and kind (splitmix64).
    fn uniform(&self, draw: Draw) -> f64 {
        let kind = match draw {
            Draw::Drop => 1,
            Draw::Duplicate => 2,
            Draw::Late => 3,
            Draw::Corrupt => 4,
            Draw::Error => 5,
            Draw::Jitter(n) => 16 + n,
            Draw::Byte(n) => 64 + n,
        };
        let mut z = self
            .settings
            .seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(self.count.wrapping_mul(0xd1b5_4a32_d192_ed03))
            .wrapping_add(u64::wrapping_mul(kind, 0x8cb9_2ba7_2f3d_8dd7));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    }

    fn happens(&self, share: f64, draw: Draw) -> bool {
        share > 0.0 && self.uniform(draw) < share
    }

    /// A copy in memory of our own; `None` if all of it is in use.
    fn copy(&mut self, frame: &Frame) -> Option<Frame> {
        self.altered(frame, |_| {})
    }

    /// A copy whose bytes are changed by `change`.
    fn altered(&mut self, frame: &Frame, change: impl FnOnce(&mut [u8])) -> Option<Frame> {
        let lease = self.pool.take(Duration::ZERO)?;
        let buffer = self.pool.buffer(&lease);
        buffer.clear();
        let mut layout: ImageLayout = frame.layout.clone();
        for (i, plane) in layout.planes.iter_mut().enumerate() {
            plane.memory = 0;
            plane.offset = buffer.len();
            buffer.extend_from_slice(frame.plane(i));
        }
        change(buffer);
        let stamp = FrameStamp {
            camera: frame.camera,
            sequence: frame.sequence,
            captured: frame.captured,
            timebase: frame.timebase,
            dequeued: frame.dequeued,
        };
        self.pool.share(lease, layout, stamp).ok()
    }

    /// Overwrites pieces of the frame's bytes.
    fn corrupted(&mut self, frame: &Frame) -> Option<Frame> {
        let at: Vec<f64> = (0..12).map(|n| self.uniform(Draw::Byte(n))).collect();
        self.altered(frame, |bytes| {
            // Four pieces of up to an eighth.
            for piece in at.chunks_exact(3) {
                let begin = (piece[0] * bytes.len() as f64) as usize;
                let len = (piece[1] * bytes.len() as f64 / 8.0) as usize + 1;
                let end = (begin + len).min(bytes.len());
                bytes[begin.min(end)..end].fill((piece[2] * 256.0) as u8);
            }
        })
    }

    /// What becomes of a frame of the source; `None`: nothing.
    fn treat(&mut self, mut frame: Frame) -> Result<Option<Frame>, CaptureError> {
        self.count += 1;
        let s = self.settings.clone();
        if s.unplug_every > 0 && self.count.is_multiple_of(s.unplug_every) {
            let until = self.clock.now().offset_secs(s.unplug_s);
            AWAY.lock().unwrap_or_else(PoisonError::into_inner).insert(self.uri.clone(), until);
            let problem = "unplugged on purpose".into();
            return Err(CaptureError::Gone { uri: self.uri.clone(), problem });
        }
        if s.freeze_every > 0 && self.count.is_multiple_of(s.freeze_every) {
            self.frozen_until = Some(self.clock.now().offset_secs(s.freeze_s));
            self.done.freezes += 1;
        }
        if self.happens(s.drop, Draw::Drop) {
            self.done.dropped += 1;
            return Ok(None);
        }
        if self.happens(s.error, Draw::Error) {
            self.done.errors += 1;
            return Err(CaptureError::BadFrame {
                uri: self.uri.clone(),
                sequence: frame.sequence,
                problem: "damaged on purpose".into(),
            });
        }
        if s.jitter_ms > 0.0 {
            // A sum of twelve uniform numbers is normal enough.
            let sum: f64 = (0..12).map(|n| self.uniform(Draw::Jitter(n))).sum();
            let nanos = ((sum - 6.0) * s.jitter_ms * 1e6) as i64;
            let moved = Timestamp::from_nanos(frame.captured.nanos().saturating_add(nanos));
            // In order: stamps that go back would be another recording.
            frame.captured = match self.last_stamp {
                Some(last) if moved <= last => Timestamp::from_nanos(last.nanos() + 1_000),
                _ => moved,
            };
        }
        self.last_stamp = Some(frame.captured);
        if self.happens(s.corrupt, Draw::Corrupt)
            && let Some(damaged) = self.corrupted(&frame)
        {
            self.done.corrupted += 1;
            frame = damaged;
        }
        if self.happens(s.duplicate, Draw::Duplicate)
            && let Some(copy) = self.copy(&frame)
        {
            self.done.duplicated += 1;
            self.again = Some(copy);
        }
        if self.happens(s.late, Draw::Late) {
            self.done.late += 1;
            self.late = Some((frame, self.clock.now().offset_secs(s.late_ms / 1e3)));
            return Ok(None);
        }
        Ok(Some(frame))
    }
}

impl FrameSource for FaultInjector {
    fn describe(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, limit: Duration) -> Result<Next, CaptureError> {
        let end = self.clock.now() + limit;
        loop {
            let now = self.clock.now();
            if let Some(until) = self.frozen_until {
                if now < until {
                    let pause = until.min(end).since(now);
                    if self.info.live {
                        // A frozen camera's pictures are not kept for later.
                        if let Next::End = self.inner.next(pause)? {
                            return Ok(Next::End);
                        }
                    } else {
                        std::thread::sleep(pause);
                    }
                    if self.clock.now() >= end {
                        return Ok(Next::Idle);
                    }
                    continue;
                }
                self.frozen_until = None;
            }
            if let Some((mut frame, due)) = self.late.take() {
                if now < due {
                    std::thread::sleep(due.min(end).since(now));
                    let now = self.clock.now();
                    if now < due {
                        self.late = Some((frame, due));
                        return Ok(Next::Idle);
                    }
                    frame.dequeued = now;
                    return Ok(Next::Frame(frame));
                }
                frame.dequeued = now;
                return Ok(Next::Frame(frame));
            }
            if let Some(frame) = self.again.take() {
                return Ok(Next::Frame(frame));
            }
            let left = end.since(now);
            match self.inner.next(left)? {
                Next::Frame(frame) => {
                    if let Some(frame) = self.treat(frame)? {
                        return Ok(Next::Frame(frame));
                    }
                    if self.late.is_none() && self.clock.now() >= end {
                        return Ok(Next::Idle);
                    }
                }
                other => return Ok(other),
            }
        }
    }
}

impl Drop for FaultInjector {
    fn drop(&mut self) {
        let d = self.done;
        log::info!(
            "{}: on purpose {} dropped, {} doubled, {} late, {} damaged, {} reported damaged, {} \
             freezes of {} frames",
            self.uri,
            d.dropped,
            d.duplicated,
            d.late,
            d.corrupted,
            d.errors,
            d.freezes,
            self.count
        );
    }
}

#[cfg(test)]
mod tests;
