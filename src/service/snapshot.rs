//! How a running service is, at one moment: what `posewire status` prints.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::remedy;
use crate::wire::StatusMessage;

/// A service at one moment. Rates and latencies are those of the last ten seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Of posewire.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// The configuration file, if there is one.
    pub config: Option<String>,
    /// `starting`, `running`, `degraded`, `failed`, `stopping`.
    pub state: String,
    /// Seconds since the start.
    pub uptime_s: u32,
    /// What computes.
    pub backend: String,
    /// Which models.
    pub models: String,
    /// Every source.
    pub cameras: Vec<CameraNow>,
    /// Where poses go.
    pub targets: Vec<String>,
    /// Frames per second from the sources.
    pub fps_in: f64,
    /// Pose frames per second.
    pub fps_out: f64,
    /// Persons in a frame, on average.
    pub persons: f64,
    /// How long the stages take.
    pub latency: Vec<Latency>,
    /// Frames since the start: given by sources, made into poses.
    pub frames_in: u64,
    /// See `frames_in`.
    pub frames_out: u64,
    /// Displaced by newer ones.
    pub frames_displaced: u64,
    /// Left out on purpose.
    pub frames_left_out: u64,
    /// Lost by the sources.
    pub frames_missed: u64,
    /// Damaged.
    pub frames_bad: u64,
    /// Poses that targets refused.
    pub publish_failed: u64,
    /// The hottest sensor, degrees Celsius.
    pub celsius: Option<f64>,
    /// What is wrong now.
    pub faults: Vec<FaultNow>,
    /// How the last reload went.
    pub reload: Option<String>,
}

/// A source at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CameraNow {
    /// As configured.
    pub uri: String,
    /// `starting`, `open`, `away`, `ended`.
    pub state: String,
    /// What it said it is when it was last open.
    pub summary: Option<String>,
}

/// A stage's time, milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// `detect`, `capture-to-packet`, ...
    pub stage: String,
    /// Half of the frames take no longer.
    pub p50_ms: f64,
    /// 99 of 100 take no longer.
    pub p99_ms: f64,
}

/// A fault at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultNow {
    /// A stable name.
    pub name: String,
    /// `skip`, `restart`, `fatal`.
    pub severity: String,
    /// Since how many seconds.
    pub age_s: f64,
    /// How often it was seen.
    pub count: u32,
    /// What is wrong.
    pub detail: String,
    /// What helps.
    pub remedy: Option<String>,
}

impl Snapshot {
    /// Takes state, counters and faults from a status message of `now_us` on the same clock.
    pub fn take(&mut self, status: &StatusMessage, now_us: i64) {
        self.state = status.state.name().to_owned();
        self.uptime_s = status.uptime_s;
        self.frames_in = status.frames_in;
        self.frames_out = status.frames_out;
        self.frames_displaced = status.frames_displaced;
        self.frames_missed = status.frames_missed;
        self.frames_bad = status.frames_bad;
        self.celsius = status.temperature_decicelsius.map(|t| f64::from(t) / 10.0);
        let faults = status.faults.iter().map(|fault| FaultNow {
            name: fault.name.to_string(),
            severity: fault.severity.name().to_owned(),
            age_s: now_us.saturating_sub(fault.since_us).max(0) as f64 * 1e-6,
            count: fault.count,
            detail: fault.detail.to_string(),
            remedy: remedy(&fault.name).map(str::to_owned),
        });
        self.faults = faults.collect();
    }

    /// One line: the truth for `systemctl status`.
    pub fn line(&self) -> String {
        let mut line = format!(
            "{}: {:.1} fps in, {:.1} out, {:.1} persons",
            self.state, self.fps_in, self.fps_out, self.persons
        );
        if let Some(all) = self.latency.iter().find(|l| l.stage == "capture-to-packet") {
            let _ = write!(line, ", {:.0} ms to the packet", all.p50_ms);
        }
        if let Some(celsius) = self.celsius {
            let _ = write!(line, ", {celsius:.0} °C");
        }
        for fault in &self.faults {
            let _ = write!(line, "; {} for {}", fault.name, age(fault.age_s));
        }
        if let Some(first) = self.faults.first() {
            let _ = write!(line, ": {}", first.detail);
        }
        line
    }

    /// Several lines for people.
    pub fn text(&self) -> String {
        let mut out = format!(
            "{} for {} (posewire {}, process {})\n",
            self.state,
            age(f64::from(self.uptime_s)),
            self.version,
            self.pid
        );
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(out, "  {name:<10} {value}");
        };
        if let Some(config) = &self.config {
            row("config", config);
        }
        for camera in &self.cameras {
            let what = camera.summary.as_ref().map_or(String::new(), |s| format!(" ({s})"));
            row("camera", &format!("{} {}{what}", camera.uri, camera.state));
        }
        row("engine", &format!("{}; {}", self.backend, self.models));
        for target in &self.targets {
            row("target", target);
        }
        row(
            "rate",
            &format!(
                "{:.1} frames/s in, {:.1} poses/s out, {:.1} persons",
                self.fps_in, self.fps_out, self.persons
            ),
        );
        for l in &self.latency {
            row("latency", &format!("{:<17} {:.1} ms, p99 {:.1} ms", l.stage, l.p50_ms, l.p99_ms));
        }
        row(
            "lost",
            &format!(
                "of {} frames {} displaced, {} left out on purpose, {} missed, {} bad; {} refused \
                 by targets",
                self.frames_in,
                self.frames_displaced,
                self.frames_left_out,
                self.frames_missed,
                self.frames_bad,
                self.publish_failed
            ),
        );
        if let Some(celsius) = self.celsius {
            row("heat", &format!("{celsius:.1} °C"));
        }
        if let Some(reload) = &self.reload {
            row("reload", reload);
        }
        if self.faults.is_empty() {
            row("faults", "none");
        }
        for fault in &self.faults {
            let times =
                if fault.count > 1 { format!(", {} times", fault.count) } else { String::new() };
            row(
                "fault",
                &format!("{} for {}{times}: {}", fault.name, age(fault.age_s), fault.detail),
            );
            if let Some(remedy) = &fault.remedy {
                row("", &format!("-> {remedy}"));
            }
        }
        out
    }
}

/// `42 s`, `5 min`, `3 h 20 min`, `12 d 4 h`.
fn age(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    match s {
        0..=119 => format!("{s} s"),
        120..=7_199 => format!("{} min", s / 60),
        7_200..=172_799 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Severity;
    use crate::wire::{FaultRecord, State};

    fn with_a_fault() -> Snapshot {
        let mut fault =
            FaultRecord::new(Severity::Restart, "source-gone", "v4l2:/dev/video0: gone");
        fault.since_us = 1_000_000;
        let status = StatusMessage {
            state: State::Degraded,
            uptime_s: 90_000,
            faults: [fault].into_iter().collect(),
            ..StatusMessage::default()
        };
        let mut snapshot = Snapshot { pid: 7, ..Snapshot::default() };
        snapshot.take(&status, 301_000_000);
        snapshot
    }

    #[test]
    fn a_fault_is_told_with_its_age_and_its_remedy() {
        let snapshot = with_a_fault();
        let text = snapshot.text();
        assert!(text.starts_with("degraded for 25 h 0 min"), "{text}");
        assert!(text.contains("source-gone for 5 min: v4l2:/dev/video0: gone"), "{text}");
        assert!(text.contains("-> plug the camera in"), "{text}");
        assert!(snapshot.line().contains("source-gone for 5 min"), "{}", snapshot.line());
        assert!(!snapshot.line().contains('\n'));
    }

    #[test]
    fn what_is_sent_over_the_socket_comes_back_whole() {
        let snapshot = with_a_fault();
        let json = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
    }

    #[test]
    fn ages_are_said_in_words_of_their_size() {
        let said = [5.9, 119.0, 120.0, 7_300.0, 1_000_000.0].map(age);
        assert_eq!(said, ["5 s", "119 s", "2 min", "2 h 1 min", "11 d 13 h"]);
    }
}
