//! An ONNX file with its products in `f16`, as TensorRT is given it: to look at, or for another runtime.
//!
//!     half_typed IN.onnx OUT.onnx

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = args.as_slice() else {
        return Err("usage: half_typed IN.onnx OUT.onnx".into());
    };
    std::fs::write(to, posewire::engine::half_typed::to_half(&std::fs::read(from)?)?)?;
    Ok(())
}
