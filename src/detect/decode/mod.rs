//! Output tensors to boxes and keypoints, in pixels of the network's input tensor counted from
//! its left and top edges. No network is run here and no picture is known.

mod boxes;
mod coordinates;
mod heatmap;
mod persons;
mod simcc;

pub use boxes::{BoxDecoder, FoundBox};
pub use persons::{FoundPerson, PersonDecoder};

use crate::engine::spec::{Activation, KeypointsDecoder, KeypointsSpec};
use crate::skeleton::{JOINTS, Skeleton};

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
    Coordinates(coordinates::Coordinates),
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
            KeypointsDecoder::Coordinates(d) => Self {
                how: How::Coordinates(coordinates::Coordinates::new(d, &spec.input)),
                score_threshold: d.score_threshold,
            },
        }
    }

    /// Makes `outputs` the mean of themselves and of what the network made of the same crop in a
    /// mirror, turned back: left and right change places.
    pub fn average_mirrored(&self, outputs: &mut [Vec<f32>], mirrored: &[Vec<f32>]) {
        if let How::Coordinates(d) = &self.how {
            return d.average_mirrored(outputs, mirrored);
        }
        for (n, (maps, mirrored)) in outputs.iter_mut().zip(mirrored).enumerate() {
            let rows = match &self.how {
                How::Heatmap(d) => d.rows(),
                How::SimCc(d) => d.rows(n),
                How::Coordinates(_) => None,
            };
            average(maps, mirrored, rows.as_ref(), Skeleton::Coco17.mirror());
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
            How::Coordinates(d) => d.read(outputs),
        }
    }
}

/// How an output's values lie from left to right, for its mirror image.
struct Rows {
    /// Values in a row.
    width: usize,
    /// The value at column i lies at column `end - i` in a mirror; one that falls out of the row
    /// is seen once only.
    end: isize,
}

/// Adds what was said of the mirrored person: `maps` `[17, ..., width]` becomes the mean of itself
/// and of `mirrored` turned back.
fn average(maps: &mut [f32], mirrored: &[f32], rows: Option<&Rows>, partners: &[usize; JOINTS]) {
    let len = maps.len() / JOINTS;
    if len == 0 || mirrored.len() != maps.len() {
        return;
    }
    let (width, end) = rows.map_or((len, None), |r| (r.width, Some(r.end)));
    for (map, &partner) in maps.chunks_exact_mut(len).zip(partners) {
        let other = &mirrored[partner * len..][..len];
        for (row, from) in map.chunks_mut(width).zip(other.chunks(width)) {
            for (i, value) in row.iter_mut().enumerate() {
                let at = end.map_or(Some(i), |end| end.checked_sub_unsigned(i)?.try_into().ok());
                if let Some(seen) = at.and_then(|at| from.get(at)) {
                    *value = 0.5 * (*value + seen);
                }
            }
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
    fn mirror_images_are_turned_back_before_they_are_averaged() {
        let partners = Skeleton::Coco17.mirror();
        // Two rows of four cells for each joint; cells are centred half a cell from the border.
        let maps: Vec<f32> = (0..JOINTS * 8).map(|i| (i * 37 % 101) as f32).collect();
        let at = |maps: &[f32], j: usize, y: usize, x: usize| maps[j * 8 + y * 4 + x];
        let mut mirrored = vec![0.0; maps.len()];
        for j in 0..JOINTS {
            for (y, x) in (0..2).flat_map(|y| (0..4).map(move |x| (y, x))) {
                mirrored[partners[j] * 8 + y * 4 + 3 - x] = at(&maps, j, y, x);
            }
        }
        let mut out = maps.clone();
        average(&mut out, &mirrored, Some(&Rows { width: 4, end: 3 }), partners);
        assert_eq!(out, maps, "the mean of a thing and itself");
        // Cells that begin at the border: column 0 has no partner and keeps its value.
        let mut out = maps.clone();
        average(&mut out, &mirrored, Some(&Rows { width: 4, end: 4 }), partners);
        assert_eq!(at(&out, 5, 1, 0), at(&maps, 5, 1, 0));
        let mean = 0.5 * (at(&maps, 5, 1, 3) + at(&mirrored, 6, 1, 1));
        assert_eq!(at(&out, 5, 1, 3), mean);
        // Vectors over rows are the same in a mirror, but for left and right.
        let swapped: Vec<f32> =
            (0..JOINTS).flat_map(|j| maps[partners[j] * 8..][..8].to_vec()).collect();
        let mut out = maps.clone();
        average(&mut out, &swapped, None, partners);
        assert_eq!(out, maps);
        // A network that failed on one of the two has failed.
        mirrored[0] = f32::NAN;
        average(&mut out, &mirrored, Some(&Rows { width: 4, end: 3 }), partners);
        assert!(out.iter().any(|v| v.is_nan()));
    }

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
