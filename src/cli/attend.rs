//! Attends a run as a service: tells systemd that it is ready and alive, and whoever asks how it
//! is. Everything here happens on the supervising thread, ten times a second, and never blocks.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::reload::Said;
use super::status::{Computing, NAMES, Sample};
use crate::runtime::{Event, Health};
use crate::service::{CameraNow, Latency, Notifier, Snapshot, StatusSocket, Watchdog};
use crate::stats::Stats;
use crate::time::Clock;
use crate::wire::State;

/// Rates are those of the last five to ten seconds.
const HALF_WINDOW: Duration = Duration::from_secs(5);
/// How often systemd hears the line that `systemctl status` shows; at once if the state changes.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// A source that neither opens nor fails for so long holds up READY no longer: it is not needed.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// What is known of a run before it begins.
pub(super) struct About {
    pub(super) config: Option<PathBuf>,
    pub(super) sources: Vec<String>,
    pub(super) backend: Computing,
    pub(super) models: String,
    pub(super) targets: Vec<String>,
}

pub(super) struct Attend {
    notifier: Arc<Notifier>,
    watchdog: Watchdog,
    socket: Option<StatusSocket>,
    health: Arc<Health>,
    stats: Arc<Stats>,
    clock: Arc<dyn Clock>,
    reloaded: Said,
    backend: Computing,
    snapshot: Snapshot,
    /// Two samples, five seconds apart: rates are measured from the older one.
    samples: [(Instant, Sample); 2],
    begun: Instant,
    ready: bool,
    stopping: bool,
    /// The last line, and when it was said.
    line: Option<(Instant, State)>,
}

impl Attend {
    pub(super) fn new(
        about: About,
        notifier: Arc<Notifier>,
        socket: Option<StatusSocket>,
        health: Arc<Health>,
        stats: Arc<Stats>,
        clock: Arc<dyn Clock>,
        reloaded: Said,
    ) -> Self {
        let camera = |uri| CameraNow { uri, state: "starting".into(), ..CameraNow::default() };
        let snapshot = Snapshot {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            config: about.config.map(|c| c.display().to_string()),
            backend: about.backend.words(),
            models: about.models,
            cameras: about.sources.into_iter().map(camera).collect(),
            targets: about.targets,
            state: State::Starting.name().into(),
            ..Snapshot::default()
        };
        let now = Instant::now();
        let sample = || (now, Sample::of(&stats));
        Self {
            backend: about.backend,
            samples: [sample(), sample()],
            notifier,
            watchdog: Watchdog::from_env(),
            socket,
            health,
            stats,
            clock,
            reloaded,
            snapshot,
            begun: now,
            ready: false,
            stopping: false,
            line: None,
        }
    }

    /// To be called often, with each event of the run; `stopping`: it has been asked to end.
    pub(super) fn watch(&mut self, event: Option<&Event>, stopping: bool) {
        self.note(event);
        let now = Instant::now();
        if stopping && !std::mem::replace(&mut self.stopping, true) {
            self.notifier.stopping();
        }
        if self.watchdog.is_due(now)
            && let Some(limit) = self.watchdog.limit()
        {
            let stuck = self.health.alive(limit).err();
            let words = stuck.map(|s| format!("{} hangs since {} s", s.stage, s.since.as_secs()));
            self.watchdog.tell(&self.notifier, now, words.as_deref());
        }
        let state = self.health.status().map_or(State::Starting, |s| s.state);
        if !self.ready && (state != State::Starting || self.begun.elapsed() > READY_WITHIN) {
            self.ready = true;
            self.notifier.ready();
        }
        if now.duration_since(self.samples[1].0) >= HALF_WINDOW {
            self.samples.swap(0, 1);
            self.samples[1] = (now, Sample::of(&self.stats));
        }
        let due = |(said, before): (Instant, State)| {
            before != state || now.duration_since(said) >= LINE_EVERY
        };
        if self.notifier.is_heard() && self.line.is_none_or(due) {
            self.line = Some((now, state));
            self.refresh(now);
            self.notifier.status(&self.snapshot.line());
        }
        if let Some(socket) = self.socket.take() {
            socket.serve(|| {
                self.refresh(now);
                self.snapshot.clone()
            });
            self.socket = Some(socket);
        }
    }

    fn note(&mut self, event: Option<&Event>) {
        let (number, state) = match event {
            Some(Event::SourceOpened(number, _)) => (*number, "open"),
            Some(Event::SourceLost(number, _)) => (*number, "away"),
            Some(Event::SourceEnded(number)) => (*number, "ended"),
            _ => return,
        };
        let Some(camera) = self.snapshot.cameras.get_mut(number) else { return };
        camera.state = state.into();
        if let Some(Event::SourceOpened(_, info)) = event {
            camera.summary = Some(info.summary.clone());
        }
    }

    fn refresh(&mut self, now: Instant) {
        let snapshot = &mut self.snapshot;
        snapshot.backend = self.backend.words();
        if let Some(status) = self.health.status() {
            snapshot.take(&status, self.clock.now().micros());
        }
        if self.stopping {
            snapshot.state = State::Stopping.name().into();
        }
        let (since, before) = &self.samples[0];
        let seconds = now.duration_since(*since).as_secs_f64().max(0.1);
        let sample = Sample::of(&self.stats);
        let (a, b) = (&before.counts, &sample.counts);
        let frames = b.frames_out.saturating_sub(a.frames_out);
        snapshot.fps_in = b.frames_in.saturating_sub(a.frames_in) as f64 / seconds;
        snapshot.fps_out = frames as f64 / seconds;
        snapshot.persons = b.persons.saturating_sub(a.persons) as f64 / frames.max(1) as f64;
        snapshot.frames_left_out = b.frames_left_out;
        snapshot.publish_failed = b.publish_failed;
        let stages = NAMES.iter().zip(sample.stages.iter().zip(&before.stages));
        let latency = stages.filter_map(|(name, (new, old))| {
            let window = new.since(old);
            let millis = |q| window.quantile(q).map(|d: Duration| d.as_secs_f64() * 1e3);
            Some(Latency { stage: (*name).to_owned(), p50_ms: millis(0.5)?, p99_ms: millis(0.99)? })
        });
        snapshot.latency = latency.collect();
        snapshot.reload = self.reloaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
    }
}
