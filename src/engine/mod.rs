//! Running networks: the one seam between posewire and whatever computes.
//!
//! A [`Backend`] is a way to compute (tract on the CPU; TensorRT on the GPU), an [`Engine`] is one
//! network loaded by it, a [`ModelSpec`] is what a manifest says about that network.
//!
//! - [`catalog`]: which networks there are, and which one to take. Start here.
//! - [`spec`]: what is known about a network, checked; `manifest` reads it from TOML.
//! - [`import`]: a manifest for a public file of a known family.
//! - [`offer`]: public models that can be fetched.
//! - [`sampling`]: how an input is made of a picture, for engines that do it themselves.
//! - [`tract`]: the CPU backend; [`pstmo`] is our own evaluator of lifters, which it uses where it
//!   can.
//! - [`streaming`]: lifters evaluated slot by slot.
//! - [`onnx`]: ONNX files read, changed and written; [`quantise`]: networks in fewer bits.
//! - [`gate`]: does a loaded network answer as the trained one, and which one is fastest?
//! - [`ladder`]: the fastest precision that is right.
//! - [`exchange`]: one backend now, a faster one as soon as its engines are built, and back.

pub mod catalog;
pub mod exchange;
pub mod gate;
pub mod half_typed;
pub mod import;
pub mod ladder;
mod manifest;
pub mod offer;
pub mod onnx;
pub mod pstmo;
pub mod quantise;
pub mod sampling;
pub mod spec;
pub mod streaming;
pub mod tensorrt;
#[cfg(test)]
pub(crate) mod tiny;
pub mod tract;

pub use catalog::Catalog;
pub use spec::{ModelKind, ModelSpec};

use serde::{Deserialize, Serialize};

use self::gate::Budget;
use self::sampling::Sampling;
use crate::fault::{Fault, Severity};
use crate::pose::Computed;

/// A tensor that an engine reads: row-major `f32`.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    /// Sizes, outermost first.
    pub shape: &'a [usize],
    /// As many values as the sizes' product.
    pub data: &'a [f32],
}

/// A tensor that an engine writes: row-major `f32`.
#[derive(Debug)]
pub struct TensorMut<'a> {
    /// Sizes, outermost first.
    pub shape: &'a [usize],
    /// As many values as the sizes' product.
    pub data: &'a mut [f32],
}

/// Arithmetic that a network is run in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 16-bit floating point.
    F16,
    /// 8-bit integers where a table of ranges says what they cost, otherwise 16-bit floating point.
    #[serde(rename = "int8")]
    I8,
}

impl Precision {
    /// That of a name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::F32, Self::F16, Self::I8].into_iter().find(|precision| precision.name() == name)
    }

    /// Its name in packets and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "int8",
        }
    }
}

/// A way to compute.
pub trait Backend: Sync {
    /// Its name in configurations, packets and logs.
    fn name(&self) -> &'static str;

    /// Can it run on this machine?
    ///
    /// # Errors
    /// Says why not.
    fn check(&self) -> Result<(), EngineError>;

    /// Loads a network for a fixed `batch` size.
    ///
    /// # Errors
    /// If the file is not the network that its manifest describes, or cannot run here.
    fn load(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError>;

    /// What `model` is computed in where `asked` is asked for: fewer bits may not be had for all.
    fn precision(&self, model: &ModelSpec, asked: Precision) -> Precision {
        let _ = model;
        asked
    }

    /// The precision in which [`ladder`] found `model` right and fastest at an earlier start on this
    /// very machine, if that was kept.
    fn kept_choice(&self, model: &ModelSpec) -> Option<Precision> {
        let _ = model;
        None
    }

    /// Keeps such a finding for later starts, where there is a place for it.
    fn keep_choice(&self, model: &ModelSpec, precision: Precision) {
        let _ = (model, precision);
    }

    /// How far the answers of a lifter that was loaded may be from the trained network's.
    ///
    /// # Errors
    /// If 8 bits are asked for and nobody measured what they cost.
    fn budget(&self, model: &ModelSpec, precision: Precision) -> Result<Budget, EngineError> {
        gate::budget(model, precision)
    }

    /// Loads a lifter that is evaluated slot by slot. `persons` is how many windows one call is
    /// likely to have. Here: from the model's per-frame and per-window graphs, or its
    /// whole-window graph where it has no others.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    fn load_lifter(
        &self,
        model: &ModelSpec,
        precision: Precision,
        persons: usize,
    ) -> Result<Box<dyn StreamingLifter>, EngineError> {
        streaming::load(|part, batch| self.load(part, precision, batch), model, persons)
    }
}

/// A lifter that computes what belongs to one slot once, and keeps it while the slot travels
/// through the window.
pub trait StreamingLifter: Send {
    /// How many values are kept for each slot.
    fn slot_len(&self) -> usize;

    /// What is to be kept of slots: `keypoints` `[M, 17, 3]` and `fresh` `[M]` (0 but for a
    /// window's slot 0) become `slots` `[M, slot_len]`.
    ///
    /// # Errors
    /// If the lengths do not fit each other, or the computation fails.
    fn encode(
        &mut self,
        keypoints: &[f32],
        fresh: &[f32],
        slots: &mut [f32],
    ) -> Result<(), EngineError>;

    /// Windows of kept `slots` `[N, T, slot_len]`, newest first, with their `context` `[N, C]`
    /// become `joints` `[N, 17, 3]`.
    ///
    /// # Errors
    /// If the lengths do not fit each other, or the computation fails.
    fn lift(
        &mut self,
        slots: &[f32],
        context: &[f32],
        joints: &mut [f32],
    ) -> Result<(), EngineError>;

    /// What evaluates it, in a word or two.
    fn describe(&self) -> String;

    /// Lets another engine take this one's place, if one is waiting for it ([`exchange`]): to be
    /// called between two frames, and after a failure. True if it did: what was kept of slots is
    /// then of no use any more, and [`slot_len`](Self::slot_len) may be another one.
    fn exchange(&mut self) -> bool {
        false
    }

    /// What computes it at the moment, where that may change; `None`: what was configured.
    fn computed(&self) -> Option<Computed> {
        None
    }
}

/// One network, loaded and ready.
pub trait Engine: Send {
    /// Inputs and outputs with their shapes at the loaded batch size, in the manifest's order.
    fn signature(&self) -> &Signature;

    /// Computes `outputs` from `inputs`, both in the signature's order.
    ///
    /// # Errors
    /// If shapes differ from the signature, or the computation fails.
    fn run(
        &mut self,
        inputs: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError>;

    /// Makes its only input of a picture itself, and computes `outputs`. False if it cannot, or not
    /// this time: then nothing was computed, and [`run`](Self::run) wants the tensor.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    fn run_sampled(
        &mut self,
        sampling: &Sampling<'_>,
        outputs: &mut [TensorMut<'_>],
    ) -> Result<bool, EngineError> {
        let _ = (sampling, outputs);
        Ok(false)
    }

    /// Lets another engine take this one's place, if one is waiting for it ([`exchange`]): to be
    /// called between two frames. True if it did.
    fn exchange(&mut self) -> bool {
        false
    }
}

/// Names and shapes of an engine's tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// (name, shape) of each input.
    pub inputs: Vec<(String, Vec<usize>)>,
    /// (name, shape) of each output.
    pub outputs: Vec<(String, Vec<usize>)>,
}

/// Why a network cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A manifest cannot be read or says what cannot be.
    #[error("manifest {file}: {problem}")]
    Manifest {
        /// The manifest's file.
        file: String,
        /// Which key is wrong and what to write instead.
        problem: String,
    },
    /// There is no model, or more than one, to do a job.
    #[error("no {kind} model chosen: {problem}")]
    Choice {
        /// The job.
        kind: ModelKind,
        /// What there is, and what to do.
        problem: String,
    },
    /// The network's file cannot be read, is not what its manifest says, or is not a network.
    #[error("model {model}: {problem}")]
    Model {
        /// The model's name.
        model: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// This machine cannot run the backend.
    #[error("backend {backend} cannot be used: {problem}")]
    Unavailable {
        /// The backend's name.
        backend: &'static str,
        /// Why, and what to do.
        problem: String,
    },
    /// The device's memory is taken. It may be free when somebody else has ended.
    #[error("backend {backend} has no memory left: {problem}")]
    Exhausted {
        /// The backend's name.
        backend: &'static str,
        /// What failed, and what to do.
        problem: String,
    },
    /// One call failed.
    #[error("model {model}: running failed: {problem}")]
    Run {
        /// The model's name.
        model: String,
        /// What happened.
        problem: String,
    },
    /// One call was not answered in time: what computes it hangs, and everything else that runs
    /// on it is to be taken for hung.
    #[error("model {model}: the {backend} backend has not answered for {seconds:.1} s")]
    Hung {
        /// The model's name.
        model: String,
        /// The backend's name.
        backend: &'static str,
        /// How long it was waited for.
        seconds: f64,
    },
}

/// The backend of a name, and why it is that one. `tract` and `tensorrt` are strict: that one or
/// an error. `auto` is what can begin at once.
///
/// # Errors
/// If there is no such backend, or it cannot run here.
pub fn choose(name: &str) -> Result<(&'static dyn Backend, String), EngineError> {
    static TRACT: tract::Tract = tract::Tract;
    static TENSORRT: tensorrt::TensorRt = tensorrt::TensorRt { beside: None };
    let unavailable =
        |backend, problem: &str| EngineError::Unavailable { backend, problem: problem.to_owned() };
    match name {
        "tract" => Ok((&TRACT, "tract on the CPU, as configured".to_owned())),
        "tensorrt" => {
            TENSORRT.check()?;
            Ok((&TENSORRT, format!("{}, as configured", tensorrt::Machine::get().describe())))
        }
        // Nothing of NVIDIA's is opened for it; who can change over under way makes an `Exchange`.
        "auto" => Ok((&TRACT, format!("tract on the CPU{}", tensorrt::advice()))),
        other => Err(unavailable(
            "of that name",
            &format!("there is no {other:?}; use \"auto\", \"tract\" or \"tensorrt\""),
        )),
    }
}

impl EngineError {
    /// CUDA's error 2, or TensorRT's words for it: other programs fill the GPU now, which a later
    /// start may not meet. Any other problem is what `otherwise` makes of it.
    fn of_gpu(problem: String, otherwise: impl FnOnce(String) -> Self) -> Self {
        let full = problem.contains("CUDA error 2 ");
        if full || problem.to_ascii_lowercase().contains("out of memory") {
            Self::Exhausted { backend: "tensorrt", problem }
        } else {
            otherwise(problem)
        }
    }
}

impl Fault for EngineError {
    fn severity(&self) -> Severity {
        match self {
            Self::Manifest { .. }
            | Self::Choice { .. }
            | Self::Model { .. }
            | Self::Unavailable { .. } => Severity::Fatal,
            Self::Exhausted { .. } => Severity::Restart,
            Self::Run { .. } | Self::Hung { .. } => Severity::Skip,
        }
    }
}
