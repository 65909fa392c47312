//! Is the network that was loaded the network that was trained?
//!
//! Backends have been seen to compute wrong values without a word. So a lifter's manifest names a
//! golden file: windows made outside of posewire, and the joints that the trained network answers
//! with. They are run once at start ([`gate`](crate::engine::gate)), before anybody relies on a pose.

use crate::engine::gate::Verdict;
use crate::engine::{EngineError, ModelSpec};

/// Gives how many golden cases of `model` were reproduced: 0 if its manifest names none.
///
/// # Errors
/// If answers differed by more than is allowed.
pub(super) fn accept(model: &ModelSpec, verdict: Option<Verdict>) -> Result<usize, EngineError> {
    match verdict {
        Some(verdict) if !verdict.passed() => Err(model.problem(format!(
            "the loaded network is {verdict}; this backend computes it wrongly, choose another \
             backend or precision"
        ))),
        verdict => Ok(verdict.map_or(0, |v| v.cases)),
    }
}
