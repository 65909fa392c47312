//! A manifest for a public ONNX file: its family says how pixels go in and how outputs are read,
//! the graph itself says names and sizes.
//!
//! - `topdown`, `onestage`: what the shapes of outputs say about how they are read;
//! - `adapt`: graphs that want pictures otherwise than posewire makes them are changed.

mod adapt;
mod onestage;
mod topdown;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::catalog::Beside;
use super::spec::{Asset, hex, sha256};
use super::tract::{Interface, interface};
use super::{EngineError, ModelKind, ModelSpec, manifest};

/// A family of models that are fed and read alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// RTMPose and other SimCC models of MMPose: two vectors per keypoint
    Rtmpose,
    /// PP-TinyPose and other heatmap models of PaddleDetection
    Tinypose,
    /// HRNet, SimpleBaseline, LiteHRNet, ViTPose: heatmap models of MMPose
    Heatmap,
    /// RTMDet with one class and raw heads: a map of scores and one of distances per stride
    Rtmdet,
    /// RTMO of MMPose: all persons in one look; boxes and keypoints
    Rtmo,
    /// YOLOX-Pose of MMPose: all persons in one look; boxes and keypoints
    YoloxPose,
    /// YOLOv8-pose, YOLO11-pose and their successors of Ultralytics: all persons in one look
    YoloPose,
    /// MoveNet: SinglePose for one person's crop, MultiPose for all persons in one look
    Movenet,
}

/// How a family's networks are fed.
struct Picture {
    channels: &'static str,
    mean: &'static str,
    std: &'static str,
    pad: Option<u8>,
    letterbox: Option<&'static str>,
}

impl Family {
    fn picture(self) -> Picture {
        let (channels, mean, std) = match self {
            Self::Rtmdet => ("bgr", "[103.53, 116.28, 123.675]", "[57.375, 57.12, 58.395]"),
            Self::Rtmo | Self::YoloxPose => ("bgr", "[0.0, 0.0, 0.0]", "[1.0, 1.0, 1.0]"),
            Self::YoloPose => ("rgb", "[0.0, 0.0, 0.0]", "[255.0, 255.0, 255.0]"),
            Self::Movenet => ("rgb", "[0.0, 0.0, 0.0]", "[1.0, 1.0, 1.0]"),
            Self::Rtmpose | Self::Tinypose | Self::Heatmap => ("rgb", MEAN, STD),
        };
        let (letterbox, pad) = match self {
            Self::Rtmdet | Self::Rtmo | Self::YoloxPose => (Some("top-left"), Some(114)),
            Self::YoloPose => (Some("centre"), Some(114)),
            Self::Movenet => (Some("centre"), Some(0)),
            Self::Rtmpose | Self::Tinypose | Self::Heatmap => (None, None),
        };
        Picture { channels, mean, std, pad, letterbox }
    }

    /// The licence that its publisher gives, where they are all one publisher's.
    fn usual_licence(self) -> &'static str {
        match self {
            Self::YoloPose => "AGPL-3.0-only, or Ultralytics' enterprise licence",
            _ => "not known: ask its publisher",
        }
    }

    /// What whoever brings such a model should know.
    pub fn note(self) -> Option<&'static str> {
        match self {
            Self::YoloPose => Some(
                "Ultralytics publishes its models under the AGPL-3.0: whoever offers them to others, \
                 over a network, too, owes them the source of the whole, or needs an enterprise \
                 licence",
            ),
            _ => None,
        }
    }
}

/// What the graph does not say.
#[derive(Clone, Debug)]
pub struct Import<'a> {
    /// How it is fed and read.
    pub family: Family,
    /// Its name; the file's, without ending, if none is given.
    pub name: Option<&'a str>,
    /// Width and height of the input, where the graph leaves them open.
    pub size: Option<(usize, usize)>,
    /// Its publisher's licence; what its family usually has, if none is given.
    pub licence: Option<&'a str>,
    /// May it be used commercially?
    pub commercial: bool,
}

/// ImageNet's statistics, 0..255, red first.
const MEAN: &str = "[123.675, 116.28, 103.53]";
const STD: &str = "[58.395, 57.12, 57.375]";

/// What became of a file.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The text of its manifest.
    pub manifest: String,
    /// What that says.
    pub spec: ModelSpec,
    /// Where the network is to be written, and its bytes, if posewire could not feed the file as it
    /// is: the manifest names this one then.
    pub converted: Option<(PathBuf, Vec<u8>)>,
}

/// A manifest for the ONNX file at `onnx`, and what it says.
///
/// # Errors
/// If the file is no network, or not one of that family, with what it is instead.
pub fn describe(onnx: &Path, how: &Import) -> Result<Imported, EngineError> {
    let shown = onnx.display().to_string();
    let trouble = |problem: String| EngineError::Model { model: shown.clone(), problem };
    let bytes = std::fs::read(onnx).map_err(|e| trouble(format!("cannot be read: {e}")))?;
    let file = onnx
        .file_name()
        .and_then(|n| n.to_str())
        .ok_or_else(|| trouble("has no usable file name; rename it".to_owned()))?;
    let adapted = adapt::adapt(&bytes).map_err(trouble)?;
    let bytes = adapted.as_deref().unwrap_or(&bytes);
    let graph = interface(bytes, how.size)
        .map_err(|problem| trouble(format!("{problem}{}", adapt::hint(bytes))))?;
    let Reading { kind, decoder } = reading(&graph, how.family).map_err(trouble)?;
    let stem = file.strip_suffix(".onnx").unwrap_or(file);
    let converted = adapted.as_ref().map(|_| format!("{stem}.posewire.onnx"));
    let extra = match kind {
        ModelKind::Keypoints => "skeleton = \"coco17\"\ncrop_scale = 1.25\n",
        ModelKind::OneStage => "skeleton = \"coco17\"\n",
        _ => "",
    };
    let Picture { channels, mean, std, pad, letterbox } = how.family.picture();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "# Written by `posewire models import`. What the file does not say is how its family \
         usually is: check the\n# licence, and the numbers of [input] and [decoder], against its \
         publisher's.\n\
         name = {}\nkind = \"{kind}\"\nfile = {}\nsha256 = \"{}\"\nlicence = {}\n\
         commercial = {}\ntraining_data = \"not known: see its publisher\"\n\
         trained = \"by its publisher\"\n{extra}\n\
         [input]\nname = {}\nwidth = {}\nheight = {}\nchannels = \"{channels}\"\nmean = {mean}\n\
         std = {std}\nlayout = \"nchw\"\n",
        quoted(how.name.unwrap_or(stem)),
        quoted(converted.as_deref().unwrap_or(file)),
        hex(&sha256(bytes)),
        quoted(how.licence.unwrap_or(how.family.usual_licence())),
        how.commercial,
        quoted(&graph.input),
        graph.width,
        graph.height,
    );
    if let Some(place) = letterbox.filter(|_| kind != ModelKind::Keypoints) {
        let _ = writeln!(text, "letterbox = \"{place}\"");
    }
    if let Some(pad) = pad {
        let _ = writeln!(text, "pad = {pad}");
    }
    let _ = write!(text, "\n[decoder]\n{decoder}");
    let folder = onnx.parent().unwrap_or(Path::new("."));
    let mut spec = manifest::read(&shown, &text, &Beside(folder))?;
    let converted = converted.map(|name| folder.join(name)).zip(adapted);
    if let Some((_, bytes)) = &converted {
        // It is not on the disk before somebody has looked whether it works.
        spec.weights = Asset::Made(bytes.as_slice().into());
    }
    Ok(Imported { manifest: text, spec, converted })
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// What the shapes of a network's outputs say about it.
struct Reading {
    kind: ModelKind,
    /// The manifest's `[decoder]`, without its heading.
    decoder: String,
}

fn reading(graph: &Interface, family: Family) -> Result<Reading, String> {
    let of = |kind| move |decoder| Reading { kind, decoder };
    match family {
        Family::Rtmpose => topdown::simcc(graph).map(of(ModelKind::Keypoints)),
        Family::Tinypose => topdown::heatmap(graph, 3).map(of(ModelKind::Keypoints)),
        Family::Heatmap => topdown::heatmap(graph, 11).map(of(ModelKind::Keypoints)),
        Family::Rtmdet => topdown::anchor_free(graph).map(of(ModelKind::Finder)),
        Family::Rtmo | Family::YoloxPose => onestage::instances(graph).map(of(ModelKind::OneStage)),
        Family::YoloPose => onestage::yolo_pose(graph).map(of(ModelKind::OneStage)),
        Family::Movenet => match onestage::single_pose(graph) {
            Some(decoder) => Ok(of(ModelKind::Keypoints)(decoder)),
            None => onestage::multi_pose(graph).map(of(ModelKind::OneStage)),
        },
    }
}

/// That a network is of another family, which would have `wanted`.
fn not_so(graph: &Interface, wanted: &str) -> String {
    let has: Vec<_> = graph.outputs.iter().map(|(n, s)| format!("{n:?} {s:?}")).collect();
    format!(
        "is not of this family: {wanted} wanted, and it has {}; try another --as, or write a \
         manifest by hand",
        has.join(", ")
    )
}

#[cfg(test)]
mod tests;
