//! Heatmaps: one map per keypoint, whose peak is the keypoint.

use super::{NotFinite, Rows, activate, peak};
use crate::engine::spec::{Activation, HeatmapDecoder, ImageInput, Refine};
use crate::skeleton::JOINTS;

#[derive(Clone, Debug)]
pub(super) struct Heatmap {
    output: String,
    width: usize,
    height: usize,
    stride: f32,
    cell_offset: f32,
    refine: Refine,
    activation: Activation,
    /// Weights of the blur, an odd number; one alone: no blur.
    kernel: Vec<f32>,
}

impl Heatmap {
    pub fn new(d: &HeatmapDecoder, input: &ImageInput) -> Self {
        Self {
            output: d.heatmaps.clone(),
            width: input.width / d.stride,
            height: input.height / d.stride,
            stride: d.stride as f32,
            cell_offset: d.cell_offset,
            refine: d.refine,
            activation: d.activation,
            kernel: gaussian(d.blur),
        }
    }

    /// See [`Rows`](super::Rows).
    pub fn rows(&self) -> Option<Rows> {
        let end = self.width as f32 - 2.0 * self.cell_offset;
        Some(Rows { width: self.width, end: end.round() as isize })
    }

    pub fn read(&self, outputs: &[Vec<f32>]) -> Result<[[f32; 3]; JOINTS], NotFinite> {
        let mut keypoints = [[0.0; 3]; JOINTS];
        let failed = || NotFinite { output: self.output.clone() };
        let maps = outputs.first().map_or(&[][..], |o| o.as_slice());
        let mut maps = maps.chunks_exact(self.width * self.height);
        for keypoint in &mut keypoints {
            let map = maps.next().ok_or_else(failed)?;
            let (at, value) = peak(map).ok_or_else(failed)?;
            let (i, j) = (at % self.width, at / self.width);
            let (dx, dy) = match self.refine {
                Refine::None => (0.0, 0.0),
                Refine::Parabola => self.parabola(map, i, j),
                Refine::Dark => self.dark(map, i, j),
            };
            *keypoint = [
                (i as f32 + dx + self.cell_offset) * self.stride,
                (j as f32 + dy + self.cell_offset) * self.stride,
                activate(self.activation, value).clamp(0.0, 1.0),
            ];
        }
        Ok(keypoints)
    }

    /// The blurred map's logarithm at a cell; zero beyond the border, as in the reference.
    fn log(&self, map: &[f32], i: usize, j: usize) -> f32 {
        // A Gaussian's logarithm is a parabola: three points give its top exactly.
        let floor = 1e-10;
        let radius = self.kernel.len() / 2;
        if radius == 0 {
            return map[j * self.width + i].max(floor).ln();
        }
        let mut sum = 0.0;
        for (y, wy) in (j + self.height - radius..).zip(&self.kernel) {
            // Shifted by one height, so that rows above the map are not negative.
            let Some(y) = y.checked_sub(self.height).filter(|y| *y < self.height) else {
                continue;
            };
            let row = &map[y * self.width..(y + 1) * self.width];
            for (x, wx) in (i + self.width - radius..).zip(&self.kernel) {
                if let Some(v) = x.checked_sub(self.width).and_then(|x| row.get(x)) {
                    sum += wx * wy * v;
                }
            }
        }
        sum.max(floor).ln()
    }

    /// The top of the parabola through the logarithms of a cell and its neighbours, per axis;
    /// cells.
    fn parabola(&self, map: &[f32], i: usize, j: usize) -> (f32, f32) {
        let top = |low: f32, mid: f32, high: f32| {
            let curve = low - 2.0 * mid + high;
            if curve < -1e-6 { ((low - high) / (2.0 * curve)).clamp(-0.5, 0.5) } else { 0.0 }
        };
        let mid = self.log(map, i, j);
        let (mut dx, mut dy) = (0.0, 0.0);
        if i > 0 && i + 1 < self.width {
            dx = top(self.log(map, i - 1, j), mid, self.log(map, i + 1, j));
        }
        if j > 0 && j + 1 < self.height {
            dy = top(self.log(map, i, j - 1), mid, self.log(map, i, j + 1));
        }
        (dx, dy)
    }

    /// DARK's Taylor expansion of the log heatmap about the peak (Zhang et al., arXiv
    /// 1910.06278, equation 9, with the differences that the authors' code takes); cells.
    fn dark(&self, map: &[f32], i: usize, j: usize) -> (f32, f32) {
        if i < 2 || j < 2 || i + 2 >= self.width || j + 2 >= self.height {
            return self.parabola(map, i, j);
        }
        let h = |x: usize, y: usize| self.log(map, i + x - 2, j + y - 2);
        let mid = h(2, 2);
        let dx = 0.5 * (h(3, 2) - h(1, 2));
        let dy = 0.5 * (h(2, 3) - h(2, 1));
        let dxx = 0.25 * (h(4, 2) - 2.0 * mid + h(0, 2));
        let dyy = 0.25 * (h(2, 4) - 2.0 * mid + h(2, 0));
        let dxy = 0.25 * (h(3, 3) - h(1, 3) - h(3, 1) + h(1, 1));
        let det = dxx * dyy - dxy * dxy;
        // Only a maximum has a top; a saddle or a plateau would be thrown far away.
        if dxx >= 0.0 || det <= 1e-9 {
            return self.parabola(map, i, j);
        }
        let x = -(dyy * dx - dxy * dy) / det;
        let y = -(dxx * dy - dxy * dx) / det;
        (x.clamp(-1.0, 1.0), y.clamp(-1.0, 1.0))
    }
}

/// A normalised Gaussian of `size` weights, as OpenCV's `GaussianBlur` has it when it is given a
/// size alone: PaddleDetection's and HRNet's DARK decoding blur with that.
fn gaussian(size: usize) -> Vec<f32> {
    match size {
        0 | 1 => vec![1.0],
        3 => vec![0.25, 0.5, 0.25],
        5 => vec![0.0625, 0.25, 0.375, 0.25, 0.0625],
        7 => vec![0.03125, 0.109375, 0.21875, 0.28125, 0.21875, 0.109375, 0.03125],
        _ => {
            let half = (size / 2) as f32;
            let sigma = 0.3 * (half - 1.0) + 0.8;
            let weight = |k: usize| (-((k as f32 - half) / sigma).powi(2) / 2.0).exp();
            let sum: f32 = (0..size).map(weight).sum();
            (0..size).map(|k| weight(k) / sum).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::spec::Channels;

    fn decoder(refine: Refine, blur: usize) -> Heatmap {
        let d = HeatmapDecoder {
            heatmaps: "maps".into(),
            stride: 4,
            refine,
            blur,
            activation: Activation::None,
            cell_offset: 0.5,
            score_threshold: 0.3,
        };
        let input = ImageInput {
            name: "x".into(),
            width: 192,
            height: 256,
            channels: Channels::Rgb,
            mean: [0.0; 3],
            std: [1.0; 3],
            pad: 0.0,
        };
        Heatmap::new(&d, &input)
    }

    /// Gaussians of height 0.8 at the given points, in cells counted from cell centres.
    fn maps(centres: &[(f32, f32); JOINTS], sigma: f32) -> Vec<Vec<f32>> {
        let mut out = Vec::new();
        for (x, y) in centres {
            for j in 0..64 {
                for i in 0..48 {
                    let d2 = (i as f32 - x).powi(2) + (j as f32 - y).powi(2);
                    out.push(0.8 * (-d2 / (2.0 * sigma * sigma)).exp());
                }
            }
        }
        vec![out]
    }

    fn centres() -> [(f32, f32); JOINTS] {
        std::array::from_fn(|k| (5.0 + 2.13 * k as f32, 58.6 - 3.07 * k as f32))
    }

    fn worst(refine: Refine, blur: usize, sigma: f32) -> f32 {
        let centres = centres();
        let found = decoder(refine, blur).read(&maps(&centres, sigma)).unwrap();
        let mut worst: f32 = 0.0;
        for ([u, v, c], (x, y)) in found.iter().zip(centres) {
            assert!((c - 0.8).abs() < 0.2, "{c}");
            let (ex, ey) = (u - (x + 0.5) * 4.0, v - (y + 0.5) * 4.0);
            worst = worst.max(ex.abs()).max(ey.abs());
        }
        worst
    }

    #[test]
    fn a_gaussian_is_found_where_it_is() {
        // Input pixels; a cell is 4 of them.
        assert!(worst(Refine::Dark, 0, 2.0) < 0.01);
        assert!(worst(Refine::Parabola, 0, 2.0) < 0.01);
        assert!(worst(Refine::Dark, 3, 2.0) < 0.02);
        assert!(worst(Refine::Dark, 11, 2.0) < 0.2);
        let none = worst(Refine::None, 0, 2.0);
        assert!(none > 1.0 && none <= 2.0, "{none}");
    }

    #[test]
    fn blurring_makes_the_refinement_steady_on_noisy_maps() {
        let centres = centres();
        let mut noisy = maps(&centres, 2.0);
        let mut state = 1u32;
        for v in &mut noisy[0] {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *v += ((state >> 16) as f32 / 65536.0 - 0.5) * 0.1;
        }
        let mean = |blur| {
            let found = decoder(Refine::Dark, blur).read(&noisy).unwrap();
            let error = |([u, v, _], (x, y)): (&[f32; 3], (f32, f32))| {
                (u - (x + 0.5) * 4.0).hypot(v - (y + 0.5) * 4.0)
            };
            found.iter().zip(centres).map(error).sum::<f32>() / JOINTS as f32
        };
        assert!(mean(7) < 0.7 * mean(0), "{} {}", mean(7), mean(0));
    }

    #[test]
    fn a_peak_on_the_border_stays_there_and_flat_maps_do_not_fly_away() {
        for (x, y) in [(0.0, 0.0), (47.0, 63.0), (0.4, 30.0), (20.0, 62.7)] {
            let found = decoder(Refine::Dark, 3).read(&maps(&[(x, y); JOINTS], 2.0)).unwrap();
            let [u, v, _] = found[0];
            assert!((u - (x + 0.5) * 4.0).abs() < 2.5 && (v - (y + 0.5) * 4.0).abs() < 2.5);
        }
        let flat = vec![vec![0.0; 17 * 48 * 64]];
        let found = decoder(Refine::Dark, 0).read(&flat).unwrap();
        assert!(found.iter().all(|k| k[2] == 0.0 && k[0].is_finite()));
    }

    #[test]
    fn a_nan_or_a_missing_map_is_an_error() {
        let mut bad = maps(&centres(), 2.0);
        bad[0][16 * 48 * 64 + 100] = f32::NAN;
        let said = decoder(Refine::Dark, 0).read(&bad).unwrap_err().to_string();
        assert!(said.contains("maps"), "{said}");
        bad[0].truncate(1000);
        assert!(decoder(Refine::Dark, 0).read(&bad).is_err());
    }
}
