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
//! What perception does is in `perception`, what a publisher's thread does in `publish`. The
//! recorder has threads and ways of its own: `record`; so has the live page: `view`. One more builds
//! engines, where that is wanted: `exchange`. What can be asked of all this is in `job`, what it
//! tells of itself in `status`.
//!
//! The calling thread supervises: it hears of endings and faults through one channel and calls
//! the watcher. Shutdown flows with the data: capture stops and closes the mailbox, perception
//! drains it and closes the rings, publishers finish and end.

mod capture;
mod exchange;
mod health;
mod job;
mod perception;
mod publish;
mod record;
mod renewal;
mod status;
mod upkeep;
mod view;
mod watchdog;

pub use health::{Beat, Health, Stuck};
pub use job::{Event, Job, OpenSource, RunError, Source, Target};
pub use renewal::{MakePipelines, Reason, Renewal};
pub use upkeep::Upkeep;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use exchange::Builder;
use perception::perceive;
use renewal::Renewing;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::engine::exchange::Exchange;
use crate::fault::{Exit, panic_words};
use crate::frame::Frame;
use crate::handoff::{Latest, Request, Ring, Stop};
use crate::pose::PoseFrame;
use crate::stats::Stats;
use crate::thermal::Thermometer;
use crate::time::{Clock, Timestamp};
use crate::view::View;
use crate::wire::FaultRecord;

/// No wait is longer: how fast every thread sees that it is to stop.
const TURN: Duration = Duration::from_millis(100);
/// Poses waiting for one publisher: half a second at 60 frames per second.
const RING_CAPACITY: usize = 32;
/// What publishers have to finish in once everything else has stopped.
const GRACE: Duration = Duration::from_secs(5);

/// How often every publisher is told how the sender is, whether there are poses or not: so that a
/// listener can tell an empty room from a dead sensor.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// How a source is.
#[derive(Default)]
struct Camera {
    /// What is wrong with it, if anything; `None` before it was opened first.
    state: Mutex<Option<Result<(), FaultRecord>>>,
    /// Frames must not wait: see [`crate::capture::SourceInfo::live`].
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
