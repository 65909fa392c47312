//! Where a network is quantised: which products, and what they multiply.
//!
//! Not the first products of a path (they see keypoints and pixels, whose precision is the
//! answer's), not the last ones (they make metres and heatmaps), and not those with short rows,
//! where 8 bits save nothing. Everything that is no product by a constant stays in floating point
//! as it is: attention's own products, LayerNormalization, softmax, residual sums.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto};

use crate::engine::onnx::{Constants, stem};

/// Rows shorter than this stay in floating point.
const SHORTEST_ROW: usize = 65;

/// A product of an activation with a constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The constant's name without numbers: the same in all graphs of a network.
    pub key: String,
    /// The activation that is multiplied.
    pub activation: String,
    /// Under which name the graph reads the constant.
    pub weight: String,
    /// The LayerNormalization's scale and bias, if the activation is its output and nobody else's
    /// input: then channels can be scaled there and unscaled here, exactly.
    pub norm: Option<(String, String)>,
    /// Of such an activation: its channels.
    pub channels: Option<usize>,
}

/// The products of `graph` that are worth quantising. `constants` were taken out of it.
#[must_use]
pub fn find(graph: &GraphProto, constants: &Constants) -> Vec<Site> {
    let product = |n: &NodeProto| weight(n, constants).is_some();
    let mut after_a_product: HashSet<&str> = HashSet::new();
    for node in &graph.node {
        if product(node) || node.input.iter().any(|i| after_a_product.contains(&i[..])) {
            after_a_product.extend(node.output.iter().map(|o| &o[..]));
        }
    }
    let mut before_a_product: HashSet<&str> = HashSet::new();
    for node in graph.node.iter().rev() {
        if product(node) || node.output.iter().any(|o| before_a_product.contains(&o[..])) {
            before_a_product.extend(node.input.iter().map(|i| &i[..]));
        }
    }
    let mut readers: HashMap<&str, usize> = HashMap::new();
    for input in graph.node.iter().flat_map(|n| &n.input) {
        *readers.entry(input).or_default() += 1;
    }
    let norm_of = |activation: &str| {
        let node = graph.node.iter().find(|n| n.output.first().is_some_and(|o| o == activation))?;
        let alone = readers.get(activation) == Some(&1);
        match &node.input[..] {
            [_, scale, bias] if node.op_type == "LayerNormalization" && alone => {
                let known = |name: &String| constants.get(name).is_some();
                (known(scale) && known(bias)).then(|| (scale.clone(), bias.clone()))
            }
            _ => None,
        }
    };
    let inner = |n: &&NodeProto| {
        n.input.first().is_some_and(|x| after_a_product.contains(&x[..]))
            && n.output.first().is_some_and(|y| before_a_product.contains(&y[..]))
    };
    graph
        .node
        .iter()
        .filter(inner)
        .filter_map(|n| {
            let (weight, row) = weight(n, constants)?;
            let activation = n.input[0].clone();
            let norm = norm_of(&activation).filter(|_| n.op_type == "MatMul");
            (row >= SHORTEST_ROW).then(|| Site {
                key: stem(weight).to_owned(),
                channels: norm.is_some().then_some(row),
                norm,
                weight: weight.to_owned(),
                activation,
            })
        })
        .collect()
}

/// The constant that `node` multiplies an activation by, and how many values go into each of the
/// product's.
fn weight<'a>(node: &'a NodeProto, constants: &Constants) -> Option<(&'a str, usize)> {
    let [activation, weight, ..] = &node.input[..] else { return None };
    let dims = &constants.get(weight)?.dims;
    let row = match (node.op_type.as_str(), &dims[..]) {
        ("MatMul", [k, _]) => *k,
        ("Conv", [_, rest @ ..]) => rest.iter().product(),
        _ => return None,
    };
    constants.get(activation).is_none().then_some((weight, row))
}

/// Which of a constant's axes its scales belong to.
#[must_use]
pub fn channel_axis(op: &str, dims: &[usize]) -> usize {
    if op == "Conv" { 0 } else { dims.len().saturating_sub(1) }
}
