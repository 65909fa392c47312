//! A table of ranges: what calibration found, kept beside the model (`calib/int8/*.toml`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ranges::Method;
use crate::engine::onnx::stem;

/// What is known of one network's activations. Small, readable, and enough to make the 8-bit
/// network from the `f32` one, bit for bit, anywhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The model's name.
    pub model: String,
    /// SHA-256 of its `f32` ONNX file, in hexadecimal digits.
    pub sha256: String,
    /// How ranges were chosen.
    pub method: Method,
    /// What was run: files or sources, in words.
    pub data: String,
    /// How many windows or pictures were run.
    pub samples: usize,
    /// The 8-bit network on the model's golden windows, simulated on the CPU: mean distance from
    /// the `f32` network's answer, mm. What an engine is held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden_mean_mm: Option<f64>,
    /// The same, of the worst joint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden_worst_mm: Option<f64>,
    /// How much worse than `f32` it is on held-out motion, simulated: mean error, mm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mpjpe_change_mm: Option<f64>,
    /// The same on the action that suffers most, mm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_action_change_mm: Option<f64>,
    /// How much larger its acceleration error is than that of `f32`, per cent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acceleration_change_percent: Option<f64>,
    /// Products that are quantised, by the names of their constants.
    pub site: BTreeMap<String, Range>,
}

/// The activation of one product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The activation's name without numbers. Another graph of the same network may multiply the
    /// same constant by something else, which this range says nothing about.
    pub activation: String,
    /// The magnitude that becomes 127.
    pub range: f32,
    /// The largest magnitude that was seen.
    pub largest: f32,
    /// Channel `i` is divided by 2 to this power before it is quantised, and the constant's row
    /// multiplied by it. Powers of two, so both are exact. Empty: by nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smooth: Vec<i8>,
}

impl Table {
    /// What is known of the product of `activation` with the constant `weight`, both as a graph
    /// names them.
    #[must_use]
    pub fn of(&self, weight: &str, activation: &str) -> Option<&Range> {
        self.site.get(stem(weight)).filter(|r| r.activation == stem(activation))
    }

    /// Reads a table.
    ///
    /// # Errors
    /// If it is no such table, or holds ranges that are no sizes.
    pub fn read(text: &str) -> Result<Self, String> {
        let table: Self = toml::from_str(text).map_err(|e| {
            format!("not a table of ranges (posewire calibrate int8 writes them): {e}")
        })?;
        let wrong = |r: &Range| !(r.range.is_finite() && r.range > 0.0);
        match table.site.iter().find(|(_, r)| wrong(r)) {
            Some((key, r)) => Err(format!("the range of {key} is {}: calibrate again", r.range)),
            None => Ok(table),
        }
    }

    /// The table as text.
    ///
    /// # Errors
    /// If it cannot be written as TOML.
    pub fn text(&self) -> Result<String, String> {
        let body = toml::to_string(self).map_err(|e| e.to_string())?;
        Ok(format!(
            "# Ranges of activations for 8 bits: `posewire calibrate int8`, docs/quantisation.md\n{body}"
        ))
    }
}
