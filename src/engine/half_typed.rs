//! Networks with 16-bit arithmetic written into their files.
//!
//! Newer TensorRTs compute in the types that the file says, so that a network in half precision is
//! another file. It is made from the `f32` one when an engine is built, and always in the same way:
//!
//! - products (`MatMul`, `Conv`), what only moves values, activations and softmax are in `f16`;
//! - normalisation, means, variances and everything else stays in `f32`: squares of large values
//!   overflow, differences of close ones vanish;
//! - inputs and outputs are `f32` as they were. Of a lifter, all products of a single frame, attention
//!   (its scores are differences of large numbers), residual sums and the last product (metres: `f16`
//!   has half millimetres there) stay in `f32`, too.
//!
//! Weights that lie as `f16` in the file, with a `Cast` behind them, are used as they are.

use std::collections::{HashMap, HashSet};

use half::f16;
use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, attribute_proto, type_proto,
};

/// How floats of a name are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Float {
    Single,
    Half,
}

impl Float {
    const fn onnx(self) -> DataType {
        match self {
            Self::Single => DataType::Float,
            Self::Half => DataType::Float16,
        }
    }
}

const PRODUCTS: [&str; 2] = ["MatMul", "Conv"];
/// Their result has the type of what they are given.
const MOVES: [&str; 8] =
    ["Reshape", "Transpose", "Slice", "Split", "Resize", "DepthToSpace", "Squeeze", "Unsqueeze"];
const ACTIVATIONS: [&str; 5] = ["Relu", "LeakyRelu", "Sigmoid", "Softmax", "Concat"];

/// An `f32` network's file with products in `f16`.
///
/// # Errors
/// If it is no ONNX file, or a weight is too large for `f16`.
pub fn to_half(onnx: &[u8]) -> Result<Vec<u8>, String> {
    let mut model = ModelProto::decode(onnx).map_err(|e| format!("not an ONNX file: {e}"))?;
    let graph = model.graph.take().ok_or("the ONNX file holds no graph")?;
    model.graph = Some(Rewriter::new(&graph)?.rewrite(graph)?);
    Ok(model.encode_to_vec())
}

struct Rewriter {
    /// Of every tensor of floats that exists so far.
    types: HashMap<String, Float>,
    weights: HashMap<String, TensorProto>,
    /// Casts that exist already.
    casts: HashMap<(String, Float), String>,
    /// Names of nodes' first outputs that stay in `f32`.
    exact: HashSet<String>,
    nodes: Vec<NodeProto>,
    new_weights: Vec<TensorProto>,
}

impl Rewriter {
    fn new(graph: &GraphProto) -> Result<Self, String> {
        let mut types = HashMap::new();
        for input in &graph.input {
            let Some(type_proto::Value::TensorType(tensor)) =
                input.r#type.as_ref().and_then(|t| t.value.as_ref())
            else {
                return Err(format!("input {:?} is no tensor", input.name));
            };
            if tensor.elem_type == DataType::Float as i32 {
                types.insert(input.name.clone(), Float::Single);
            }
        }
        for weight in &graph.initializer {
            if weight.data_type == DataType::Float as i32 {
                types.insert(weight.name.clone(), Float::Single);
            } else if weight.data_type == DataType::Float16 as i32 {
                types.insert(weight.name.clone(), Float::Half);
            }
        }
        let weights = graph.initializer.iter().map(|w| (w.name.clone(), w.clone())).collect();
        Ok(Self {
            types,
            weights,
            casts: HashMap::new(),
            exact: exact(graph),
            nodes: Vec::new(),
            new_weights: Vec::new(),
        })
    }

    fn rewrite(mut self, mut graph: GraphProto) -> Result<GraphProto, String> {
        for node in std::mem::take(&mut graph.node) {
            self.node(node)?;
        }
        let mut outputs = HashSet::new();
        for output in &graph.output {
            outputs.insert(output.name.clone());
            if self.types.get(&output.name) == Some(&Float::Half) {
                // Whoever made it makes it under another name, and it is cast back.
                let name = format!("{}_half", output.name);
                for node in &mut self.nodes {
                    let names = node.output.iter_mut().chain(&mut node.input);
                    names.filter(|n| **n == output.name).for_each(|n| *n = name.clone());
                }
                self.nodes.push(cast(&name, &output.name, Float::Single));
            }
        }
        let used: HashSet<&String> = self.nodes.iter().flat_map(|n| &n.input).collect();
        graph.initializer.retain(|w| used.contains(&w.name));
        graph.initializer.append(&mut self.new_weights);
        // Types of tensors within are another's now.
        graph.value_info.clear();
        graph.node = self.nodes;
        Ok(graph)
    }

    fn node(&mut self, mut node: NodeProto) -> Result<(), String> {
        let given = |n: usize| node.input.get(n).and_then(|name| self.types.get(name)).copied();
        let op = node.op_type.as_str();
        if op == "Constant" {
            let single = node
                .attribute
                .iter()
                .any(|a| a.t.as_ref().is_some_and(|t| t.data_type == DataType::Float as i32));
            if single {
                self.types.insert(node.output[0].clone(), Float::Single);
            }
            self.nodes.push(node);
            return Ok(());
        }
        if op == "Cast"
            && given(0) == Some(Float::Half)
            && self.weights.contains_key(&node.input[0])
        {
            // A weight is used as it lies there; who needs more casts it.
            let (from, to) = (node.input[0].clone(), node.output[0].clone());
            self.casts.insert((from.clone(), Float::Single), to.clone());
            self.types.insert(to.clone(), Float::Single);
            self.casts.insert((to, Float::Half), from);
            self.nodes.push(node);
            return Ok(());
        }
        let exact = self.exact.contains(&node.output[0]);
        let wanted = if PRODUCTS.contains(&op) || ACTIVATIONS.contains(&op) {
            if exact { Float::Single } else { Float::Half }
        } else if op == "Add" && !exact && (0..2).any(|n| given(n) == Some(Float::Half)) {
            Float::Half
        } else if MOVES.contains(&op) {
            given(0).unwrap_or(Float::Single)
        } else {
            Float::Single
        };
        let floats = (0..node.input.len()).any(|n| given(n).is_some());
        // Resize's sizes are floats, too, and are not pictures.
        let pictures = if MOVES.contains(&op) { 1 } else { node.input.len() };
        for name in node.input.iter_mut().take(pictures) {
            if self.types.get(name).is_some_and(|t| *t != wanted) {
                *name = self.cast(name.clone(), wanted)?;
            }
        }
        if floats {
            for name in &node.output {
                self.types.insert(name.clone(), wanted);
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    /// The name of the same values in another type.
    fn cast(&mut self, name: String, to: Float) -> Result<String, String> {
        if let Some(known) = self.casts.get(&(name.clone(), to)) {
            return Ok(known.clone());
        }
        let new = format!("{name}_{}", if to == Float::Half { "half" } else { "single" });
        match self.weights.get(&name) {
            Some(weight) if to == Float::Half => {
                let halves = halves(weight)?;
                self.new_weights.push(TensorProto {
                    name: new.clone(),
                    data_type: DataType::Float16 as i32,
                    float_data: Vec::new(),
                    raw_data: halves,
                    ..weight.clone()
                });
            }
            _ => self.nodes.push(cast(&name, &new, to)),
        }
        self.types.insert(new.clone(), to);
        self.casts.insert((name, to), new.clone());
        Ok(new)
    }
}

/// Outputs of the nodes that stay in `f32` though their kind would not: of a lifter, what the module's
/// page says.
fn exact(graph: &GraphProto) -> HashSet<String> {
    let mut exact = HashSet::new();
    if graph.node.iter().any(|n| n.op_type == "Conv") {
        return exact;
    }
    let product = |n: &NodeProto| PRODUCTS.contains(&n.op_type.as_str());
    // All but weights, which lie behind casts.
    let computed: HashSet<&String> =
        graph.node.iter().filter(|n| n.op_type != "Cast").flat_map(|n| &n.output).collect();
    let weights: HashSet<&String> = graph.initializer.iter().map(|w| &w.name).collect();
    // Backwards: down to the last one.
    let mut asked: HashSet<&String> = graph.output.iter().map(|o| &o.name).collect();
    // Up to the first normalisation: coordinates, and what is made of a frame. Half a thousandth of
    // them is more than of anything behind.
    let encoder = graph.node.iter().take_while(|n| n.op_type != "LayerNormalization");
    exact.extend(encoder.flat_map(|n| n.output.iter().cloned()));
    for node in graph.node.iter().rev() {
        if node.output.iter().any(|name| asked.contains(name)) {
            exact.extend(node.output.iter().cloned());
            // The residual stream, which every sum on the way is part of.
            if !product(node) && node.op_type != "LayerNormalization" {
                asked.extend(node.input.iter().filter(|name| !weights.contains(name)));
            }
        }
    }
    // Attention: scores are differences of large numbers, and so is what they are products of.
    let mut compared: HashSet<&String> = HashSet::new();
    for node in graph.node.iter().rev() {
        let scores = product(node) && node.input.iter().all(|name| computed.contains(name));
        let wanted = node.output.iter().any(|name| compared.contains(name));
        if scores || wanted {
            exact.extend(node.output.iter().cloned());
            if scores || !product(node) {
                compared.extend(node.input.iter().filter(|name| computed.contains(name)));
            }
        }
    }
    // A sum of two computed things is a residual; of one and a weight, a bias.
    for node in graph.node.iter().filter(|n| n.op_type == "Add") {
        if node.input.iter().all(|name| computed.contains(name)) {
            exact.extend(node.output.iter().cloned());
        }
    }
    exact
}

fn cast(from: &str, to: &str, float: Float) -> NodeProto {
    NodeProto {
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        name: format!("cast_{to}"),
        op_type: "Cast".into(),
        attribute: vec![AttributeProto {
            name: "to".into(),
            r#type: attribute_proto::AttributeType::Int as i32,
            i: float.onnx() as i64,
            ..AttributeProto::default()
        }],
        ..NodeProto::default()
    }
}

/// A tensor's values as `f16`, little-endian.
fn halves(weight: &TensorProto) -> Result<Vec<u8>, String> {
    let values: Vec<f32> = if weight.raw_data.is_empty() {
        weight.float_data.clone()
    } else {
        let (whole, _) = weight.raw_data.as_chunks::<4>();
        whole.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let mut out = Vec::with_capacity(2 * values.len());
    for value in values {
        let half = f16::from_f32(value);
        if value.is_finite() && !half.is_finite() {
            return Err(format!("weight {:?} holds {value}, too much for f16", weight.name));
        }
        out.extend_from_slice(&half.to_le_bytes());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(name: &str) -> GraphProto {
        let path = format!("{}/models/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
        let half = to_half(&std::fs::read(path).unwrap()).unwrap();
        ModelProto::decode(&*half).unwrap().graph.unwrap()
    }

    /// Products by weights: how many in `f16`, how many in `f32`.
    fn products(graph: &GraphProto) -> (usize, usize) {
        let halves: HashSet<&String> = graph
            .initializer
            .iter()
            .filter(|w| w.data_type == DataType::Float16 as i32)
            .map(|w| &w.name)
            .collect();
        let all = graph.node.iter().filter(|n| PRODUCTS.contains(&n.op_type.as_str()));
        let (half, rest): (Vec<_>, Vec<_>) = all.partition(|n| halves.contains(&n.input[1]));
        (half.len(), rest.len())
    }

    #[test]
    fn a_detector_is_in_half_precision_throughout_and_its_borders_are_not() {
        for name in ["posewire-keypoints", "posewire-finder"] {
            let graph = graph(name);
            let (half, rest) = products(&graph);
            assert!(half > 20 && rest == 0, "{name}: {half} and {rest}");
            let first =
                &graph.node.iter().find(|n| n.input.contains(&graph.input[0].name)).unwrap();
            assert_eq!(first.op_type, "Cast");
            for output in &graph.output {
                let last = graph.node.iter().find(|n| n.output.contains(&output.name)).unwrap();
                assert_eq!(last.attribute[0].i, DataType::Float as i64, "{name} {}", output.name);
            }
        }
    }

    #[test]
    fn of_a_lifter_only_the_products_behind_attention_are() {
        // Projection and two products of the feed-forward block in each of three encoder and four
        // aggregator layers, but for the six that the encoder's answer for the asked slot is a sum of.
        let (half, rest) = products(&graph("pstmo_s_81_live"));
        assert_eq!(half, 3 * 7 - 6, "and {rest} others");
        // Nothing of a single frame.
        assert_eq!(products(&graph("pstmo_s_81_live.frame")).0, 0);
        let (half, _) = products(&graph("pstmo_s_81_live.window"));
        assert!((14..=15).contains(&half), "{half}");
    }

    #[test]
    fn the_same_file_comes_out_every_time_and_what_is_no_network_does_not() {
        let path = format!("{}/models/pstmo_s_27_live.onnx", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(to_half(&bytes).unwrap(), to_half(&bytes).unwrap());
        assert!(to_half(b"words").unwrap_err().contains("ONNX"));
        assert!(to_half(&[]).unwrap_err().contains("no graph"));
        let large = TensorProto { float_data: vec![1.0, 1e5], ..TensorProto::default() };
        assert!(halves(&large).unwrap_err().contains("too much for f16"));
    }
}
