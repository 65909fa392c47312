//! Runs one model of a directory on given tensors with the CPU backend: what
//! `tests/parity_onnxruntime.py` compares with ONNX Runtime.
//!
//!     run_model MODELS_DIR MODEL_NAME --signature
//!     run_model MODELS_DIR MODEL_NAME OUT_DIR INPUT.f32...
//!     run_model MODELS_DIR MODEL_NAME --time RUNS
//!
//! Tensors are files of little-endian f32 values, row-major, batch 1, inputs in the signature's
//! order; outputs are written as `0.f32`, `1.f32`, ... in the signature's order. `--time` prints
//! what each of RUNS runs on made-up input took, a JSON list of milliseconds of this thread's time
//! on a processor (`benches/detector_onnxruntime.py`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a tool for developers: a panic says enough"
)]

use std::error::Error;
use std::path::Path;

use posewire::engine::tract::Tract;
use posewire::engine::{Backend, Catalog, Precision, TensorMut, TensorRef};

/// This thread's time on a processor: waiting for one is not in it, so that a busy machine may be
/// measured on.
fn thread_ms() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    t.tv_sec as f64 * 1e3 + t.tv_nsec as f64 / 1e6
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, name, out, files @ ..] = args.as_slice() else {
        return Err(
            "usage: run_model MODELS_DIR MODEL_NAME --signature | --time RUNS | OUT_DIR INPUT.f32..."
                .into(),
        );
    };
    let catalog = Catalog::with_dir(Path::new(dir))?;
    let spec = catalog.models().find(|m| m.name == *name).ok_or("no model of that name")?;
    if out == "--signature" {
        let tensors = |all: Vec<posewire::engine::spec::TensorSpec>| -> Vec<_> {
            all.into_iter().map(|t| serde_json::json!({"name": t.name, "shape": t.shape})).collect()
        };
        let (inputs, outputs) = (tensors(spec.inputs(1)), tensors(spec.outputs(1)));
        let file = spec.weights.to_string();
        println!("{}", serde_json::json!({"file": file, "inputs": inputs, "outputs": outputs}));
        return Ok(());
    }
    let mut engine = Tract.load(spec, Precision::F32, 1)?;
    let signature = engine.signature().clone();
    let runs = if out == "--time" { files.first().ok_or("--time RUNS")?.parse()? } else { 1 };
    let mut data = Vec::new();
    if out == "--time" {
        let made_up = |n: usize| (0..n).map(|i| (i * 31 % 251) as f32 / 125.0 - 1.0).collect();
        data.extend(signature.inputs.iter().map(|(_, s)| made_up(s.iter().product())));
    }
    for file in files.iter().filter(|_| out != "--time") {
        let bytes = std::fs::read(file)?;
        let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        data.push(values.collect::<Vec<f32>>());
    }
    let inputs: Vec<_> = signature
        .inputs
        .iter()
        .zip(&data)
        .map(|((_, shape), data)| TensorRef { shape, data })
        .collect();
    let mut results: Vec<Vec<f32>> =
        signature.outputs.iter().map(|(_, s)| vec![0.0; s.iter().product()]).collect();
    let mut outputs: Vec<_> = signature
        .outputs
        .iter()
        .zip(&mut results)
        .map(|((_, shape), data)| TensorMut { shape, data })
        .collect();
    let mut took = Vec::new();
    for _ in 0..runs {
        let begin = thread_ms();
        engine.run(&inputs, &mut outputs)?;
        took.push(thread_ms() - begin);
    }
    if out == "--time" {
        println!("{}", serde_json::json!(took));
        return Ok(());
    }
    for (i, values) in results.iter().enumerate() {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(Path::new(out).join(format!("{i}.f32")), bytes)?;
    }
    Ok(())
}
