//! Runs a network on the CPU and looks at tensors inside of it.

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

use crate::engine::onnx;
use crate::engine::spec::TensorSpec;

/// Is told a tensor's place in the list and its values.
pub type Tell<'a> = dyn FnMut(usize, &[f32]) -> Result<(), String> + 'a;

/// A network whose inner tensors are told.
pub struct Watched {
    plan: Arc<TypedSimplePlan>,
    inputs: Vec<TensorSpec>,
}

impl Watched {
    /// Prepares `model` for inputs of the given shapes; `tensors` are told, in this order.
    ///
    /// # Errors
    /// If tract cannot run it, or it has no such tensors.
    pub fn new(
        model: &ModelProto,
        inputs: Vec<TensorSpec>,
        tensors: &[String],
    ) -> Result<Self, String> {
        let said = |e: TractError| format!("tract cannot run this graph: {e:#}");
        // Read again from bytes: tract takes what its own reader made.
        let bytes = onnx::write(model);
        let proto = onnx::read(&bytes)?;
        let mut network = tract_onnx::onnx().model_for_proto_model(&proto).map_err(said)?;
        network
            .set_input_names(inputs.iter().map(|i| i.name.as_str()))
            .and_then(|()| network.select_outputs_by_name(tensors))
            .map_err(said)?;
        for (i, input) in inputs.iter().enumerate() {
            let fact = InferenceFact::dt_shape(f32::datum_type(), input.shape.as_slice());
            network.set_input_fact(i, fact).map_err(said)?;
        }
        for i in 0..tensors.len() {
            network.set_output_fact(i, InferenceFact::default()).map_err(said)?;
        }
        let typed = network.into_typed().and_then(|n| n.into_optimized()).map_err(said)?;
        Ok(Self { plan: TypedSimplePlan::new(typed).map_err(said)?, inputs })
    }

    /// Runs `inputs` (row-major, one for each input) and tells each tensor's values.
    ///
    /// # Errors
    /// If the inputs are of other sizes, or running fails.
    pub fn run(&self, inputs: &[&[f32]], tell: &mut Tell<'_>) -> Result<(), String> {
        let said = |e: TractError| format!("running failed: {e:#}");
        let feed = self
            .inputs
            .iter()
            .zip(inputs)
            .map(|(spec, data)| Tensor::from_shape(&spec.shape, data).map(Tensor::into_tvalue))
            .collect::<TractResult<TVec<TValue>>>()
            .map_err(said)?;
        let results = self.plan.run(feed).map_err(said)?;
        for (i, result) in results.iter().enumerate() {
            let plain = result.try_as_plain_ram().map_err(said)?;
            tell(i, plain.as_slice::<f32>().map_err(said)?)?;
        }
        Ok(())
    }
}
