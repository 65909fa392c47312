//! Who runs, on which thread: every thread and every queue of posewire is here.
//!
//! ```text
//! capture ──Latest<Frame>──▶ perception (Pipeline::step) ──Ring each──▶ one thread per publisher
//!    ▲────────── Lease (the buffer goes home) ────────────────┘
//! ```
//!
//! The recorder has a thread and a way of its own: `record`; so has the live page: `view`. What a
//! publisher's thread does is in `publish`.
//!
//! The calling thread supervises: it hears of endings and faults through one channel and calls
//! the watcher. Shutdown flows with the data: capture stops and closes the mailbox, perception
//! drains it and closes the rings, publishers finish and end.

mod health;
mod publish;
mod record;
mod renewal;
mod upkeep;
mod view;

pub use health::{Beat, Health, Stuck};
pub use renewal::{MakePipelines, Reason, Renewal};
pub use upkeep::Upkeep;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use health::Living;
use renewal::Renewing;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::capture::{CaptureError, FrameSource, Next, SourceInfo};
use crate::degrade::{DegradeSettings, Governor};
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
/// Waits between attempts to reopen a lost source.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// A live source that is silent for this long is reported.
const SILENCE: Duration = Duration::from_secs(2);
/// What publishers have to finish in once everything else has stopped.
const GRACE: Duration = Duration::from_secs(5);

/// How often every publisher is told how the sender is, whether there are poses or not: so that a
/// listener can tell an empty room from a dead sensor.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Opens the source; called again whenever it was lost.
pub type OpenSource = Box<dyn FnMut() -> Result<Box<dyn FrameSource>, CaptureError> + Send>;

/// What is to be run.
pub struct Job {
    /// Where frames come from.
    pub open: OpenSource,
    /// What happens to them.
    pub pipeline: Pipeline,
    /// Where poses go.
    pub publishers: Vec<Box<dyn Publisher>>,
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
    /// The source is open.
    SourceOpened(SourceInfo),
    /// The source went away or is not there yet; it is being reopened.
    SourceLost(String),
    /// A recording is over.
    SourceEnded,
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

/// What all threads of a run share.
#[derive(Clone)]
struct Shared {
    frames: Arc<Latest<Frame>>,
    rings: Arc<[Ring<PoseFrame>]>,
    stats: Arc<Stats>,
    clock: Arc<dyn Clock>,
    stop: Stop,
    events: Sender<Event>,
    /// What is wrong with the source, if anything; `None` before it was opened first.
    source: Arc<Mutex<Option<Result<(), FaultRecord>>>>,
    /// How each target is.
    targets: Arc<[Mutex<publish::Trouble>]>,
    /// Counts the changes of `source` and `targets`: targets are told of one at once.
    changes: Arc<AtomicU64>,
    begun: Timestamp,
    /// What is wrong with the recorder, if anything.
    recorder: Arc<Mutex<Option<FaultRecord>>>,
    /// Frames must not wait: see [`SourceInfo::live`].
    live: Arc<AtomicBool>,
    /// A stage failed for good.
    failed: Stop,
    dump: Request,
    thermometer: Arc<Thermometer>,
    health: Arc<Health>,
    renewing: Renewing,
    /// What is left out on purpose, if anything.
    degraded: Arc<Mutex<Option<FaultRecord>>>,
}

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
    let publisher_count = job.publishers.len();
    // The recorder and the page's three threads finish like publishers.
    let consumers = publisher_count
        + usize::from(job.recorder.is_some())
        + VIEW.len() * usize::from(job.view.is_some());
    // The page takes poses like a publisher, from the last ring.
    let ring_count = publisher_count + usize::from(job.view.is_some());
    let Upkeep { health, renewal, degrade } = job.upkeep;
    // The run is over when nobody waits for perception any more: `run` has returned.
    let running = Arc::new(());
    let over = Arc::downgrade(&running);
    let renewing = Renewing::start(renewal, move || over.strong_count() == 0)?;
    let shared = Shared {
        frames: Arc::new(Latest::new()),
        rings: (0..ring_count).map(|_| Ring::new(RING_CAPACITY)).collect(),
        stats: stats.clone(),
        begun: job.clock.now(),
        thermometer: Arc::new(Thermometer::of_this_machine()),
        clock: job.clock,
        stop: stop.clone(),
        events,
        source: Arc::default(),
        targets: (0..publisher_count).map(|_| Mutex::default()).collect(),
        changes: Arc::default(),
        recorder: Arc::default(),
        live: Arc::default(),
        failed: Stop::new(),
        dump: job.dump,
        health: health.clone(),
        renewing,
        degraded: Arc::default(),
    };

    let mut threads = Vec::new();
    let mut spawn = |name: String, body: Box<dyn FnOnce(&Shared) + Send>| {
        let shared = shared.clone();
        let main = move || {
            let name = thread::current().name().unwrap_or("thread").to_owned();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&shared))) {
                let message = format!("{name} panicked: {}", panic_words(&*panic));
                shared.fail(message, Exit::Internal);
            }
            shared.stage_ended(&name);
        };
        thread::Builder::new().name(name).spawn(main).map(|handle| threads.push(handle))
    };
    let mut started = Ok(());
    for (index, publisher) in job.publishers.into_iter().enumerate() {
        let body = move |s: &Shared| publish::publish(s, index, publisher);
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
        let bodies: [Box<dyn FnOnce(&Shared) + Send>; VIEW.len()] = [
            Box::new(feed),
            Box::new(move |_| view::preview(previewer, &out)),
            Box::new(move |_| server.run()),
        ];
        for (name, body) in VIEW.into_iter().zip(bodies) {
            started = started.and(spawn(name.into(), body));
        }
    }
    let (pipeline, open) = (job.pipeline, job.open);
    let open = health::watched(open, health.stage(CAPTURE, true));
    let body = move |s: &Shared| perceive(s, pipeline, intake, eye, degrade);
    started = started.and(spawn(PERCEPTION.into(), Box::new(body)));
    started = started.and(spawn(CAPTURE.into(), Box::new(move |s| capture(s, open))));
    if let Err(error) = started {
        // Those that do run must not wait for one that does not.
        stop.raise();
        shared.frames.close();
        shared.rings.iter().for_each(Ring::close);
        return Err(RunError::Thread(error));
    }

    let mut told = upkeep::Told::default();
    let ended = supervise(&heard, consumers, &mut |event| {
        told.keep(&shared);
        watch(event);
    });
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

const CAPTURE: &str = "capture";
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

    /// Notes how the source is, for the status that publishers send.
    fn source_is(&self, how: Result<(), &CaptureError>) {
        let how = how.map_err(|error| {
            let words = Chain(error).to_string();
            let mut fault = FaultRecord::new(error.severity(), "source-gone", &words);
            fault.since_us = self.clock.now().micros();
            fault
        });
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Err(fault), Some(Err(before))) = (&how, source.as_mut()) {
            // The same trouble goes on: since then, and once more.
            before.count = before.count.saturating_add(1);
            before.detail = fault.detail;
            return;
        }
        *source = Some(how);
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
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, fault) = match &*source {
            None => (State::Starting, None),
            Some(Ok(())) => (State::Running, None),
            Some(Err(fault)) => (State::Degraded, Some(fault.clone())),
        };
        let degraded = self.degraded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let state = match state {
            State::Running if degraded.is_some() => State::Degraded,
            state => state,
        };
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
            faults: fault
                .into_iter()
                .chain(degraded)
                .chain(recorder)
                .chain(stalled)
                .chain(targets)
                .take(MAX_FAULTS)
                .collect(),
        }
    }

    /// Whatever way a stage ended, the next one must not wait for it.
    fn stage_ended(&self, name: &str) {
        let event = match name {
            CAPTURE => {
                self.frames.close();
                return;
            }
            PERCEPTION => {
                self.frames.close();
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
            Event::SourceOpened(_) | Event::SourceLost(_) | Event::SourceEnded => {}
        }
    }
    ended.all_done = true;
    ended
}

/// The capture thread: open, read, hand on; reopen what was lost.
fn capture(shared: &Shared, mut open: OpenSource) {
    let mut backoff = BACKOFF.0;
    let mut limit = RateLimit::default();
    while !shared.stop.is_raised() {
        let error = match open() {
            Ok(mut source) => {
                shared.live.store(source.describe().live, Ordering::Relaxed);
                shared.source_is(Ok(()));
                let _ = shared.events.send(Event::SourceOpened(source.describe().clone()));
                match read(shared, source.as_mut(), &mut limit, &mut backoff) {
                    Some(error) => error,
                    None => return,
                }
            }
            Err(error) => error,
        };
        let words = Chain(&error).to_string();
        if error.severity() == Severity::Fatal {
            return shared.fail(words, Exit::Config);
        }
        shared.source_is(Err(&error));
        add(&shared.stats.counters.source_restarts, 1);
        log::warn!("{words}; trying again in {} s", backoff.as_secs());
        let _ = shared.events.send(Event::SourceLost(words));
        let until = Instant::now() + backoff;
        while Instant::now() < until && !shared.stop.is_raised() {
            thread::sleep(TURN.min(until.saturating_duration_since(Instant::now())));
        }
        backoff = (2 * backoff).min(BACKOFF.1);
    }
}

/// Reads frames until the end (`None`) or an error that is more than a lost frame.
fn read(
    shared: &Shared,
    source: &mut dyn FrameSource,
    limit: &mut RateLimit,
    backoff: &mut Duration,
) -> Option<CaptureError> {
    let live = source.describe().live;
    let counters = &shared.stats.counters;
    let mut expected: Option<u64> = None;
    let mut last_frame = Instant::now();
    let mut silent = false;
    while !shared.stop.is_raised() {
        match source.next(TURN) {
            Ok(Next::Frame(frame)) => {
                add(&counters.frames_in, 1);
                let gap = expected.map_or(0, |e| frame.sequence.saturating_sub(e));
                add(&counters.frames_missed, gap);
                expected = Some(frame.sequence.saturating_add(1));
                *backoff = BACKOFF.0;
                last_frame = Instant::now();
                if std::mem::take(&mut silent) {
                    log::info!("frames are coming again");
                }
                if !hand_on(shared, frame, live) {
                    return None;
                }
            }
            Ok(Next::Idle) => {
                if live && !silent && last_frame.elapsed() > SILENCE {
                    silent = true;
                    let summary = &source.describe().summary;
                    log::warn!("no frame for {} s from {summary}", SILENCE.as_secs());
                }
            }
            Ok(Next::End) => {
                let _ = shared.events.send(Event::SourceEnded);
                return None;
            }
            Err(error) if error.severity() == Severity::Skip => {
                add(&counters.frames_bad, 1);
                if let CaptureError::BadFrame { sequence, .. } = &error {
                    // Counted as bad, so its number is not missing.
                    expected = Some(sequence.saturating_add(1).max(expected.unwrap_or(0)));
                }
                warn_rarely(limit, shared.clock.now(), &error);
            }
            Err(error) => return Some(error),
        }
    }
    None
}

/// Gives a frame to perception; false if perception is gone or the run is to stop.
fn hand_on(shared: &Shared, frame: Frame, live: bool) -> bool {
    if live {
        let put = shared.frames.put(frame);
        if put == Put::Displaced {
            add(&shared.stats.counters.frames_displaced, 1);
        }
        return put != Put::Closed;
    }
    let mut frame = frame;
    loop {
        match shared.frames.put_when_empty(frame, TURN) {
            Ok(put) => return put != Put::Closed,
            Err(back) if !shared.stop.is_raised() => frame = back,
            Err(_) => return false,
        }
    }
}

/// The perception thread. A first panic in it costs one frame: it goes on with a new pipeline.
fn perceive(
    shared: &Shared,
    mut pipeline: Pipeline,
    mut intake: Option<record::Intake>,
    mut eye: Option<view::Eye>,
    degrade: DegradeSettings,
) {
    let living = Living(shared.health.stage(PERCEPTION, true));
    let mut governor = Governor::new(degrade);
    loop {
        let turns = || {
            let ways = (&mut intake, &mut eye);
            perceive_on(shared, &mut pipeline, ways, &mut governor, &living.0);
        };
        let Err(panic) = catch_unwind(AssertUnwindSafe(turns)) else { return };
        let Some(anew) = shared.renewing.after_panic().and_then(|mut all| all.pop()) else {
            resume_unwind(panic);
        };
        log::error!(
            "perception panicked: {}; it goes on with a new pipeline, a second panic within an \
             hour ends the process",
            panic_words(&*panic)
        );
        pipeline = anew;
    }
}

/// The newest frame through the pipeline, its poses to every ring.
fn perceive_on(
    shared: &Shared,
    pipeline: &mut Pipeline,
    (intake, eye): (&mut Option<record::Intake>, &mut Option<view::Eye>),
    governor: &mut Governor,
    beat: &Beat,
) {
    let stats = &shared.stats;
    let mut limit = RateLimit::default();
    loop {
        beat.turn();
        if let Some(anew) = shared.renewing.take().and_then(|mut all| all.pop()) {
            *pipeline = anew;
            pipeline.set_search_stride(governor.effort().search_stride);
        }
        let frame = match shared.frames.take(TURN) {
            Taken::Value(frame) => frame,
            Taken::TimedOut => continue,
            Taken::Closed => return,
        };
        let live = shared.live.load(Ordering::Relaxed);
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
            shared.govern(governor, pipeline, &frame, busy);
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
        for ring in shared.rings.iter() {
            if ring.push(poses.clone()) == Put::Displaced {
                add(&stats.counters.publish_displaced, 1);
            }
        }
        let Some(frame) = frame else { continue };
        if let (Some(eye), true) = (eye.as_ref(), shown) {
            eye.offer(&frame, &poses);
        }
        if let Some(intake) = intake.as_mut() {
            intake.offer(shared, &frame, &poses);
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
