//! Which ONNX file is built for a precision.

use std::borrow::Cow;

use super::sys;
use crate::engine::spec::Task;
use crate::engine::{EngineError, ModelSpec, Precision, half_typed, quantise};

/// What a network is computed in where `asked` is asked for: 8 bits only if there is a table of its
/// ranges. A lifter without one is refused with it, for what it costs is not known.
pub(super) fn settled(asked: Precision, model: &ModelSpec) -> Precision {
    match (asked, &model.task) {
        (Precision::I8, Task::Finder(_) | Task::Keypoints(_) | Task::OneStage(_))
            if matches!(quantise::shipped(model), Ok(None)) =>
        {
            Precision::F16
        }
        _ => asked,
    }
}

/// The ONNX file that is built for a precision.
pub(super) fn typed(
    library: &sys::Library,
    model: &ModelSpec,
    precision: Precision,
) -> Result<Cow<'static, [u8]>, EngineError> {
    let bytes = model.bytes()?;
    let made = match settled(precision, model) {
        Precision::F16 if library.family.strongly_typed() => half_typed::to_half(&bytes),
        Precision::F32 | Precision::F16 => return Ok(bytes),
        Precision::I8 => {
            let table = quantise::shipped(model)?
                .ok_or_else(|| model.problem("it has no table of ranges for 8 bits: use f16"))?;
            quantise::int8(&bytes, &table)
        }
    };
    made.map(Cow::Owned).map_err(|e| model.problem(e))
}
