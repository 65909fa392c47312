//! `posewire run`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::Failure;
use super::attend::{About, Attend};
use super::recorder::{self, RecordArgs};
use super::reload::{Reloader, Said};
use super::start::{self, Prepared};
use super::status::{Computing, Status};
use super::view::{self, ViewArgs};
use crate::capture::{self, Recovery};
use crate::config::{
    CameraConfig, CameraEntry, CameraPlan, Config, Plan, PublishConfig, SourceConfig,
};
use crate::engine::exchange::Exchange;
use crate::fault::Exit;
use crate::handoff::Request;
use crate::lift::Mount;
use crate::pipeline::{Geometry, Pipeline};
use crate::runtime::{self, Job, Renewal, Source, Upkeep};
use crate::service::{Notifier, Signals, StatusSocket};
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
    /// The camera's calibration: a file of posewire calibrate, OpenCV, ROS or Kalibr
    #[arg(long, value_name = "FILE", conflicts_with = "fov")]
    calibration: Option<PathBuf>,
    /// Degrees clockwise by which pictures are turned to be upright: 0, 90, 180, 270
    #[arg(long, value_name = "DEGREES")]
    rotate: Option<u32>,
    /// Mirror pictures left to right
    #[arg(long)]
    mirror: bool,
    /// Rehearse faults of the source: drop=0.05,freeze_every=300,unplug_every=900
    #[arg(long, value_name = "FAULTS")]
    faults: Option<String>,
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
    /// Where `posewire status` asks; under systemd it is in the unit's runtime directory
    #[arg(long, value_name = "PATH")]
    status_socket: Option<PathBuf>,
    #[command(flatten)]
    view: ViewArgs,
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
        self.view.apply(&mut config);
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
            source.faults = self.faults.clone().or(source.faults.take());
            camera.rotate = self.rotate.unwrap_or(camera.rotate);
            camera.mirror |= self.mirror;
            if self.calibration.is_some() {
                camera.calibration.clone_from(&self.calibration);
                camera.intrinsics = None;
            }
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
    let config = args.config()?;
    let plan = config.clone().check().map_err(|e| Failure::config(&e))?;
    let exchange = start::exchange(&plan);
    let plan = start::settled(plan, exchange.as_ref());
    let prepared = start::prepare_to_change(&plan, exchange.as_ref(), |catalog, backend| {
        start::detector(&plan, catalog, backend)
    })?;
    for camera in &plan.cameras {
        let name = if camera.name.is_empty() { "camera" } else { &camera.name };
        if let Geometry::AssumedFov(degrees) = camera.geometry {
            log::info!(
                "{name}: not calibrated, a field of view of {degrees} degrees is assumed: poses \
                 are only as right as that is (--fov; or measure it with posewire calibrate camera)"
            );
        }
    }
    if prepared.targets.is_empty() {
        log::warn!("poses go nowhere: name a target with --publish udp://HOST:PORT");
    }
    execute(&plan, prepared, exchange, args.seconds, Some((args, config)))
}

/// A camera as the runtime has it.
pub(super) fn source(camera: &CameraPlan, pipeline: Pipeline) -> Source {
    let (uri, options) = (camera.source.clone(), camera.options.clone());
    let recovery = Recovery::of(&uri);
    Source { open: Box::new(move || capture::open(&uri, &options)), recovery, pipeline }
}

/// Runs until the sources end, a signal comes, or `seconds` are over. `exchange` is what its
/// networks may change over to; `asked` is what a service
/// was asked for: its configuration is read again on SIGHUP, its socket tells how it is.
pub(super) fn execute(
    plan: &Plan,
    prepared: Prepared,
    exchange: Option<Exchange>,
    seconds: Option<f64>,
    asked: Option<(Run, Config)>,
) -> Result<(), Failure> {
    let internal = |e: &dyn std::error::Error| Failure::new(Exit::Internal, e);
    let signals = Signals::install().map_err(|e| internal(&e))?;
    let stop = signals.stop();
    let stats = Arc::new(Stats::default());
    let view = view::open(plan, &prepared, &stats)?;
    let notifier = Arc::new(Notifier::from_env());
    let names = plan.cameras.iter().map(|camera| camera.name.clone()).collect();
    let backend = Computing { fixed: prepared.backend, exchange: exchange.clone() };
    let mut status = Status::new(stats.clone(), backend.clone(), names);
    let recorder = recorder::open(plan, prepared.about, prepared.options, prepared.clock.clone())?;
    let about = About {
        config: asked.as_ref().and_then(|(args, _)| args.config.clone()),
        sources: plan.cameras.iter().map(|camera| camera.source.clone()).collect(),
        backend,
        models: prepared.pipelines.first().map(Pipeline::describe).unwrap_or_default(),
        targets: prepared.targets.iter().map(|t| t.publisher.describe().to_owned()).collect(),
    };
    let sources = plan.cameras.iter().zip(prepared.pipelines);
    let sources = sources.map(|(camera, pipeline)| source(camera, pipeline)).collect();
    let said = Said::default();
    let socket = asked
        .as_ref()
        .and_then(|(args, _)| args.status_socket.clone().or_else(StatusSocket::default_path));
    let socket = socket.map(|path| open_socket(&path)).transpose()?;
    let renewal = match asked {
        // SIGHUP means "read it again" only where there is something to read.
        Some((args, now)) if args.config.is_some() => {
            let wanted = signals.reload_on_hangup().map_err(|e| internal(&e))?.clone();
            Some((args, now, wanted))
        }
        Some((args, now)) => Some((args, now, Request::default())),
        None => None,
    };
    let renewal = renewal.map(|(args, now, wanted)| {
        let reloader = Reloader {
            read: Box::new(move || args.config()),
            now,
            exchange: exchange.clone(),
            clock: prepared.clock.clone(),
            notifier: notifier.clone(),
            said: said.clone(),
        };
        renewal_by(reloader, wanted)
    });
    let upkeep = Upkeep { health: Arc::default(), renewal, degrade: plan.degrade, exchange };
    let mut attend = Attend::new(
        about,
        notifier,
        socket,
        upkeep.health.clone(),
        stats.clone(),
        prepared.clock.clone(),
        said,
    );
    let job = Job {
        sources,
        targets: prepared.targets,
        recorder,
        view,
        dump: signals.dump().clone(),
        clock: prepared.clock,
        upkeep,
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
        attend.watch(event, stop.is_raised());
    });
    status.finish();
    ended.map_err(|e| Failure::new(e.exit(), &e))
}

/// How the pipeline of a run is made anew: on SIGHUP, and after a panic.
fn renewal_by(mut reloader: Reloader, wanted: Request) -> Renewal {
    Renewal { wanted, make: Box::new(move |reason| reloader.make(reason)) }
}

fn open_socket(path: &Path) -> Result<StatusSocket, Failure> {
    #[derive(Debug, thiserror::Error)]
    #[error("status socket {path}: {source}")]
    struct NoSocket {
        path: String,
        source: std::io::Error,
    }
    StatusSocket::open(path)
        .map_err(|source| Failure::config(&NoSocket { path: path.display().to_string(), source }))
}
