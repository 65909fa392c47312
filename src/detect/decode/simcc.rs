//! SimCC (arXiv 2107.03332): a vector over columns and one over rows per keypoint.

use super::{NotFinite, Rows, activate, peak};
use crate::engine::spec::{Activation, ImageInput, SimCcDecoder};
use crate::skeleton::JOINTS;

#[derive(Clone, Debug)]
pub(super) struct SimCc {
    names: [String; 2],
    bins: [usize; 2],
    width: usize,
    ratio: f32,
    activation: Activation,
}

impl SimCc {
    pub fn new(d: &SimCcDecoder, input: &ImageInput) -> Self {
        let bins = |n: usize| (n as f32 * d.split_ratio).round() as usize;
        Self {
            names: [d.x.clone(), d.y.clone()],
            bins: [bins(input.width), bins(input.height)],
            width: input.width,
            ratio: d.split_ratio,
            activation: d.activation,
        }
    }

    /// See [`Rows`](super::Rows); the vectors over rows are as they are in a mirror.
    pub fn rows(&self, output: usize) -> Option<Rows> {
        // As `read` has it: bin b is at b / ratio + 0.5.
        let end = self.width as f32 * self.ratio - self.ratio;
        (output == 0).then(|| Rows { width: self.bins[0], end: end.round() as isize })
    }

    pub fn read(&self, outputs: &[Vec<f32>]) -> Result<[[f32; 3]; JOINTS], NotFinite> {
        let mut keypoints = [[0.0, 0.0, 1.0]; JOINTS];
        for (axis, (name, bins)) in self.names.iter().zip(self.bins).enumerate() {
            let failed = || NotFinite { output: name.clone() };
            let values = outputs.get(axis).map_or(&[][..], |o| o.as_slice());
            let mut vectors = values.chunks_exact(bins);
            for keypoint in &mut keypoints {
                let vector = vectors.next().ok_or_else(failed)?;
                let (at, value) = peak(vector).ok_or_else(failed)?;
                // Bins count from the first pixel's centre.
                keypoint[axis] = at as f32 / self.ratio + 0.5;
                let confidence = activate(self.activation, value).clamp(0.0, 1.0);
                keypoint[2] = keypoint[2].min(confidence);
            }
        }
        Ok(keypoints)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::spec::Channels;

    fn decoder() -> SimCc {
        let d = SimCcDecoder {
            x: "x".into(),
            y: "y".into(),
            split_ratio: 2.0,
            activation: Activation::None,
            score_threshold: 0.3,
        };
        let input = ImageInput {
            name: "i".into(),
            width: 32,
            height: 48,
            channels: Channels::Rgb,
            mean: [0.0; 3],
            std: [1.0; 3],
            pad: 0.0,
        };
        SimCc::new(&d, &input)
    }

    #[test]
    fn the_peaks_of_both_vectors_make_a_point_and_the_lower_one_its_confidence() {
        let (mut x, mut y) = (vec![0.0; JOINTS * 64], vec![0.0; JOINTS * 96]);
        for k in 0..JOINTS {
            x[k * 64 + 2 * k + 1] = 0.9;
            y[k * 96 + 3 * k] = 0.7;
        }
        let found = decoder().read(&[x.clone(), y.clone()]).unwrap();
        for (k, [u, v, c]) in found.into_iter().enumerate() {
            assert_eq!((u, v), (k as f32 + 1.0, 1.5 * k as f32 + 0.5));
            assert!((c - 0.7).abs() < 1e-6);
        }
        y[5] = f32::NAN;
        assert_eq!(decoder().read(&[x.clone(), y]).unwrap_err().output, "y");
        assert_eq!(decoder().read(&[x]).unwrap_err().output, "y");
    }
}
