//! Poses and status, as events for browsers and as answers to programs.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::board::{Answers, Board, Event, Slot};
use super::metrics;
use crate::pose::{Computed, PoseFrame};
use crate::stats::{Snapshot, StageTimes, Stats};
use crate::time::Clock;
use crate::wire::json::Line;
use crate::wire::{ClockState, Header, Message, PoseMessage, PoseOptions, State, StatusMessage};

/// What does not change during a run.
#[derive(Clone)]
pub struct About {
    /// In the order of their numbers.
    pub cameras: Vec<AboutCamera>,
    /// What computes, and with which models: (kind, name).
    pub models: Vec<(String, String)>,
    /// In packets and on the page.
    pub options: PoseOptions,
    /// Gives the present.
    pub clock: Arc<dyn Clock>,
}

/// What does not change of a camera.
#[derive(Clone, Debug, Serialize)]
pub struct AboutCamera {
    /// In the configuration; empty where there is only one.
    pub name: String,
    /// Where its frames come from, as configured.
    pub source: String,
    /// The direction in which things fall, camera frame, where it is known.
    pub gravity: Option<[f64; 3]>,
    /// What is known of its lens.
    pub lens: AboutLens,
    /// Degrees that it looks up, where that is known.
    pub pitch_degrees: Option<f64>,
}

/// What is known of a camera's lens: poses are as right as that is.
#[derive(Clone, Debug, Serialize)]
pub struct AboutLens {
    /// Width and height of the pictures that it was calibrated with, pixels; `None`: it was not.
    pub calibrated_at: Option<[u32; 2]>,
    /// The angle that the picture spans along its longer side, degrees: measured or assumed.
    pub fov_degrees: f64,
    /// Standard deviation of the focal length, as a share of itself: measured or assumed.
    pub focal_deviation: f64,
}

/// As [`StageTimes::in_order`] has them.
const STAGES: [&str; StageTimes::COUNT] = ["wait", "decode", "detect", "lift", "publish", "total"];

/// Turns what targets are sent into what the page shows. A consumer like any target: it has a ring
/// of its own, and perception never waits for it.
pub struct Feed {
    board: Arc<Board>,
    about: About,
    stats: Arc<Stats>,
    packet: u32,
    /// What computed the newest frame, where that may change under way.
    computed: Option<Computed>,
    before: [Snapshot; STAGES.len()],
    last: Option<StatusMessage>,
}

impl Feed {
    pub(super) fn new(board: Arc<Board>, about: About, stats: Arc<Stats>) -> Self {
        let about = About { options: PoseOptions { keypoints: true, ..about.options }, ..about };
        let mut feed = Self {
            board,
            about,
            stats,
            packet: 0,
            computed: None,
            before: std::array::from_fn(|_| Snapshot::default()),
            last: None,
        };
        // Whoever asks before anything has happened is told so.
        feed.status(&StatusMessage::default());
        feed
    }

    /// Shows poses, if anybody looks.
    pub fn publish(&mut self, frame: &PoseFrame) {
        self.computed = frame.computed.or(self.computed);
        if self.board.watchers() == 0 {
            return;
        }
        let message = Message::Pose(PoseMessage::from_frame(frame, &self.about.options));
        let line = Line { header: &self.header(), message: &message };
        if let Some(event) = event("pose", &line) {
            self.board.post(Slot::Pose(frame.camera), event);
        }
    }

    /// Shows how the sender is.
    pub fn status(&mut self, status: &StatusMessage) {
        let header = self.header();
        let message = Message::Status(status.clone());
        let line = Line { header: &header, message: &message };
        let Ok(mut value) = serde_json::to_value(line) else { return };
        if let Value::Object(fields) = &mut value {
            fields.insert("stages".into(), self.stages());
            fields.insert("about".into(), self.about());
            fields.insert("viewers".into(), self.board.watchers().into());
        }
        let alive = !matches!(status.state, State::Failed | State::Stopping);
        let health = json!({
            "state": status.state.name(),
            "faults": status.faults.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(),
        });
        let (backend, precision) = self.computed_by();
        let labels = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("backend", backend),
            ("precision", precision),
            ("cameras", &self.about.cameras.len().to_string()),
        ];
        self.board.answer(Answers {
            status: lines(&value),
            health: lines(&health),
            healthy: alive,
            metrics: metrics::of_status(status, &labels).into(),
        });
        if let Some(event) = event("status", &value) {
            self.board.post(Slot::Status, event);
        }
        self.last = Some(status.clone());
    }

    /// Says that the run is over, and why if it is known.
    pub fn finish(&mut self) {
        let last = self.last.clone().unwrap_or_default();
        self.status(&StatusMessage { state: State::Stopping, ..last });
        self.board.close();
    }

    fn header(&mut self) -> Header {
        let clock = &self.about.clock;
        self.packet = self.packet.wrapping_add(1);
        Header {
            session: 0,
            packet: self.packet,
            sent_us: clock.now().micros(),
            realtime_offset_us: clock.realtime_offset_nanos().div_euclid(1_000),
            clock: ClockState::Unknown,
        }
    }

    /// Since the last status: count, median and 99th percentile of each stage, milliseconds.
    fn stages(&mut self) -> Value {
        let histograms = self.stats.stages.in_order();
        let mut map = serde_json::Map::new();
        for ((name, histogram), before) in STAGES.iter().zip(histograms).zip(&mut self.before) {
            let now = histogram.snapshot();
            let interval = now.since(before);
            *before = now;
            let quantile = |q| interval.quantile(q).map(|d| d.as_secs_f64() * 1e3);
            map.insert(
                (*name).to_owned(),
                json!({
                    "count": interval.count(), "p50_ms": quantile(0.5), "p99_ms": quantile(0.99),
                }),
            );
        }
        Value::Object(map)
    }

    /// Backend and precision of the newest frame; before there is one, as configured.
    fn computed_by(&self) -> (&'static str, &'static str) {
        match self.computed {
            Some(by) => (by.backend, by.precision),
            None => (self.about.options.engine.name(), self.about.options.precision.name()),
        }
    }

    fn about(&self) -> Value {
        let about = &self.about;
        let (backend, precision) = self.computed_by();
        let models: serde_json::Map<_, _> =
            about.models.iter().map(|(kind, name)| (kind.clone(), name.clone().into())).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cameras": about.cameras,
            "backend": backend,
            "precision": precision,
            "models": models,
        })
    }
}

/// A server-sent event with JSON data. JSON has no line break, so it is one line.
pub(super) fn event(name: &str, data: &impl Serialize) -> Option<Event> {
    let mut text = format!("event: {name}\ndata: ").into_bytes();
    serde_json::to_writer(&mut text, data).ok()?;
    text.extend_from_slice(b"\n\n");
    Some(text.into())
}

fn lines(value: &Value) -> Arc<[u8]> {
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}
