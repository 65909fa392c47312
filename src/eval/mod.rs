//! How good is a lifter? Sequences of known truth, lifted as the runtime lifts, and the measures.
//!
//! - [`videopose`]: VideoPose3D's `data_2d_*.npz` and `data_3d_*.npz`; [`mocap`]: our own motion
//!   capture file, seen by stated cameras ([`view`]). Both give [`Sequence`]s.
//! - [`predict`]: a sequence through a lifter, streamed or window by window, mirrored or not.
//! - [`tally`]: predictions and truths to a [`Score`](tally::Score) per action and over all.
//! - [`report`], [`plot`]: text, JSON and a drawing.
//! - [`npz`], [`mod@array`], [`pickle`]: NumPy's files, read as data and never as programs.

pub mod array;
pub mod mocap;
pub mod npz;
pub mod pickle;
pub mod plot;
pub mod predict;
pub mod report;
pub mod tally;
pub mod videopose;
pub mod view;

use crate::camera::Intrinsics;
use crate::lift::{LiftError, Mount};
use crate::pose::Keypoints2d;
use crate::skeleton::{JOINTS, Skeleton};

/// Joints of one pose, Human3.6M-17, metres.
pub type Joints = [[f64; 3]; JOINTS];

/// One person seen by one camera, with the truth.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Who.
    pub subject: String,
    /// Doing what.
    pub action: String,
    /// Which camera, in words.
    pub camera: String,
    /// Frames per second, equally spaced.
    pub rate_hz: f64,
    /// The camera; its picture size is what the keypoints are pixels of.
    pub intrinsics: Intrinsics,
    /// How the camera is held, where that is known.
    pub mount: Option<Mount>,
    /// Of the keypoints.
    pub skeleton: Skeleton,
    /// In pixels, one for each frame.
    pub keypoints: Vec<Keypoints2d>,
    /// In the camera's axes (x right, y down, z forward), one for each frame. Where the pelvis is
    /// does not matter.
    pub truth: Vec<Joints>,
}

/// Why there is no evaluation.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file cannot be read, or does not hold what is needed.
    #[error("{file}: {problem}")]
    Data {
        /// The file.
        file: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// What was asked for cannot be.
    #[error("{0}")]
    Asked(String),
    /// The lifter cannot be loaded, or failed.
    #[error(transparent)]
    Lift(#[from] LiftError),
}

impl EvalError {
    /// An error about a file.
    pub fn data(file: impl std::fmt::Display, problem: impl std::fmt::Display) -> Self {
        Self::Data { file: file.to_string(), problem: problem.to_string() }
    }
}
