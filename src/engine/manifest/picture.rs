//! The tables of networks that see pictures.

use serde::Deserialize;
use toml::{Table, Value};

use super::{Checked, Written, from_table, onestage, wrong};
use crate::engine::ModelKind;
use crate::engine::spec::*;

/// What the manifest of a network that sees pictures says it does.
pub(super) fn task(w: &Written, input: Table, mut decoder: Table) -> Checked<Task> {
    let written: WrittenImage = from_table(input, "input")?;
    let letterbox = written.letterbox;
    let input = image(written)?;
    let kind = match decoder.remove("type") {
        Some(Value::String(kind)) => kind,
        _ => return wrong("decoder.type", "is missing: say how the outputs are to be read"),
    };
    if w.kind == ModelKind::Keypoints {
        if letterbox.is_some() {
            return wrong("input.letterbox", "a crop is not letterboxed; remove the key");
        }
        return keypoints(w, input, &kind, decoder).map(Task::Keypoints);
    }
    let Some(letterbox) = letterbox else {
        return wrong("input.letterbox", "is missing: write \"top-left\" or \"centre\"");
    };
    if w.kind == ModelKind::OneStage {
        let skeleton = skeleton(w)?;
        let decoder = onestage::decoder(&kind, decoder)?;
        return Ok(Task::OneStage(OneStageSpec { input, letterbox, skeleton, decoder }));
    }
    let decoder = match kind.as_str() {
        "boxes" => FinderDecoder::Boxes(boxes(from_table(decoder, "decoder")?)?),
        "anchor-free" => FinderDecoder::AnchorFree(anchor_free(from_table(decoder, "decoder")?)?),
        other => {
            let known = "a finder's is \"boxes\" or \"anchor-free\"";
            return wrong("decoder.type", format!("{other:?} is not known; {known}"));
        }
    };
    Ok(Task::Finder(FinderSpec { input, letterbox, decoder }))
}

fn keypoints(w: &Written, input: ImageInput, kind: &str, decoder: Table) -> Checked<KeypointsSpec> {
    let decoder = match kind {
        "heatmap" => KeypointsDecoder::Heatmap(heatmap(from_table(decoder, "decoder")?, &input)?),
        "simcc" => KeypointsDecoder::SimCc(simcc(from_table(decoder, "decoder")?)?),
        "coordinates" => {
            KeypointsDecoder::Coordinates(coordinates(from_table(decoder, "decoder")?)?)
        }
        other => {
            let known = "a keypoint model's is \"heatmap\", \"simcc\" or \"coordinates\"";
            return wrong("decoder.type", format!("{other:?} is not known; {known}"));
        }
    };
    let skeleton = skeleton(w)?;
    let crop_scale = match w.crop_scale {
        None => return wrong("crop_scale", "is missing: how much larger than the box the crop is"),
        Some(s) if !(0.5..=4.0).contains(&s) => {
            return wrong("crop_scale", format!("{s} is outside 0.5..4"));
        }
        Some(s) => s,
    };
    Ok(KeypointsSpec { input, skeleton, crop_scale, decoder })
}

fn skeleton(w: &Written) -> Checked<crate::skeleton::Skeleton> {
    match w.skeleton {
        Some(skeleton) => Ok(skeleton),
        None => wrong("skeleton", "is missing: which keypoints, in which order (\"coco17\")"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenImage {
    name: String,
    width: usize,
    height: usize,
    channels: Channels,
    mean: Vec<f32>,
    std: Vec<f32>,
    layout: Layout,
    #[serde(default)]
    pad: f32,
    letterbox: Option<Letterbox>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Layout {
    Nchw,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenBoxes {
    dets: String,
    labels: Option<String>,
    count: usize,
    #[serde(default)]
    person: usize,
    score_threshold: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAnchorFree {
    strides: Vec<usize>,
    scores: OneOrMany,
    boxes: OneOrMany,
    distances: DistanceUnit,
    #[serde(default)]
    activation: Activation,
    #[serde(default = "one")]
    classes: usize,
    #[serde(default)]
    person: usize,
    #[serde(default = "half")]
    cell_offset: f32,
    score_threshold: f32,
    nms_iou: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHeatmap {
    heatmaps: String,
    stride: usize,
    refine: Refine,
    #[serde(default)]
    blur: usize,
    /// Of the training targets, in cells: said for the record, no decoder needs it.
    #[serde(default)]
    #[expect(dead_code, reason = "for the record")]
    sigma: Option<f32>,
    #[serde(default)]
    activation: Activation,
    #[serde(default = "half")]
    cell_offset: f32,
    score_threshold: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSimCc {
    x: String,
    y: String,
    split_ratio: f32,
    #[serde(default)]
    activation: Activation,
    score_threshold: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCoordinates {
    keypoints: String,
    score_threshold: f32,
}

/// A tensor's name, or one per level.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Many(names) => names,
        }
    }
}

fn one() -> usize {
    1
}

fn half() -> f32 {
    0.5
}

fn image(w: WrittenImage) -> Checked<ImageInput> {
    let Layout::Nchw = w.layout;
    for (key, n) in [("input.width", w.width), ("input.height", w.height)] {
        if !(16..=4096).contains(&n) {
            return wrong(key, format!("{n} is outside 16..4096 pixels"));
        }
    }
    let channels = w.channels.count();
    let three = |key: &str, values: &[f32]| match *values {
        _ if values.len() != channels => {
            wrong(key, format!("has {} values for {channels} channels", values.len()))
        }
        [a] => Ok([a, a, a]),
        [a, b, c] => Ok([a, b, c]),
        _ => wrong(key, "one value per channel is needed"),
    };
    let (mean, std) = (three("input.mean", &w.mean)?, three("input.std", &w.std)?);
    if !mean.iter().all(|v| v.is_finite()) {
        return wrong("input.mean", "must be finite");
    }
    if !std.iter().all(|v| v.is_finite() && *v > 0.0) {
        return wrong("input.std", "must be positive: values are divided by it");
    }
    if !(0.0..=255.0).contains(&w.pad) {
        return wrong("input.pad", format!("{} is outside 0..255", w.pad));
    }
    let WrittenImage { name, width, height, channels, pad, .. } = w;
    Ok(ImageInput { name, width, height, channels, mean, std, pad })
}

pub(super) fn share(key: &str, value: f32) -> Checked<f32> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        wrong(key, format!("{value} is outside 0..1"))
    }
}

fn boxes(w: WrittenBoxes) -> Checked<BoxesDecoder> {
    if w.count == 0 {
        return wrong("decoder.count", "0 boxes is no finder");
    }
    Ok(BoxesDecoder {
        dets: w.dets,
        labels: w.labels,
        count: w.count,
        person: w.person,
        score_threshold: share("decoder.score_threshold", w.score_threshold)?,
    })
}

fn anchor_free(w: WrittenAnchorFree) -> Checked<AnchorFreeDecoder> {
    let (scores, boxes) = (w.scores.into_vec(), w.boxes.into_vec());
    for (key, n) in [("decoder.scores", scores.len()), ("decoder.boxes", boxes.len())] {
        if n != w.strides.len() || n == 0 {
            return wrong(key, format!("names {n} tensors for {} strides", w.strides.len()));
        }
    }
    if w.strides.contains(&0) {
        return wrong("decoder.strides", "a stride of 0 is no stride");
    }
    if w.person >= w.classes {
        return wrong("decoder.person", format!("{} of {} classes", w.person, w.classes));
    }
    let levels = w
        .strides
        .into_iter()
        .zip(scores.into_iter().zip(boxes))
        .map(|(stride, (scores, boxes))| AnchorFreeLevel { stride, scores, boxes })
        .collect();
    Ok(AnchorFreeDecoder {
        levels,
        distances: w.distances,
        activation: w.activation,
        classes: w.classes,
        person: w.person,
        cell_offset: share("decoder.cell_offset", w.cell_offset)?,
        score_threshold: share("decoder.score_threshold", w.score_threshold)?,
        nms_iou: share("decoder.nms_iou", w.nms_iou)?,
    })
}

fn heatmap(w: WrittenHeatmap, input: &ImageInput) -> Checked<HeatmapDecoder> {
    if w.stride == 0 || ![input.width, input.height].iter().all(|n| n.is_multiple_of(w.stride)) {
        let size = format!("{} x {}", input.width, input.height);
        return wrong("decoder.stride", format!("{} does not divide the input {size}", w.stride));
    }
    if w.blur > 31 || (w.blur > 0 && w.blur.is_multiple_of(2)) {
        return wrong("decoder.blur", format!("{} is not an odd size of at most 31", w.blur));
    }
    if w.blur > (input.width / w.stride).min(input.height / w.stride) {
        return wrong("decoder.blur", format!("{} is larger than the map", w.blur));
    }
    Ok(HeatmapDecoder {
        heatmaps: w.heatmaps,
        stride: w.stride,
        refine: w.refine,
        blur: w.blur,
        activation: w.activation,
        cell_offset: share("decoder.cell_offset", w.cell_offset)?,
        score_threshold: share("decoder.score_threshold", w.score_threshold)?,
    })
}

fn simcc(w: WrittenSimCc) -> Checked<SimCcDecoder> {
    if !(0.25..=16.0).contains(&w.split_ratio) {
        return wrong("decoder.split_ratio", format!("{} is outside 0.25..16", w.split_ratio));
    }
    Ok(SimCcDecoder {
        x: w.x,
        y: w.y,
        split_ratio: w.split_ratio,
        activation: w.activation,
        score_threshold: share("decoder.score_threshold", w.score_threshold)?,
    })
}

fn coordinates(w: WrittenCoordinates) -> Checked<CoordinatesDecoder> {
    let score_threshold = share("decoder.score_threshold", w.score_threshold)?;
    Ok(CoordinatesDecoder { keypoints: w.keypoints, score_threshold })
}
