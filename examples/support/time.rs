//! How long calls take.

use std::error::Error;
use std::time::Instant;

use serde_json::{Value, json};

/// p50 and p99 of many calls, microseconds.
pub fn time(
    calls: usize,
    mut call: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<Value, Box<dyn Error>> {
    for _ in 0..calls / 10 {
        call()?;
    }
    let mut took = Vec::with_capacity(calls);
    for _ in 0..calls {
        let begun = Instant::now();
        call()?;
        took.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    took.sort_by(f64::total_cmp);
    let at = |share: f64| (took[((calls - 1) as f64 * share) as usize] * 10.0).round() / 10.0;
    Ok(json!({"p50": at(0.5), "p99": at(0.99)}))
}
