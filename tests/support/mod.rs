//! Test doubles that implement the real traits and sit in the stack like the real thing.
#![allow(dead_code, unused_imports, reason = "each test uses some of them")]

mod data;
mod run;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use posewire::capture::pool::FramePool;
use posewire::capture::{CaptureError, FrameSource, Next, SourceInfo};
use posewire::detect::{DetectError, Detector};
use posewire::engine::tract::Tract;
use posewire::engine::{Catalog, ModelKind, Precision};
use posewire::frame::{
    ColorSpace, Frame, FrameStamp, ImageLayout, ImageView, PixelFormat, Timebase,
};
use posewire::lift::{LiftSettings, Lifter};
use posewire::pipeline::{Geometry, Pipeline};
use posewire::pose::{Keypoint, Keypoints2d, Person, Pose3d, PoseFrame, StageStamps, TrackId};
use posewire::skeleton::{JOINTS, Skeleton};
use posewire::time::{Clock, MonotonicClock, Timestamp};
use posewire::track::{TrackSettings, Tracker};

pub use data::data;
pub use run::{Kept, job, once, quick, run_of};

/// A standing person whose left ankle moves a little with `phase`.
pub fn person(x: f32, phase: f32) -> Keypoints2d {
    const SHAPE: [(f32, f32); JOINTS] = [
        (0.0, -0.78),
        (0.03, -0.81),
        (-0.03, -0.81),
        (0.07, -0.79),
        (-0.07, -0.79),
        (0.18, -0.55),
        (-0.18, -0.55),
        (0.24, -0.28),
        (-0.24, -0.28),
        (0.26, -0.02),
        (-0.26, -0.02),
        (0.11, 0.0),
        (-0.11, 0.0),
        (0.12, 0.42),
        (-0.12, 0.42),
        (0.13, 0.85),
        (-0.13, 0.85),
    ];
    let mut points = SHAPE.map(|(dx, dy)| Keypoint {
        x: x + 120.0 * dx,
        y: 240.0 + 120.0 * dy,
        confidence: 0.9,
    });
    points[15].x += 20.0 * phase.sin();
    Keypoints2d { points, score: 0.9 }
}

type Hook = Box<dyn FnMut(&Frame) + Send>;

/// A detector that always sees one person and does something before it says so.
pub struct OnePerson(pub Hook);

impl Detector for OnePerson {
    fn skeleton(&self) -> Skeleton {
        Skeleton::Coco17
    }

    fn detect(
        &mut self,
        frame: &Frame,
        _image: &ImageView<'_>,
        found: &mut Vec<Keypoints2d>,
    ) -> Result<(), DetectError> {
        (self.0)(frame);
        found.push(person(320.0, frame.sequence as f32 * 0.2));
        Ok(())
    }

    fn describe(&self) -> String {
        "a test's detector".to_owned()
    }
}

/// The real pipeline with the embedded lifter on tract and the given detector.
pub fn pipeline(detector: impl Detector + 'static) -> Pipeline {
    let model = Catalog::embedded().unwrap().pick(ModelKind::Lifter, None).unwrap();
    let lifter = Lifter::new(&Tract, &model, Precision::F32, &LiftSettings::default()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
    let tracker = Tracker::new(TrackSettings::default());
    Pipeline::new(Box::new(detector), tracker, lifter, Geometry::AssumedFov(65.0), clock, 7)
        .unwrap()
}

/// A source of grey frames from a pool.
pub struct GreySource {
    info: SourceInfo,
    pool: FramePool,
    sequence: u64,
    /// Frames before the end.
    pub frames: u64,
    /// Waited before each frame.
    pub interval: Duration,
    /// The last sequence number that was handed out.
    pub handed_out: Arc<AtomicU64>,
    /// Gone, as if unplugged, before this sequence number.
    pub gone_at: Option<u64>,
    /// Which camera its frames are of.
    pub camera: u8,
}

impl GreySource {
    /// Frames number `first` and on, `frames` of them.
    pub fn new(live: bool, first: u64, frames: u64) -> Self {
        let summary = "a test's source".to_owned();
        Self {
            info: SourceInfo { summary, size: Some((640, 480)), rate: None, live },
            pool: FramePool::new(4, 640 * 480),
            sequence: first,
            frames,
            interval: Duration::ZERO,
            handed_out: Arc::new(AtomicU64::new(0)),
            gone_at: None,
            camera: 0,
        }
    }
}

impl FrameSource for GreySource {
    fn describe(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, limit: Duration) -> Result<Next, CaptureError> {
        if self.gone_at == Some(self.sequence) {
            let (uri, problem) = ("test:".to_owned(), "unplugged".to_owned());
            return Err(CaptureError::Gone { uri, problem });
        }
        if self.frames == 0 {
            return Ok(Next::End);
        }
        std::thread::sleep(self.interval);
        let Some(lease) = self.pool.take(limit) else { return Ok(Next::Idle) };
        let layout = ImageLayout::packed(640, 480, PixelFormat::Gray8, ColorSpace::default());
        let buffer = self.pool.buffer(&lease);
        buffer.resize(640 * 480, 0);
        buffer.fill(self.sequence as u8);
        let now = MonotonicClock.now();
        let stamp = FrameStamp {
            camera: self.camera,
            sequence: self.sequence,
            captured: now,
            timebase: Timebase::Monotonic,
            dequeued: now,
        };
        let frame = self.pool.share(lease, layout, stamp).unwrap();
        self.handed_out.store(self.sequence, Ordering::SeqCst);
        self.sequence += 1;
        self.frames -= 1;
        Ok(Next::Frame(frame))
    }
}

/// A frame of grey pixels, `seconds` into a recording.
pub fn grey_frame(pool: &mut FramePool, sequence: u64, seconds: f64) -> Frame {
    let lease = pool.take(Duration::from_secs(1)).expect("a buffer is at home");
    let layout = ImageLayout::packed(640, 480, PixelFormat::Gray8, ColorSpace::default());
    pool.buffer(&lease).resize(640 * 480, 90);
    let captured = Timestamp::from_secs_f64(seconds);
    let dequeued = MonotonicClock.now();
    let stamp = FrameStamp { camera: 0, sequence, captured, timebase: Timebase::Media, dequeued };
    pool.share(lease, layout, stamp).unwrap()
}

/// The poses of one frame: persons whose numbers and joints follow from the frame's number.
pub fn pose_frame(sequence: u64, captured: Timestamp, persons: u32) -> PoseFrame {
    let person = |n: u32| Person {
        track: TrackId(n),
        keypoints: Keypoints2d {
            points: [Keypoint { x: 100.0, y: 50.0, confidence: 1.0 }; JOINTS],
            score: 0.9,
        },
        predicted: false,
        pose: Some(Pose3d {
            joints: std::array::from_fn(|j| {
                let at = (sequence * 31 + u64::from(n) * 7) as f32 * 1e-3 % 1.0;
                if j == 0 { [0.0; 3] } else { [at, j as f32 * 0.05, -at] }
            }),
            confidence: [0.5; JOINTS],
            root: Some([0.0, 0.0, 3.0]),
            root_covariance: None,
            plausibility: None,
            describes: captured,
            lookahead_nanos: 0,
        }),
        revision: None,
    };
    PoseFrame {
        camera: 0,
        sequence,
        captured,
        media_time: false,
        stamps: StageStamps {
            dequeued: captured,
            decoded: captured,
            detected: captured,
            lifted: captured,
        },
        image_size: (640, 480),
        persons: (1..=persons).map(person).collect(),
        model: 1,
        computed: None,
    }
}
