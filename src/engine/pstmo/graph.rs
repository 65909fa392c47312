//! A lifter's whole-window ONNX graph → the evaluator's weights.
//!
//! The graph is followed by the names that `models/train/lifter/graph.py` gives its constants,
//! and the row of its operators is compared with the one that those constants make: a graph with
//! an operator more or less is another network, and is refused.

use std::collections::HashMap;

use fearless_simd::Level;
use half::f16;
use tract_onnx::pb;

use super::dense::{Finish, Panels, Product};
use super::{CONTEXT, Dense, FEATURES, JOINTS, Layer, Norm, STRIDE, Weights, centre};

type Read<T> = Result<T, String>;

/// Shape and values.
type Constant = (Vec<usize>, Vec<f32>);

struct Constants {
    floats: HashMap<String, Constant>,
    /// Shapes for Reshape.
    integers: HashMap<String, Vec<i64>>,
}

/// A name without the number that makes it unique.
fn stem(name: &str) -> &str {
    match name.rsplit_once('_') {
        Some((stem, number)) if number.bytes().all(|b| b.is_ascii_digit()) => stem,
        _ => name,
    }
}

fn dims(tensor: &pb::TensorProto) -> Vec<usize> {
    tensor.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect()
}

impl Constants {
    fn new(graph: &pb::GraphProto) -> Read<Self> {
        let mut all = Self { floats: HashMap::new(), integers: HashMap::new() };
        for tensor in &graph.initializer {
            let name = stem(&tensor.name).trim_end_matches("_f16").to_owned();
            let raw = &tensor.raw_data[..];
            let shape = dims(tensor);
            const F32: i32 = pb::tensor_proto::DataType::Float as i32;
            const F16: i32 = pb::tensor_proto::DataType::Float16 as i32;
            const I64: i32 = pb::tensor_proto::DataType::Int64 as i32;
            let values: Vec<f32> = match tensor.data_type {
                F32 => raw.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
                F16 => raw.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
                I64 => {
                    let values = raw.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
                    all.integers.insert(name, values);
                    continue;
                }
                other => return Err(format!("constant {:?} is of the type {other}", tensor.name)),
            };
            if values.len() != shape.iter().product::<usize>() {
                return Err(format!("constant {:?} is cut off", tensor.name));
            }
            if all.floats.insert(name, (shape, values)).is_some() {
                return Err(format!("there are two constants {:?}", stem(&tensor.name)));
            }
        }
        Ok(all)
    }

    fn has(&self, name: &str) -> bool {
        self.floats.contains_key(name)
    }

    fn get(&self, name: &str) -> Read<&Constant> {
        self.floats.get(name).ok_or_else(|| format!("there is no constant {name:?}"))
    }

    fn vector(&self, name: &str, len: usize) -> Read<Vec<f32>> {
        let (shape, values) = self.get(name)?;
        if *shape != [len] {
            return Err(format!("{name:?} has the shape {shape:?}, not [{len}]"));
        }
        Ok(values.clone())
    }

    /// Rows, columns, values.
    fn matrix(&self, name: &str) -> Read<(usize, usize, &[f32])> {
        match self.get(name)? {
            (shape, values) if shape.len() == 2 => Ok((shape[0], shape[1], values)),
            (shape, _) => Err(format!("{name:?} has the shape {shape:?}, which is no matrix")),
        }
    }

    /// A matrix with its bias; `rows` and `columns` as they must be.
    fn dense(&self, name: &str, rows: usize, columns: Option<usize>) -> Read<Dense> {
        let (r, c, values) = self.matrix(&format!("{name}_w"))?;
        if r != rows || columns.is_some_and(|columns| columns != c) {
            return Err(format!("{name:?} is a matrix of {r} x {c} where {rows} rows are needed"));
        }
        let bias = self.vector(&format!("{name}_b"), c)?;
        Ok(Dense { weights: Panels::new(values, r, c), bias })
    }

    fn norm(&self, name: &str, d: usize) -> Read<Norm> {
        let of = |what: &str| self.vector(&format!("{name}_{what}"), d);
        Ok(Norm { gain: of("g")?, shift: of("b")? })
    }

    fn layer(&self, name: &str, d: usize, taps: usize, tokens: usize) -> Read<Layer> {
        let widen = self.dense(&format!("{name}_w1"), d, None)?;
        let wide = widen.weights.columns();
        let position = match self.floats.get(&format!("{name}_pos")) {
            Some((shape, values)) if *shape == [tokens, d] => Some(values.clone()),
            Some((shape, _)) => return Err(format!("{name}_pos has the shape {shape:?}")),
            None => None,
        };
        Ok(Layer {
            position,
            norm1: self.norm(&format!("{name}_n1"), d)?,
            qkv: self.dense(&format!("{name}_qkv"), d, Some(3 * d))?,
            proj: self.dense(&format!("{name}_proj"), d, Some(d))?,
            norm2: self.norm(&format!("{name}_n2"), d)?,
            widen,
            narrow: self.dense(&format!("{name}_w2"), taps * wide, Some(d))?,
        })
    }
}

pub(in super::super) fn weights(graph: &pb::GraphProto) -> Read<Weights> {
    let constants = Constants::new(graph)?;
    let (shape, position) = constants.get("pos")?;
    let &[frames, d] = &shape[..] else {
        return Err(format!("positions have the shape {shape:?}"));
    };
    let heads = match constants.integers.get("tem0_heads_shape").map(Vec::as_slice) {
        Some(&[_, _, parts, width])
            if parts > 0 && parts % 3 == 0 && parts / 3 * width == d as i64 =>
        {
            (parts / 3) as usize
        }
        other => return Err(format!("the heads' shape {other:?} does not fit {d} values")),
    };
    let sem_in = constants.dense("sem_in", FEATURES, None)?;
    let width = sem_in.weights.columns();
    let context = constants.dense("ctx1", CONTEXT, None)?;
    let between = context.weights.columns();
    let layers =
        |name: &str| (0..).take_while(|i| constants.has(&format!("{name}{i}_qkv_w"))).count();
    let tem = (0..layers("tem"))
        .map(|i| constants.layer(&format!("tem{i}"), d, 1, 0))
        .collect::<Read<Vec<_>>>()?;
    let mut tokens = frames;
    let mut mofa = Vec::new();
    for i in 0..layers("mofa") {
        if tokens % STRIDE != 0 {
            return Err(format!("{tokens} tokens cannot be taken three by three"));
        }
        mofa.push(constants.layer(&format!("mofa{i}"), d, STRIDE, tokens)?);
        tokens /= STRIDE;
    }
    if tokens != 1 || tem.is_empty() {
        return Err(format!("{} layers leave {tokens} tokens", tem.len() + mofa.len()));
    }
    let skip =
        constants.has("vte_w").then(|| constants.dense("vte", d, Some(3 * JOINTS))).transpose()?;
    let only_lookahead =
        match constants.integers.get("asked_start").and_then(|s| s.first().copied()) {
            Some(slot) => Some(
                usize::try_from(slot)
                    .ok()
                    .filter(|s| *s < frames)
                    .ok_or_else(|| format!("slot {slot} of {frames} is asked for"))?,
            ),
            None => None,
        };

    let (_, _, w) = constants.matrix("tem0_qkv_w")?;
    let first = &tem[0];
    let shared: Vec<f32> =
        w.iter().enumerate().map(|(i, w)| w * first.norm1.gain[i / (3 * d)]).collect();
    let share_bias = (0..3 * d)
        .map(|c| {
            let rows =
                (0..d).map(|r| f64::from(first.norm1.shift[r]) * f64::from(w[r * 3 * d + c]));
            (rows.sum::<f64>() + f64::from(first.qkv.bias[c])) as f32
        })
        .collect();
    let share = Panels::new(&shared, d, 3 * d);
    let mut position_share = vec![0.0; frames * 3 * d];
    let mut centred = vec![0.0; d];
    for (row, out) in position.chunks_exact(d).zip(position_share.chunks_exact_mut(3 * d)) {
        centre(row, &mut centred);
        Product {
            left: &centred,
            left_stride: d,
            m: 1,
            right: &share,
            bias: None,
            out,
            out_stride: 3 * d,
            finish: Finish::Write,
        }
        .on(Level::new());
    }
    let weights = Weights {
        frames,
        d,
        heads,
        epsilon: same_attribute(graph, "LayerNormalization", "epsilon")?,
        slope: same_attribute(graph, "LeakyRelu", "alpha")?,
        sem: [
            sem_in,
            constants.dense("sem_1", width, Some(width))?,
            constants.dense("sem_2", width, Some(width))?,
            constants.dense("sem_out", width, Some(d))?,
        ],
        position: position.clone(),
        position_share,
        share,
        share_bias,
        context: [context, constants.dense("ctx2", between, Some(d))?],
        tem,
        mofa,
        head: constants.dense("head", d, Some(3 * JOINTS))?,
        skip,
        only_lookahead,
    };
    compare(graph, &weights)?;
    Ok(weights)
}

/// An attribute that all nodes of an operator have alike.
fn same_attribute(graph: &pb::GraphProto, op: &str, name: &str) -> Read<f32> {
    let mut found: Option<f32> = None;
    for node in graph.node.iter().filter(|n| n.op_type == op) {
        let value = node.attribute.iter().find(|a| a.name == name).map(|a| a.f);
        match (found, value) {
            (None, Some(v)) => found = Some(v),
            (Some(a), Some(b)) if a == b => {}
            _ => return Err(format!("{op}: {name} is not the same everywhere")),
        }
    }
    found.ok_or_else(|| format!("there is no {op}"))
}

const LINEAR: [&str; 2] = ["MatMul", "Add"];
const ATTENTION: [&str; 9] = [
    "Reshape",
    "Transpose",
    "Split",
    "Transpose",
    "MatMul",
    "Softmax",
    "MatMul",
    "Transpose",
    "Reshape",
];

/// Are the graph's operators those of this network, in this order? Casts of stored halves aside.
fn compare(graph: &pb::GraphProto, w: &Weights) -> Read<()> {
    let mut wanted: Vec<&str> = vec!["Reshape", "Mul", "Reshape", "Concat"];
    for _ in 0..3 {
        wanted.extend(LINEAR);
        wanted.push("LeakyRelu");
    }
    wanted.push("Add");
    wanted.extend(LINEAR);
    // Positions and context.
    wanted.push("Add");
    wanted.extend(LINEAR);
    wanted.push("Relu");
    wanted.extend(LINEAR);
    wanted.extend(["Reshape", "Add"]);
    let attention = |wanted: &mut Vec<&str>| {
        wanted.push("LayerNormalization");
        wanted.extend(LINEAR);
        wanted.extend(ATTENTION);
        wanted.extend(LINEAR);
        wanted.push("Add");
    };
    for _ in &w.tem {
        attention(&mut wanted);
        wanted.push("LayerNormalization");
        wanted.extend(LINEAR);
        wanted.push("Relu");
        wanted.extend(LINEAR);
        wanted.push("Add");
    }
    if w.skip.is_some() {
        match w.only_lookahead {
            Some(_) => wanted.push("Slice"),
            None => {
                wanted.extend(["Slice", "Mul", "Sub", "Abs", "Sub", "Relu", "Reshape", "MatMul"])
            }
        }
        wanted.push("Reshape");
        wanted.extend(LINEAR);
    }
    for layer in &w.mofa {
        if layer.position.is_some() {
            wanted.push("Add");
        }
        attention(&mut wanted);
        wanted.push("LayerNormalization");
        wanted.extend(LINEAR);
        wanted.extend(["Relu", "Reshape"]);
        wanted.extend(LINEAR);
        wanted.extend(["Reshape", "Slice", "Add"]);
    }
    wanted.push("Reshape");
    wanted.extend(LINEAR);
    if w.skip.is_some() {
        wanted.push("Add");
    }
    wanted.push("Reshape");
    let mut found = graph.node.iter().filter(|n| n.op_type != "Cast");
    for (i, op) in wanted.iter().enumerate() {
        match found.next() {
            Some(node) if node.op_type == *op => {}
            other => {
                let name = other.map_or("nothing", |n| &n.name);
                return Err(format!("its operator {i} is {name:?} where {op} is known"));
            }
        }
    }
    match found.next() {
        Some(node) => Err(format!("it goes on with {:?} where it should end", node.name)),
        None => Ok(()),
    }
}
