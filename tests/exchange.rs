//! A run that changes over to another backend under way, and back: the real runtime, pipeline,
//! lifter and evaluators, with a backend that is slow to build, fails, hangs or errs on purpose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "support/canned.rs"]
mod canned;
mod support;

use canned::Canned;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posewire::capture::pool::FramePool;
use posewire::capture::{CaptureError, FrameSource, Next, Recovery, SourceInfo};
use posewire::engine::exchange::{Exchange, Judge};
use posewire::engine::gate::{Budget, Verdict};
use posewire::engine::tract::Tract;
use posewire::engine::{
    Backend, Catalog, Engine, EngineError, ModelKind, ModelSpec, Precision, Signature,
    StreamingLifter, TensorMut, TensorRef, streaming,
};
use posewire::handoff::Stop;
use posewire::lift::{LiftSettings, Lifter};
use posewire::pipeline::{Geometry, Pipeline};
use posewire::pose::{PoseFrame, TrackId};
use posewire::publish::{PublishError, Publisher};
use posewire::runtime::{Job, Source, Upkeep, run};
use posewire::stats::Stats;
use posewire::time::{MonotonicClock, Timestamp};
use posewire::track::{TrackSettings, Tracker};
use posewire::wire::{PoseMessage, PoseOptions, State, StatusMessage};

static TRACT: Tract = Tract;

/// What the later engines do at the moment.
const RIGHT: u8 = 0;
const FAILS: u8 = 1;
const HANGS: u8 = 2;
const ERRS: u8 = 3;
const NOT_A_NUMBER: u8 = 4;
/// Once more right, and then it fails.
const SOON_FAILS: u8 = 5;

/// Stands in for the GPU: the whole-window graph on tract, so that what is kept of a slot is not
/// what the processor's evaluator keeps.
#[derive(Clone)]
struct Later {
    how: Arc<AtomicU8>,
    /// A build is over when one of them is raised; the second one ends it without an engine.
    built: Stop,
    cancelled: Stop,
    /// A build has begun.
    begun: Stop,
    /// A build was ended early.
    ended: Stop,
}

impl Later {
    fn new(how: u8) -> Self {
        let [built, cancelled, begun, ended] = std::array::from_fn(|_| Stop::new());
        Self { how: Arc::new(AtomicU8::new(how)), built, cancelled, begun, ended }
    }

    fn becomes(&self, how: u8) {
        self.how.store(how, Ordering::SeqCst);
    }

    fn exchange(&self) -> Exchange {
        Exchange::new(&TRACT, Box::new(self.clone()), content(), self.cancelled.clone())
    }
}

/// Whatever sees pictures here is right: tests of the judge are elsewhere.
fn content() -> Judge {
    Box::new(|_, _, _, _| {
        let budget = Budget { mean: 1.0, worst: 1.0 };
        Ok(Verdict { cases: 1, mean: 0.0, worst: 0.0, budget, unit: "px" })
    })
}

impl Backend for Later {
    fn name(&self) -> &'static str {
        "tensorrt"
    }

    fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn load(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        Tract.load(model, precision, batch)
    }

    fn load_lifter(
        &self,
        model: &ModelSpec,
        precision: Precision,
        persons: usize,
    ) -> Result<Box<dyn StreamingLifter>, EngineError> {
        self.begun.raise();
        while !self.built.is_raised() {
            if self.cancelled.is_raised() {
                self.ended.raise();
                return Err(model.problem("cancelled"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let inner = streaming::load(|part, n| self.load(part, precision, n), model, persons)?;
        Ok(Box::new(OnPurpose { inner, how: self.how.clone() }))
    }
}

struct OnPurpose {
    inner: Box<dyn StreamingLifter>,
    how: Arc<AtomicU8>,
}

impl StreamingLifter for OnPurpose {
    fn slot_len(&self) -> usize {
        self.inner.slot_len()
    }

    fn encode(&mut self, k: &[f32], fresh: &[f32], slots: &mut [f32]) -> Result<(), EngineError> {
        self.inner.encode(k, fresh, slots)
    }

    fn lift(&mut self, s: &[f32], c: &[f32], joints: &mut [f32]) -> Result<(), EngineError> {
        let model = || "the lifter".to_owned();
        match self.how.load(Ordering::SeqCst) {
            FAILS => return Err(EngineError::Run { model: model(), problem: "on purpose".into() }),
            HANGS => {
                let backend = "tensorrt";
                return Err(EngineError::Hung { model: model(), backend, seconds: 2.0 });
            }
            SOON_FAILS => self.how.store(FAILS, Ordering::SeqCst),
            _ => {}
        }
        self.inner.lift(s, c, joints)?;
        match self.how.load(Ordering::SeqCst) {
            ERRS => joints.iter_mut().for_each(|v| *v += 0.004),
            NOT_A_NUMBER => joints[25] = f32::NAN,
            _ => {}
        }
        Ok(())
    }

    fn describe(&self) -> String {
        "a test's lifter".to_owned()
    }
}

/// A recording at 25 frames a second, the same each time, endless. It waits for its listener: a
/// target that is behind misses frames, and that is not what is to be seen here.
struct Recording {
    info: SourceInfo,
    pool: FramePool,
    next: u64,
    heard: Arc<AtomicU64>,
}

impl Recording {
    fn new(heard: Arc<AtomicU64>) -> Self {
        let summary = "a test's recording".to_owned();
        let info = SourceInfo { summary, size: Some((640, 480)), rate: Some(25.0), live: false };
        Self { info, pool: FramePool::new(4, 640 * 480), next: 0, heard }
    }
}

impl FrameSource for Recording {
    fn describe(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, _: Duration) -> Result<Next, CaptureError> {
        let sequence = self.next;
        if sequence > self.heard.load(Ordering::SeqCst) + 16 {
            std::thread::sleep(Duration::from_millis(1));
            return Ok(Next::Idle);
        }
        self.next += 1;
        let at = sequence as f64 / 25.0;
        Ok(Next::Frame(support::grey_frame(&mut self.pool, sequence, at)))
    }
}

/// The quicker one: its whole windows are computed by tract here.
fn model() -> ModelSpec {
    let catalog = Catalog::embedded().unwrap();
    catalog.pick(ModelKind::Lifter, Some("pstmo_s_27_live")).unwrap()
}

fn pipeline(backend: &dyn Backend) -> Pipeline {
    let model = model();
    let lifter = Lifter::new(backend, &model, Precision::F32, &LiftSettings::default()).unwrap();
    let tracker = Tracker::new(TrackSettings::default());
    let (detector, geometry) = (Box::new(support::quick()), Geometry::AssumedFov(65.0));
    Pipeline::new(detector, tracker, lifter, geometry, Arc::new(MonotonicClock), 7).unwrap()
}

/// What computed the frames so far, and how many in a row.
type Runs = [(&'static str, usize)];

/// Keeps everything, and acts on each frame.
struct Heard<F> {
    frames: Arc<Mutex<Vec<PoseFrame>>>,
    statuses: Arc<Mutex<Vec<StatusMessage>>>,
    runs: Vec<(&'static str, usize)>,
    heard: Arc<AtomicU64>,
    act: F,
}

impl<F: FnMut(&Runs) + Send> Publisher for Heard<F> {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        self.frames.lock().unwrap().push(frame.clone());
        let by = engine(frame);
        match self.runs.last_mut() {
            Some((name, n)) if *name == by => *n += 1,
            _ => self.runs.push((by, 1)),
        }
        (self.act)(&self.runs);
        self.heard.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        self.statuses.lock().unwrap().push(status.clone());
        Ok(())
    }

    fn describe(&self) -> &str {
        "a test's target"
    }
}

/// Runs on `exchange` until somebody raises `stop`; `act` is told what has computed the frames so far, `watch` is
/// called by the supervisor. Gives frames and statuses.
fn run_with(
    exchange: &Exchange,
    stop: &Stop,
    act: impl FnMut(&Runs) + Send + 'static,
    mut watch: impl FnMut(),
) -> (Vec<PoseFrame>, Vec<StatusMessage>) {
    let (frames, statuses) = (Arc::default(), Arc::default());
    let count = Arc::new(AtomicU64::new(0));
    let target = Heard {
        frames: Arc::clone(&frames),
        statuses: Arc::clone(&statuses),
        runs: Vec::new(),
        heard: count.clone(),
        act,
    };
    let mut recording = Some(Recording::new(count));
    let source = Source {
        open: Box::new(move || Ok(Box::new(recording.take().expect("opened once")))),
        recovery: Recovery::STREAM,
        pipeline: pipeline(exchange),
    };
    let target: Box<dyn Publisher> = Box::new(target);
    let upkeep = Upkeep { exchange: Some(exchange.clone()), ..Upkeep::default() };
    let job = Job { upkeep, ..support::run_of(vec![source], vec![target.into()]) };
    run(job, stop, &Arc::new(Stats::default()), |_| watch()).unwrap();
    let (frames, statuses) = (frames.lock().unwrap().clone(), statuses.lock().unwrap().clone());
    (frames, statuses)
}

/// What computed the frame, as its packet says.
fn engine(frame: &PoseFrame) -> &'static str {
    PoseMessage::from_frame(frame, &PoseOptions::default()).engine.name()
}

/// The engines of a run in the order in which they came, each once.
fn engines(frames: &[PoseFrame]) -> Vec<&'static str> {
    let mut engines: Vec<_> = frames.iter().map(engine).collect();
    engines.dedup();
    engines
}

/// No number is missing, and everybody is where an uninterrupted run has them.
fn assert_as_if_nothing_had_happened(frames: &[PoseFrame]) {
    let mut uninterrupted = pipeline(&TRACT);
    let mut recording = Recording::new(Arc::new(AtomicU64::new(u64::MAX / 2)));
    let mut poses = 0;
    for (n, frame) in frames.iter().enumerate() {
        assert_eq!(frame.sequence, n as u64, "a gap");
        let Ok(Next::Frame(picture)) = recording.next(Duration::ZERO) else { panic!("no frame") };
        let wanted = uninterrupted.step(&picture).unwrap();
        let tracks = |f: &PoseFrame| f.persons.iter().map(|p| p.track).collect::<Vec<_>>();
        assert_eq!(tracks(frame), tracks(&wanted), "frame {n}");
        for (person, wanted) in frame.persons.iter().zip(&wanted.persons) {
            let (Some(pose), Some(wanted)) = (person.pose, wanted.pose) else {
                panic!("frame {n}: no pose")
            };
            poses += 1;
            let apart = pose.joints.as_flattened().iter().zip(wanted.joints.as_flattened());
            let most = apart.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(most < 2e-4, "frame {n}: {} mm apart", most * 1e3);
            let (root, wanted) = (pose.root.unwrap(), wanted.root.unwrap());
            let off = root.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 2e-3, "frame {n}: the root is {} mm apart", off * 1e3);
        }
    }
    assert!(poses + 10 > frames.len(), "{poses} poses in {} frames", frames.len());
}

#[test]
fn a_run_publishes_from_the_cpu_and_changes_over_without_a_gap_when_the_engine_has_come() {
    let (later, stop) = (Later::new(RIGHT), Stop::new());
    let exchange = later.exchange();
    let (built, end) = (later.built.clone(), stop.clone());
    let (said, told) = (Arc::new(Mutex::new(Vec::new())), exchange.clone());
    let says = said.clone();
    let act = move |runs: &Runs| match runs {
        // Amid a window; and then for longer than one is.
        [("tract", 40)] => {
            says.lock().unwrap().push(told.describe());
            built.raise();
        }
        [_, ("tensorrt", 100)] => {
            says.lock().unwrap().push(told.describe());
            end.raise();
        }
        _ => {}
    };
    let (frames, statuses) = run_with(&exchange, &stop, act, || {});
    assert_eq!(engines(&frames), ["tract", "tensorrt"]);
    assert_as_if_nothing_had_happened(&frames);
    // What `posewire status` says.
    assert_eq!(*said.lock().unwrap(), ["tract f32 (tensorrt is built)", "tensorrt f32"]);
    assert!(statuses.iter().all(|s| s.faults.is_empty()), "{statuses:?}");
}

/// Changes over, then does `how`; gives frames and statuses until 60 frames after falling back.
fn falls_back(how: u8) -> (Vec<PoseFrame>, Vec<StatusMessage>, String) {
    let (later, stop) = (Later::new(RIGHT), Stop::new());
    later.built.raise();
    let exchange = later.exchange();
    let end = stop.clone();
    let (last, told) = (Arc::new(Mutex::new(String::new())), exchange.clone());
    let says = last.clone();
    let act = move |runs: &Runs| match runs {
        [.., ("tensorrt", 50)] => later.becomes(how),
        [.., ("tensorrt", _), ("tract", 60)] => {
            *says.lock().unwrap() = told.describe();
            end.raise();
        }
        _ => {}
    };
    let (frames, statuses) = run_with(&exchange, &stop, act, || {});
    let last = last.lock().unwrap().clone();
    (frames, statuses, last)
}

#[test]
fn an_engine_that_fails_is_left_within_the_frame_and_the_fault_has_a_name() {
    for (how, name) in [(FAILS, "gpu-failed"), (HANGS, "gpu-hung"), (NOT_A_NUMBER, "gpu-failed")] {
        let (frames, statuses, last) = falls_back(how);
        let came = engines(&frames);
        assert!(came.ends_with(&["tensorrt", "tract"]), "{name}: {came:?}");
        assert_as_if_nothing_had_happened(&frames);
        assert_eq!(last, "tract f32");
        let faulty = statuses.iter().find(|s| !s.faults.is_empty()).expect("it is said");
        assert_eq!(faulty.faults[0].name.as_str(), name);
        assert_eq!(faulty.state, State::Degraded, "poses are marked so");
        assert!(faulty.faults[0].detail.contains("tract computes it again"), "{faulty:?}");
    }
}

#[test]
fn an_engine_that_answers_wrongly_never_serves() {
    let (later, stop) = (Later::new(ERRS), Stop::new());
    later.built.raise();
    let exchange = later.exchange();
    let watch = || {
        if !exchange.troubles().is_empty() {
            stop.raise();
        }
    };
    let (frames, statuses) = run_with(&exchange, &stop, |_| {}, watch);
    assert_eq!(engines(&frames), ["tract"]);
    let faulty = statuses.iter().find(|s| !s.faults.is_empty()).expect("it is said");
    assert_eq!(faulty.faults[0].name.as_str(), "gpu-refused");
    assert_eq!(faulty.state, State::Running, "poses are what they would have been without a GPU");
    assert!(faulty.faults[0].detail.contains("mm from the trained network"), "{faulty:?}");
}

#[test]
fn the_end_of_a_run_ends_a_build() {
    let (later, stop) = (Later::new(RIGHT), Stop::new());
    let exchange = later.exchange();
    let watch = || {
        if later.begun.is_raised() {
            stop.raise();
        }
    };
    // It would never be over by itself.
    let (frames, _) = run_with(&exchange, &stop, |_| {}, watch);
    assert!(later.ended.is_raised());
    assert!(frames.iter().all(|frame| engine(frame) == "tract"));
    assert!(exchange.troubles().is_empty(), "ending is no fault");
}

#[test]
fn the_end_of_a_run_does_not_wait_for_a_build_that_hangs() {
    let (mut later, stop) = (Later::new(RIGHT), Stop::new());
    let exchange = later.exchange();
    // The exchange has the one that it raises; the build looks at another one.
    later.cancelled = Stop::new();
    let hangs = Exchange::new(
        &TRACT,
        Box::new(later.clone()),
        Box::new(|model, _, _, _| Err(model.problem("nobody asks"))),
        Stop::new(),
    );
    drop(exchange);
    let watch = || {
        if later.begun.is_raised() {
            stop.raise();
        }
    };
    let (frames, _) = run_with(&hangs, &stop, |_| {}, watch);
    assert!(!later.ended.is_raised() && !later.built.is_raised(), "it still hangs");
    assert!(!frames.is_empty());
    later.cancelled.raise();
}

/// A call that fails amid a frame of several persons, of which some have their poses already.
#[test]
fn nobody_is_lifted_twice_in_the_frame_in_which_an_engine_fails() {
    let later = Later::new(RIGHT);
    later.built.raise();
    let exchange = later.exchange();
    let model = model();
    let settings = LiftSettings::default();
    let load =
        |backend: &dyn Backend| Lifter::new(backend, &model, Precision::F32, &settings).unwrap();
    let (mut plain, mut changing) = (load(&TRACT), load(&exchange));
    let builder = exchange.clone();
    let thread = std::thread::spawn(move || builder.work());
    while !changing.exchange() {
        std::thread::sleep(Duration::from_millis(1));
    }
    exchange.stop();
    thread.join().unwrap();
    let camera = posewire::camera::Intrinsics::from_fov(640, 480, 65.0);
    // More than go through the network at once.
    let tracks: Vec<TrackId> = (1..=6).map(TrackId).collect();
    let (mut a, mut b) = Default::default();
    for n in 0..30 {
        if n == 20 {
            later.becomes(SOON_FAILS);
        }
        let at = Timestamp::from_secs_f64(f64::from(n) / 25.0);
        for track in &tracks {
            let person = support::person(100.0 + 60.0 * track.0 as f32, n as f32 * 0.3);
            for lifter in [&mut plain, &mut changing] {
                lifter.observe(*track, at, &person, &camera).unwrap();
            }
        }
        plain.lift(&tracks, &mut a).unwrap();
        changing.lift(&tracks, &mut b).unwrap();
        let by = changing.computed().unwrap().backend;
        assert_eq!(by, if n < 20 { "tensorrt" } else { "tract" }, "frame {n}");
        for (who, (a, b)) in a.iter().zip(&b).enumerate() {
            let (a, b): (posewire::pose::Pose3d, _) = (a.pose.unwrap(), b.pose.unwrap());
            let apart = a.joints.as_flattened().iter().zip(b.joints.as_flattened());
            let most = apart.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(most < 2e-4, "frame {n}, person {who}: {} mm apart", most * 1e3);
        }
    }
}

/// Finder and keypoint networks that can be told to fail.
struct CannedLater(Arc<AtomicU8>);

struct CannedEngine {
    inner: Box<dyn Engine>,
    how: Arc<AtomicU8>,
}

impl Engine for CannedEngine {
    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn run(
        &mut self,
        inputs: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        if self.how.load(Ordering::SeqCst) == FAILS {
            let model = "a detector's".to_owned();
            return Err(EngineError::Run { model, problem: "on purpose".into() });
        }
        self.inner.run(inputs, outputs)
    }
}

impl Backend for CannedLater {
    fn name(&self) -> &'static str {
        "tensorrt"
    }

    fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn load(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        let inner = TWO.load(model, precision, batch)?;
        Ok(Box::new(CannedEngine { inner, how: self.0.clone() }))
    }
}

static TWO: Canned = Canned { persons: 2, drift: 0 };

#[test]
fn whom_a_detector_follows_stays_followed_when_its_networks_change_over_and_fail() {
    let how = Arc::new(AtomicU8::new(RIGHT));
    let later = Box::new(CannedLater(how.clone()));
    let exchange = Exchange::new(&TWO, later, content(), Stop::new());
    let mut changing = canned::pipeline_on(&exchange, Default::default());
    let mut plain = canned::pipeline(TWO, Default::default());
    let mut pool = FramePool::new(2, 640 * 480);
    let mut step = |n: u64| {
        let frame = support::grey_frame(&mut pool, n, n as f64 / 25.0);
        let (a, b) = (plain.step(&frame).unwrap(), changing.step(&frame).unwrap());
        assert_eq!(a.persons, b.persons, "frame {n}");
        b.persons.len()
    };
    let mut seen: usize = (0..20).map(&mut step).sum();
    // Carried out here, up to the last order; the lifter's is refused.
    let builder = exchange.clone();
    let thread = std::thread::spawn(move || builder.work());
    while exchange.troubles().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    exchange.stop();
    thread.join().unwrap();
    assert!(!exchange.describe().contains("tensorrt f32"), "{}", exchange.describe());
    seen += (20..40).map(&mut step).sum::<usize>();
    assert!(exchange.describe().contains("tensorrt f32"), "{}", exchange.describe());
    how.store(FAILS, Ordering::SeqCst);
    seen += (40..60).map(&mut step).sum::<usize>();
    assert!(seen > 100, "{seen} persons in 60 frames");
    assert_eq!(exchange.describe(), "canned f32");
    let failed = exchange.troubles().into_iter().find(|t| t.name == "gpu-failed").expect("named");
    assert_eq!(failed.count, 2, "finder and keypoints");
}
