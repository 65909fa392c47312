//! A lifter in a few kernels of our own, where TensorRT takes twice as many.
//!
//! - `memory`: the network as it lies in the kernels' memory; `plan`: which of them make a step, and
//!   what they are given;
//! - `fused.cu`: their source; `fused.ptx` and `fused_early.ptx`: what `cross/ptx/ptx.py` has made of it;
//!   `host.cpp`: a program that runs them on the processor, for tests, with threads that `emulate.h`
//!   makes;
//! - [`Fused`]: the lifter.
//!
//! It computes what [`pstmo`] computes on the processor, for the same files, and whole windows at a
//! time: a GPU has its tensor cores for all slots at once, so that nothing need be kept of a slot. It
//! is there at once, for nothing is built.

mod memory;
mod plan;

use std::time::Duration;

use prost::Message;
use tract_onnx::pb::ModelProto;

use super::super::pstmo::{self, CONTEXT};
use super::super::streaming::{FEATURES, check_slots, check_windows, pack};
use super::super::{EngineError, ModelSpec, Precision, StreamingLifter};
use super::sys::{FusedExecutor, Gpu, RunError};
use super::{LIMIT, run_error};
use crate::skeleton::JOINTS;
use plan::Split;
pub(super) use plan::{KERNELS, Launch, Plan};

/// The kernels, for the driver to compile: for GPUs from [`OLDEST`] on, and for those that begin a
/// kernel before the one ahead of it has ended.
pub(super) const SOURCE: &str = include_str!("fused.ptx");
pub(super) const SOURCE_EARLY: &str = include_str!("fused_early.ptx");
/// The oldest GPUs that have their instructions: Ampere, which is Orin's.
pub(super) const OLDEST: (i32, i32) = (8, 0);
/// Values of a pose, or of a slot's keypoints.
const POSE: usize = 3 * JOINTS;

/// A lifter on the GPU, by our own kernels.
pub struct Fused {
    model: String,
    plan: Plan,
    executor: FusedExecutor,
}

impl Fused {
    /// For `persons` windows a call, and for one.
    ///
    /// # Errors
    /// Why it is not for them: the network, its precision, the GPU; or that the GPU fails.
    pub(super) fn load(
        model: &ModelSpec,
        precision: Precision,
        persons: usize,
        gpu: &'static Gpu,
    ) -> Result<Self, EngineError> {
        let none = |problem: String| model.problem(problem);
        if gpu.sm < OLDEST {
            let (major, minor) = OLDEST;
            return Err(none(format!("our own kernels want sm {major}.{minor} or newer")));
        }
        let mut plan = plan_of(model, precision, persons).map_err(none)?;
        let executor = FusedExecutor::load(gpu, &plan);
        let executor = executor.map_err(|e| EngineError::of_gpu(e, none))?;
        // They are on the GPU now.
        plan.constants = Vec::new();
        Ok(Self { model: model.name.clone(), plan, executor })
    }

    /// The first windows of what is given, as many as a call takes; how many that are.
    fn call(
        &mut self,
        slots: &[f32],
        context: &[f32],
        joints: &mut [f32],
        limit: Duration,
    ) -> Result<usize, RunError> {
        let left = context.len() / CONTEXT;
        let steps = &self.plan.steps;
        let step = steps.iter().rposition(|(n, _)| *n <= left).unwrap_or_default();
        let (n, at, window) = (steps[step].0, self.plan.outside, self.plan.frames * FEATURES);
        let outside = self.executor.outside()?;
        let points = outside[..at.fresh].chunks_exact_mut(POSE);
        for (points, slot) in points.zip(slots[..n * window].chunks_exact(FEATURES)) {
            points.copy_from_slice(&slot[..POSE]);
        }
        let newest = slots.chunks_exact(window).map(|slots| slots[POSE]);
        outside[at.fresh..at.context].iter_mut().zip(newest).for_each(|(to, fresh)| *to = fresh);
        outside[at.context..][..n * CONTEXT].copy_from_slice(&context[..n * CONTEXT]);
        self.executor.run(step, limit)?;
        let made = &self.executor.outside()?[at.joints..][..n * POSE];
        joints[..n * POSE].copy_from_slice(made);
        Ok(n)
    }

    /// [`lift`](StreamingLifter::lift), for so long at most.
    pub(super) fn lift_within(
        &mut self,
        slots: &[f32],
        context: &[f32],
        joints: &mut [f32],
        limit: Duration,
    ) -> Result<(), EngineError> {
        let window = self.plan.frames * FEATURES;
        let n = check_windows(&self.model, [window, CONTEXT], slots, context, joints)?;
        let mut done = 0;
        while done < n {
            let (slots, context) = (&slots[done * window..], &context[done * CONTEXT..]);
            let joints = &mut joints[done * POSE..];
            done +=
                self.call(slots, context, joints, limit).map_err(|e| run_error(&self.model, e))?;
        }
        Ok(())
    }
}

/// What the kernels are given of a model.
///
/// # Errors
/// Why they are not for it.
fn plan_of(model: &ModelSpec, precision: Precision, persons: usize) -> Result<Plan, String> {
    let split = match precision {
        Precision::F32 => Split::All,
        Precision::F16 => Split::Needed,
        Precision::I8 => return Err("our own kernels have no 8 bits".into()),
    };
    let bytes = model.bytes().map_err(|e| e.to_string())?;
    let file = ModelProto::decode(&bytes[..]).map_err(|e| format!("not an ONNX file: {e}"))?;
    let graph = file.graph.as_ref().ok_or("the ONNX file holds no graph")?;
    let weights = pstmo::weights(graph)?;
    let windows = if persons > 1 { vec![1, persons] } else { vec![1] };
    Plan::new(&weights, &windows, split)
}

impl StreamingLifter for Fused {
    fn slot_len(&self) -> usize {
        FEATURES
    }

    fn encode(
        &mut self,
        keypoints: &[f32],
        fresh: &[f32],
        slots: &mut [f32],
    ) -> Result<(), EngineError> {
        check_slots(&self.model, FEATURES, keypoints, fresh, slots)?;
        pack(keypoints, fresh, slots);
        Ok(())
    }

    fn lift(
        &mut self,
        slots: &[f32],
        context: &[f32],
        joints: &mut [f32],
    ) -> Result<(), EngineError> {
        self.lift_within(slots, context, joints, LIMIT)
    }

    fn describe(&self) -> String {
        "our own kernels".to_owned()
    }
}

#[cfg(test)]
mod tests;
