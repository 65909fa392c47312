//! Small networks for tests: ONNX files written byte by byte (protobuf, `onnx.proto`), so that no
//! binary fixture and no Python is needed.

use std::path::PathBuf;

use super::spec::{Asset, LifterSpec, ModelSpec, Normalisation, Task, hex, sha256};
use crate::skeleton::Skeleton;

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A number field.
fn number(field: u64, n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3, &mut out);
    varint(n, &mut out);
    out
}

/// A field with a length: text or a message.
fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3 | 2, &mut out);
    varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

fn text(field: u64, content: &str) -> Vec<u8> {
    bytes(field, content.as_bytes())
}

/// An attribute with one whole number, or with a list.
fn attribute(name: &str, values: &[u64], list: bool) -> Vec<u8> {
    let mut a = text(1, name);
    for v in values {
        a.extend(number(if list { 8 } else { 3 }, *v));
    }
    a.extend(number(20, if list { 7 } else { 2 }));
    bytes(5, &a)
}

fn node(op: &str, inputs: &[&str], output: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut n: Vec<u8> = inputs.iter().flat_map(|i| text(1, i)).collect();
    n.extend(text(2, output));
    n.extend(text(3, &format!("{op}_{output}")));
    n.extend(text(4, op));
    n.extend(attributes.iter().flatten());
    bytes(1, &n)
}

/// An f32 tensor with an open batch and the given further sizes.
fn value(field: u64, name: &str, sizes: &[usize]) -> Vec<u8> {
    let mut shape = bytes(1, &text(2, "N"));
    for s in sizes {
        shape.extend(bytes(1, &number(1, *s as u64)));
    }
    let mut tensor = number(1, 1);
    tensor.extend(bytes(2, &shape));
    let mut v = text(1, name);
    v.extend(bytes(2, &bytes(1, &tensor)));
    bytes(field, &v)
}

fn model(nodes: &[Vec<u8>], input: &str, output: &str, frames: usize) -> Vec<u8> {
    let mut graph: Vec<u8> = nodes.concat();
    graph.extend(text(2, "tiny"));
    graph.extend(value(11, input, &[frames, 17, 3]));
    graph.extend(value(12, output, &[17, 3]));
    let mut opset = text(1, "");
    opset.extend(number(2, 13));
    let mut m = number(1, 8);
    m.extend(bytes(7, &graph));
    m.extend(bytes(8, &opset));
    m
}

fn mean(input: &str, output: &str) -> Vec<u8> {
    let attributes = [attribute("axes", &[1], true), attribute("keepdims", &[0], false)];
    node("ReduceMean", &[input], output, &attributes)
}

/// One operator from `input` `[N, frames, 17, 3]` to `output`.
pub(crate) fn graph(op: &str, input: &str, output: &str, frames: usize) -> Vec<u8> {
    let only =
        if op == "ReduceMean" { mean(input, output) } else { node(op, &[input], output, &[]) };
    model(&[only], input, output, frames)
}

/// A lifter whose joints are the mean over the window's frames.
pub(crate) fn mean_over_frames(frames: usize) -> Vec<u8> {
    graph("ReduceMean", "window", "joints", frames)
}

/// The remainder of the input, as whole numbers, by itself: 0, and a panic on zeros.
pub(crate) fn remainder_by_its_input(frames: usize) -> Vec<u8> {
    let nodes = [
        node("Cast", &["window"], "whole", &[attribute("to", &[7], false)]),
        node("Mod", &["whole", "whole"], "remainder", &[]),
        node("Cast", &["remainder"], "real", &[attribute("to", &[1], false)]),
        mean("real", "joints"),
    ];
    model(&nodes, "window", "joints", frames)
}

/// A manifest for a lifter of 9 frames in `name`.onnx.
pub(crate) fn manifest(name: &str, onnx: &[u8]) -> String {
    let hash = hex(&sha256(onnx));
    format!(
        r#"
name = "{name}"
kind = "lifter"
file = "{name}.onnx"
sha256 = "{hash}"
licence = "MIT"
commercial = true
training_data = "none"
trained = "no"

[input]
window = [9, 17, 3]
context = 0
rate_hz = 25.0
lookahead = 0
skeleton = "coco17"
normalisation = "virtual-camera"

[output]
skeleton = "h36m17"
units = "m"
"#
    )
}

/// A lifter of 9 frames with the given file.
pub(crate) fn spec(onnx: Vec<u8>) -> ModelSpec {
    let hash = sha256(&onnx);
    ModelSpec {
        name: "tiny".into(),
        manifest: "tiny.toml".into(),
        weights: Asset::Embedded(onnx.leak()),
        sha256: hash,
        golden: None,
        source: None,
        licence: "MIT".into(),
        commercial: true,
        training_data: "none".into(),
        trained: "no".into(),
        card: None,
        measured: toml::Table::new(),
        task: Task::Lifter(LifterSpec {
            frames: 9,
            features: 3,
            context: 0,
            rate_hz: 25.0,
            lookahead: 0,
            lookaheads: vec![0],
            input_skeleton: Skeleton::Coco17,
            normalisation: Normalisation::VirtualCamera,
            output_skeleton: Skeleton::Human36m17,
            body_height_m: 1.72,
            streaming: None,
        }),
    }
}

/// A folder of the measuring data beside the project, which is not part of it; says so when it is
/// absent.
pub(crate) fn shared_data(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("POSEWIRE_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there (set POSEWIRE_DATA)", path.display());
    None
}
