//! Is the network that was loaded the network that was trained?
//!
//! Backends have been seen to compute wrong values without a word. So a lifter's manifest names a
//! golden file: windows made outside of posewire, and the joints that the trained network answers
//! with. They are run once at start ([`gate`]), before anybody relies on a pose.

use crate::engine::gate::{self, Budget};
use crate::engine::{EngineError, ModelSpec, StreamingLifter};

/// Runs the golden cases of `model`, if its manifest names any. Gives how many there were.
///
/// # Errors
/// If the file cannot be used, or answers differ by more than `budget`.
pub(super) fn verify(
    model: &ModelSpec,
    network: &mut dyn StreamingLifter,
    budget: Budget,
) -> Result<usize, EngineError> {
    match gate::verify_lifter(model, network, budget)? {
        Some(verdict) if !verdict.passed() => Err(model.problem(format!(
            "the loaded network is {verdict}; this backend computes it wrongly, choose another \
             backend or precision"
        ))),
        verdict => Ok(verdict.map_or(0, |v| v.cases)),
    }
}
