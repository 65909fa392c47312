//! Who runs, on which thread: every thread and every queue of posewire is here.
//!
//! ```text
//! capture ──Latest<Frame>──▶ perception (Pipeline::step) ──Ring each──▶ one thread per publisher
//!    ▲────────── Lease (the buffer goes home) ────────────────┘
//! ```
//!
//! Each camera has a capture thread (`capture`), a mailbox and a pipeline; perception serves the
//! one that it served longest ago of those that have a frame. A publisher has the poses of all, or
//! of one. So what happens to one camera costs the others nothing but the time of its frames.
//!
//! The recorder has threads and ways of its own: `record`; so has the live page: `view`. What a
//! publisher's thread does is in `publish`. One more builds engines, where that is wanted:
//! `exchange`.
//!
//! The calling thread supervises: it hears of endings and faults through one channel and calls
//! the watcher. Shutdown flows with the data: capture stops and closes the mailbox, perception
//! drains it and closes the rings, publishers finish and end.

mod capture;
mod exchange;
mod health;
mod publish;
mod record;
mod renewal;
mod upkeep;
mod view;
mod watchdog;

pub use health::{Beat, Health, Stuck};
pub use renewal::{MakePipelines, Reason, Renewal};
pub use upkeep::Upkeep;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use exchange::Builder;
use health::Living;
use renewal::Renewing;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::capture::{CaptureError, FrameSource, Recovery, SourceInfo};
use crate::degrade::{DegradeSettings, Governor};
use crate::engine::exchange::Exchange;
use crate::fault::{Chain, Exit, Fault, RateLimit, Severity, panic_words};
use crate::frame::Frame;
use crate::handoff::{Latest, Put, Request, Ring, Stop, Taken};
use crate::pipeline::Pipeline;
use crate::pose::PoseFrame;
use crate::publish::Publisher;
use crate::record::Recorder;
use crate::stats::{Counts, Stats, add};
use crate::thermal::Thermometer;
use crate::time::{Clock, Timestamp};
use crate::view::View;
use crate::wire::{FaultRecord, MAX_FAULTS, State, StatusMessage};

/// No wait is longer: how fast every thread sees that it is to stop.
const TURN: Duration = Duration::from_millis(100);
/// Poses waiting for one publisher: half a second at 60 frames per second.
const RING_CAPACITY: usize = 32;
/// What publishers have to finish in once everything else has stopped.
const GRACE: Duration = Duration::from_secs(5);

/// How often every publisher is told how the sender is, whether there are poses or not: so that a
/// listener can tell an empty room from a dead sensor.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Opens the source; called again whenever it was lost.
pub type OpenSource = Box<dyn FnMut() -> Result<Box<dyn FrameSource>, CaptureError> + Send>;

/// One camera, recording or stream, and what happens to its frames.
pub struct Source {
    /// Where frames come from.
    pub open: OpenSource,
    /// What is done when it is lost.
    pub recovery: Recovery,
    /// What happens to them.
    pub pipeline: Pipeline,
}

/// Where poses go.
pub struct Target {
    /// Sends them.
    pub publisher: Box<dyn Publisher>,
    /// Of which source only, counted in the order of [`Job::sources`]; `None`: of all.
    pub source: Option<usize>,
}

impl From<Box<dyn Publisher>> for Target {
    fn from(publisher: Box<dyn Publisher>) -> Self {
        Self { publisher, source: None }
    }
}

/// What is to be run.
pub struct Job {
    /// Where frames come from; at least one.
    pub sources: Vec<Source>,
    /// Where poses go.
    pub targets: Vec<Target>,
    /// What is seen and said, into files.
    pub recorder: Option<Recorder>,
    /// The live page.
    pub view: Option<View>,
    /// Asks the flight recorder to write; a signal handler raises it.
    pub dump: Request,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// How it is kept running for weeks.
    pub upkeep: Upkeep,
}

/// Something that an operator should know of.
#[derive(Debug, Clone)]
pub enum Event {
    /// The source of this number is open.
    SourceOpened(usize, SourceInfo),
    /// The source of this number went away or is not there yet; it is being reopened.
    SourceLost(usize, String),
    /// The recording of this number is over.
    SourceEnded(usize),
    /// A stage cannot go on, with how the process should end.
    Failed(String, Exit),
    /// A publisher has finished.
    PublisherDone,
    /// Perception has drained and ended.
    PerceptionDone,
}

/// How a run ended, other than well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A stage failed for good.
    #[error("{message}")]
    Failed {
        /// What, and what to do.
        message: String,
        /// How the process should end.
        exit: Exit,
    },
    /// The system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl RunError {
    /// How the process should end.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Failed { exit, .. } => *exit,
            Self::Thread(_) => Exit::Internal,
        }
    }
}

/// How a source is.
#[derive(Default)]
struct Camera {
    /// What is wrong with it, if anything; `None` before it was opened first.
    state: Mutex<Option<Result<(), FaultRecord>>>,
    /// Frames must not wait: see [`SourceInfo::live`].
    live: AtomicBool,
    /// What of its frames is left out on purpose, if anything.
    degraded: Mutex<Option<FaultRecord>>,
}

/// What all threads of a run share.
#[derive(Clone)]
struct Shared {
    frames: Arc<Latest<Frame>>,
    rings: Arc<[Ring<PoseFrame>]>,
    stats: Arc<Stats>,
    clock: Arc<dyn Clock>,
    stop: Stop,
    events: Sender<Event>,
    cameras: Arc<[Camera]>,
    /// Whose poses each ring is for.
    wanted: Arc<[Option<usize>]>,
    /// How each target is.
    targets: Arc<[Mutex<publish::Trouble>]>,
    /// Counts the changes of `cameras` and `targets`: targets are told of one at once.
    changes: Arc<AtomicU64>,
    begun: Timestamp,
    /// What is wrong with the recorder, if anything.
    recorder: Arc<Mutex<Option<FaultRecord>>>,
    /// A stage failed for good.
    failed: Stop,
    dump: Request,
    thermometer: Arc<Thermometer>,
    health: Arc<Health>,
    renewing: Renewing,
    /// What networks may change over to.
    exchange: Option<Exchange>,
}

/// What a thread does.
type Body = Box<dyn FnOnce(&Shared) + Send>;

/// Runs until the source ends, `stop` is raised, or a stage fails for good. `watch` is called
/// about ten times a second on the calling thread, with the event that woke it, if any.
///
/// # Errors
/// If a stage failed for good; what was captured before has been published.
pub fn run(
    job: Job,
    stop: &Stop,
    stats: &Arc<Stats>,
    mut watch: impl FnMut(Option<&Event>),
) -> Result<(), RunError> {
    let (events, heard) = crossbeam_channel::unbounded();
    let publisher_count = job.targets.len();
    let source_count = job.sources.len();
    // The recorder and the page's three threads finish like publishers.
    let consumers = publisher_count
        + usize::from(job.recorder.is_some())
        + VIEW.len() * usize::from(job.view.is_some());
    // The page takes poses like a publisher, from the last ring.
    let ring_count = publisher_count + usize::from(job.view.is_some());
    let Upkeep { health, renewal, degrade, exchange } = job.upkeep;
    // The run is over when nobody waits for perception any more: `run` has returned.
    let running = Arc::new(());
    let over = Arc::downgrade(&running);
    let renewing = Renewing::start(renewal, move || over.strong_count() == 0)?;
    let builder = Builder::start(exchange.clone())?;
    let shared = Shared {
        frames: Arc::new(Latest::new(source_count)),
        rings: (0..ring_count).map(|_| Ring::new(RING_CAPACITY)).collect(),
        stats: stats.clone(),
        begun: job.clock.now(),
        thermometer: Arc::new(Thermometer::of_this_machine()),
        clock: job.clock,
        stop: stop.clone(),
        events,
        cameras: (0..source_count).map(|_| Camera::default()).collect(),
        // The page's ring is for all.
        wanted: job.targets.iter().map(|target| target.source).chain([None]).collect(),
        targets: (0..publisher_count).map(|_| Mutex::default()).collect(),
        changes: Arc::default(),
        recorder: Arc::default(),
        failed: Stop::new(),
        dump: job.dump,
        health: health.clone(),
        renewing,
        exchange,
    };

    let mut threads = Vec::new();
    let mut spawn = |name: String, body: Body| {
        let shared = shared.clone();
        let main = move || {
            let name = thread::current().name().unwrap_or("thread").to_owned();
            let camera = name.strip_prefix(CAPTURE).and_then(|n| n.parse().ok());
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&shared))) {
                let message = format!("{name} panicked: {}", panic_words(&*panic));
                shared.fail(message, Exit::Internal);
            }
            shared.stage_ended(&name, camera);
        };
        thread::Builder::new().name(name).spawn(main).map(|handle| threads.push(handle))
    };
    let mut started = Ok(());
    for (index, target) in job.targets.into_iter().enumerate() {
        let body = move |s: &Shared| publish::publish(s, index, target.publisher);
        started = started.and(spawn(format!("{PUBLISH}{index}"), Box::new(body)));
    }
    let mut intake = None;
    if let Some(recorder) = job.recorder {
        let (into, out) = record::way(&recorder);
        intake = Some(into);
        let body = move |s: &Shared| record::record(s, recorder, &out);
        started = started.and(spawn(RECORDER.into(), Box::new(body)));
    }
    let mut eye = None;
    if let Some(View { feed, previewer, server }) = job.view {
        let (into, out) = view::way(&previewer);
        eye = Some(into);
        let feed = move |s: &Shared| {
            if let Some(ring) = s.rings.get(publisher_count) {
                view::feed(s, ring, feed);
            }
        };
        let bodies: [Body; VIEW.len()] = [
            Box::new(feed),
            Box::new(move |_| view::preview(previewer, &out)),
            Box::new(move |_| server.run()),
        ];
        for (name, body) in VIEW.into_iter().zip(bodies) {
            started = started.and(spawn(name.into(), body));
        }
    }
    let mut pipelines = Vec::with_capacity(source_count);
    for (camera, source) in job.sources.into_iter().enumerate() {
        pipelines.push(source.pipeline);
        let name = format!("{CAPTURE}{camera}");
        let open = health::watched(source.open, health.stage(&name, true));
        let body = move |s: &Shared| capture::capture(s, camera, open, source.recovery);
        started = started.and(spawn(name, Box::new(body)));
    }
    if pipelines.is_empty() {
        shared.frames.close_all();
    }
    let body = move |s: &Shared| perceive(s, pipelines, intake, eye, degrade);
    started = started.and(spawn(PERCEPTION.into(), Box::new(body)));
    if let Err(error) = started {
        // Those that do run must not wait for one that does not.
        stop.raise();
        builder.stop();
        shared.frames.close_all();
        shared.rings.iter().for_each(Ring::close);
        return Err(RunError::Thread(error));
    }

    let mut told = upkeep::Told::default();
    let ended = supervise(&heard, consumers, &mut |event| {
        if let Some(status) = told.due(&shared) {
            shared.health.set_status(status);
        }
        watch(event);
        if stop.is_raised() {
            builder.stop();
        }
    });
    builder.end();
    if ended.all_done {
        for handle in threads {
            // A panic has been turned into an event inside of the thread.
            let _ = handle.join();
        }
    }
    match ended.failure {
        Some((message, exit)) => Err(RunError::Failed { message, exit }),
        None => Ok(()),
    }
}

const CAPTURE: &str = "capture-";
const PERCEPTION: &str = "perception";
const PUBLISH: &str = "publish-";
const RECORDER: &str = "record";
const VIEW: [&str; 3] = ["view-feed", "view-preview", "view-server"];

impl Shared {
    /// Ends the run because of `message`.
    fn fail(&self, message: String, exit: Exit) {
        self.failed.raise();
        // The receiver lives as long as the run.
        let _ = self.events.send(Event::Failed(message, exit));
        self.stop.raise();
    }

    /// Notes how source number `camera` is, for the status that publishers send.
    fn source_is(&self, source: usize, how: Result<(), &CaptureError>) {
        let Some(camera) = self.cameras.get(source) else { return };
        let how = how.map_err(|error| {
            let words = Chain(error).to_string();
            let mut fault = FaultRecord::new(error.severity(), "source-gone", &words);
            fault.since_us = self.clock.now().micros();
            fault.camera = u8::try_from(source).ok();
            fault
        });
        let mut state = camera.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Err(fault), Some(Err(before))) = (&how, state.as_mut()) {
            // The same trouble goes on: since then, and once more.
            before.count = before.count.saturating_add(1);
            before.detail = fault.detail;
            return;
        }
        *state = Some(how);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Notes how the recorder is.
    fn recorder_is(&self, how: Option<&FaultRecord>) {
        let mut now = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        if now.is_some() != how.is_some() {
            self.changes.fetch_add(1, Ordering::Release);
        }
        *now = how.cloned();
    }

    /// How the sender is, with rates since `before`, `seconds` ago.
    fn status(&self, before: &Counts, seconds: f64) -> StatusMessage {
        let now = self.stats.counters.read();
        let rate = |new: u64, old: u64| {
            ((new.saturating_sub(old)) as f64 / seconds.max(1e-3) * 1e3).round() as u32
        };
        let (mut state, mut faults) = (State::Running, Vec::new());
        for camera in self.cameras.iter() {
            match &*camera.state.lock().unwrap_or_else(PoisonError::into_inner) {
                None if state == State::Running => state = State::Starting,
                None | Some(Ok(())) => {}
                Some(Err(fault)) => {
                    state = State::Degraded;
                    faults.push(fault.clone());
                }
            }
        }
        for camera in self.cameras.iter() {
            if let Some(fault) = &*camera.degraded.lock().unwrap_or_else(PoisonError::into_inner) {
                if state == State::Running {
                    state = State::Degraded;
                }
                faults.push(fault.clone());
            }
        }
        let (engines, slower) = self.engine_faults();
        if slower && state == State::Running {
            state = State::Degraded;
        }
        let stalled = self.stalled();
        let recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A target that is away makes the poses no worse: the state does not follow.
        let targets = self.targets.iter().filter_map(|target| {
            let target = target.lock().unwrap_or_else(PoisonError::into_inner);
            target.as_ref().map(|(fault, _)| fault.clone())
        });
        StatusMessage {
            state,
            interval_ms: STATUS_EVERY.as_millis() as u32 + TURN.as_millis() as u32,
            uptime_s: self.clock.now().since(self.begun).as_secs() as u32,
            fps_in_milli: rate(now.frames_in, before.frames_in),
            fps_out_milli: rate(now.frames_out, before.frames_out),
            frames_in: now.frames_in,
            frames_out: now.frames_out,
            frames_displaced: now.frames_displaced,
            frames_missed: now.frames_missed,
            frames_bad: now.frames_bad,
            temperature_decicelsius: self.thermometer.hottest_decicelsius(),
            // Nor does a recorder that cannot write. It comes first: targets may be many.
            faults: faults
                .into_iter()
                .chain(engines)
                .chain(recorder)
                .chain(stalled)
                .chain(targets)
                .take(MAX_FAULTS)
                .collect(),
        }
    }

    /// Whatever way a stage ended, the next one must not wait for it.
    fn stage_ended(&self, name: &str, camera: Option<usize>) {
        if let Some(camera) = camera {
            return self.frames.close(camera);
        }
        let event = match name {
            PERCEPTION => {
                self.frames.close_all();
                self.rings.iter().for_each(Ring::close);
                Event::PerceptionDone
            }
            _ => Event::PublisherDone,
        };
        let _ = self.events.send(event);
    }
}

struct Ended {
    failure: Option<(String, Exit)>,
    all_done: bool,
}

fn supervise(
    heard: &Receiver<Event>,
    publishers: usize,
    watch: &mut impl FnMut(Option<&Event>),
) -> Ended {
    let mut ended = Ended { failure: None, all_done: false };
    let mut waiting_for = (true, publishers);
    let mut deadline: Option<Instant> = None;
    while waiting_for != (false, 0) {
        if deadline.is_some_and(|d| Instant::now() > d) {
            let n = waiting_for.1;
            log::warn!("{n} publisher(s) did not finish within {GRACE:?}: left behind");
            return ended;
        }
        let event = match heard.recv_timeout(TURN) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => {
                watch(None);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        watch(Some(&event));
        match event {
            Event::Failed(message, exit) => {
                // The first failure is the cause; later ones are its echo.
                ended.failure.get_or_insert((message, exit));
            }
            Event::PerceptionDone => {
                waiting_for.0 = false;
                deadline = Some(Instant::now() + GRACE);
            }
            Event::PublisherDone => waiting_for.1 -= 1,
            Event::SourceOpened(..) | Event::SourceLost(..) | Event::SourceEnded(_) => {}
        }
    }
    ended.all_done = true;
    ended
}

/// The perception thread. A first panic in it costs one frame: it goes on with new pipelines.
fn perceive(
    shared: &Shared,
    mut pipelines: Vec<Pipeline>,
    mut intake: Option<record::Intake>,
    mut eye: Option<view::Eye>,
    degrade: DegradeSettings,
) {
    let living = Living(shared.health.stage(PERCEPTION, true));
    let mut governors: Vec<_> = pipelines.iter().map(|_| Governor::new(degrade)).collect();
    loop {
        let turns = || {
            let ways = (&mut intake, &mut eye);
            perceive_on(shared, &mut pipelines, ways, &mut governors, &living.0);
        };
        let Err(panic) = catch_unwind(AssertUnwindSafe(turns)) else { return };
        let Some(anew) = shared.renewing.after_panic() else { resume_unwind(panic) };
        log::error!(
            "perception panicked: {}; it goes on with new pipelines, a second panic within an \
             hour ends the process",
            panic_words(&*panic)
        );
        pipelines = anew;
    }
}

/// The newest frame through its camera's pipeline, its poses to every ring that wants them.
fn perceive_on(
    shared: &Shared,
    pipelines: &mut Vec<Pipeline>,
    (intake, eye): (&mut Option<record::Intake>, &mut Option<view::Eye>),
    governors: &mut [Governor],
    beat: &Beat,
) {
    let stats = &shared.stats;
    let mut limit = RateLimit::default();
    loop {
        beat.turn();
        if let Some(anew) = shared.renewing.take() {
            *pipelines = anew;
            for (pipeline, governor) in pipelines.iter_mut().zip(governors.iter()) {
                pipeline.set_search_stride(governor.effort().search_stride);
            }
        }
        let cameras = pipelines.len() as u32;
        let (camera, frame) = match shared.frames.take(TURN) {
            Taken::Value(taken) => taken,
            Taken::TimedOut => continue,
            Taken::Closed => return,
        };
        let (Some(pipeline), Some(governor), Some(source)) =
            (pipelines.get_mut(camera), governors.get_mut(camera), shared.cameras.get(camera))
        else {
            continue;
        };
        let live = source.live.load(Ordering::Relaxed);
        if live && governor.leaves_out(frame.sequence) {
            add(&stats.counters.frames_left_out, 1);
            continue;
        }
        let begun = shared.clock.now();
        stats.stages.wait.record(begun.since(frame.dequeued));
        let poses = match pipeline.step(&frame) {
            Ok(poses) => poses,
            Err(error) if error.severity() == Severity::Fatal => {
                return shared.fail(Chain(&error).to_string(), Exit::Config);
            }
            Err(error) => {
                add(&stats.counters.frames_bad, 1);
                warn_rarely(&mut limit, shared.clock.now(), &error);
                continue;
            }
        };
        if live {
            let busy = poses.stamps.lifted.since(begun);
            // All cameras wait for this one thread.
            shared.govern(governor, pipeline, camera, &frame, busy.saturating_mul(cameras));
        }
        // The buffer goes home before the poses go out, unless somebody wants a copy of it.
        let shown = eye.as_mut().is_some_and(|eye| eye.wants(&frame, poses.stamps.lifted));
        let frame = (shown || intake.is_some()).then_some(frame);
        let stamps = &poses.stamps;
        stats.stages.decode.record(stamps.decoded.since(begun));
        stats.stages.detect.record(stamps.detected.since(stamps.decoded));
        stats.stages.lift.record(stamps.lifted.since(stamps.detected));
        add(&stats.counters.frames_out, 1);
        add(&stats.counters.persons, poses.persons.len() as u64);
        let wanted = shared.wanted.iter().map(|source| source.is_none_or(|s| s == camera));
        for (ring, _) in shared.rings.iter().zip(wanted).filter(|(_, wanted)| *wanted) {
            if ring.push(poses.clone()) == Put::Displaced {
                add(&stats.counters.publish_displaced, 1);
            }
        }
        let Some(frame) = frame else { continue };
        if let (Some(eye), true) = (eye.as_ref(), shown) {
            eye.offer(&frame, &poses);
        }
        if let Some(intake) = intake.as_mut() {
            intake.offer(shared, camera, &frame, &poses);
        }
    }
}

fn warn_rarely(limit: &mut RateLimit, now: Timestamp, error: &dyn std::error::Error) {
    match limit.pass(now) {
        Some(0) => log::warn!("{}", Chain(error)),
        Some(n) => log::warn!("{} ({n} more like it in between)", Chain(error)),
        None => {}
    }
}
