//! One pass over a graph that gives every tensor the type it is computed in, and every quantised
//! product its scales.

use std::collections::{HashMap, HashSet};

use half::f16;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::sites::channel_axis;
use super::weights::{self, LARGEST};
use crate::engine::half_typed;
use crate::engine::onnx::{
    Constant, Constants, f16_tensor, f32_tensor, i8_tensor, int_attribute, node,
};

/// What a graph is rewritten to.
pub struct Rewrite<'a> {
    /// Operators that compute in `f16`; all others in `f32`.
    pub half: &'a dyn Fn(&NodeProto) -> bool,
    /// The range of the activation of a product, by the names of its constant and its activation;
    /// `None` leaves the product in floating point.
    pub range: &'a dyn Fn(&str, &str) -> Option<f32>,
    /// How 8-bit values are written.
    pub style: Style,
}

/// How 8-bit values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// QuantizeLinear and DequantizeLinear, for engines that fuse them into integer products.
    Qdq,
    /// The same values by plain `f32` operators, for engines that compute Q/DQ wrongly (tract).
    Simulated,
}

/// Operators that hand values on: they compute in the type that they are given.
const HANDS_ON: [&str; 12] = [
    "Reshape",
    "Transpose",
    "Split",
    "Slice",
    "Concat",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Identity",
    "DepthToSpace",
    "MaxPool",
    "Resize",
];

/// What a tensor holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Single,
    Half,
}

struct Writer<'a> {
    rewrite: &'a Rewrite<'a>,
    constants: Constants,
    kinds: HashMap<String, Kind>,
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    /// Names of what was written once and is used again.
    written: HashSet<String>,
    saturated: usize,
}

/// Rewrites `graph`, out of which `constants` were taken. Gives how many constants were too large
/// for `f16` and became its largest value.
///
/// # Errors
/// If the graph holds what is not understood.
pub fn rewrite(
    graph: &mut GraphProto,
    constants: Constants,
    rewrite: &Rewrite<'_>,
) -> Result<usize, String> {
    let mut writer = Writer {
        rewrite,
        constants,
        kinds: graph.input.iter().map(|i| (i.name.clone(), Kind::Single)).collect(),
        nodes: Vec::with_capacity(2 * graph.node.len()),
        tensors: Vec::new(),
        written: HashSet::new(),
        saturated: 0,
    };
    let outputs: HashSet<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    for n in std::mem::take(&mut graph.node) {
        writer.node(n, &outputs)?;
    }
    graph.node = writer.nodes;
    graph.initializer.append(&mut writer.tensors);
    graph.value_info.clear();
    Ok(writer.saturated)
}

impl Writer<'_> {
    fn node(&mut self, mut n: NodeProto, outputs: &HashSet<String>) -> Result<(), String> {
        if matches!(n.op_type.as_str(), "Cast" | "QuantizeLinear" | "DequantizeLinear") {
            return Err(format!(
                "node {:?} is a {}: give the f32 network, not one that was typed or quantised",
                n.name, n.op_type
            ));
        }
        if n.op_type == "Constant" {
            self.nodes.push(n);
            return Ok(());
        }
        let hands_on = HANDS_ON.contains(&n.op_type.as_str());
        let kind = if hands_on {
            let given: Vec<Kind> =
                n.input.iter().filter_map(|i| self.kinds.get(i).copied()).collect();
            let half = !given.is_empty() && given.iter().all(|k| *k == Kind::Half);
            if half { Kind::Half } else { Kind::Single }
        } else if (self.rewrite.half)(&n) {
            Kind::Half
        } else {
            Kind::Single
        };
        let quantised = self.quantise(&mut n)?;
        // In f32: TensorRT for RTX 1.6.1 takes sums of 8-bit products for halves before it scales them,
        // if the scales are halves, and infinities come of that.
        let kind = if quantised { Kind::Single } else { kind };
        for (i, input) in n.input.iter_mut().enumerate() {
            // A Resize's scales and region are f32 whatever it resizes.
            if input.is_empty() || (n.op_type == "Resize" && i > 0) || (quantised && i < 2) {
                if n.op_type == "Resize" {
                    self.keep(input)?;
                }
                continue;
            }
            *input = self.input(input, kind)?;
        }
        let mut back = Vec::new();
        for output in n.output.iter_mut().filter(|o| !o.is_empty()) {
            if outputs.contains(output) && kind == Kind::Half {
                let inner = format!("{output}/half");
                back.push(cast(&inner, output, Kind::Single));
                output.clone_from(&inner);
            }
            self.kinds.insert(output.clone(), kind);
        }
        if n.op_type == "MatMul" && kind == Kind::Half && !quantised {
            let names = ("/wide", "/sum");
            half_typed::accumulated_in_single(n, names, &mut self.written, &mut self.nodes);
        } else {
            self.nodes.push(n);
        }
        for c in back {
            self.kinds.insert(c.output[0].clone(), Kind::Single);
            self.nodes.push(c);
        }
        Ok(())
    }

    /// Writes a floating-point constant as it is, if `name` is one.
    fn keep(&mut self, name: &str) -> Result<(), String> {
        if let Some(constant) = self.constants.get(name).cloned() {
            self.constant(name.to_owned(), &constant, Kind::Single);
        }
        Ok(())
    }

    /// The name under which `input` is to be read in `kind`.
    fn input(&mut self, input: &str, kind: Kind) -> Result<String, String> {
        let name = format!("{input}/{}", if kind == Kind::Half { "half" } else { "single" });
        if let Some(constant) = self.constants.get(input).cloned() {
            // Only a half constant needs a name of its own.
            let name = if kind == Kind::Half { name } else { input.to_owned() };
            self.constant(name.clone(), &constant, kind);
            return Ok(name);
        }
        match self.kinds.get(input) {
            Some(given) if *given != kind => {
                if self.written.insert(name.clone()) {
                    self.nodes.push(cast(input, &name, kind));
                }
                Ok(name)
            }
            // Integers, and tensors that are what they should be.
            _ => Ok(input.to_owned()),
        }
    }

    fn constant(&mut self, name: String, constant: &Constant, kind: Kind) {
        if !self.written.insert(name.clone()) {
            return;
        }
        let tensor = match kind {
            Kind::Single => f32_tensor(&name, &constant.dims, &constant.values),
            Kind::Half => {
                let most = f16::MAX.to_f32();
                self.saturated += constant.values.iter().filter(|v| v.abs() > most).count();
                let kept: Vec<f32> = constant.values.iter().map(|v| v.clamp(-most, most)).collect();
                f16_tensor(&name, &constant.dims, &kept)
            }
        };
        self.tensors.push(tensor);
    }

    /// Puts scales before both factors of `n`, if it is a product that is quantised.
    fn quantise(&mut self, n: &mut NodeProto) -> Result<bool, String> {
        let [activation, weight, ..] = &n.input[..] else { return Ok(false) };
        if !matches!(n.op_type.as_str(), "MatMul" | "Conv") {
            return Ok(false);
        }
        let Some(constant) = self.constants.get(weight).cloned() else { return Ok(false) };
        let Some(range) = (self.rewrite.range)(weight, activation) else { return Ok(false) };
        if !(range.is_finite() && range > 0.0) {
            return Err(format!("the range of {weight:?} is {range}, not a size"));
        }
        let (activation, weight) = (activation.clone(), weight.clone());
        let axis = channel_axis(&n.op_type, &constant.dims);
        let eight = weights::quantise(&constant, axis);
        let scale = weights::representable(range / LARGEST);
        let before = self.input(&activation, Kind::Single)?;
        n.input[0] = match self.rewrite.style {
            Style::Qdq => self.qdq(&before, &activation, scale),
            Style::Simulated => self.simulate(&before, &activation, scale),
        };
        n.input[1] = match self.rewrite.style {
            Style::Simulated => {
                let name = format!("{weight}/rounded");
                self.constant(name.clone(), &eight.floats(), Kind::Single);
                name
            }
            Style::Qdq => {
                let [bits, scales, zeros, out] =
                    ["i8", "scales", "zeros", "dequantised"].map(|s| format!("{weight}/{s}"));
                if self.written.insert(out.clone()) {
                    let channels = [eight.scales.len()];
                    self.tensors.push(i8_tensor(&bits, &eight.dims, &eight.values));
                    self.tensors.push(i8_tensor(&zeros, &channels, &vec![0; channels[0]]));
                    let floats = Constant { dims: channels.into(), values: eight.scales };
                    self.constant(scales.clone(), &floats, Kind::Single);
                    let mut dq = node("DequantizeLinear", &out, &[&bits, &scales, &zeros], &[&out]);
                    dq.attribute.push(int_attribute("axis", axis as i64));
                    self.nodes.push(dq);
                }
                out
            }
        };
        Ok(true)
    }

    fn qdq(&mut self, before: &str, activation: &str, scale: f32) -> String {
        let [step, zero, bits, out] =
            ["scale", "zero", "i8", "dequantised"].map(|s| format!("{activation}/{s}"));
        if self.written.insert(out.clone()) {
            let floats = Constant { dims: Vec::new(), values: vec![scale] };
            self.constant(step.clone(), &floats, Kind::Single);
            self.tensors.push(i8_tensor(&zero, &[], &[0]));
            self.nodes.push(node("QuantizeLinear", &bits, &[before, &step, &zero], &[&bits]));
            self.nodes.push(node("DequantizeLinear", &out, &[&bits, &step, &zero], &[&out]));
        }
        out
    }

    fn simulate(&mut self, before: &str, activation: &str, scale: f32) -> String {
        let name = |s: &str| format!("{activation}/{s}");
        let out = name("rounded");
        if self.written.insert(out.clone()) {
            for (what, value) in [("step", scale), ("most", LARGEST), ("least", -LARGEST)] {
                let floats = Constant { dims: Vec::new(), values: vec![value] };
                self.constant(name(what), &floats, Kind::Single);
            }
            let [step, most, least] = ["step", "most", "least"].map(name);
            let [ratio, whole, inside] = ["ratio", "whole", "inside"].map(name);
            self.nodes.push(node("Div", &ratio, &[before, &step], &[&ratio]));
            self.nodes.push(node("Round", &whole, &[&ratio], &[&whole]));
            self.nodes.push(node("Clip", &inside, &[&whole, &least, &most], &[&inside]));
            self.nodes.push(node("Mul", &out, &[&inside, &step], &[&out]));
        }
        out
    }
}

fn cast(from: &str, to: &str, kind: Kind) -> NodeProto {
    let wanted = if kind == Kind::Half { DataType::Float16 } else { DataType::Float };
    let mut n = node("Cast", to, &[from], &[to]);
    n.attribute.push(int_attribute("to", wanted as i64));
    n
}
