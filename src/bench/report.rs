//! One measurement, as it is kept: JSON.

use serde::{Deserialize, Serialize};

use super::gpu::GpuUse;
use super::machine::Machine;
use super::power::Energy;
use super::timing::Timing;
use super::usage::Used;

/// What [`Report::schema`] says: other programs read these files.
pub const SCHEMA: &str = "posewire-bench-1";

/// One measurement. Its fields are described in docs/performance.md.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// When it began, UTC, RFC 3339.
    pub date: String,
    /// What was measured.
    pub program: Program,
    /// Which networks.
    pub models: Models,
    /// On what.
    pub machine: Machine,
    /// Of what.
    pub source: Source,
    /// How many.
    pub frames: Frames,
    /// How long, by stage, in a frame's order; the last is the whole way.
    pub stages: Vec<Stage>,
    /// What it took.
    pub usage: Used,
    /// Page faults in each frame. Heap allocations are not counted: that would take an allocator
    /// of its own, which costs time in every allocation; tests/allocations.rs counts them.
    pub page_faults_per_frame: f64,
    /// From the program's start to the networks loaded and targets open, seconds.
    pub load_s: f64,
    /// From the program's start to the first frame's packet, seconds.
    pub first_packet_s: Option<f64>,
    /// The graphics processor, where it tells.
    pub gpu: Option<GpuUse>,
    /// Energy by meter; empty where nothing tells.
    pub energy: Vec<Energy>,
    /// Energy of all meters for each pose; `None` where nothing tells, or without poses.
    pub joules_per_pose: Option<f64>,
    /// Four times a second.
    pub timeline: Vec<Moment>,
}

/// Which posewire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// The commit that was checked out when it was compiled; "unknown" of a debug build, or one
    /// that was not made from a checkout.
    pub git: String,
    /// SHA-256 of the program's file, hexadecimal: of what was changed since the commit, too.
    pub sha256: Option<String>,
    /// `release` or `debug`.
    pub profile: String,
}

/// Which networks, and what computes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Models {
    /// In words: detector, keypoints, lifter.
    pub pipeline: String,
    /// Of each its role, name and SHA-256.
    pub files: Vec<ModelFile>,
    /// What computes.
    pub backend: String,
    /// With which numbers: f32, f16, i8.
    pub precision: String,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    /// finder, keypoints or lifter.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// SHA-256 of its weights, hexadecimal.
    pub sha256: String,
}

/// Where frames came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// A clip's file name, without its folder; else the URI.
    pub name: String,
    /// In words: size, format, rate.
    pub summary: String,
    /// SHA-256 of a clip's file, hexadecimal.
    pub sha256: Option<String>,
    /// False: at the source's own pace; true: as fast as they could be handled.
    pub flat_out: bool,
}

/// Frames in the measured time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Frames {
    /// That the source gave.
    pub given: u64,
    /// That became packets.
    pub sent: u64,
    /// Packets per second.
    pub fps: f64,
    /// Displaced by newer ones, missed by the source, or fallen out of a queue.
    pub dropped: u64,
    /// Damaged, or a network failed on them.
    pub bad: u64,
    /// Poses in all of them.
    pub poses: u64,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Its durations.
    #[serde(flatten)]
    pub timing: Timing,
}

/// How the machine was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Seconds since measuring began.
    pub t_s: f64,
    /// Processor time since the moment before: 100 is one core.
    pub cpu_percent: f64,
    /// Memory held.
    pub rss_bytes: u64,
    /// The graphics processor's share of the time, where it tells.
    pub gpu_percent: Option<f64>,
    /// Its power.
    pub gpu_watts: Option<f64>,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// In words: not JSON of this kind, or of another version of it.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|e| format!("no JSON: {e}"))?;
        match value.get("schema").and_then(|s| s.as_str()) {
            Some(SCHEMA) => serde_json::from_value(value).map_err(|e| e.to_string()),
            Some(other) => Err(format!("it is a {other:?}, and this program reads {SCHEMA:?}")),
            None => Err("no report of posewire bench: it names no schema".to_owned()),
        }
    }

    /// The stage of this name.
    pub fn stage(&self, name: &str) -> Option<&Timing> {
        self.stages.iter().find(|s| s.name == name).map(|s| &s.timing)
    }

    /// For people.
    pub fn text(&self) -> String {
        let f = &self.frames;
        let how = if self.source.flat_out { "flat out" } else { "at the source's pace" };
        let mut lines = vec![
            format!(
                "{} ({}), {how}, {:.1} s",
                self.source.name, self.source.summary, self.usage.seconds
            ),
            format!("{}; {} {}", self.models.pipeline, self.models.backend, self.models.precision),
            format!(
                "{}; posewire {} ({}, {})",
                self.machine.words(),
                self.program.version,
                self.program.git,
                self.program.profile
            ),
            String::new(),
            format!(
                "{:.1} fps sent; {} frames given, {} sent, {} dropped, {} bad; {} poses",
                f.fps, f.given, f.sent, f.dropped, f.bad, f.poses
            ),
            format!("{:<20}{:>9}{:>9}{:>9}{:>9}  ms", "", "p50", "p90", "p99", "max"),
        ];
        for Stage { name, timing: t } in &self.stages {
            let mark = if t.exact { "" } else { "  (in buckets: up to 12.5 % high)" };
            lines.push(format!(
                "{name:<20}{:>9.3}{:>9.3}{:>9.3}{:>9.3}{mark}",
                t.p50_ms, t.p90_ms, t.p99_ms, t.max_ms
            ));
        }
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let u = &self.usage;
        lines.push(String::new());
        lines.push(format!("CPU {:.0} % (100: one core); memory {:.0} MiB, at most {:.0}; {:.2} page faults a frame", u.cpu_percent, mib(u.rss_bytes), mib(u.peak_rss_bytes), self.page_faults_per_frame));
        let first =
            self.first_packet_s.map_or_else(|| "none".to_owned(), |s| format!("after {s:.2} s"));
        lines.push(format!("loaded after {:.2} s, first packet {first}", self.load_s));
        if let Some(gpu) = &self.gpu {
            let memory = gpu.peak_memory_bytes.map(|b| format!(", {:.0} MiB at most", mib(b)));
            let memory = memory.unwrap_or_default();
            lines.push(format!("GPU busy {:.0} %{memory} (all programs)", gpu.busy_percent));
        }
        let power: Vec<_> =
            self.energy.iter().map(|e| format!("{} {:.1} W", e.meter, e.watts)).collect();
        lines.push(match (power.is_empty(), self.joules_per_pose) {
            (true, _) => "power: this machine does not tell".to_owned(),
            (false, None) => format!("power: {} (all programs)", power.join(", ")),
            (false, Some(j)) => {
                format!("power: {} (all programs); {j:.3} J a pose", power.join(", "))
            }
        });
        lines.join("\n")
    }
}

impl Machine {
    fn words(&self) -> String {
        let name = self.board.as_deref().or(self.cpu.as_deref()).unwrap_or("unknown processor");
        let mut words = format!("{name}, {} cores", self.cores);
        if let Some(kernel) = &self.kernel {
            words += &format!(", kernel {kernel}");
        }
        if let Some(governor) = &self.governor {
            words += &format!(", governor {governor}");
        }
        if let Some(load) = self.load {
            words += &format!(", load {load}");
        }
        words
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One with some of everything.
    pub(in super::super) fn report() -> Report {
        let nanos: Vec<u64> = (1..=500).map(|n| n * 50_000).collect();
        let timing = Timing::exact(nanos).unwrap();
        let stage = |name: &str| Stage { name: name.to_owned(), timing: timing.clone() };
        let text = |text: &str| Some(text.to_owned());
        Report {
            schema: SCHEMA.to_owned(),
            date: "2026-11-29T05:00:00Z".to_owned(),
            program: Program {
                version: "0.1.0".to_owned(),
                git: "0123456789ab".to_owned(),
                sha256: None,
                profile: "release".to_owned(),
            },
            models: Models {
                pipeline: "a <finder> & b".to_owned(),
                files: vec![ModelFile {
                    kind: "finder".to_owned(),
                    name: "a".to_owned(),
                    sha256: "ab".repeat(32),
                }],
                backend: "tract".to_owned(),
                precision: "f32".to_owned(),
            },
            machine: Machine {
                cpu: text("A Chip"),
                cores: 4,
                load: Some(0.1),
                ..Machine::default()
            },
            source: Source {
                name: "clip.mjpeg".to_owned(),
                summary: "clip".to_owned(),
                sha256: text("cd"),
                flat_out: false,
            },
            frames: Frames { given: 510, sent: 500, fps: 30.0, dropped: 10, bad: 0, poses: 480 },
            stages: vec![stage("detect"), stage("capture-to-packet")],
            usage: Used { seconds: 16.7, cpu_percent: 80.0, ..Used::default() },
            page_faults_per_frame: 0.5,
            load_s: 1.0,
            first_packet_s: None,
            gpu: None,
            energy: Vec::new(),
            joules_per_pose: None,
            timeline: (0..8)
                .map(|n| Moment {
                    t_s: f64::from(n) / 4.0,
                    cpu_percent: 40.0,
                    rss_bytes: 1 << 27,
                    gpu_percent: Some(25.0),
                    gpu_watts: Some(60.0),
                })
                .collect(),
        }
    }

    #[test]
    fn a_report_comes_back_from_its_json() {
        let json = serde_json::to_string(&report()).unwrap();
        assert_eq!(Report::from_json(&json), Ok(report()));
    }

    #[test]
    fn what_is_no_report_is_refused_with_a_reason() {
        for (text, word) in [
            ("{", "no JSON"),
            ("{}", "no report of posewire bench"),
            ("{\"schema\": \"posewire-bench-0\"}", "posewire-bench-0"),
            ("{\"schema\": \"posewire-bench-1\"}", "missing field"),
        ] {
            let error = Report::from_json(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn people_read_every_stage_and_that_power_is_not_known() {
        let text = report().text();
        for word in ["detect", "capture-to-packet", "does not tell", "30.0 fps", "none"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
