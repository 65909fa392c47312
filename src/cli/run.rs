//! `posewire run`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::Failure;
use super::recorder::{self, RecordArgs};
use super::start::{self, Prepared};
use super::status::Status;
use crate::capture::{self, Recovery};
use crate::config::{
    CameraConfig, CameraEntry, CameraPlan, Config, Plan, PublishConfig, SourceConfig,
};
use crate::fault::Exit;
use crate::lift::Mount;
use crate::pipeline::{Geometry, Pipeline};
use crate::runtime::{self, Job, Source};
use crate::service::Signals;
use crate::stats::Stats;

#[derive(Args)]
pub(super) struct Run {
    /// Configuration file (TOML); the options below go before what it says
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where frames come from: demo:, a clip (.avi, .mjpeg, .y4m, or anything that ffmpeg reads),
    /// a directory of JPEG or PNG pictures, v4l2:/dev/video0
    /// (docs/cameras.md); several times for several cameras
    #[arg(short, long, value_name = "URI")]
    source: Vec<String>,
    /// Directory of models that go before the embedded ones
    #[arg(short, long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Where poses go: udp://HOST:PORT; may be given several times
    #[arg(short, long, value_name = "URI")]
    publish: Vec<String>,
    /// Frames per second, instead of a recording's own times
    #[arg(long, value_name = "FPS")]
    rate: Option<f64>,
    /// Play a recording at its own speed instead of as fast as possible
    #[arg(long)]
    realtime: bool,
    /// Start a recording again at its end
    #[arg(long)]
    repeat: bool,
    /// The camera's field of view along the picture's longer side, where it is not calibrated
    #[arg(long, value_name = "DEGREES")]
    fov: Option<f64>,
    /// How far the camera looks up (0: level, negative: down), where it is known: lets the lifter
    /// tell a leaning body from a leaning camera
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true)]
    pitch: Option<f64>,
    /// Milliseconds of future that each pose waits for: 0, or another number that the lifter
    /// serves
    #[arg(long, value_name = "MS")]
    lookahead: Option<f64>,
    /// Publish every pose a second time, with so many milliseconds of future
    #[arg(long, value_name = "MS")]
    refine: Option<f64>,
    /// Height of the people in view, where it is known: their places are proportional to it
    #[arg(long, value_name = "METRES")]
    height: Option<f64>,
    /// What computes: auto, tract (CPU) or tensorrt (GPU)
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Stop after this time
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    #[command(flatten)]
    record: RecordArgs,
}

impl Run {
    /// What the file says, overridden by what the command line says.
    fn config(&self) -> Result<Config, Failure> {
        let mut config = match &self.config {
            Some(path) => Config::from_file(path).map_err(|e| Failure::config(&e))?,
            None => Config::default(),
        };
        self.sources(&mut config);
        config.lift.lookahead_ms = self.lookahead.or(config.lift.lookahead_ms);
        config.lift.refine_ms = self.refine.or(config.lift.refine_ms);
        config.subject.height_m = self.height.or(config.subject.height_m);
        config.models.dir = self.models.clone().or(config.models.dir.take());
        config.engine.backend = self.backend.clone().or(config.engine.backend.take());
        if !self.publish.is_empty() {
            config.publish =
                self.publish.iter().map(|uri| PublishConfig { uri: uri.clone() }).collect();
        }
        self.record.apply(&mut config);
        Ok(config)
    }

    /// What the command line says of cameras holds for each.
    fn sources(&self, config: &mut Config) {
        let several = config.cameras.iter_mut().map(|entry| (&mut entry.source, &mut entry.camera));
        for (source, camera) in several.chain([(&mut config.source, &mut config.camera)]) {
            source.rate = self.rate.or(source.rate);
            source.realtime |= self.realtime;
            source.repeat |= self.repeat;
            camera.fov_degrees = self.fov.or(camera.fov_degrees);
            if let Some(pitch_degrees) = self.pitch {
                let roll_degrees = camera.mount.map_or(0.0, |m| m.roll_degrees);
                camera.mount = Some(Mount { pitch_degrees, roll_degrees });
            }
        }
        match self.source.as_slice() {
            // What [source] would say of the one camera that is not there.
            [] if !config.cameras.is_empty() && config.source.uri.is_none() => {
                config.source = SourceConfig::default();
                config.camera = CameraConfig::default();
            }
            [] => {}
            [one] => {
                config.cameras.clear();
                config.source.uri = Some(one.clone());
            }
            several => {
                let (source, camera) = (&config.source, &config.camera);
                config.cameras = several
                    .iter()
                    .map(|uri| CameraEntry {
                        source: SourceConfig { uri: Some(uri.clone()), ..source.clone() },
                        camera: camera.clone(),
                        ..CameraEntry::default()
                    })
                    .collect();
                config.source = SourceConfig::default();
                config.camera = CameraConfig::default();
            }
        }
    }
}

pub(super) fn run(args: Run) -> Result<(), Failure> {
    let plan = args.config()?.check().map_err(|e| Failure::config(&e))?;
    let prepared =
        start::prepare(&plan, |catalog, backend| start::detector(&plan, catalog, backend))?;
    for camera in &plan.cameras {
        let name = if camera.name.is_empty() { "camera" } else { &camera.name };
        if let Geometry::AssumedFov(degrees) = camera.geometry {
            log::info!(
                "{name}: not calibrated, a field of view of {degrees} degrees is assumed (--fov, \
                 or [camera] in the configuration)"
            );
        }
    }
    if prepared.targets.is_empty() {
        log::warn!("poses go nowhere: name a target with --publish udp://HOST:PORT");
    }
    execute(&plan, prepared, args.seconds)
}

/// A camera as the runtime has it.
fn source(camera: &CameraPlan, pipeline: Pipeline) -> Source {
    let (uri, options) = (camera.source.clone(), camera.options.clone());
    let recovery = Recovery::of(&uri);
    Source { open: Box::new(move || capture::open(&uri, &options)), recovery, pipeline }
}

/// Runs until the sources end, a signal comes, or `seconds` are over.
pub(super) fn execute(
    plan: &Plan,
    prepared: Prepared,
    seconds: Option<f64>,
) -> Result<(), Failure> {
    let signals = Signals::install().map_err(|e| Failure::new(Exit::Internal, &e))?;
    let stop = signals.stop();
    let stats = Arc::new(Stats::default());
    let names = plan.cameras.iter().map(|camera| camera.name.clone()).collect();
    let mut status = Status::new(stats.clone(), prepared.backend, names);
    let sources = plan.cameras.iter().zip(prepared.pipelines);
    let sources = sources.map(|(camera, pipeline)| source(camera, pipeline)).collect();
    let recorder = recorder::open(plan, prepared.about, prepared.options, prepared.clock.clone())?;
    let job = Job {
        sources,
        targets: prepared.targets,
        recorder,
        dump: signals.dump().clone(),
        clock: prepared.clock,
    };
    let limit =
        seconds.filter(|s| *s > 0.0).map(|s| Instant::now() + Duration::from_secs_f64(s.min(1e9)));
    let ended = runtime::run(job, stop, &stats, |event| {
        // Called ten times a second: signals that come as a pair are one wish.
        if stop.is_raised() {
            signals.stopping_has_begun();
        }
        if limit.is_some_and(|l| Instant::now() >= l) {
            stop.raise();
        }
        status.watch(event);
    });
    status.finish();
    ended.map_err(|e| Failure::new(e.exit(), &e))
}
