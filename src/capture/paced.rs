//! Recordings played at their own speed, as if they were cameras.

use std::sync::Arc;
use std::time::Duration;

use super::{CaptureError, FrameSource, Next, SourceInfo};
use crate::frame::{Frame, Timebase};
use crate::time::{Clock, Timestamp};

/// Gives each frame of another source when its time has come, stamped on the monotonic clock:
/// `captured` = the moment the first frame was given + the time since it in the recording.
///
/// A source that cannot keep up gives its frames late and their stamps say so. The frame that
/// waits for its time is held here; the inner source is asked for the next one afterwards.
pub struct Paced {
    inner: Box<dyn FrameSource>,
    clock: Arc<dyn Clock>,
    info: SourceInfo,
    /// The recording's time of the first frame, and the moment it was given.
    origin: Option<(Timestamp, Timestamp)>,
    waiting: Option<Frame>,
}

impl Paced {
    /// Plays `inner` by `clock`.
    pub fn new(inner: Box<dyn FrameSource>, clock: Arc<dyn Clock>) -> Self {
        let mut info = inner.describe().clone();
        info.live = true;
        info.summary.push_str(", in real time");
        Self { inner, clock, info, origin: None, waiting: None }
    }

    fn due(&mut self, media: Timestamp) -> Timestamp {
        let now = self.clock.now();
        let (first, start) = *self.origin.get_or_insert((media, now));
        Timestamp::from_nanos(
            start.nanos().saturating_add(media.nanos().saturating_sub(first.nanos())),
        )
    }
}

impl FrameSource for Paced {
    fn describe(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, limit: Duration) -> Result<Next, CaptureError> {
        let until = self.clock.now() + limit;
        let frame = match self.waiting.take() {
            Some(frame) => frame,
            None => match self.inner.next(limit)? {
                Next::Frame(mut frame) => {
                    frame.captured = self.due(frame.captured);
                    frame.timebase = Timebase::Monotonic;
                    frame
                }
                other => return Ok(other),
            },
        };
        let now = self.clock.now();
        if now < frame.captured {
            std::thread::sleep(frame.captured.min(until.max(now)).since(now));
        }
        let now = self.clock.now();
        if now < frame.captured {
            self.waiting = Some(frame);
            return Ok(Next::Idle);
        }
        let mut frame = frame;
        frame.dequeued = now;
        Ok(Next::Frame(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::pool::FramePool;
    use crate::frame::{ColorSpace, FrameStamp, ImageLayout, PixelFormat};
    use crate::time::{ManualClock, MonotonicClock};

    /// Frames at the given media times, in nanoseconds.
    struct Script {
        info: SourceInfo,
        times: Vec<i64>,
        at: usize,
        pool: FramePool,
    }

    fn script(times: &[i64]) -> Box<dyn FrameSource> {
        let info = SourceInfo { summary: "script".into(), size: None, rate: None, live: false };
        let pool = FramePool::new(4, 1);
        Box::new(Script { info, times: times.to_vec(), at: 0, pool })
    }

    impl FrameSource for Script {
        fn describe(&self) -> &SourceInfo {
            &self.info
        }

        fn next(&mut self, limit: Duration) -> Result<Next, CaptureError> {
            let Some(&time) = self.times.get(self.at) else { return Ok(Next::End) };
            let Some(lease) = self.pool.take(limit) else { return Ok(Next::Idle) };
            self.at += 1;
            self.pool.buffer(&lease).resize(1, 0);
            let layout = ImageLayout::packed(1, 1, PixelFormat::Gray8, ColorSpace::default());
            let stamp = FrameStamp {
                camera: 0,
                sequence: self.at as u64,
                captured: Timestamp::from_nanos(time),
                timebase: Timebase::Media,
                dequeued: Timestamp::ZERO,
            };
            Ok(Next::Frame(self.pool.share(lease, layout, stamp).unwrap()))
        }
    }

    #[test]
    fn a_frame_comes_when_its_time_has_come_and_not_before() {
        let clock = Arc::new(ManualClock::default());
        clock.set(Timestamp::from_nanos(5_000));
        let mut paced = Paced::new(script(&[100, 400, 900]), clock.clone());
        assert!(paced.describe().live);
        let mut moments = Vec::new();
        for now in (5_000..6_200).step_by(100) {
            clock.set(Timestamp::from_nanos(now));
            match paced.next(Duration::ZERO).unwrap() {
                Next::Frame(f) => {
                    assert_eq!(f.timebase, Timebase::Monotonic);
                    assert_eq!(f.dequeued.nanos(), now);
                    moments.push((now, f.captured.nanos()));
                }
                Next::Idle => {}
                Next::End => moments.push((now, -1)),
            }
        }
        let frames = [(5_000, 5_000), (5_300, 5_300), (5_800, 5_800)];
        assert_eq!(moments[..3], frames);
        assert!(moments[3..].iter().all(|&(_, t)| t == -1));
    }

    #[test]
    fn a_late_player_stamps_frames_with_when_they_were_due() {
        let clock = Arc::new(ManualClock::default());
        let mut paced = Paced::new(script(&[0, 10, 20]), clock.clone());
        let mut stamps = Vec::new();
        for now in [1_000, 5_000, 5_000] {
            clock.set(Timestamp::from_nanos(now));
            if let Next::Frame(f) = paced.next(Duration::ZERO).unwrap() {
                stamps.push((f.captured.nanos(), f.dequeued.nanos()));
            }
        }
        assert_eq!(stamps, [(1_000, 1_000), (1_010, 5_000), (1_020, 5_000)]);
    }

    #[test]
    fn waiting_takes_no_longer_than_the_limit_and_the_recording_its_own_length() {
        let mut paced = Paced::new(script(&[0, 200_000_000]), Arc::new(MonotonicClock));
        let start = std::time::Instant::now();
        assert!(matches!(paced.next(Duration::from_millis(5)), Ok(Next::Frame(_))));
        let mut idle = 0;
        loop {
            match paced.next(Duration::from_millis(20)).unwrap() {
                Next::Idle => idle += 1,
                Next::Frame(_) => break,
                Next::End => panic!("a frame is missing"),
            }
        }
        assert!((5..=10).contains(&idle), "{idle} times idle");
        assert!(start.elapsed() >= Duration::from_millis(200));
    }
}
