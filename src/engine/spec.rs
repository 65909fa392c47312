//! What is known about a network: the checked content of its manifest.
//!
//! Numbers that belong to a model (input size, means, decoder, window, rate, threshold) are here
//! and nowhere in code. Manifests are read by [`Catalog`](super::Catalog).

mod lifter;
mod onestage;
mod picture;

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::EngineError;
use crate::skeleton::JOINTS;
pub use lifter::*;
pub use onestage::*;
pub use picture::*;

/// What a network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelKind {
    /// Finds persons in a whole picture: boxes.
    Finder,
    /// Finds one person's keypoints in a crop.
    Keypoints,
    /// Finds all persons of a picture together with their keypoints.
    OneStage,
    /// Lifts a window of 2D keypoints to 3D joints.
    Lifter,
}

impl ModelKind {
    /// Is it fed with pictures? Lifters are fed with keypoints.
    #[must_use]
    pub const fn sees_pictures(self) -> bool {
        matches!(self, Self::Finder | Self::Keypoints | Self::OneStage)
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finder => "finder",
            Self::Keypoints => "keypoints",
            Self::OneStage => "one-stage",
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
    /// See [`ModelKind::OneStage`].
    OneStage(OneStageSpec),
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
            Task::OneStage(_) => ModelKind::OneStage,
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

    /// What it says as a one-stage network.
    ///
    /// # Errors
    /// If it is none.
    pub fn one_stage(&self) -> Result<&OneStageSpec, EngineError> {
        match &self.task {
            Task::OneStage(s) => Ok(s),
            _ => Err(self.not_a(ModelKind::OneStage)),
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
            Task::OneStage(s) => image(&s.input),
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
                KeypointsDecoder::Coordinates(d) => {
                    vec![tensor(&d.keypoints, [batch, 1, JOINTS, 3])]
                }
            },
            Task::OneStage(s) => s.decoder.outputs(batch),
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
