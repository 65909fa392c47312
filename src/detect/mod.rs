//! From pixels to people: 2D keypoints.
//!
//! - [`topdown`]: the usual detector: finds persons, follows them, reads their keypoints. Start here.
//! - [`onestage`]: the other one: a single network that does it all in one look.
//! - `finder`, `keypoints`: its two networks, each with its way in and out; `settings`;
//! - [`preprocess`]: the camera's pixels to an input tensor;
//! - [`decode`]: output tensors to boxes and keypoints.
//! - [`verify`]: does a network answer as it does on the CPU?

mod crop;
pub mod decode;
mod finder;
mod keypoints;
mod network;
pub mod onestage;
pub mod preprocess;
mod settings;
pub mod topdown;
mod verify;

pub use crop::Crop;
pub use onestage::OneStage;
pub use settings::DetectorSettings;
pub use topdown::TopDown;
pub use verify::{Scene, verify};

pub mod truth;

use crate::engine::EngineError;
use crate::fault::{Fault, Severity};
use crate::frame::{Frame, ImageView};
use crate::pose::Keypoints2d;
use crate::skeleton::Skeleton;

/// Finds persons and their keypoints in one picture.
///
/// Detectors keep what they need between frames (whom they follow, when they last searched).
pub trait Detector: Send {
    /// The skeleton of its keypoints.
    fn skeleton(&self) -> Skeleton;

    /// Appends every person in the picture to `found`, in pixels of `image`, best first.
    /// `frame` is where the picture came from (its time, its number); `image` its decoded pixels.
    ///
    /// # Errors
    /// Skippable ones cost this frame's detections only.
    fn detect(
        &mut self,
        frame: &Frame,
        image: &ImageView<'_>,
        found: &mut Vec<Keypoints2d>,
    ) -> Result<(), DetectError>;

    /// One line: which models, on what.
    fn describe(&self) -> String;

    /// Looks for newcomers so many times more rarely than configured (1: as configured), where
    /// that saves work: the machine cannot keep up.
    fn set_search_stride(&mut self, stride: u32) {
        let _ = stride;
    }

    /// Lets other engines compute from here on, if any are waiting: between two frames. Whom it
    /// follows stays followed.
    fn exchange(&mut self) {}
}

/// Why a picture gave no keypoints.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The picture's pixels cannot be used.
    #[error("picture: {0}")]
    Picture(String),
    /// A network failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A network gave what cannot be.
    #[error("model {model}: {problem}")]
    Output {
        /// The model's name.
        model: String,
        /// What it gave.
        problem: String,
    },
    /// A setting is out of range.
    #[error("detector settings: {0}")]
    Settings(String),
}

impl DetectError {
    fn output(model: &str, problem: &impl std::fmt::Display) -> Self {
        Self::Output { model: model.to_owned(), problem: problem.to_string() }
    }
}

impl Fault for DetectError {
    fn severity(&self) -> Severity {
        match self {
            Self::Picture(_) | Self::Output { .. } => Severity::Skip,
            Self::Settings(_) => Severity::Fatal,
            Self::Engine(e) => e.severity(),
        }
    }
}
