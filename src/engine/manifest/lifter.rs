//! A lifter's tables.

use serde::Deserialize;

use super::{Checked, wrong};
use crate::engine::spec::*;
use crate::skeleton::{JOINTS, Skeleton};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenLifterInput {
    window: [usize; 3],
    #[serde(default)]
    context: usize,
    rate_hz: f64,
    #[serde(default)]
    lookahead: u32,
    /// All that may be asked for; only `lookahead` where it is not given.
    lookaheads: Option<Vec<u32>>,
    skeleton: Skeleton,
    normalisation: Normalisation,
    order: Option<Order>,
}

/// In which order the window's slots lie. It follows from the normalisation; it is written for
/// the reader, and must not contradict.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Order {
    NewestFirst,
    OldestFirst,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenLifterOutput {
    skeleton: Skeleton,
    #[expect(dead_code, reason = "there is one unit today; naming it is what matters")]
    units: Units,
    /// Stature of the body that answers are scaled to.
    #[serde(default = "adult")]
    body_height_m: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Units {
    M,
}

/// Stature of the bodies that our lifters are trained on (`models/train/lifter/mocap.py`).
fn adult() -> f64 {
    1.72
}

pub(super) fn lifter(
    input: WrittenLifterInput,
    output: WrittenLifterOutput,
) -> Checked<LifterSpec> {
    let [frames, joints, features] = input.window;
    let (values, order) = match input.normalisation {
        Normalisation::Screen => (2, Order::OldestFirst),
        _ => (3, Order::NewestFirst),
    };
    if joints != JOINTS || features != values || !(1..=1024).contains(&frames) {
        let shape = format!("{:?}", input.window);
        return wrong(
            "input.window",
            format!("{shape} is not [frames, 17, {values}] with 1 to 1024 frames"),
        );
    }
    if input.order.is_some_and(|o| o != order) {
        return wrong("input.order", "contradicts input.normalisation: remove the key");
    }
    if values == 2 && input.context != 0 {
        return wrong("input.context", "is 0 with screen coordinates");
    }
    if !(1.0..=1000.0).contains(&input.rate_hz) {
        return wrong("input.rate_hz", format!("{} is outside 1..1000", input.rate_hz));
    }
    let lookaheads = input.lookaheads.unwrap_or_else(|| vec![input.lookahead]);
    for (key, k) in std::iter::once(("input.lookahead", &input.lookahead))
        .chain(lookaheads.iter().map(|k| ("input.lookaheads", k)))
    {
        if *k as usize >= frames {
            return wrong(key, format!("{k} slots of future do not fit a window of {frames}"));
        }
    }
    if !lookaheads.contains(&input.lookahead) {
        return wrong("input.lookaheads", format!("lacks the usual one, {}", input.lookahead));
    }
    let wanted = match input.normalisation {
        Normalisation::AnchoredVirtualCamera => 6,
        Normalisation::VirtualCamera => 5,
        Normalisation::Screen => 0,
    };
    if input.context != 0 && input.context != wanted {
        let c = input.context;
        return wrong("input.context", format!("{c} is neither 0 nor {wanted}"));
    }
    if !(0.3..=3.0).contains(&output.body_height_m) {
        let height = output.body_height_m;
        return wrong("output.body_height_m", format!("{height} m is outside 0.3..3"));
    }
    Ok(LifterSpec {
        frames,
        features,
        context: input.context,
        rate_hz: input.rate_hz,
        lookahead: input.lookahead,
        lookaheads,
        input_skeleton: input.skeleton,
        normalisation: input.normalisation,
        output_skeleton: output.skeleton,
        body_height_m: output.body_height_m,
        streaming: None,
    })
}
