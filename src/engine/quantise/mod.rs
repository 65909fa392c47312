//! Networks in fewer bits, made from the `f32` file where they are needed.
//!
//! Nothing of this is shipped but tables of ranges: the conversions are deterministic and take a
//! second, so an engine's build makes what it wants from the file that the manifest describes.
//!
//! - [`int8`]: symmetric Q/DQ around the products that a [`Table`] has ranges for. (Networks in
//!   `f16` throughout are made by [`half_typed`].)
//! - [`simulated`]: the 8-bit network's values by plain `f32` operators, for tract.
//! - [`sites`]: which products; [`smooth`]: channels evened out before; [`ranges`]: how large
//!   activations get; [`weights`]: constants in 8 bits; [`watch`]: runs a network and looks inside;
//!   [`calibrate`]: from samples to a table;
//!   [`cpu`]: backends that collect what a network is fed, and that simulate.

pub mod calibrate;
pub mod cpu;
pub mod ranges;
mod rewrite;
pub mod sites;
pub mod smooth;
pub mod table;
#[cfg(test)]
mod tests;
pub mod watch;
pub mod weights;

pub use table::Table;
use tract_onnx::pb::{ModelProto, NodeProto};

use self::rewrite::{Rewrite, Style};
use super::onnx::{self, Constants};
use super::spec::hex;
use super::{EngineError, ModelSpec, half_typed};

/// Operators that compute in `f16` in a typed network; all else is `f32`.
const HALF: [&str; 3] = ["MatMul", "Conv", "Softmax"];

/// An 8-bit Q/DQ network from an `f32` one. Scales and quantised products are `f32`, other products
/// are as in the `f16` network ([`half_typed`]); every tensor has its type in the file, as strongly
/// typed TensorRT networks need it, and inputs and outputs stay `f32`. A streaming graph may have none
/// of the table's products: it becomes `f16`.
///
/// # Errors
/// If the file is no network that [`onnx::read`] takes, is typed or quantised already, or `table`
/// is of a network of other sizes.
pub fn int8(bytes: &[u8], table: &Table) -> Result<Vec<u8>, String> {
    let (mut model, constants) = smoothed(bytes, table)?;
    let exact = half_typed::exact(onnx::graph(&model)?, &|name| constants.get(name).is_some());
    let half = |n: &NodeProto| {
        HALF.contains(&n.op_type.as_str()) && !n.output.iter().any(|name| exact.contains(name))
    };
    let range = |weight: &str, activation: &str| table.of(weight, activation).map(|r| r.range);
    let how = Rewrite { half: &half, range: &range, style: Style::Qdq };
    finish(&mut model, constants, &how)
}

/// The values of [`int8`]'s products in an `f32` network without any Q/DQ.
///
/// # Errors
/// As [`int8`].
pub fn simulated(bytes: &[u8], table: &Table) -> Result<Vec<u8>, String> {
    let (mut model, constants) = smoothed(bytes, table)?;
    let range = |weight: &str, activation: &str| table.of(weight, activation).map(|r| r.range);
    let how = Rewrite { half: &|_| false, range: &range, style: Style::Simulated };
    finish(&mut model, constants, &how)
}

/// Tables of the lifters in the program.
const SHIPPED: [(&str, &str); 2] = [
    ("pstmo_s_27_live", include_str!("../../../calib/int8/pstmo_s_27_live.toml")),
    ("pstmo_s_81_live", include_str!("../../../calib/int8/pstmo_s_81_live.toml")),
];

/// The table of ranges that the program holds for `model`, if it is of this very file.
///
/// # Errors
/// If it cannot be read.
pub fn shipped(model: &ModelSpec) -> Result<Option<Table>, EngineError> {
    let Some((_, text)) = SHIPPED.iter().find(|(name, _)| *name == model.name) else {
        return Ok(None);
    };
    let table = Table::read(text).map_err(|e| model.problem(e))?;
    Ok(Some(table).filter(|t| t.sha256 == hex(&model.sha256)))
}

/// Reads a network and takes its constants out.
pub(crate) fn open(bytes: &[u8]) -> Result<(ModelProto, Constants), String> {
    let mut model = onnx::read(bytes)?;
    let version = onnx::opset(&model);
    if version != 17 {
        return Err(format!("it is of the operators' version {version}; export it for version 17"));
    }
    let constants = Constants::take(onnx::graph_mut(&mut model)?)?;
    Ok((model, constants))
}

fn smoothed(bytes: &[u8], table: &Table) -> Result<(ModelProto, Constants), String> {
    let (model, mut constants) = open(bytes)?;
    let sites = sites::find(onnx::graph(&model)?, &constants);
    smooth::apply(&sites, &mut constants, table)?;
    Ok((model, constants))
}

fn finish(
    model: &mut ModelProto,
    constants: Constants,
    how: &Rewrite<'_>,
) -> Result<Vec<u8>, String> {
    let saturated = rewrite::rewrite(onnx::graph_mut(model)?, constants, how)?;
    if saturated > 0 {
        log::warn!("{saturated} constants are too large for f16 and became its largest value");
    }
    Ok(onnx::write(model))
}
