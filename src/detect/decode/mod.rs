//! Output tensors to boxes and keypoints, in pixels of the network's input tensor counted from
//! its left and top edges. No network is run here and no picture is known.

mod boxes;
mod heatmap;
mod simcc;

pub use boxes::{BoxDecoder, FoundBox};

use crate::engine::spec::{Activation, KeypointsDecoder, KeypointsSpec};
use crate::skeleton::JOINTS;

/// An output holds a value that is not a number: the network has failed, and what it says about
/// the rest is not to be trusted either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("output {output:?} holds a value that is not finite")]
pub struct NotFinite {
    /// The tensor's name.
    pub output: String,
}

/// Reads one person's keypoints from a keypoint network's outputs.
#[derive(Clone, Debug)]
pub struct KeypointReader {
    how: How,
    /// A person whose mean confidence is below this is not a person.
    pub score_threshold: f32,
}

#[derive(Clone, Debug)]
enum How {
    Heatmap(heatmap::Heatmap),
    SimCc(simcc::SimCc),
}

impl KeypointReader {
    /// For a network.
    pub fn new(spec: &KeypointsSpec) -> Self {
        match &spec.decoder {
            KeypointsDecoder::Heatmap(d) => Self {
                how: How::Heatmap(heatmap::Heatmap::new(d, &spec.input)),
                score_threshold: d.score_threshold,
            },
            KeypointsDecoder::SimCc(d) => Self {
                how: How::SimCc(simcc::SimCc::new(d, &spec.input)),
                score_threshold: d.score_threshold,
            },
        }
    }

    /// The keypoints as (u, v, confidence): pixels of the input tensor from its left and top
    /// edges, confidence 0..1. `outputs` are the network's, in its signature's order.
    ///
    /// # Errors
    /// If a value that counts is not finite.
    pub fn read(&self, outputs: &[Vec<f32>]) -> Result<[[f32; 3]; JOINTS], NotFinite> {
        match &self.how {
            How::Heatmap(d) => d.read(outputs),
            How::SimCc(d) => d.read(outputs),
        }
    }
}

fn activate(activation: Activation, value: f32) -> f32 {
    match activation {
        Activation::None => value,
        Activation::Sigmoid => 1.0 / (1.0 + (-value).exp()),
    }
}

/// Index and value of the largest element; `None` if any is not a number or the largest is
/// infinite.
fn peak(values: &[f32]) -> Option<(usize, f32)> {
    // Eight maxima side by side: a single running maximum is a chain of dependent comparisons.
    let mut best = [f32::NEG_INFINITY; 8];
    let mut bad = [0u32; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for ((b, n), v) in best.iter_mut().zip(&mut bad).zip(chunk) {
            *b = if *v > *b { *v } else { *b };
            *n |= u32::from(v.is_nan());
        }
    }
    for v in rest {
        best[0] = best[0].max(*v);
        bad[0] |= u32::from(v.is_nan());
    }
    let largest = best.into_iter().fold(f32::NEG_INFINITY, f32::max);
    if bad.iter().any(|n| *n != 0) || !largest.is_finite() {
        return None;
    }
    values.iter().position(|v| *v == largest).map(|at| (at, largest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_the_first_largest_value_and_never_hides_a_nan() {
        let mut values: Vec<f32> = (0..100).map(|i| ((i * 7) % 43) as f32).collect();
        let expected = values.iter().position(|v| *v == 42.0).unwrap();
        assert_eq!(peak(&values), Some((expected, 42.0)));
        for at in [0, 50, 99] {
            let kept = values[at];
            values[at] = f32::NAN;
            assert_eq!(peak(&values), None);
            values[at] = kept;
        }
        values[98] = f32::INFINITY;
        assert_eq!(peak(&values), None);
        assert_eq!(peak(&[]), None);
        assert_eq!(peak(&[-3.0, -2.0]), Some((1, -2.0)));
    }
}
