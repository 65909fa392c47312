//! `posewire eval`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Failure;
use crate::camera::Intrinsics;
use crate::engine::catalog::Catalog;
use crate::engine::quantise::Table;
use crate::engine::quantise::cpu::Simulated;
use crate::engine::spec::hex;
use crate::engine::{self, Backend, ModelKind, ModelSpec, Precision};
use crate::eval::mocap::Mocap;
use crate::eval::npz::Npz;
use crate::eval::predict::{self, Pair, Tracks};
use crate::eval::report::{self, Report, Run};
use crate::eval::tally::{Score, Tally};
use crate::eval::videopose::{Cameras, Frame, VideoPose};
use crate::eval::view::{self, View};
use crate::eval::{EvalError, Sequence, plot};
use crate::fault::Exit;
use crate::lift::{self, Lift, LiftSettings, Mount};
use crate::skeleton::Skeleton;

/// Measures a lifter on data of known truth.
#[derive(Args)]
pub(super) struct Eval {
    /// VideoPose3D's two files (data_2d_*.npz and data_3d_*.npz), or a motion capture file in
    /// posewire's format (.npz, .npz.xz)
    #[arg(required = true, value_name = "FILE")]
    data: Vec<PathBuf>,
    /// Directory of models beside the embedded ones
    #[arg(short, long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// The lifter; the only one there is, if it is not named
    #[arg(long, value_name = "NAME")]
    lifter: Option<String>,
    /// What computes; may be given several times
    #[arg(long, value_name = "NAME", default_value = "auto")]
    backend: Vec<String>,
    /// For `--backend simulated`: the table of ranges whose 8-bit network is simulated on the CPU
    #[arg(long, value_name = "FILE")]
    ranges: Option<PathBuf>,
    /// In which arithmetic; may be given several times
    #[arg(long, value_enum, default_value = "f32")]
    precision: Vec<PrecisionName>,
    /// Frame by frame as the runtime does, or every window by itself
    #[arg(long, value_enum, default_value = "streamed")]
    mode: ModeName,
    /// Average each pose with that of the mirrored picture
    #[arg(long, value_enum, default_value = "off")]
    flip: Flip,
    /// Do not smooth poses over time, which the runtime does by default
    #[arg(long)]
    no_smoothing: bool,
    /// Tell the lifter how the camera is held (where the data says it)
    #[arg(long)]
    gravity: bool,
    /// VideoPose3D: the cameras that see the world (TOML, docs/evaluation.md)
    #[arg(long, value_name = "FILE")]
    cameras: Option<PathBuf>,
    /// VideoPose3D: the joints are in the cameras' own axes, and this is the picture's size
    #[arg(long, value_name = "WxH", conflicts_with = "cameras", value_parser = view::size)]
    camera_frame: Option<(u32, u32)>,
    /// With --camera-frame: the field of view along the picture's longer side
    #[arg(long, value_name = "DEGREES", default_value_t = 60.0)]
    fov: f64,
    /// VideoPose3D: frames per second of the data
    #[arg(long, value_name = "HZ", default_value_t = 50.0)]
    rate: f64,
    /// Motion capture: a camera, as yaw=0,height=1.4,distance=4,fov=60,size=1280x720; may be given
    /// several times. Two by default: from the front and from 60 degrees beside
    #[arg(long, value_name = "KEY=VALUE,...")]
    view: Vec<View>,
    /// Motion capture: which sequences, "heldout", "train" or "all"
    #[arg(long, default_value = "heldout")]
    split: String,
    /// Only these subjects (S9,S11)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    subjects: Vec<String>,
    /// Only actions whose names begin so
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    actions: Vec<String>,
    /// Every n-th sequence
    #[arg(long, value_name = "N", default_value_t = 1)]
    every: usize,
    /// At most so many frames of each sequence
    #[arg(long, value_name = "N")]
    frames: Option<usize>,
    /// Write every number to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the errors by joint and by action (SVG)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq)]
enum PrecisionName {
    F32,
    F16,
    I8,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq)]
enum ModeName {
    Streamed,
    Windows,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq)]
enum Flip {
    Off,
    On,
    Both,
}

/// The value's name on the command line.
fn named(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

fn failed(e: EvalError) -> Failure {
    Failure::config(&e)
}

pub(super) fn eval(args: &Eval) -> Result<(), Failure> {
    let catalog = match &args.models {
        Some(dir) => Catalog::with_dir(dir),
        None => Catalog::embedded(),
    }
    .map_err(|e| Failure::config(&e))?;
    let model =
        catalog.pick(ModelKind::Lifter, args.lifter.as_deref()).map_err(|e| Failure::config(&e))?;
    let wanted = model.lifter().map_err(|e| Failure::config(&e))?.input_skeleton;
    let data = Data::open(args).map_err(failed)?;
    let flips: &[bool] = match args.flip {
        Flip::Off => &[false],
        Flip::On => &[true],
        Flip::Both => &[false, true],
    };
    let mut report = Report {
        data: args.data.iter().map(|f| f.display().to_string()).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runs: Vec::new(),
    };
    for name in &args.backend {
        let simulated = (name == "simulated").then(|| simulated(args)).transpose()?;
        let backend: &dyn Backend = match &simulated {
            Some(simulated) => simulated,
            None => engine::choose(name).map_err(|e| Failure::config(&e))?.0,
        };
        for precision in &args.precision {
            for &flip in flips {
                let run =
                    one(args, &data, backend, &model, *precision, flip, wanted).map_err(failed)?;
                report.runs.push(run);
            }
        }
    }
    print!("{}", report::text(&report));
    let write = |path: &Option<PathBuf>, content: &dyn Fn() -> String| match path {
        Some(path) => std::fs::write(path, content())
            .map_err(|e| Failure::new(Exit::Config, &EvalError::data(path.display(), e))),
        None => Ok(()),
    };
    write(&args.json, &|| serde_json::to_string_pretty(&report).unwrap_or_default() + "\n")?;
    write(&args.plot, &|| plot::svg(&report))
}

/// The 8-bit network of a table that may not have been measured yet.
fn simulated(args: &Eval) -> Result<Simulated, Failure> {
    let Some(path) = &args.ranges else {
        let problem = "--backend simulated needs a table of ranges: --ranges FILE".to_owned();
        return Err(failed(EvalError::Asked(problem)));
    };
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string());
    let table = text.and_then(|t| Table::read(&t));
    table.map(Simulated).map_err(|e| failed(EvalError::data(path.display(), e)))
}

/// What there is to be lifted.
enum Data {
    Mocap { mocap: Mocap, views: Vec<View> },
    VideoPose(VideoPose),
}

impl Data {
    fn open(args: &Eval) -> Result<Self, EvalError> {
        let mut files = args.data.iter().map(|f| Npz::open(f)).collect::<Result<Vec<_>, _>>()?;
        if let [only] = &mut files[..]
            && Mocap::fits(only)
        {
            let mut views = args.view.clone();
            if views.is_empty() {
                views = vec![View::default(), View { yaw: 60.0, ..View::default() }];
            }
            return Ok(Self::Mocap { mocap: Mocap::read(only)?, views });
        }
        let find = |name: &str| {
            args.data.iter().zip(&files).find(|(_, f)| f.has(name)).map(|(path, _)| path).ok_or(
                EvalError::Asked(format!(
                    "none of the files holds {name:?}: give VideoPose3D's data_2d_*.npz and \
                     data_3d_*.npz, or one motion capture file of posewire's"
                )),
            )
        };
        let frame = match (&args.cameras, args.camera_frame) {
            (Some(path), _) => Frame::World(Cameras::read(path)?),
            (None, Some((width, height))) if (1.0..=170.0).contains(&args.fov) => {
                // VideoPose3D's pixels are counted from the picture's edge.
                let centred = Intrinsics::from_fov(width, height, args.fov);
                let (cx, cy) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
                Frame::Camera(Intrinsics { cx, cy, ..centred })
            }
            (None, Some(_)) => {
                return Err(EvalError::Asked(format!("--fov {} is outside 1..170", args.fov)));
            }
            (None, None) => {
                return Err(EvalError::Asked(
                    "the cameras are not in VideoPose3D's files: name a file of them with \
                     --cameras FILE, or say --camera-frame WIDTHxHEIGHT if the joints are in the \
                     cameras' own axes"
                        .to_owned(),
                ));
            }
        };
        if !(1.0..=1000.0).contains(&args.rate) {
            return Err(EvalError::Asked(format!("--rate {} is outside 1..1000", args.rate)));
        }
        let (keypoints, joints) = (find("positions_2d")?, find("positions_3d")?);
        let data =
            VideoPose::read(&mut Npz::open(keypoints)?, &mut Npz::open(joints)?, frame, args.rate)?;
        Ok(Self::VideoPose(data))
    }

    /// Sequences one after the other; keypoints of `skeleton` where there is a choice.
    fn sequences<'a>(
        &'a self,
        args: &'a Eval,
        skeleton: Skeleton,
    ) -> Box<dyn Iterator<Item = Result<Sequence, EvalError>> + 'a> {
        match self {
            Self::Mocap { mocap, views } => {
                let split = Some(args.split.as_str()).filter(|s| *s != "all");
                Box::new(mocap.sequences(views, skeleton, split).map(Ok))
            }
            Self::VideoPose(data) => Box::new(data.sequences()),
        }
    }
}

/// A lifter, and one for the mirrored pictures where that is asked for.
struct Lifters {
    mount: Option<Mount>,
    plain: Box<dyn Lift>,
    flipped: Option<Box<dyn Lift>>,
}

fn one(
    args: &Eval,
    data: &Data,
    backend: &dyn Backend,
    model: &ModelSpec,
    precision: PrecisionName,
    flip: bool,
    wanted: Skeleton,
) -> Result<Run, EvalError> {
    let mut settings = LiftSettings::default();
    settings.smooth.enabled &= !args.no_smoothing;
    let arithmetic = match precision {
        PrecisionName::F32 => Precision::F32,
        PrecisionName::F16 => Precision::F16,
        PrecisionName::I8 => Precision::I8,
    };
    let mode = match args.mode {
        ModeName::Streamed => predict::Mode::Streamed,
        ModeName::Windows => predict::Mode::Windows,
    };
    let load = |mount: Option<Mount>, given: Skeleton| {
        let settings = predict::settings_for(&settings, mount);
        lift::open(backend, model, arithmetic, &settings, given)
    };
    let mut lifters: Option<Lifters> = None;
    let mut tally = Tally::default();
    let mut tracks = Tracks::default();
    let (mut sequences, mut frames) = (0, 0);
    let kept = |s: &Sequence| {
        (args.subjects.is_empty() || args.subjects.contains(&s.subject))
            && (args.actions.is_empty() || args.actions.iter().any(|a| s.action.starts_with(a)))
    };
    let all = data.sequences(args, wanted).filter(|s| s.as_ref().map_or(true, kept));
    for sequence in all.step_by(args.every.max(1)) {
        let mut sequence = sequence?;
        if let Some(most) = args.frames {
            sequence.keypoints.truncate(most);
            sequence.truth.truncate(most);
        }
        if sequence.truth.is_empty() {
            continue;
        }
        let mount = sequence.mount.filter(|_| args.gravity);
        // How the camera is held is a lifter's setting: another one means another lifter.
        if lifters.as_ref().is_none_or(|l| l.mount != mount) {
            let flipped = if flip {
                Some(load(mount.map(predict::mirrored_mount), sequence.skeleton)?)
            } else {
                None
            };
            lifters = Some(Lifters { mount, plain: load(mount, sequence.skeleton)?, flipped });
        }
        let Some(l) = &mut lifters else { continue };
        let mut pairs: Vec<Option<Pair>> =
            predict::predict(&mut *l.plain, &mut tracks, &sequence, mode)?;
        if let Some(flipped) = &mut l.flipped {
            let mirrored = predict::mirrored(&sequence);
            let other = predict::predict(&mut **flipped, &mut tracks, &mirrored, mode)?;
            pairs = predict::flip_averaged(&pairs, &other);
        }
        tally.add(&sequence.action, sequence.rate_hz, &pairs);
        sequences += 1;
        frames += sequence.truth.len();
        log::debug!(
            "{} {} {}: {} frames",
            sequence.subject,
            sequence.action,
            sequence.camera,
            sequence.truth.len()
        );
    }
    if sequences == 0 {
        return Err(EvalError::Asked(
            "no sequence is left: --subjects, --actions or --split fit nothing in the data".into(),
        ));
    }
    let mut run = Run {
        model: model.name.clone(),
        model_sha256: hex(&model.sha256),
        backend: backend.name().to_owned(),
        precision: named(precision),
        mode: named(args.mode),
        flip,
        smoothed: settings.smooth.enabled && mode == predict::Mode::Streamed,
        gravity: args.gravity,
        sequences,
        frames,
        overall: Score::default(),
        mpjpe_mean_over_actions_mm: 0.0,
        actions: Vec::new(),
        joints: Vec::new(),
    };
    run.fill(&tally);
    if run.overall.frames == 0 {
        return Err(EvalError::Asked(format!(
            "no frame was answered: the sequences are shorter than the future that {} needs to \
             see; --mode windows repeats their last frames",
            model.name
        )));
    }
    Ok(run)
}
