//! Graphs that want pictures otherwise than posewire makes them, changed.
//!
//! posewire's tensors are planes of floating-point numbers, `[N, 3, H, W]`. Networks that come from
//! TensorFlow often want pixels, `[N, H, W, 3]`, as whole numbers: a few operators in front of the
//! graph make them from planes.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Size;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, ValueInfoProto, type_proto};

use crate::engine::onnx::{graph, graph_mut, int_attribute, node, opset, read, write};

/// The file's network with what posewire makes as its input; `None` if it is so already, or if the
/// file says too little about its input to tell.
///
/// # Errors
/// If it would have to be changed and cannot be.
pub(super) fn adapt(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    use prost::Message;
    // What is no ONNX file, or has no such input, is told by whoever reads it next.
    let Ok(model) = tract_onnx::pb::ModelProto::decode(bytes) else { return Ok(None) };
    let Some(wanted) = model.graph.as_ref().and_then(Wanted::of) else { return Ok(None) };
    if !wanted.pixels && wanted.whole.is_none() {
        return Ok(None);
    }
    let mut model = read(bytes)?;
    if wanted.whole.is_some() && opset(&model) < 11 {
        return Err(format!(
            "input {:?} is of whole numbers, which posewire rounds with an operator of opset 11: \
             export it with --opset 13",
            graph(&model)?.input[wanted.at].name
        ));
    }
    wanted.put_in_front(graph_mut(&mut model)?);
    Ok(Some(write(&model)))
}

/// What to do about a network that cannot be run because it ends in its own suppression.
pub(super) fn hint(bytes: &[u8]) -> &'static str {
    use prost::Message;
    let suppresses = |g: &GraphProto| g.node.iter().any(|n| n.op_type == "NonMaxSuppression");
    let model = tract_onnx::pb::ModelProto::decode(bytes).ok();
    if model.and_then(|m| m.graph).is_some_and(|g| suppresses(&g)) {
        "; it ends in its own suppression (NonMaxSuppression): export it without, Ultralytics' with \
         nms=False; posewire suppresses itself"
    } else {
        ""
    }
}

/// How a graph's only input differs from planes of floating-point numbers.
struct Wanted {
    /// Which of the graph's inputs it is.
    at: usize,
    /// Its channels are innermost.
    pixels: bool,
    /// Its type, where it is of whole numbers.
    whole: Option<i32>,
}

fn tensor(input: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    let type_proto::Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    Some(tensor)
}

impl Wanted {
    fn of(graph: &GraphProto) -> Option<Self> {
        let constant = |name: &str| graph.initializer.iter().any(|t| t.name == name);
        let mut inputs = graph.input.iter().enumerate().filter(|(_, i)| !constant(&i.name));
        let (at, input) = inputs.next()?;
        if inputs.next().is_some() {
            return None;
        }
        let tensor = tensor(input)?;
        let dims = &tensor.shape.as_ref()?.dim;
        let three = |k: usize| matches!(dims[k].value, Some(Size::DimValue(3)));
        if dims.len() != 4 {
            return None;
        }
        let whole = [DataType::Uint8, DataType::Int8, DataType::Int32, DataType::Int64];
        let whole = whole.map(|t| t as i32).into_iter().find(|t| *t == tensor.elem_type);
        Some(Self { at, pixels: three(3) && !three(1), whole })
    }

    fn put_in_front(&self, graph: &mut GraphProto) {
        let name = graph.input[self.at].name.clone();
        let planes = format!("{name}_planes");
        let mut nodes: Vec<NodeProto> = Vec::new();
        // Each step reads what the one before wrote; the last one writes what the graph reads.
        let mut steps: Vec<(&str, Option<AttributeProto>)> = Vec::new();
        if self.pixels {
            steps.push(("Transpose", Some(order(&[0, 2, 3, 1]))));
        }
        if let Some(whole) = self.whole {
            steps.push(("Round", None));
            steps.push(("Cast", Some(int_attribute("to", i64::from(whole)))));
        }
        let mut from = planes.clone();
        for (n, (op, attribute)) in steps.iter().enumerate() {
            let last = n + 1 == steps.len();
            let to = if last { name.clone() } else { format!("{planes}_{n}") };
            let mut made = node(op, &format!("{planes}_{op}"), &[&from], &[&to]);
            made.attribute.extend(attribute.clone());
            nodes.push(made);
            from = to;
        }
        nodes.append(&mut graph.node);
        graph.node = nodes;
        let input = &mut graph.input[self.at];
        input.name = planes;
        if let Some(type_proto::Value::TensorType(tensor)) =
            input.r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            tensor.elem_type = DataType::Float as i32;
            if let Some(shape) = tensor.shape.as_mut().filter(|_| self.pixels) {
                shape.dim[1..].rotate_right(1);
            }
        }
    }
}

/// An order of dimensions.
fn order(dims: &[i64]) -> AttributeProto {
    AttributeProto {
        name: "perm".to_owned(),
        ints: dims.to_vec(),
        r#type: AttributeType::Ints as i32,
        ..AttributeProto::default()
    }
}
