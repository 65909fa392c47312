//! What is known about a network: the checked content of its manifest.
//!
//! Numbers that belong to a model (input size, means, decoder, window, rate, threshold) are here
//! and nowhere in code. Manifests are read by [`Catalog`](super::Catalog).

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::EngineError;
use crate::skeleton::{JOINTS, Skeleton};

/// What a network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelKind {
    /// Finds persons in a whole picture: boxes.
    Finder,
    /// Finds one person's keypoints in a crop.
    Keypoints,
    /// Lifts a window of 2D keypoints to 3D joints.
    Lifter,
}

impl ModelKind {
    /// Is it fed with pictures? Lifters are fed with keypoints.
    #[must_use]
    pub const fn sees_pictures(self) -> bool {
        matches!(self, Self::Finder | Self::Keypoints)
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finder => "finder",
            Self::Keypoints => "keypoints",
            Self::Lifter => "lifter",
        })
    }
}

/// Where a file's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asset {
    /// In the binary.
    Embedded(&'static [u8]),
    /// On disk.
    File(PathBuf),
    /// Made from another one, in memory.
    Made(std::sync::Arc<[u8]>),
}

/// One network and everything its manifest says about it.
#[derive(Clone, Debug)]
pub struct ModelSpec {
    /// Its name in configurations, logs and error messages.
    pub name: String,
    /// The manifest's file, for messages.
    pub manifest: String,
    /// The ONNX file.
    pub weights: Asset,
    /// SHA-256 of the ONNX file.
    pub sha256: [u8; 32],
    /// Input and expected output tensors made outside of posewire, to verify a backend at start.
    pub golden: Option<Asset>,
    /// SPDX expression, or words where no identifier fits.
    pub licence: String,
    /// May be used commercially, as far as its authors could tell.
    pub commercial: bool,
    /// What it was trained on.
    pub training_data: String,
    /// When and with which command it was trained.
    pub trained: String,
    /// Model card: what it is for and what it is not for.
    pub card: Option<String>,
    /// Measured errors and costs, as the manifest has them.
    pub measured: toml::Table,
    /// Where its file can be fetched.
    pub source: Option<Source>,
    /// What it does, with what tensors.
    pub task: Task,
}

/// Where a file comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The publisher's own address of it.
    pub url: String,
    /// If that is a ZIP archive: the end of the file's path in it.
    pub member: Option<String>,
}

/// What a network does, with what tensors.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// See [`ModelKind::Finder`].
    Finder(FinderSpec),
    /// See [`ModelKind::Keypoints`].
    Keypoints(KeypointsSpec),
    /// See [`ModelKind::Lifter`].
    Lifter(LifterSpec),
    /// One of the graphs that another model is evaluated by.
    Part(PartSpec),
}

/// The tensors of a part of a lifter; their shapes are without the batch size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSpec {
    /// What it reads.
    pub inputs: Vec<TensorSpec>,
    /// What it writes.
    pub outputs: Vec<TensorSpec>,
}

/// A person finder.
#[derive(Clone, Debug, PartialEq)]
pub struct FinderSpec {
    /// The picture's tensor; the picture is letterboxed into it.
    pub input: ImageInput,
    /// Where the letterboxed picture lies.
    pub letterbox: Letterbox,
    /// How outputs become boxes.
    pub decoder: FinderDecoder,
}

/// A keypoint network for one person's crop.
#[derive(Clone, Debug, PartialEq)]
pub struct KeypointsSpec {
    /// The crop's tensor.
    pub input: ImageInput,
    /// The order of its keypoints.
    pub skeleton: Skeleton,
    /// The person's box is enlarged by this factor about its centre before it is cut out.
    pub crop_scale: f32,
    /// How outputs become keypoints.
    pub decoder: KeypointsDecoder,
}

/// A lifter of 2D windows to 3D.
#[derive(Clone, Debug, PartialEq)]
pub struct LifterSpec {
    /// Slots in a window.
    pub frames: usize,
    /// Values per joint and slot: x, y and, but for [`Normalisation::Screen`], confidence.
    pub features: usize,
    /// Values in the second input `context`; 0 if there is none.
    pub context: usize,
    /// Slots per second.
    pub rate_hz: f64,
    /// Which slot, counted from the newest, the output describes where nothing else is asked
    /// for: the future it has seen.
    pub lookahead: u32,
    /// All that may be asked for.
    pub lookaheads: Vec<u32>,
    /// Skeleton of the 2D input.
    pub input_skeleton: Skeleton,
    /// How pixels become the window's numbers.
    pub normalisation: Normalisation,
    /// Skeleton of the 3D output.
    pub output_skeleton: Skeleton,
    /// Stature of the body that answers are scaled to, metres.
    pub body_height_m: f64,
    /// Graphs that evaluate it slot by slot, where there are any beside the whole-window graph.
    pub streaming: Option<StreamingSpec>,
}

/// A lifter in two graphs, with what is kept of a slot between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamingSpec {
    /// `keypoints` `[M, 17, 3]` and `fresh` `[M, 1]` → `slot` `[M, slot]`; and its SHA-256.
    pub frame: (Asset, [u8; 32]),
    /// `slots` `[N, T, slot]` and `context` → `joints` `[N, 17, 3]`; and its SHA-256.
    pub window: (Asset, [u8; 32]),
    /// Values kept of a slot.
    pub slot: usize,
}

/// How a lifter's input numbers are made from pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// Rays turned into a virtual camera that looks at the person, divided by the person's
    /// apparent size, both those of the newest slot: `INPUT.md` in its first version.
    VirtualCamera,
    /// The same with a camera that is held while it serves, slots on an absolute time grid, and
    /// the newest slot's freshness as an input (`models/train/lifter/INPUT.md`).
    AnchoredVirtualCamera,
    /// The reference P-STMO's: x / w * 2 - 1, y / w * 2 - h / w of the pixel in a picture of w by
    /// h, two values per joint, and the window's slots from the OLDEST to the newest.
    Screen,
}

/// Order of a tensor's colour channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Luma alone.
    Gray,
}

impl Channels {
    /// How many planes the tensor has.
    pub const fn count(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Gray => 1,
        }
    }
}

/// Where a letterboxed picture lies in its tensor; the rest is padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Letterbox {
    /// At the top left.
    TopLeft,
    /// In the middle.
    Centre,
}

/// A picture as a network wants it: `[batch, channels, height, width]`, each value
/// `(pixel - mean) / std` with pixels of 0..255.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageInput {
    /// The tensor's name.
    pub name: String,
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// Channel order.
    pub channels: Channels,
    /// Per channel in the tensor's order, 0..255; the first alone counts for grey.
    pub mean: [f32; 3],
    /// Per channel in the tensor's order, 0..255; the first alone counts for grey.
    pub std: [f32; 3],
    /// What lies outside of the picture, 0..255 in every channel.
    pub pad: f32,
}

/// What has to be done to a score to make it a probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// Nothing: it is one.
    #[default]
    None,
    /// It is a logit.
    Sigmoid,
}

/// The unit of an anchor-free head's distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DistanceUnit {
    /// Multiples of the level's stride.
    Strides,
    /// Pixels of the network's input.
    Pixels,
}

/// How a finder's outputs become boxes.
#[derive(Clone, Debug, PartialEq)]
pub enum FinderDecoder {
    /// Boxes in input pixels with non-maximum suppression done in the network.
    Boxes(BoxesDecoder),
    /// Maps of scores and of distances to the four sides, one pair per stride.
    AnchorFree(AnchorFreeDecoder),
}

/// `dets` `[1, N, 5]`: left, top, right, bottom in input pixels, score; `labels` `[1, N]`.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxesDecoder {
    /// The boxes' tensor.
    pub dets: String,
    /// The classes' tensor, where there is more than one class.
    pub labels: Option<String>,
    /// How many boxes the network gives.
    pub count: usize,
    /// The class of persons.
    pub person: usize,
    /// Boxes below this score are no persons.
    pub score_threshold: f32,
}

/// Per level: `scores` `[1, C, H/s, W/s]`, `boxes` `[1, 4, H/s, W/s]` = distances from the cell's
/// reference point to the left, top, right and bottom side.
#[derive(Clone, Debug, PartialEq)]
pub struct AnchorFreeDecoder {
    /// The levels.
    pub levels: Vec<AnchorFreeLevel>,
    /// Unit of the distances.
    pub distances: DistanceUnit,
    /// What makes the scores probabilities.
    pub activation: Activation,
    /// Number of score channels.
    pub classes: usize,
    /// The channel of persons.
    pub person: usize,
    /// Cell (i, j) stands for the input point ((i + cell_offset) * stride, ...), counted from the
    /// tensor's left and top edges: 0.5 is the cell's centre.
    pub cell_offset: f32,
    /// Boxes below this score are no persons.
    pub score_threshold: f32,
    /// Of two boxes that overlap by more than this, the lower score is dropped.
    pub nms_iou: f32,
}

/// One level of an anchor-free head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorFreeLevel {
    /// Input pixels per cell.
    pub stride: usize,
    /// The score tensor's name.
    pub scores: String,
    /// The distance tensor's name.
    pub boxes: String,
}

/// How a keypoint network's outputs become keypoints.
#[derive(Clone, Debug, PartialEq)]
pub enum KeypointsDecoder {
    /// One map per keypoint.
    Heatmap(HeatmapDecoder),
    /// Two vectors per keypoint (SimCC, arXiv 2107.03332).
    SimCc(SimCcDecoder),
}

/// `heatmaps` `[1, 17, H/stride, W/stride]`: the peak is the keypoint, its height the confidence.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatmapDecoder {
    /// The tensor's name.
    pub heatmaps: String,
    /// Input pixels per cell.
    pub stride: usize,
    /// How the peak is found below a cell's size.
    pub refine: Refine,
    /// Size of the Gaussian blur before the refinement, in cells, odd; 0 or 1: none.
    pub blur: usize,
    /// What makes the peak's value a confidence.
    pub activation: Activation,
    /// Cell (i, j) stands for the input point ((i + cell_offset) * stride, ...), counted from the
    /// tensor's left and top edges: 0.5 is the cell's centre.
    pub cell_offset: f32,
    /// A person whose mean confidence is below this is not a person.
    pub score_threshold: f32,
}

/// Sub-cell refinement of a heatmap's peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refine {
    /// The cell itself.
    None,
    /// A parabola through the peak and its neighbours, along each axis.
    Parabola,
    /// Taylor expansion of the log heatmap (DARK, arXiv 1910.06278).
    Dark,
}

/// `x` `[1, 17, W * split_ratio]` and `y` `[1, 17, H * split_ratio]`: the peak's index divided by
/// the ratio is the coordinate in input pixels (pixel centres at whole numbers); the confidence
/// is the smaller of the two peaks.
#[derive(Clone, Debug, PartialEq)]
pub struct SimCcDecoder {
    /// The horizontal vectors' tensor.
    pub x: String,
    /// The vertical vectors' tensor.
    pub y: String,
    /// Bins per pixel.
    pub split_ratio: f32,
    /// What makes the peak's value a confidence.
    pub activation: Activation,
    /// A person whose mean confidence is below this is not a person.
    pub score_threshold: f32,
}

/// A tensor's name and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name in the ONNX graph. Outputs need not be outputs of the graph: any tensor of it
    /// may be named, which cuts off what comes after it.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    fn batched(&self, batch: usize) -> Self {
        let shape = std::iter::once(batch).chain(self.shape.iter().copied()).collect();
        Self { name: self.name.clone(), shape }
    }
}

impl ModelSpec {
    /// What it is for.
    pub fn kind(&self) -> ModelKind {
        match self.task {
            Task::Finder(_) => ModelKind::Finder,
            Task::Keypoints(_) => ModelKind::Keypoints,
            Task::Lifter(_) | Task::Part(_) => ModelKind::Lifter,
        }
    }

    /// A lifter's per-frame and per-window graphs as models of their own, if it has them.
    ///
    /// # Errors
    /// If it is no lifter.
    pub fn streaming_parts(&self) -> Result<Option<(Self, Self)>, EngineError> {
        let lifter = self.lifter()?;
        let Some(streaming) = &lifter.streaming else { return Ok(None) };
        let part = |of: &str, (weights, sha256): &(Asset, [u8; 32]), inputs, outputs| Self {
            name: format!("{}, {of}", self.name),
            weights: weights.clone(),
            sha256: *sha256,
            golden: None,
            task: Task::Part(PartSpec { inputs, outputs }),
            ..self.clone()
        };
        let (t, slot) = (lifter.frames, streaming.slot);
        let frame = part(
            "per frame",
            &streaming.frame,
            vec![tensor("keypoints", [JOINTS, 3]), tensor("fresh", [1])],
            vec![tensor("slot", [slot])],
        );
        let window = part(
            "per window",
            &streaming.window,
            vec![tensor("slots", [t, slot]), tensor("context", [lifter.context])],
            vec![tensor("joints", [JOINTS, 3])],
        );
        Ok(Some((frame, window)))
    }

    /// An error about this model.
    pub fn problem(&self, problem: impl Into<String>) -> EngineError {
        EngineError::Model { model: self.name.clone(), problem: problem.into() }
    }

    fn not_a(&self, kind: ModelKind) -> EngineError {
        self.problem(format!(
            "it is a {} model where a {kind} model is needed; name another one",
            self.kind()
        ))
    }

    /// What it says as a finder.
    ///
    /// # Errors
    /// If it is none.
    pub fn finder(&self) -> Result<&FinderSpec, EngineError> {
        match &self.task {
            Task::Finder(s) => Ok(s),
            _ => Err(self.not_a(ModelKind::Finder)),
        }
    }

    /// What it says as a keypoint network.
    ///
    /// # Errors
    /// If it is none.
    pub fn keypoints(&self) -> Result<&KeypointsSpec, EngineError> {
        match &self.task {
            Task::Keypoints(s) => Ok(s),
            _ => Err(self.not_a(ModelKind::Keypoints)),
        }
    }

    /// What it says as a lifter.
    ///
    /// # Errors
    /// If it is none.
    pub fn lifter(&self) -> Result<&LifterSpec, EngineError> {
        match &self.task {
            Task::Lifter(s) => Ok(s),
            _ => Err(self.not_a(ModelKind::Lifter)),
        }
    }

    /// The ONNX file's bytes, after comparing them with the manifest's hash.
    ///
    /// # Errors
    /// If the file is missing or is another one.
    pub fn bytes(&self) -> Result<Cow<'static, [u8]>, EngineError> {
        let bytes = self.read(&self.weights)?;
        let found = sha256(&bytes);
        if found != self.sha256 {
            return Err(self.problem(format!(
                "{} is not the file that {} describes: its SHA-256 is {}, the manifest says {}. \
                 Fetch the file again, or correct `sha256` if the change was meant",
                self.weights,
                self.manifest,
                hex(&found),
                hex(&self.sha256)
            )));
        }
        Ok(bytes)
    }

    /// The golden file's bytes, if the manifest names one.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn golden_bytes(&self) -> Result<Option<Cow<'static, [u8]>>, EngineError> {
        self.golden.as_ref().map(|asset| self.read(asset)).transpose()
    }

    fn read(&self, asset: &Asset) -> Result<Cow<'static, [u8]>, EngineError> {
        match asset {
            Asset::Embedded(bytes) => Ok(Cow::Borrowed(bytes)),
            Asset::Made(bytes) => Ok(Cow::Owned(bytes.to_vec())),
            Asset::File(path) => std::fs::read(path).map(Cow::Owned).map_err(|e| {
                self.problem(format!(
                    "{} cannot be read: {e}. Put the file there, or correct `file` in {}",
                    path.display(),
                    self.manifest
                ))
            }),
        }
    }

    /// The tensors it reads, at a batch size, in the order in which an engine takes them.
    pub fn inputs(&self, batch: usize) -> Vec<TensorSpec> {
        let image =
            |i: &ImageInput| vec![tensor(&i.name, [batch, i.channels.count(), i.height, i.width])];
        match &self.task {
            Task::Finder(s) => image(&s.input),
            Task::Keypoints(s) => image(&s.input),
            Task::Lifter(s) => {
                let mut all = vec![tensor("window", [batch, s.frames, JOINTS, s.features])];
                if s.normalisation == Normalisation::AnchoredVirtualCamera {
                    all.push(tensor("fresh", [batch, 1]));
                }
                if s.context > 0 {
                    all.push(tensor("context", [batch, s.context]));
                }
                all
            }
            Task::Part(s) => s.inputs.iter().map(|t| t.batched(batch)).collect(),
        }
    }

    /// The tensors it writes, at a batch size, in the order in which an engine gives them: for
    /// anchor-free heads the levels' scores, then the levels' boxes.
    pub fn outputs(&self, batch: usize) -> Vec<TensorSpec> {
        match &self.task {
            Task::Finder(FinderSpec { input, decoder, .. }) => match decoder {
                FinderDecoder::Boxes(d) => {
                    let mut all = vec![tensor(&d.dets, [batch, d.count, 5])];
                    all.extend(d.labels.iter().map(|l| tensor(l, [batch, d.count])));
                    all
                }
                FinderDecoder::AnchorFree(d) => {
                    let cells = |s: usize| (input.height.div_ceil(s), input.width.div_ceil(s));
                    let scores = d.levels.iter().map(|l| {
                        let (h, w) = cells(l.stride);
                        tensor(&l.scores, [batch, d.classes, h, w])
                    });
                    let boxes = d.levels.iter().map(|l| {
                        let (h, w) = cells(l.stride);
                        tensor(&l.boxes, [batch, 4, h, w])
                    });
                    scores.chain(boxes).collect()
                }
            },
            Task::Keypoints(KeypointsSpec { input, decoder, .. }) => match decoder {
                KeypointsDecoder::Heatmap(d) => {
                    let (h, w) = (input.height / d.stride, input.width / d.stride);
                    vec![tensor(&d.heatmaps, [batch, JOINTS, h, w])]
                }
                KeypointsDecoder::SimCc(d) => {
                    let bins = |n: usize| (n as f32 * d.split_ratio).round() as usize;
                    vec![
                        tensor(&d.x, [batch, JOINTS, bins(input.width)]),
                        tensor(&d.y, [batch, JOINTS, bins(input.height)]),
                    ]
                }
            },
            Task::Lifter(_) => vec![tensor("joints", [batch, JOINTS, 3])],
            Task::Part(s) => s.outputs.iter().map(|t| t.batched(batch)).collect(),
        }
    }
}

fn tensor(name: &str, shape: impl Into<Vec<usize>>) -> TensorSpec {
    TensorSpec { name: name.to_owned(), shape: shape.into() }
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(_) => f.write_str("the embedded file"),
            Self::File(path) => path.display().fmt(f),
            Self::Made(_) => f.write_str("the converted file"),
        }
    }
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, b| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{b:02x}");
        text
    })
}
