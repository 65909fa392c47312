//! A loaded network together with the memory that it reads and writes.

use arrayvec::ArrayVec;

use super::DetectError;
use crate::engine::{Engine, EngineError, ModelSpec, Signature, TensorMut, TensorRef};

/// More outputs than any picture network has: four levels of scores and boxes.
const MOST_OUTPUTS: usize = 8;

/// An engine with one picture as its input, and its tensors.
pub(super) struct Network {
    name: String,
    engine: Box<dyn Engine>,
    signature: Signature,
    /// `[1, channels, height, width]`.
    pub input: Vec<f32>,
    /// In the signature's order.
    pub outputs: Vec<Vec<f32>>,
}

impl Network {
    /// Makes room for the tensors that `spec` promises.
    ///
    /// # Errors
    /// If the engine's tensors are not those of the manifest at batch 1.
    pub fn new(spec: &ModelSpec, engine: Box<dyn Engine>) -> Result<Self, EngineError> {
        let signature = engine.signature().clone();
        let given = signature.inputs.iter().chain(&signature.outputs);
        let promised = spec.inputs(1).into_iter().chain(spec.outputs(1));
        let same =
            given.map(|(_, shape)| shape).eq(promised.map(|t| t.shape).collect::<Vec<_>>().iter());
        if !same || signature.inputs.len() != 1 || signature.outputs.len() > MOST_OUTPUTS {
            return Err(spec.problem(format!(
                "it was loaded with other tensors than {} says: {signature:?}; load it at batch 1",
                spec.manifest
            )));
        }
        let values = |shape: &Vec<usize>| vec![0.0; shape.iter().product()];
        Ok(Self {
            name: spec.name.clone(),
            engine,
            input: values(&signature.inputs[0].1),
            outputs: signature.outputs.iter().map(|(_, shape)| values(shape)).collect(),
            signature,
        })
    }

    /// Computes the outputs from the input.
    pub fn run(&mut self) -> Result<(), DetectError> {
        let mut outputs: ArrayVec<TensorMut<'_>, MOST_OUTPUTS> = self
            .signature
            .outputs
            .iter()
            .zip(&mut self.outputs)
            .map(|((_, shape), data)| TensorMut { shape, data })
            .collect();
        let shape = &self.signature.inputs[0].1;
        let input = TensorRef { shape, data: &self.input };
        Ok(self.engine.run(&[input], &mut outputs)?)
    }

    /// See [`Engine::exchange`].
    pub fn exchange(&mut self) {
        self.engine.exchange();
    }

    /// Its model's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}
