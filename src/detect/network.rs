//! A loaded network together with what makes its input and the memory that it reads and writes.

use arrayvec::ArrayVec;

use super::preprocess::Preprocessor;
use super::{Crop, DetectError};
use crate::engine::spec::ImageInput;
use crate::engine::{Engine, EngineError, ModelSpec, Signature, TensorMut, TensorRef};
use crate::frame::ImageView;

/// More outputs than any picture network has: four levels of scores and boxes.
const MOST_OUTPUTS: usize = 8;

/// An engine with one picture as its input, and its tensors.
pub(super) struct Network {
    name: String,
    engine: Box<dyn Engine>,
    signature: Signature,
    preprocessor: Preprocessor,
    /// `[1, channels, height, width]`; not that of the last look if the engine sampled it.
    input: Vec<f32>,
    /// Pixels in a row of it.
    width: usize,
    /// The engine made the last look's input itself.
    sampled: bool,
    /// In the signature's order.
    pub outputs: Vec<Vec<f32>>,
}

impl Network {
    /// Makes room for the tensors that `spec` promises, of which `input` is the only one that is
    /// read.
    ///
    /// # Errors
    /// If the engine's tensors are not those of the manifest at batch 1.
    pub fn new(
        spec: &ModelSpec,
        input: &ImageInput,
        engine: Box<dyn Engine>,
    ) -> Result<Self, EngineError> {
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
            preprocessor: Preprocessor::new(input),
            width: input.width,
            sampled: false,
            input: values(&signature.inputs[0].1),
            outputs: signature.outputs.iter().map(|(_, shape)| values(shape)).collect(),
            signature,
        })
    }

    /// Computes the outputs for a crop of a picture.
    pub fn look(&mut self, image: &ImageView<'_>, crop: &Crop) -> Result<(), DetectError> {
        self.look_at(image, crop, false)
    }

    /// Looks at what [`look`](Self::look) looked at last once more, in a mirror.
    pub fn look_mirrored(&mut self, image: &ImageView<'_>, crop: &Crop) -> Result<(), DetectError> {
        if self.sampled {
            return self.look_at(image, crop, true);
        }
        self.mirror();
        self.run()
    }

    fn look_at(
        &mut self,
        image: &ImageView<'_>,
        crop: &Crop,
        mirrored: bool,
    ) -> Result<(), DetectError> {
        let plan = self.preprocessor.plan(image, crop)?;
        let Self { engine, preprocessor, signature, .. } = self;
        let values = &mut self.outputs;
        self.sampled = preprocessor.with_sampling(&plan, image, mirrored, |sampling| {
            engine.run_sampled(sampling, &mut outputs(signature, values))
        })?;
        if self.sampled {
            return Ok(());
        }
        self.preprocessor.fill(&plan, image, &mut self.input)?;
        if mirrored {
            self.mirror();
        }
        self.run()
    }

    fn mirror(&mut self) {
        for row in self.input.chunks_exact_mut(self.width) {
            row.reverse();
        }
    }

    /// Computes the outputs from the input.
    fn run(&mut self) -> Result<(), DetectError> {
        let mut outputs = outputs(&self.signature, &mut self.outputs);
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

/// What an engine is to write to.
fn outputs<'a>(
    signature: &'a Signature,
    values: &'a mut [Vec<f32>],
) -> ArrayVec<TensorMut<'a>, MOST_OUTPUTS> {
    let shapes = signature.outputs.iter().map(|(_, shape)| shape);
    shapes.zip(values).map(|(shape, data)| TensorMut { shape, data }).collect()
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
