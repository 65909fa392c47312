//! Is the network that was loaded the network that was trained?
//!
//! Backends have been seen to compute wrong values without a word. So a lifter's manifest names a
//! golden file: windows made outside of posewire, and the joints that the trained network answers
//! with. They are run once at start, before anybody relies on a pose.

use serde::Deserialize;

use crate::engine::{EngineError, ModelSpec, StreamingLifter};
use crate::skeleton::JOINTS;

/// How far an answer may be from the golden one, metres: half a millimetre. Rounding in `f32`
/// stays under a hundredth of that; a wrong operator does not.
const TOLERANCE_M: f32 = 5e-4;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

/// One window and its answer, `[T][17][3]`, `[C]` and `[17][3]`; other keys are for other tests.
#[derive(Deserialize)]
struct Case {
    window: Vec<Vec<[f32; 3]>>,
    /// Slot 0's; models of the first version have none.
    #[serde(default)]
    fresh: f32,
    context: Vec<f32>,
    joints_virtual: Vec<[f32; 3]>,
}

/// Runs the golden cases of `model`, if its manifest names any. Gives how many there were.
///
/// # Errors
/// If the file cannot be used, or an answer differs by more than half a millimetre.
pub(super) fn verify(
    model: &ModelSpec,
    network: &mut dyn StreamingLifter,
) -> Result<usize, EngineError> {
    let Some(bytes) = model.golden_bytes()? else { return Ok(0) };
    let golden: Golden = serde_json::from_slice(&bytes)
        .map_err(|e| model.problem(format!("its golden file cannot be read: {e}")))?;
    let spec = model.lifter()?;
    let mut slots = vec![0.0; spec.frames * network.slot_len()];
    let mut joints = vec![0.0; 3 * JOINTS];
    for (n, case) in golden.cases.iter().enumerate() {
        let window: Vec<f32> = case.window.iter().flatten().flatten().copied().collect();
        if case.window.len() != spec.frames || window.len() != spec.frames * 3 * JOINTS {
            let (given, wanted) = (case.window.len(), spec.frames);
            return Err(model.problem(format!(
                "golden case {n} has {given} slots where the manifest says {wanted}; the golden \
                 file is another model's"
            )));
        }
        let mut fresh = vec![0.0; spec.frames];
        fresh[0] = case.fresh;
        network.encode(&window, &fresh, &mut slots)?;
        network.lift(&slots, &case.context, &mut joints)?;
        let wanted = case.joints_virtual.iter().flatten();
        let worst = joints.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, max_or_nan);
        // A NaN must not pass, and compares as nothing.
        let close = worst.is_finite() && worst <= TOLERANCE_M;
        if case.joints_virtual.len() != JOINTS || !close {
            return Err(model.problem(format!(
                "golden case {n}: the loaded network's answer is {:.2} mm from that of the trained \
                 one, {:.2} mm are allowed; this backend computes it wrongly, choose another \
                 backend or precision",
                worst * 1e3,
                TOLERANCE_M * 1e3,
            )));
        }
    }
    Ok(golden.cases.len())
}

/// `f32::max` that keeps a NaN.
fn max_or_nan(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }
}
