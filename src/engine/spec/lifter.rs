//! Lifters: their window, their rate, and the graphs that evaluate them.

use serde::Deserialize;

use super::Asset;
use crate::skeleton::Skeleton;

/// A lifter of 2D windows to 3D.
#[derive(Clone, Debug, PartialEq)]
pub struct LifterSpec {
    /// Slots in a window.
    pub frames: usize,
    /// Values per joint and slot: x, y and, but for [`Normalisation::Screen`], confidence.
    pub features: usize,
    /// Values in the second input `context`; 0 if there is none.
    pub context: usize,
    /// Slots per second.
    pub rate_hz: f64,
    /// Which slot, counted from the newest, the output describes where nothing else is asked
    /// for: the future it has seen.
    pub lookahead: u32,
    /// All that may be asked for.
    pub lookaheads: Vec<u32>,
    /// Skeleton of the 2D input.
    pub input_skeleton: Skeleton,
    /// How pixels become the window's numbers.
    pub normalisation: Normalisation,
    /// Skeleton of the 3D output.
    pub output_skeleton: Skeleton,
    /// Stature of the body that answers are scaled to, metres.
    pub body_height_m: f64,
    /// Graphs that evaluate it slot by slot, where there are any beside the whole-window graph.
    pub streaming: Option<StreamingSpec>,
}

/// A lifter in two graphs, with what is kept of a slot between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamingSpec {
    /// `keypoints` `[M, 17, 3]` and `fresh` `[M, 1]` → `slot` `[M, slot]`; and its SHA-256.
    pub frame: (Asset, [u8; 32]),
    /// `slots` `[N, T, slot]` and `context` → `joints` `[N, 17, 3]`; and its SHA-256.
    pub window: (Asset, [u8; 32]),
    /// Values kept of a slot.
    pub slot: usize,
}

/// How a lifter's input numbers are made from pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// Rays turned into a virtual camera that looks at the person, divided by the person's
    /// apparent size, both those of the newest slot: `INPUT.md` in its first version.
    VirtualCamera,
    /// The same with a camera that is held while it serves, slots on an absolute time grid, and
    /// the newest slot's freshness as an input (`models/train/lifter/INPUT.md`).
    AnchoredVirtualCamera,
    /// The reference P-STMO's: x / w * 2 - 1, y / w * 2 - h / w of the pixel in a picture of w by
    /// h, two values per joint, and the window's slots from the OLDEST to the newest.
    Screen,
}
