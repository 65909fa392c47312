//! One network on the GPU.

use super::super::sampling::Sampling;
use super::super::spec::TensorSpec;
use super::super::{Engine, EngineError, ModelSpec, Signature, TensorMut, TensorRef};
use super::sampling::Job;
use super::sys::Executor;
use super::{LIMIT, run_error};

/// Shape and number of values of a signature's tensor.
fn wanted((_, shape): &(String, Vec<usize>)) -> (&[usize], usize) {
    (shape, shape.iter().product())
}

/// One network on the GPU.
pub struct TensorRtEngine {
    model: String,
    executor: Executor,
    signature: Signature,
    /// Where the engine has what the signature names, in the signature's order.
    places: [Vec<usize>; 2],
}

impl TensorRtEngine {
    pub(super) fn new(
        model: &ModelSpec,
        batch: usize,
        executor: Executor,
    ) -> Result<Self, EngineError> {
        let pair = |t: TensorSpec| (t.name, t.shape);
        let signature = Signature {
            inputs: model.inputs(batch).into_iter().map(pair).collect(),
            outputs: model.outputs(batch).into_iter().map(pair).collect(),
        };
        let has = executor.tensors();
        let place = |has: &[(String, Vec<usize>)], wanted: &[(String, Vec<usize>)]| {
            let find = |w: &(String, Vec<usize>)| {
                has.iter().position(|h| h == w).ok_or_else(|| {
                    let problem = format!("the engine has {has:?}, {w:?} is not among it");
                    model.problem(problem)
                })
            };
            wanted.iter().map(find).collect::<Result<Vec<_>, _>>()
        };
        let places = [place(&has[0], &signature.inputs)?, place(&has[1], &signature.outputs)?];
        Ok(Self { model: model.name.clone(), executor, signature, places })
    }

    /// True if a call is one CUDA graph.
    pub fn is_graph(&self) -> bool {
        self.executor.is_graph()
    }

    /// What was computed last, in the signature's order.
    fn give(&self, outputs: &mut [TensorMut<'_>]) {
        for (tensor, place) in outputs.iter_mut().zip(&self.places[1]) {
            tensor.data.copy_from_slice(self.executor.output(*place));
        }
    }

    fn failed(&self, problem: String) -> EngineError {
        EngineError::Run { model: self.model.clone(), problem }
    }
}

impl Engine for TensorRtEngine {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(
        &mut self,
        inputs: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        let s = &self.signature;
        let given_in = inputs.iter().map(|t| (t.shape, t.data.len()));
        let given_out = outputs.iter().map(|t| (t.shape, t.data.len()));
        let right =
            given_in.eq(s.inputs.iter().map(wanted)) && given_out.eq(s.outputs.iter().map(wanted));
        if !right {
            return Err(self.failed(format!("tensors are not those of {s:?}")));
        }
        for (tensor, place) in inputs.iter().zip(&self.places[0]) {
            self.executor.input(*place).copy_from_slice(tensor.data);
        }
        let ran = self.executor.run(LIMIT);
        ran.map_err(|e| run_error(&self.model, e))?;
        self.give(outputs);
        Ok(())
    }

    fn run_sampled(
        &mut self,
        sampling: &Sampling<'_>,
        outputs: &mut [TensorMut<'_>],
    ) -> Result<bool, EngineError> {
        let given = outputs.iter().map(|t| (t.shape, t.data.len()));
        if !given.eq(self.signature.outputs.iter().map(wanted)) {
            return Err(self.failed(format!("tensors are not those of {:?}", self.signature)));
        }
        let job = match Job::new(*sampling) {
            Ok(job) => job,
            Err(e) => {
                log::debug!("{}: the processor samples this picture: {e}", self.model);
                return Ok(false);
            }
        };
        let ran = self.executor.run_sampled(&job, LIMIT);
        let sampled = ran.map_err(|e| run_error(&self.model, e))?;
        if sampled {
            self.give(outputs);
        }
        Ok(sampled)
    }
}
