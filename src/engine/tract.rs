//! The CPU backend: tract, in pure Rust, `f32`.
//!
//! Q/DQ models are refused: tract 0.23 gives wrong values for them without a word, and is slower
//! than in `f32`. What tract allocates while it runs (a tensor per node) is its own; nothing is
//! allocated here after loading.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tract_onnx::pb::{GraphProto, ModelProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::{DimLike, GenericFactoid};

use super::pstmo::Pstmo;
use super::spec::{Normalisation, TensorSpec};
use super::{
    Backend, Engine, EngineError, ModelSpec, Precision, Signature, StreamingLifter, TensorMut,
    TensorRef, streaming,
};
use crate::fault::panic_words;

/// tract on the CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tract;

impl Backend for Tract {
    fn name(&self) -> &'static str {
        "tract"
    }

    fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn load(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        if precision != Precision::F32 {
            return Err(EngineError::Unavailable {
                backend: self.name(),
                problem: format!(
                    "{} is asked for and it computes in f32 only; set precision = \"f32\"",
                    precision.name()
                ),
            });
        }
        let bytes = model.bytes()?;
        let signature = Signature {
            inputs: model.inputs(batch).into_iter().map(pair).collect(),
            outputs: model.outputs(batch).into_iter().map(pair).collect(),
        };
        // A graph that trips an assertion inside of tract is a bad model, not a reason to die.
        let plan = catch_unwind(|| compile(&bytes, &signature))
            .unwrap_or_else(|panic| Err(format!("tract panicked: {}", panic_words(&*panic))))
            .map_err(|problem| model.problem(problem))?;
        let engine = TractEngine {
            name: model.name.clone(),
            state: spawn(&plan).map_err(|problem| model.problem(problem))?,
            plan,
            inputs: Vec::with_capacity(signature.inputs.len()),
            signature,
        };
        Ok(Box::new(engine))
    }

    /// By our own evaluator where it knows the graph: tract takes twice its time for the same
    /// products (`docs/performance.md`).
    fn load_lifter(
        &self,
        model: &ModelSpec,
        precision: Precision,
        persons: usize,
    ) -> Result<Box<dyn StreamingLifter>, EngineError> {
        if model.lifter()?.normalisation == Normalisation::AnchoredVirtualCamera
            && precision == Precision::F32
        {
            // A file that is broken is nobody's; a graph of another shape is tract's.
            let proto = parse(&model.bytes()?).map_err(|problem| model.problem(problem))?;
            let graph = graph_of(&proto).map_err(|problem| model.problem(problem))?;
            match Pstmo::of(model, graph) {
                Ok(pstmo) => return Ok(Box::new(pstmo)),
                Err(e) => log::info!("{e}; tract runs its graphs instead"),
            }
        }
        streaming::load(|part, batch| self.load(part, precision, batch), model, persons)
    }
}

fn pair(t: TensorSpec) -> (String, Vec<usize>) {
    (t.name, t.shape)
}

/// An error of tract's with its causes.
fn said(e: TractError) -> String {
    format!("{e:#}")
}

/// Operators that tract 0.23 computes wrongly after optimisation.
const REFUSED: [&str; 2] = ["QuantizeLinear", "DequantizeLinear"];

const NO_ONNX: &str = "not an ONNX file, or a truncated one";

/// Reads an ONNX file.
fn parse(bytes: &[u8]) -> Result<ModelProto, String> {
    let proto = tract_onnx::onnx()
        .proto_model_for_read(&mut Cursor::new(bytes))
        .map_err(|e| format!("{NO_ONNX}: {e:#}"))?;
    graph_of(&proto)?;
    Ok(proto)
}

fn graph_of(proto: &ModelProto) -> Result<&GraphProto, String> {
    proto.graph.as_ref().ok_or_else(|| format!("{NO_ONNX}: it holds no graph"))
}

fn compile(bytes: &[u8], signature: &Signature) -> Result<Arc<TypedSimplePlan>, String> {
    let onnx = tract_onnx::onnx();
    let proto = parse(bytes)?;
    let graph = graph_of(&proto)?;
    if let Some(node) = graph.node.iter().find(|n| REFUSED.contains(&n.op_type.as_str())) {
        return Err(format!(
            "it is quantised ({} in node {:?}), which tract computes wrongly; use the f32 file, \
             or the tensorrt backend",
            node.op_type, node.name
        ));
    }
    let mut network = onnx
        .model_for_proto_model(&proto)
        .map_err(|e| format!("tract cannot read the graph: {}", said(e)))?;
    check_inputs(&network, &signature.inputs)?;
    let names = |tensors: &[(String, Vec<usize>)]| -> Vec<String> {
        tensors.iter().map(|(name, _)| name.clone()).collect()
    };
    // In the manifest's order, whatever the graph's.
    network.set_input_names(names(&signature.inputs)).map_err(said)?;
    network.select_outputs_by_name(names(&signature.outputs)).map_err(|e| {
        format!("{}; the manifest names an output that the graph does not have", said(e))
    })?;
    for (i, (_, shape)) in signature.inputs.iter().enumerate() {
        let fact = InferenceFact::dt_shape(f32::datum_type(), shape.as_slice());
        network.set_input_fact(i, fact).map_err(said)?;
    }
    // What exporters write about outputs is not always true and never needed.
    for i in 0..signature.outputs.len() {
        network.set_output_fact(i, InferenceFact::default()).map_err(said)?;
    }
    let typed = network
        .into_typed()
        .and_then(|m| m.into_optimized())
        .map_err(|e| format!("tract cannot run this graph: {}", said(e)))?;
    for (i, (name, shape)) in signature.outputs.iter().enumerate() {
        let fact = typed.output_fact(i).map_err(said)?;
        if fact.datum_type != f32::datum_type() {
            return Err(format!("output {name:?} is {:?}, not f32", fact.datum_type));
        }
        let given: Option<Vec<usize>> = fact.shape.iter().map(|d| d.to_usize().ok()).collect();
        if given.as_ref() != Some(shape) {
            return Err(format!(
                "output {name:?} has the shape {:?} where the manifest says {shape:?}; correct \
                 the manifest's input size or decoder",
                fact.shape
            ));
        }
    }
    TypedSimplePlan::new(typed).map_err(|e| format!("tract cannot plan the graph: {}", said(e)))
}

/// What a graph with one picture as its input says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The input's name.
    pub input: String,
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// Names and shapes of its outputs at a batch of one.
    pub outputs: Vec<(String, Vec<usize>)>,
}

/// Reads an ONNX file's [`Interface`]. `size` is width and height, where the graph leaves them
/// open.
///
/// # Errors
/// If it is no such graph, or tract cannot tell its shapes.
pub fn interface(bytes: &[u8], size: Option<(usize, usize)>) -> Result<Interface, String> {
    catch_unwind(|| read_interface(bytes, size))
        .unwrap_or_else(|panic| Err(format!("tract panicked: {}", panic_words(&*panic))))
}

fn read_interface(bytes: &[u8], size: Option<(usize, usize)>) -> Result<Interface, String> {
    let onnx = tract_onnx::onnx();
    let proto = parse(bytes)?;
    let graph = graph_of(&proto)?;
    let names: Vec<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    let mut network = onnx
        .model_for_proto_model(&proto)
        .map_err(|e| format!("tract cannot read the graph: {}", said(e)))?;
    let inputs = network.input_outlets().map_err(said)?.to_vec();
    let [outlet] = inputs.as_slice() else {
        return Err(format!("has {} inputs where one picture is wanted", inputs.len()));
    };
    let input = network.node(outlet.node).name.clone();
    let fact = network.outlet_fact(*outlet).map_err(said)?;
    let dims: Vec<Option<usize>> =
        fact.shape.dims().map(|d| d.concretize().and_then(|d| d.to_usize().ok())).collect();
    let [_, channels, height, width] = dims.as_slice() else {
        return Err(format!("input {input:?} is {:?}, no batch of pictures", fact.shape));
    };
    if channels.is_some_and(|c| c != 3) {
        return Err(format!(
            "input {input:?} is {:?}: three channels, outermost, are wanted",
            fact.shape
        ));
    }
    let (width, height) = match (width.zip(*height), size) {
        (Some(own), Some(size)) if own != size => {
            return Err(format!(
                "input {input:?} is {} x {}, not {} x {}",
                own.0, own.1, size.0, size.1
            ));
        }
        (Some(own), _) => own,
        (None, Some(size)) => size,
        (None, None) => {
            return Err(format!("input {input:?} leaves its size open: say it with --size WxH"));
        }
    };
    let shape = [1, 3, height, width];
    let fact = InferenceFact::dt_shape(f32::datum_type(), shape.as_slice());
    network.set_input_fact(0, fact).map_err(said)?;
    for i in 0..names.len() {
        network.set_output_fact(i, InferenceFact::default()).map_err(said)?;
    }
    let typed =
        network.into_typed().map_err(|e| format!("tract cannot run this graph: {}", said(e)))?;
    let mut outputs = Vec::new();
    for (i, name) in names.into_iter().enumerate() {
        let fact = typed.output_fact(i).map_err(said)?;
        // A size that depends on the picture (boxes after suppression) is 0 here: it fits nothing.
        let sizes = fact.shape.iter().map(|d| d.to_usize().unwrap_or(0)).collect();
        outputs.push((name, sizes));
    }
    Ok(Interface { input, width, height, outputs })
}

/// Are the manifest's inputs the graph's inputs?
fn check_inputs(network: &InferenceModel, wanted: &[(String, Vec<usize>)]) -> Result<(), String> {
    let mut there = Vec::new();
    for outlet in network.input_outlets().map_err(said)? {
        let fact = network.outlet_fact(*outlet).map_err(said)?;
        there.push((network.node(outlet.node).name.as_str(), fact));
    }
    for (name, _) in &there {
        if !wanted.iter().any(|(n, _)| n == name) {
            return Err(format!("the graph wants an input {name:?} that the manifest lacks"));
        }
    }
    for (name, shape) in wanted {
        let Some((_, fact)) = there.iter().find(|(n, _)| n == name) else {
            let names: Vec<_> = there.iter().map(|(n, _)| *n).collect();
            return Err(format!(
                "the graph has no input {name:?}; it has {}; correct the manifest",
                names.join(", ")
            ));
        };
        if let Some(dt) = fact.datum_type.concretize()
            && dt != f32::datum_type()
        {
            return Err(format!("input {name:?} is {dt:?}, not f32"));
        }
        let dims: Vec<_> = fact.shape.dims().cloned().collect();
        let fits = |(dim, n): (&GenericFactoid<TDim>, &usize)| match dim.concretize() {
            // A named size fits every number.
            Some(dim) => dim.to_usize().map_or(true, |d| d == *n),
            None => true,
        };
        let rank_fits = fact.shape.is_open() || dims.len() == shape.len();
        if !rank_fits || !dims.iter().zip(shape).all(fits) {
            return Err(format!(
                "input {name:?} has the shape {:?} where the manifest says {shape:?}; correct the \
                 manifest's input size",
                fact.shape
            ));
        }
    }
    Ok(())
}

fn spawn(plan: &Arc<TypedSimplePlan>) -> Result<TypedSimpleState, String> {
    plan.spawn().map_err(said)
}

/// A network loaded by tract.
struct TractEngine {
    name: String,
    signature: Signature,
    plan: Arc<TypedSimplePlan>,
    state: TypedSimpleState,
    /// Kept between runs: tract is done with its inputs when it returns, so the next run writes
    /// into the same memory.
    inputs: Vec<Arc<Tensor>>,
}

impl Engine for TractEngine {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(
        &mut self,
        inputs: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        let failed =
            |name: &str, problem: String| EngineError::Run { model: name.to_owned(), problem };
        self.check(inputs, outputs).map_err(|problem| failed(&self.name, problem))?;
        let feed = self.feed(inputs).map_err(|e| failed(&self.name, said(e)))?;
        let result = catch_unwind(AssertUnwindSafe(|| self.state.run(feed)))
            .map_err(|panic| format!("tract panicked: {}", panic_words(&*panic)))
            .and_then(|r| r.map_err(said));
        let results = match result {
            Ok(results) => results,
            Err(problem) => {
                // What was half computed must not leak into the next run.
                if let Ok(state) = spawn(&self.plan) {
                    self.state = state;
                }
                return Err(failed(&self.name, problem));
            }
        };
        for (result, output) in results.iter().zip(outputs) {
            let plain = result.try_as_plain_ram().map_err(|e| failed(&self.name, said(e)))?;
            let values = plain.as_slice::<f32>().map_err(|e| failed(&self.name, said(e)))?;
            output.data.copy_from_slice(values);
        }
        Ok(())
    }
}

impl TractEngine {
    fn check(&self, inputs: &[TensorRef<'_>], outputs: &[TensorMut<'_>]) -> Result<(), String> {
        let given_in = inputs.iter().map(|t| (t.shape, t.data.len()));
        let given_out = outputs.iter().map(|t| (t.shape, t.data.len()));
        same("input", given_in, &self.signature.inputs)?;
        same("output", given_out, &self.signature.outputs)
    }

    fn feed(&mut self, inputs: &[TensorRef<'_>]) -> TractResult<TVec<TValue>> {
        if self.inputs.is_empty() {
            for input in inputs {
                self.inputs.push(Arc::new(Tensor::from_shape(input.shape, input.data)?));
            }
        } else {
            for (kept, input) in self.inputs.iter_mut().zip(inputs) {
                match Arc::get_mut(kept) {
                    Some(tensor) => tensor
                        .try_as_plain_ram_mut()?
                        .as_slice_mut::<f32>()?
                        .copy_from_slice(input.data),
                    // A plan that hands its input through still holds it.
                    None => *kept = Arc::new(Tensor::from_shape(input.shape, input.data)?),
                }
            }
        }
        Ok(self.inputs.iter().map(|t| TValue::from_const(t.clone())).collect())
    }
}

fn same<'a>(
    what: &str,
    given: impl ExactSizeIterator<Item = (&'a [usize], usize)>,
    wanted: &[(String, Vec<usize>)],
) -> Result<(), String> {
    if given.len() != wanted.len() {
        return Err(format!("{} {what}s given, {} needed", given.len(), wanted.len()));
    }
    for ((shape, len), (name, needed)) in given.zip(wanted) {
        if shape != needed || len != needed.iter().product::<usize>() {
            return Err(format!(
                "{what} {name:?} is given as {shape:?} with {len} values, needed is {needed:?}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tiny;

    fn told(spec: &ModelSpec) -> String {
        match Tract.load(spec, Precision::F32, 1) {
            Ok(_) => String::from("loaded"),
            Err(e) => e.to_string(),
        }
    }

    fn run(
        engine: &mut dyn Engine,
        window: &[f32],
        shape: &[usize],
    ) -> Result<Vec<f32>, EngineError> {
        let mut joints = vec![f32::NAN; shape[0] * 51];
        let output = TensorMut { shape: &[shape[0], 17, 3], data: &mut joints };
        engine.run(&[TensorRef { shape, data: window }], &mut [output])?;
        Ok(joints)
    }

    #[test]
    fn a_network_computes_what_it_says_at_any_loaded_batch_and_again() {
        let spec = tiny::spec(tiny::mean_over_frames(9));
        for batch in [1, 3] {
            let mut engine = Tract.load(&spec, Precision::F32, batch).unwrap();
            for round in 0..3 {
                let shape = [batch, 9, 17, 3];
                let window: Vec<f32> =
                    (0..batch * 9 * 51).map(|i| (i * 37 % 101) as f32 + round as f32).collect();
                let joints = run(&mut *engine, &window, &shape).unwrap();
                for (i, got) in joints.iter().enumerate() {
                    let (b, j) = (i / 51, i % 51);
                    let sum: f32 = (0..9).map(|t| window[(b * 9 + t) * 51 + j]).sum();
                    assert!((got - sum / 9.0).abs() < 1e-3, "{i}: {got}");
                }
            }
        }
    }

    #[test]
    fn shapes_that_differ_from_the_signature_are_refused() {
        let spec = tiny::spec(tiny::mean_over_frames(9));
        let mut engine = Tract.load(&spec, Precision::F32, 1).unwrap();
        let said = run(&mut *engine, &[0.0; 51 * 8], &[1, 8, 17, 3]).unwrap_err().to_string();
        assert!(said.contains("[1, 8, 17, 3]") && said.contains("[1, 9, 17, 3]"), "{said}");
        assert!(run(&mut *engine, &[0.0; 51 * 9], &[1, 9, 17, 3]).is_ok());
    }

    #[test]
    fn a_truncated_file_and_no_network_at_all_say_so() {
        let onnx = tiny::mean_over_frames(9);
        for bytes in [onnx[..onnx.len() - 5].to_vec(), vec![0xff; 64], Vec::new()] {
            let said = told(&tiny::spec(bytes));
            assert!(said.contains("not an ONNX file, or a truncated one"), "{said}");
        }
    }

    #[test]
    fn a_network_of_another_shape_than_its_manifest_is_refused() {
        let said = told(&tiny::spec(tiny::mean_over_frames(8)));
        assert!(said.contains("window") && said.contains("[1, 9, 17, 3]"), "{said}");
        let said = told(&tiny::spec(tiny::graph("ReduceMean", "keypoints", "joints", 9)));
        assert!(said.contains("no input \"window\"") || said.contains("keypoints"), "{said}");
        let said = told(&tiny::spec(tiny::graph("ReduceMean", "window", "pose", 9)));
        assert!(said.contains("joints"), "{said}");
        // Softmax keeps the window's shape, which is no pose.
        let said = told(&tiny::spec(tiny::graph("Softmax", "window", "joints", 9)));
        assert!(said.contains("where the manifest says [1, 17, 3]"), "{said}");
    }

    #[test]
    fn quantised_networks_and_other_precisions_are_refused() {
        let said = told(&tiny::spec(tiny::graph("QuantizeLinear", "window", "joints", 9)));
        assert!(said.contains("quantised") && said.contains("f32"), "{said}");
        let spec = tiny::spec(tiny::mean_over_frames(9));
        for precision in [Precision::F16, Precision::I8] {
            assert!(matches!(
                Tract.load(&spec, precision, 1),
                Err(EngineError::Unavailable { .. })
            ));
        }
    }

    #[test]
    fn a_panic_inside_of_tract_is_an_error_and_the_engine_lives_on() {
        // An integer remainder by zero, where the window holds a value below 1.
        let spec = tiny::spec(tiny::remainder_by_its_input(9));
        let mut engine = Tract.load(&spec, Precision::F32, 1).unwrap();
        let shape = [1, 9, 17, 3];
        let remainder = run(&mut *engine, &[2.0; 9 * 51], &shape).unwrap();
        assert!(remainder.iter().all(|v| *v == 0.0), "{remainder:?}");
        let said = run(&mut *engine, &[0.0; 9 * 51], &shape).unwrap_err().to_string();
        assert!(said.contains("panicked"), "{said}");
        assert!(run(&mut *engine, &[3.0; 9 * 51], &shape).unwrap().iter().all(|v| *v == 0.0));
    }
}
