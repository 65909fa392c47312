//! The run that is measured.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::start::{self, Prepared};
use super::super::status::Sample;
use super::super::{Failure, run};
use super::{Bench, BenchError};
use crate::bench::gpu::GpuUse;
use crate::bench::machine::Machine;
use crate::bench::power::{Energy, Meters};
use crate::bench::report::{self, Frames, ModelFile, Models, Moment, Program, Source, Stage};
use crate::bench::timing::Timing;
use crate::bench::usage::Usage;
use crate::bench::{Measured, Meter, Report};
use crate::config::Config;
use crate::engine::spec::{hex, sha256};
use crate::fault::Exit;
use crate::pipeline::Pipeline;
use crate::runtime::{self, Event, Job, Target, Upkeep};
use crate::service::Signals;
use crate::stats::Stats;
use crate::time::{Clock, MonotonicClock, Timestamp};

/// A source that has given nothing for so long will not.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the timeline has a point.
const MOMENT: Duration = Duration::from_millis(250);
/// Larger clips are not read for their hash.
const MOST_HASHED: u64 = 1 << 30;

/// What is known while it runs.
struct Watch {
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
    measured: Arc<Mutex<Measured>>,
    meters: Meters,
    warm_up: Duration,
    seconds: Duration,
    loaded: Timestamp,
    summary: String,
    begun: Option<Begun>,
    done: Option<Done>,
}

/// How it was when measuring began.
struct Begun {
    at: Instant,
    sample: Sample,
    usage: Option<Usage>,
    /// The newest point of the timeline.
    last: (Instant, Option<Usage>),
    timeline: Vec<Moment>,
}

/// How it was when measuring ended.
struct Done {
    sample: Sample,
    usage: Option<Usage>,
    seconds: f64,
    energy: Vec<Energy>,
    gpu: Option<GpuUse>,
}

pub(super) fn measure(args: &Bench, config: Config) -> Result<Report, Failure> {
    let clock = MonotonicClock;
    let started = clock.now();
    if cfg!(debug_assertions) {
        log::warn!("this is a debug build: its times are no one's; cargo build --release");
    }
    let machine = Machine::here();
    let uri = config.source.uri.clone().unwrap_or_default();
    let plan = config.check().map_err(|e| Failure::config(&e))?;
    let meters = Meters::of_this_machine();
    let Prepared { pipelines, targets, clock, backend, about, options } =
        start::prepare(&plan, |catalog, backend| start::detector(&plan, catalog, backend))?;
    let models = Models {
        pipeline: pipelines.first().map(Pipeline::describe).unwrap_or_default(),
        files: about
            .models
            .iter()
            .map(|m| ModelFile {
                kind: m.kind.clone(),
                name: m.name.clone(),
                sha256: m.sha256.clone(),
            })
            .collect(),
        backend,
        precision: options.precision.name().to_owned(),
    };
    let measured = Arc::new(Mutex::new(Measured::default()));
    let metered = targets.into_iter().map(|Target { publisher, source }| {
        let publisher = Box::new(Meter::new(publisher, clock.clone(), measured.clone()));
        Target { publisher, source }
    });
    let targets = metered.collect();
    let stats = Arc::new(Stats::default());
    let mut watch = Watch {
        clock: clock.clone(),
        stats: stats.clone(),
        measured: measured.clone(),
        meters,
        warm_up: Duration::from_secs_f64(args.warm_up),
        seconds: Duration::from_secs_f64(args.seconds),
        loaded: clock.now(),
        summary: String::new(),
        begun: None,
        done: None,
    };
    let signals = Signals::install().map_err(|e| Failure::new(Exit::Internal, &e))?;
    let stop = signals.stop();
    let sources = plan.cameras.iter().zip(pipelines);
    let job = Job {
        sources: sources.map(|(camera, pipeline)| run::source(camera, pipeline)).collect(),
        targets,
        recorder: None,
        view: None,
        dump: signals.dump().clone(),
        clock,
        upkeep: Upkeep { degrade: plan.degrade, ..Upkeep::default() },
    };
    runtime::run(job, stop, &stats, |event| {
        if stop.is_raised() {
            signals.stopping_has_begun();
        }
        if watch.turn(event) {
            stop.raise();
        }
    })
    .map_err(|e| Failure::new(e.exit(), &e))?;
    let source = Source {
        name: name_of(&uri),
        summary: watch.summary.clone(),
        sha256: hash_of(&uri),
        flat_out: args.flat_out,
    };
    watch.finish();
    let silent = watch.measured().first.is_none() && watch.patience_is_over();
    report(watch, about.began, started, models, machine, source).ok_or_else(|| {
        let silent = silent.then(|| BenchError::Silent(PATIENCE.as_secs_f64()));
        silent.unwrap_or(BenchError::Early).failure()
    })
}

impl Watch {
    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn patience_is_over(&self) -> bool {
        self.clock.now().since(self.loaded) > PATIENCE
    }

    /// About ten times a second; true when it is over.
    fn turn(&mut self, event: Option<&Event>) -> bool {
        if let Some(Event::SourceOpened(_, info)) = event
            && self.summary.is_empty()
        {
            self.summary.clone_from(&info.summary);
        }
        if self.done.is_some() {
            return true;
        }
        self.meters.sample();
        if self.begun.is_none() {
            let first = self.measured().first;
            let now = self.clock.now();
            match first {
                Some(first) if now.since(first) >= self.warm_up => self.begin(),
                Some(_) => {}
                None => return self.patience_is_over(),
            }
            return false;
        }
        self.moment();
        if self.begun.as_ref().is_some_and(|b| b.at.elapsed() >= self.seconds) {
            self.finish();
        }
        self.done.is_some()
    }

    fn begin(&mut self) {
        self.meters.reset();
        let usage = Usage::now();
        self.measured().begin();
        log::info!("measuring for {} s", self.seconds.as_secs_f64());
        let at = Instant::now();
        let sample = Sample::of(&self.stats);
        self.begun = Some(Begun { at, sample, usage, last: (at, usage), timeline: Vec::new() });
    }

    fn moment(&mut self) {
        let Some(begun) = &mut self.begun else { return };
        if begun.last.0.elapsed() < MOMENT {
            return;
        }
        let now = Usage::now();
        if let (Some(now), Some(before)) = (now, begun.last.1) {
            let gpu = self.meters.gpu_now();
            begun.timeline.push(Moment {
                t_s: begun.at.elapsed().as_secs_f64(),
                cpu_percent: now.since(&before).cpu_percent,
                rss_bytes: now.rss_bytes,
                gpu_percent: gpu.map(|g| g.0),
                gpu_watts: gpu.and_then(|g| g.1),
            });
        }
        begun.last = (Instant::now(), now);
    }

    /// Measuring is over: its time, the end of the source, or a signal.
    fn finish(&mut self) {
        let Some(begun) = self.begun.as_ref().filter(|_| self.done.is_none()) else { return };
        let seconds = begun.at.elapsed().as_secs_f64();
        self.measured().end();
        let sample = Sample::of(&self.stats);
        let usage = Usage::now();
        let (energy, gpu) = self.meters.finish(seconds);
        self.done = Some(Done { sample, usage, seconds, energy, gpu });
    }
}

/// `None` if nothing was measured.
fn report(
    mut watch: Watch,
    began: u64,
    started: Timestamp,
    models: Models,
    machine: Machine,
    source: Source,
) -> Option<Report> {
    let (begun, done) = (watch.begun.take()?, watch.done.take()?);
    let Done { energy, gpu, .. } = done;
    let measured = watch.measured();
    let sent = measured.frames();
    if sent == 0 {
        return None;
    }
    let (a, b) = (&begun.sample.counts, &done.sample.counts);
    let dropped = |c: &crate::stats::Counts| {
        c.frames_displaced + c.frames_missed + c.frames_left_out + c.publish_displaced
    };
    let used = done.usage?.since(&begun.usage?);
    let joules: f64 = energy.iter().map(|e| e.joules).sum();
    let poses = measured.poses;
    Some(Report {
        schema: report::SCHEMA.to_owned(),
        date: rfc3339(began / 1_000_000_000),
        program: Program {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git: option_env!("POSEWIRE_GIT").unwrap_or("unknown").to_owned(),
            // After measuring: it is a large file.
            sha256: hash_of("/proc/self/exe"),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        },
        models,
        machine,
        source,
        frames: Frames {
            given: b.frames_in - a.frames_in,
            sent,
            fps: sent as f64 / done.seconds.max(1e-3),
            dropped: dropped(b) - dropped(a),
            bad: b.frames_bad - a.frames_bad,
            poses,
        },
        stages: stages(&measured, &begun.sample, &done.sample),
        page_faults_per_frame: used.page_faults as f64 / sent as f64,
        usage: used,
        load_s: watch.loaded.secs_since(started),
        first_packet_s: measured.first.map(|first| first.secs_since(started)),
        gpu,
        joules_per_pose: (!energy.is_empty() && poses > 0).then(|| joules / poses as f64),
        energy,
        timeline: begun.timeline,
    })
}

/// The meter's exact times, and those that only the run's own histograms tell apart: waiting, and
/// decoding.
fn stages(measured: &Measured, begin: &Sample, end: &Sample) -> Vec<Stage> {
    let mut all = Vec::new();
    for (name, nanos) in measured.stages() {
        if name == "wait+decode" {
            for (n, part) in ["wait", "decode"].into_iter().enumerate() {
                let timing = Timing::bucketed(&end.stages[n].since(&begin.stages[n]));
                all.extend(timing.map(|timing| Stage { name: part.to_owned(), timing }));
            }
        }
        all.extend(Timing::exact(nanos).map(|timing| Stage { name: name.to_owned(), timing }));
    }
    all
}

/// A clip's name without its folder: reports are shown to others.
fn name_of(uri: &str) -> String {
    let path = Path::new(uri);
    let name = path.file_name().filter(|_| path.exists());
    name.map_or_else(|| uri.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// SHA-256 of a file; `None` where there is none, or a very large one.
fn hash_of(uri: &str) -> Option<String> {
    fs::metadata(uri).ok().filter(|m| m.is_file() && m.len() <= MOST_HASHED)?;
    Some(hex(&sha256(&fs::read(uri).ok()?)))
}

/// Seconds since 1970 as a date and a time, UTC (days to civil date: Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms").
fn rfc3339(unix: u64) -> String {
    let (days, second) = (unix / 86_400, unix % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_795_924_800, "2026-11-29T04:00:00Z"),
        ] {
            assert_eq!(rfc3339(unix), date);
        }
    }

    #[test]
    fn a_clip_is_named_without_its_folder_and_other_sources_as_they_are() {
        let clip = tempfile::NamedTempFile::with_prefix("clip").unwrap();
        let name = name_of(clip.path().to_str().unwrap());
        assert!(name.starts_with("clip") && !name.contains('/'), "{name}");
        assert_eq!(name_of("v4l2:/dev/video0"), "v4l2:/dev/video0");
        assert_eq!(hash_of("demo:"), None);
        assert_eq!(hash_of(clip.path().to_str().unwrap()), Some(hex(&sha256(b""))));
    }
}
