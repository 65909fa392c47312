//! `posewire calibrate int8`: ranges of a network's activations, and the network in 8 bits.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::super::{Failure, progress};
use super::pictures;
use crate::camera::Intrinsics;
use crate::capture;
use crate::decode::FrameDecoder;
use crate::detect::{Detector, DetectorSettings, TopDown};
use crate::engine::quantise::calibrate::measure;
use crate::engine::quantise::cpu::{Collecting, Samples};
use crate::engine::quantise::ranges::Method;
use crate::engine::quantise::{self, Table};
use crate::engine::spec::hex;
use crate::engine::tract::Tract;
use crate::engine::{Backend, Catalog, EngineError, ModelKind, ModelSpec, Precision};
use crate::eval::Sequence;
use crate::eval::mocap::Mocap;
use crate::eval::predict::{Mode, Tracks, predict};
use crate::eval::view::View;
use crate::fault::{Chain, Exit};
use crate::figure::random::SplitMix64;
use crate::frame::Frame;
use crate::lift::{Lift, LiftSettings, Lifter};
use crate::pose::{Keypoints2d, TrackId};

#[derive(Args)]
pub(super) struct Int8 {
    /// The network (posewire models list)
    #[arg(value_name = "MODEL")]
    model: String,
    /// A lifter: motion capture in posewire's format (.npz, .npz.xz), seen by cameras all around
    /// and disturbed as a detector disturbs it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["source", "table"])]
    data: Option<PathBuf>,
    /// A camera, a clip or a recording: the place where it will work, best
    #[arg(long, value_name = "URI", conflicts_with = "table")]
    source: Option<String>,
    /// Do not measure: write the networks that this table of ranges makes
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// How many windows or pictures
    #[arg(long, value_name = "N", default_value_t = 1024)]
    samples: usize,
    /// Take one of so many windows or pictures [default: 11 of motion capture, 5 of a source]
    #[arg(long, value_name = "N")]
    every: Option<usize>,
    /// Products that stay in floating point, by the beginnings of their constants' names. Of the
    /// lifters only the aggregator is quantised: the rest costs steadiness (docs/quantisation.md)
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_value = "sem_,tem")]
    keep: Vec<String>,
    /// How ranges are chosen
    #[arg(long, value_enum, default_value = "percentile")]
    method: MethodName,
    /// Directory of models beside the embedded ones
    #[arg(short, long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Where it goes: MODEL.toml, and the 8-bit network as MODEL.int8.onnx
    #[arg(short, long, value_name = "DIR", default_value = "calib/int8")]
    out: PathBuf,
}

#[derive(ValueEnum, Clone, Copy)]
enum MethodName {
    Percentile,
    Mse,
    Entropy,
}

/// A problem in words.
fn trouble(message: String) -> Failure {
    Failure { message, exit: Exit::Config }
}

pub(super) fn int8(args: &Int8) -> Result<(), Failure> {
    let catalog = match &args.models {
        Some(dir) => Catalog::with_dir(dir),
        None => Catalog::embedded(),
    }
    .map_err(|e| Failure::config(&e))?;
    let Some(model) = catalog.models().find(|m| m.name == args.model) else {
        let names: Vec<&str> = catalog.models().map(|m| m.name.as_str()).collect();
        return Err(trouble(format!(
            "there is no model {:?}; there are: {}",
            args.model,
            names.join(", ")
        )));
    };
    let table = match &args.table {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| e.to_string());
            text.and_then(|t| Table::read(&t))
                .map_err(|e| trouble(format!("{}: {e}", path.display())))?
        }
        None => measured(args, &catalog, model)?,
    };
    write(&args.out, model, &table).map_err(trouble)
}

fn measured(args: &Int8, catalog: &Catalog, model: &ModelSpec) -> Result<Table, Failure> {
    if model.kind() == ModelKind::OneStage {
        return Err(trouble(format!(
            "{} is a one-stage model, which cannot be calibrated yet; use it in f16",
            model.name
        )));
    }
    let lifter = model.kind() == ModelKind::Lifter;
    let method = match args.method {
        MethodName::Percentile => Method::Percentile,
        MethodName::Mse => Method::Mse,
        MethodName::Entropy => Method::Entropy,
    };
    let every = args.every.unwrap_or(if args.data.is_some() { 11 } else { 5 });
    let samples = Samples::new(every, args.samples);
    let name = |p: &Path| p.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let data = match (&args.data, &args.source) {
        (Some(file), _) if lifter => {
            from_mocap(file, model, &samples)?;
            name(file)
        }
        (None, Some(uri)) => {
            from_source(uri, catalog, model, &samples)?;
            name(Path::new(uri))
        }
        (Some(_), _) => {
            return Err(trouble(format!("{} sees pictures: give --source URI", model.name)));
        }
        (None, None) => {
            return Err(trouble(format!(
                "what shall {} be calibrated by? Give --source URI{}, or --table FILE for ranges \
                 that are known",
                model.name,
                if lifter { " or --data FILE" } else { "" }
            )));
        }
    };
    let bar = progress::steps();
    bar.set_prefix(model.name.clone());
    let table = measure(model, &samples, method, &args.keep, data, &mut |n, total| {
        bar.set_length(total as u64);
        bar.set_position(n as u64);
    });
    bar.finish_and_clear();
    table.map_err(|e| Failure::config(&e))
}

/// Cameras all around, near and far, from the floor to above the head.
fn views() -> Vec<View> {
    let places = [(0.0, 1.4, 4.0), (75.0, 0.4, 2.5), (150.0, 2.4, 5.0), (230.0, 1.0, 3.0)];
    let seen =
        places.map(|(yaw, height, distance)| View { yaw, height, distance, ..View::default() });
    seen.to_vec()
}

fn from_mocap(file: &Path, model: &ModelSpec, samples: &Samples) -> Result<(), Failure> {
    let failed = |e: crate::eval::EvalError| Failure::config(&e);
    let mocap = Mocap::open(file).map_err(failed)?;
    let backend = Collecting(samples.clone());
    let mut lifter = Lifter::new(&backend, model, Precision::F32, &LiftSettings::default())
        .map_err(|e| Failure::config(&e))?;
    let mut tracks = Tracks::default();
    let mut random = SplitMix64::new(8);
    let views = views();
    // Never what accuracy is measured on. A step that divides no number of views or sequences: a
    // few seconds of each, all over.
    for mut sequence in mocap.sequences(&views, lifter.input_skeleton(), Some("train")).step_by(61)
    {
        let half = |n: &mut usize| {
            *n += 1;
            *n % 2 == 1
        };
        let mut n = 0;
        sequence.keypoints.truncate(220);
        sequence.keypoints.retain(|_| half(&mut n));
        n = 0;
        sequence.truth.truncate(220);
        sequence.truth.retain(|_| half(&mut n));
        sequence.rate_hz /= 2.0;
        disturb(&mut sequence, &mut random);
        predict(&mut lifter, &mut tracks, &sequence, Mode::Streamed).map_err(failed)?;
        if samples.full() {
            break;
        }
    }
    Ok(())
}

/// What a detector does to keypoints: some noise always, now and then an outlier, a joint that is
/// lost for a while, and nobody at all for a moment.
fn disturb(sequence: &mut Sequence, random: &mut SplitMix64) {
    let mut lost = [0_u32; crate::skeleton::JOINTS];
    let mut nobody = 0_u32;
    for keypoints in &mut sequence.keypoints {
        if random.uniform() < 0.003 {
            nobody = 12;
        }
        nobody = nobody.saturating_sub(1);
        for (point, lost) in keypoints.points.iter_mut().zip(&mut lost) {
            if random.uniform() < 0.004 {
                *lost = 25;
            }
            *lost = lost.saturating_sub(1);
            let far = if random.uniform() < 0.01 { 20.0 } else { 3.0 };
            point.x += (far * random.normal()) as f32;
            point.y += (far * random.normal()) as f32;
            point.confidence *= (0.6 + 0.35 * random.uniform()) as f32;
            if *lost > 0 || nobody > 0 {
                point.confidence = 0.0;
            }
        }
    }
}

fn from_source(
    uri: &str,
    catalog: &Catalog,
    model: &ModelSpec,
    samples: &Samples,
) -> Result<(), Failure> {
    let engine = |e: EngineError| Failure::config(&e);
    let watched = Collecting(samples.clone());
    let pick = |kind| {
        if model.kind() == kind {
            return Ok(model.clone());
        }
        // Of several, the first: which one leads a network to its people does not matter.
        match catalog.models().find(|m| m.kind() == kind) {
            Some(other) => Ok(other.clone()),
            None => catalog.pick(kind, None),
        }
    };
    let load = |spec: &ModelSpec| {
        let backend: &dyn Backend = if spec.name == model.name { &watched } else { &Tract };
        backend.load(spec, Precision::F32, 1)
    };
    let finder = pick(ModelKind::Finder).map_err(engine)?;
    let keypoints = pick(ModelKind::Keypoints).map_err(engine)?;
    let engines = (load(&finder).map_err(engine)?, load(&keypoints).map_err(engine)?);
    let settings = DetectorSettings::default();
    let (finder, keypoints) = ((&finder, engines.0), (&keypoints, engines.1));
    let mut detector =
        TopDown::with_engines(finder, keypoints, settings).map_err(|e| Failure::config(&e))?;
    let mut lifter = match model.kind() {
        ModelKind::Lifter => Some(
            Lifter::new(&watched, model, Precision::F32, &LiftSettings::default())
                .map_err(|e| Failure::config(&e))?,
        ),
        _ => None,
    };
    let wrong = |e: capture::CaptureError| trouble(Chain(&e).to_string());
    let mut source = capture::open(uri, &pictures::PLAIN).map_err(wrong)?;
    let (mut decoder, mut found) = (FrameDecoder::new(), Vec::new());
    while !samples.full() {
        let Some(frame) = pictures::next(source.as_mut()).map_err(wrong)? else { break };
        found.clear();
        let searching = model.kind() == ModelKind::Finder;
        if searching {
            // A finder rests while somebody is followed.
            detector.forget();
        }
        let image = decoder.decode(frame.image()).map_err(|e| trouble(e.to_string()))?;
        detector.detect(&frame, &image, &mut found).map_err(|e| Failure::config(&e))?;
        if let Some(lifter) = &mut lifter {
            follow(lifter, &frame, &found).map_err(|e| Failure::config(&e))?;
        }
    }
    Ok(())
}

/// The surest person, lifted.
fn follow(
    lifter: &mut Lifter,
    frame: &Frame,
    found: &[Keypoints2d],
) -> Result<(), crate::lift::LiftError> {
    let at = frame.captured;
    let (w, h) = (frame.image().width, frame.image().height);
    if let Some(person) = found.iter().max_by(|a, b| a.score.total_cmp(&b.score)) {
        lifter.observe(TrackId(1), at, person, &Intrinsics::from_fov(w, h, 60.0))?;
        Lift::lift(lifter, TrackId(1), at)?;
    }
    Ok(())
}

/// The table, and in 8 bits the network and its streaming graphs.
fn write(out: &Path, model: &ModelSpec, table: &Table) -> Result<(), String> {
    let save = |name: String, bytes: &[u8]| {
        let path = out.join(name);
        std::fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("{}: {} bytes", path.display(), bytes.len());
        Ok::<(), String>(())
    };
    std::fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
    if table.sha256 != hex(&model.sha256) {
        return Err(format!(
            "the table is of another file than {}'s, which it calls {}: calibrate it",
            model.name, table.model
        ));
    }
    let mut parts = vec![(model.name.clone(), model.clone())];
    if model.kind() == ModelKind::Lifter
        && let Some((frame, window)) = model.streaming_parts().map_err(|e| e.to_string())?
    {
        parts.push((format!("{}.frame", model.name), frame));
        parts.push((format!("{}.window", model.name), window));
    }
    for (name, part) in parts {
        let said = |e: String| format!("{name}: {e}");
        let bytes = part.bytes().map_err(|e| e.to_string())?;
        save(format!("{name}.int8.onnx"), &quantise::int8(&bytes, table).map_err(said)?)?;
    }
    save(format!("{}.toml", model.name), table.text()?.as_bytes())?;
    if let (Some(mean), Some(worst)) = (table.golden_mean_mm, table.golden_worst_mm) {
        println!("on its golden windows 8 bits move joints by {mean} mm, by {worst} mm at most");
    }
    Ok(())
}
