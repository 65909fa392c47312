//! ONNX files read, changed and written.
//!
//! The messages are those that tract's reader is made of ([`tract_onnx::pb`]); what they cannot
//! hold would be lost on the way through, so files that use it are refused by [`read`].
//!
//! [`Constants`] are a graph's numbers, whether they are initialisers or `f16` initialisers with
//! a Cast behind them, as our exports store weights.

use std::collections::{HashMap, HashSet};

use half::f16;
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

/// Reads an ONNX file that can be changed and written again without losing anything.
///
/// # Errors
/// If it is no ONNX file, or uses what would be lost: subgraphs, functions, sparse tensors,
/// weights in other files, operators of other domains.
pub fn read(bytes: &[u8]) -> Result<ModelProto, String> {
    let model = ModelProto::decode(bytes)
        .map_err(|e| format!("not an ONNX file, or a truncated one: {e}"))?;
    let graph = graph(&model)?;
    let refuse = |what: &str| {
        Err(format!("it holds {what}, which would be lost; export the network without them"))
    };
    if !model.functions.is_empty() || !model.training_info.is_empty() {
        return refuse("functions or training data");
    }
    if !graph.sparse_initializer.is_empty() || !graph.quantization_annotation.is_empty() {
        return refuse("sparse tensors or annotations");
    }
    if graph.initializer.iter().any(|t| t.data_location == Some(1) || t.segment.is_some()) {
        return refuse("weights that lie in other files");
    }
    for node in &graph.node {
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            return refuse(&format!("operators of the domain {:?}", node.domain));
        }
        if node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty()) {
            return refuse("graphs within graphs");
        }
    }
    Ok(model)
}

/// The file's bytes.
#[must_use]
pub fn write(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}

/// The model's graph.
///
/// # Errors
/// If it has none.
pub fn graph(model: &ModelProto) -> Result<&GraphProto, String> {
    model.graph.as_ref().ok_or_else(|| "not an ONNX file: it holds no graph".to_owned())
}

/// The model's graph, to be changed.
///
/// # Errors
/// If it has none.
pub fn graph_mut(model: &mut ModelProto) -> Result<&mut GraphProto, String> {
    model.graph.as_mut().ok_or_else(|| "not an ONNX file: it holds no graph".to_owned())
}

/// The version of the standard operators.
#[must_use]
pub fn opset(model: &ModelProto) -> i64 {
    let standard = |d: &str| matches!(d, "" | "ai.onnx");
    model.opset_import.iter().find(|o| standard(&o.domain)).map_or(0, |o| o.version)
}

/// A node of the standard operators.
#[must_use]
pub fn node(op: &str, name: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let owned = |all: &[&str]| all.iter().map(|&s| s.to_owned()).collect();
    NodeProto {
        op_type: op.to_owned(),
        name: name.to_owned(),
        input: owned(inputs),
        output: owned(outputs),
        ..NodeProto::default()
    }
}

/// A whole number as an attribute.
#[must_use]
pub fn int_attribute(name: &str, i: i64) -> AttributeProto {
    let r#type = AttributeType::Int as i32;
    AttributeProto { name: name.to_owned(), i, r#type, ..AttributeProto::default() }
}

/// An attribute of a node.
#[must_use]
pub fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

fn tensor(name: &str, dims: &[usize], kind: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.iter().map(|&d| d as i64).collect(),
        data_type: kind as i32,
        raw_data,
        ..TensorProto::default()
    }
}

/// An `f32` tensor of the given sizes.
#[must_use]
pub fn f32_tensor(name: &str, dims: &[usize], values: &[f32]) -> TensorProto {
    let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(name, dims, DataType::Float, raw)
}

/// An `f16` tensor of the given sizes; too large values become infinite.
#[must_use]
pub fn f16_tensor(name: &str, dims: &[usize], values: &[f32]) -> TensorProto {
    let raw = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
    tensor(name, dims, DataType::Float16, raw)
}

/// An `i8` tensor of the given sizes.
#[must_use]
pub fn i8_tensor(name: &str, dims: &[usize], values: &[i8]) -> TensorProto {
    tensor(name, dims, DataType::Int8, values.iter().map(|v| *v as u8).collect())
}

/// Sizes and values of a floating-point tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Sizes, outermost first.
    pub dims: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}

/// The values of a floating-point tensor; `None` if it is of another type.
///
/// # Errors
/// If there are not as many values as its sizes say.
pub fn floats(tensor: &TensorProto) -> Result<Option<Constant>, String> {
    let raw = &tensor.raw_data[..];
    let values: Vec<f32> = match tensor.data_type {
        t if t == DataType::Float as i32 && raw.is_empty() => tensor.float_data.clone(),
        t if t == DataType::Float as i32 => {
            raw.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        }
        t if t == DataType::Float16 as i32 => {
            raw.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()
        }
        _ => return Ok(None),
    };
    let dims: Vec<usize> = tensor.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
    if values.len() != dims.iter().product::<usize>() {
        return Err(format!("constant {:?} is cut off", tensor.name));
    }
    Ok(Some(Constant { dims, values }))
}

/// A graph's floating-point numbers by the names under which its nodes read them.
#[derive(Debug, Default)]
pub struct Constants {
    by_name: HashMap<String, Constant>,
}

impl Constants {
    /// Takes all floating-point constants out of `graph`: initialisers, and Casts of them, which
    /// are computed. Constants of other types stay where they are, as do Constant nodes.
    ///
    /// # Errors
    /// If one is cut off.
    pub fn take(graph: &mut GraphProto) -> Result<Self, String> {
        let mut by_name = HashMap::new();
        let mut others = Vec::new();
        for tensor in std::mem::take(&mut graph.initializer) {
            match floats(&tensor)? {
                Some(constant) => drop(by_name.insert(tensor.name, constant)),
                None => others.push(tensor),
            }
        }
        graph.initializer = others;
        let mut all = Self { by_name };
        let to_f32 = |n: &NodeProto| {
            attribute(n, "to").is_some_and(|a| a.i == i64::from(DataType::Float as i32))
        };
        graph.node.retain(|n| {
            let cast = n.op_type == "Cast" && to_f32(n);
            match n.input.first().and_then(|i| all.by_name.get(i)).filter(|_| cast) {
                Some(constant) => {
                    let constant = constant.clone();
                    all.by_name.insert(n.output[0].clone(), constant);
                    false
                }
                None => true,
            }
        });
        let read: HashSet<&str> =
            graph.node.iter().flat_map(|n| &n.input).map(String::as_str).collect();
        all.by_name.retain(|name, _| read.contains(name.as_str()));
        Ok(all)
    }

    /// The constant that nodes read under `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Constant> {
        self.by_name.get(name)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Constant> {
        self.by_name.get_mut(name)
    }

    /// Puts all of them back as `f32` initialisers, in the order of their names.
    pub fn put_back(self, graph: &mut GraphProto) {
        let mut all: Vec<_> = self.by_name.into_iter().collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let tensors = all.iter().map(|(name, c)| f32_tensor(name, &c.dims, &c.values));
        graph.initializer.extend(tensors);
    }
}

/// A constant's name without the number that made it unique and the mark of its type: the same in
/// all graphs of one network.
#[must_use]
pub fn stem(name: &str) -> &str {
    let name = match name.rsplit_once('_') {
        Some((stem, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => stem,
        _ => name,
    };
    name.trim_end_matches("_f16").trim_end_matches(".f16")
}

#[cfg(test)]
mod tests;
