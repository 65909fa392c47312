//! Networks with 16-bit arithmetic written into their files.
//!
//! Newer TensorRTs compute in the types that the file says, so that a network in half precision is
//! another file. It is made from the `f32` one when an engine is built, and always in the same way:
//!
//! - products (`MatMul`, `Conv`), what only moves values, activations and softmax are in `f16`; sums of
//!   a `MatMul` are accumulated in `f32`: TensorRT takes that from casts of the factors to `f32` and of
//!   the product back to `f16`, and without them accumulates in `f16`, which doubles the error;
//! - normalisation, means, variances and everything else stays in `f32`: squares of large values
//!   overflow, differences of close ones vanish;
//! - inputs and outputs are `f32` as they were. Of a lifter, these stay in `f32`, too: all products of a
//!   single frame; the first attention's block (it compares frames as they were encoded: its scores are
//!   differences of thousands); the feed-forward block that ends in the tokens of which the asked slot's
//!   is picked; residual sums; the last product (metres: `f16` has half millimetres there).
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
    /// Halves that exist as `f32` for a product, too.
    widened: HashSet<String>,
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
        let weights: HashMap<String, TensorProto> =
            graph.initializer.iter().map(|w| (w.name.clone(), w.clone())).collect();
        Ok(Self {
            types,
            exact: exact(graph, &|name| weights.contains_key(name)),
            weights,
            casts: HashMap::new(),
            widened: HashSet::new(),
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
        if op == "MatMul" && wanted == Float::Half {
            let names = ("_wide", "_wide_sum");
            accumulated_in_single(node, names, &mut self.widened, &mut self.nodes);
        } else {
            self.nodes.push(node);
        }
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
/// page says. Weights behind a `Cast` are weights.
pub(super) fn exact(graph: &GraphProto, is_weight: &dyn Fn(&str) -> bool) -> HashSet<String> {
    let mut exact = HashSet::new();
    if graph.node.iter().any(|n| n.op_type == "Conv") {
        return exact;
    }
    let product = |n: &NodeProto| PRODUCTS.contains(&n.op_type.as_str());
    // All but weights, which lie behind casts.
    let computed: HashSet<&String> =
        graph.node.iter().filter(|n| n.op_type != "Cast").flat_map(|n| &n.output).collect();
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
                asked.extend(node.input.iter().filter(|name| !is_weight(name)));
            }
        }
    }
    // A sum of two computed things is a residual; of one and a weight, a bias.
    let both = |n: &NodeProto| n.input.iter().all(|name| computed.contains(name));
    let residual = |n: &NodeProto| n.op_type == "Add" && both(n);
    let sums: HashSet<&String> =
        graph.node.iter().filter(|n| residual(n)).flat_map(|n| &n.output).collect();
    exact.extend(sums.iter().map(|name| (*name).clone()));
    // Whole blocks: from the sum that they end in, back to the normalisation that they begin with.
    let mut block: HashSet<&String> = HashSet::new();
    if let Some(first) = graph.node.iter().position(|n| n.op_type == "Softmax")
        && let Some(end) = graph.node[first..].iter().find(|n| residual(n))
    {
        block.extend(&end.output);
    }
    let softmax = graph.node.iter().filter(|n| n.op_type == "Softmax");
    let shares: HashSet<&String> = softmax.flat_map(|n| n.input.iter().chain(&n.output)).collect();
    for node in graph.node.iter().filter(|n| product(n) && both(n)) {
        // Not attention: a row is picked.
        if !node.input.iter().chain(&node.output).any(|name| shares.contains(name)) {
            exact.extend(node.output.iter().cloned());
            block.extend(&node.input);
        }
    }
    let ends = block.clone();
    for node in graph.node.iter().rev() {
        let Some(name) = node.output.iter().find(|name| block.contains(name)) else { continue };
        if node.op_type == "LayerNormalization" || (sums.contains(name) && !ends.contains(name)) {
            continue;
        }
        exact.extend(node.output.iter().cloned());
        block.extend(node.input.iter().filter(|name| computed.contains(name)));
    }
    exact
}

/// A product of halves whose sums are `f32`: written as one of `f32`, between casts. `suffixes` name a
/// factor and the sum in `f32`, `widened` the factors that exist so already.
pub(super) fn accumulated_in_single(
    mut node: NodeProto,
    suffixes: (&str, &str),
    widened: &mut HashSet<String>,
    nodes: &mut Vec<NodeProto>,
) {
    for name in &mut node.input {
        // Not the value before it was a half: that cast is what rounds.
        let wide = format!("{name}{}", suffixes.0);
        if widened.insert(wide.clone()) {
            nodes.push(cast(name, &wide, Float::Single));
        }
        *name = wide;
    }
    let half = node.output[0].clone();
    node.output[0] = format!("{half}{}", suffixes.1);
    let back = cast(&node.output[0], &half, Float::Half);
    nodes.extend([node, back]);
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
mod tests;
