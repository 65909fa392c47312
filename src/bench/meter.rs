//! A publisher that hands on to another one and notes when.

use std::sync::{Arc, Mutex, PoisonError};

use crate::pose::PoseFrame;
use crate::publish::{PublishError, Publisher};
use crate::time::{Clock, Timestamp};
use crate::wire::StatusMessage;

/// Frames that room is made for at first: more cost an allocation now and then.
const ROOM: usize = 1 << 14;

/// When one frame passed each stage; all on the monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Passed {
    /// Exposure; `None` for a recording, whose frames were exposed long ago.
    exposed: Option<Timestamp>,
    dequeued: Timestamp,
    decoded: Timestamp,
    detected: Timestamp,
    lifted: Timestamp,
    sent: Timestamp,
}

/// What a [`Meter`] has noted.
#[derive(Debug, Default)]
pub struct Measured {
    passed: Vec<Passed>,
    /// Poses in these frames.
    pub poses: u64,
    /// When the first pose frame of the whole run was sent, measured or not.
    pub first: Option<Timestamp>,
    measuring: bool,
}

/// A stage's name and its durations, nanoseconds.
pub type Stage = (&'static str, Vec<u64>);

impl Measured {
    /// Forgets what was; from now on frames count.
    pub fn begin(&mut self) {
        self.passed.clear();
        self.passed.reserve(ROOM);
        self.poses = 0;
        self.measuring = true;
    }

    /// From now on frames do not count any more.
    pub fn end(&mut self) {
        self.measuring = false;
    }

    /// Frames sent while it counted.
    pub fn frames(&self) -> u64 {
        self.passed.len() as u64
    }

    /// Durations by stage, in a frame's order; the last is the whole: from exposure (of a
    /// recording: from its frame being at hand) to the packet given to the kernel.
    pub fn stages(&self) -> Vec<Stage> {
        let of = |name, from: fn(&Passed) -> Option<Timestamp>, to: fn(&Passed) -> Timestamp| {
            let nanos = |p: &Passed| Some(to(p).since(from(p)?).as_nanos() as u64);
            (name, self.passed.iter().filter_map(nanos).collect())
        };
        vec![
            of("capture", |p| p.exposed, |p| p.dequeued),
            of("wait+decode", |p| Some(p.dequeued), |p| p.decoded),
            of("detect", |p| Some(p.decoded), |p| p.detected),
            of("lift", |p| Some(p.detected), |p| p.lifted),
            of("publish", |p| Some(p.lifted), |p| p.sent),
            of(WHOLE, |p| Some(p.exposed.unwrap_or(p.dequeued)), |p| p.sent),
        ]
    }
}

/// The whole way's name.
pub const WHOLE: &str = "capture-to-packet";

/// Stands before a publisher.
pub struct Meter {
    inner: Box<dyn Publisher>,
    clock: Arc<dyn Clock>,
    measured: Arc<Mutex<Measured>>,
}

impl Meter {
    /// Notes into `measured` what passes on its way to `inner`.
    pub fn new(
        inner: Box<dyn Publisher>,
        clock: Arc<dyn Clock>,
        measured: Arc<Mutex<Measured>>,
    ) -> Self {
        Self { inner, clock, measured }
    }
}

impl Publisher for Meter {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        self.inner.publish(frame)?;
        let sent = self.clock.now();
        // The other one that locks it does so when measuring begins and ends.
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.first.get_or_insert(sent);
        if measured.measuring {
            measured.poses += frame.persons.iter().filter(|p| p.pose.is_some()).count() as u64;
            measured.passed.push(Passed {
                exposed: (!frame.media_time).then_some(frame.captured),
                dequeued: frame.stamps.dequeued,
                decoded: frame.stamps.decoded,
                detected: frame.stamps.detected,
                lifted: frame.stamps.lifted,
                sent,
            });
        }
        Ok(())
    }

    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        self.inner.status(status)
    }

    fn busy_until(&self) -> Option<Timestamp> {
        self.inner.busy_until()
    }

    fn finish(&mut self) -> Result<(), PublishError> {
        self.inner.finish()
    }

    fn describe(&self) -> &str {
        self.inner.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pose::StageStamps;
    use crate::time::MonotonicClock;

    struct Nowhere(u32);

    impl Publisher for Nowhere {
        fn publish(&mut self, _: &PoseFrame) -> Result<(), PublishError> {
            self.0 += 1;
            Ok(())
        }

        fn describe(&self) -> &str {
            "nowhere"
        }
    }

    #[test]
    fn only_what_passes_while_it_counts_is_counted() {
        let measured = Arc::new(Mutex::new(Measured::default()));
        let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
        let mut meter = Meter::new(Box::new(Nowhere(0)), clock.clone(), measured.clone());
        let now = clock.now().nanos();
        let ago = |us: i64| Timestamp::from_nanos(now - 1_000 * us);
        let frame = PoseFrame {
            camera: 0,
            sequence: 1,
            captured: ago(9_000),
            media_time: false,
            stamps: StageStamps {
                dequeued: ago(8_000),
                decoded: ago(6_000),
                detected: ago(3_000),
                lifted: ago(1_000),
            },
            image_size: (64, 48),
            persons: Default::default(),
            model: 0,
            computed: None,
        };
        meter.publish(&frame).unwrap();
        measured.lock().unwrap().begin();
        meter.publish(&frame).unwrap();
        meter.publish(&PoseFrame { media_time: true, ..frame.clone() }).unwrap();
        measured.lock().unwrap().end();
        meter.publish(&frame).unwrap();
        let measured = measured.lock().unwrap();
        assert_eq!(measured.frames(), 2);
        let stages = measured.stages();
        // A recording's exposure is long past.
        assert_eq!(stages[0], ("capture", vec![1_000_000]));
        assert_eq!(stages[1].1, [2_000_000, 2_000_000]);
        assert_eq!(stages[2].1, [3_000_000, 3_000_000]);
        assert_eq!(stages[3].1, [2_000_000, 2_000_000]);
        let (name, whole) = &stages[5];
        assert_eq!(*name, WHOLE);
        assert!(whole[0] >= 9_000_000 && (8_000_000..whole[0]).contains(&whole[1]), "{whole:?}");
    }
}
