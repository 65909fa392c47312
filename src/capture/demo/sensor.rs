//! The camera behind the lens: vignetting, blur, tone curve, YUYV, noise.

use crate::camera::Intrinsics;
use crate::figure::random::SplitMix64;

use super::room::Rgb;

/// Entries of the tone curve.
const CURVE: usize = 4096;
/// Entries of the noise table; rows start at random places in it.
const NOISE: usize = 1 << 14;

/// The sensor's tables.
pub struct Sensor {
    /// Linear light (0..1 in `CURVE` steps) to sRGB, 0..255.
    curve: Vec<f32>,
    /// Fall-off of each pixel.
    vignette: Vec<f32>,
    /// Y, U or V, Y, ...: luma noise is stronger than what is left in the chroma.
    noise: Vec<i8>,
    width: usize,
}

impl Sensor {
    /// Tables for pictures of `camera`.
    pub fn new(camera: &Intrinsics) -> Self {
        let curve = (0..CURVE)
            .map(|i| {
                let x = i as f32 / (CURVE - 1) as f32;
                // IEC 61966-2-1.
                let s =
                    if x <= 0.003_130_8 { 12.92 * x } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 };
                255.0 * s
            })
            .collect();
        let mut vignette = Vec::with_capacity(camera.width as usize * camera.height as usize);
        for y in 0..camera.height {
            for x in 0..camera.width {
                let [u, v] = camera.unproject(f64::from(x), f64::from(y));
                // Half of the natural cos^4 law: small lenses are designed against it.
                vignette.push((1.0 / (1.0 + u * u + v * v)) as f32);
            }
        }
        let width = camera.width as usize;
        let mut random = SplitMix64::new(0x5EED);
        let noise = (0..NOISE + 2 * width)
            .map(|i| {
                let sigma = if i % 2 == 0 { 1.7 } else { 0.9 };
                (random.normal() * sigma).round().clamp(-8.0, 8.0) as i8
            })
            .collect();
        Self { curve, vignette, noise, width }
    }

    /// Develops pixels `x..x + row.len()` of line `y` into YUYV (BT.601, 16..235). `x` and the
    /// length are even.
    pub fn encode(&self, row: &[Rgb], x: usize, y: usize, out: &mut [u8]) {
        let fall = &self.vignette[y * self.width + x..];
        let tone = |v: f32| self.curve[((v * (CURVE - 1) as f32) as usize).min(CURVE - 1)];
        for ((pair, fall), yuyv) in
            row.chunks_exact(2).zip(fall.chunks_exact(2)).zip(out.chunks_exact_mut(4))
        {
            let a = pair[0].map(|v| tone(v * fall[0]));
            let b = pair[1].map(|v| tone(v * fall[1]));
            let luma = |c: Rgb| 16.5 + 0.256_79 * c[0] + 0.504_13 * c[1] + 0.097_91 * c[2];
            let m: Rgb = std::array::from_fn(|i| 0.5 * (a[i] + b[i]));
            yuyv[0] = luma(a) as u8;
            yuyv[1] = (128.5 - 0.148_22 * m[0] - 0.290_99 * m[1] + 0.439_22 * m[2]) as u8;
            yuyv[2] = luma(b) as u8;
            yuyv[3] = (128.5 + 0.439_22 * m[0] - 0.367_79 * m[1] - 0.071_43 * m[2]) as u8;
        }
    }

    /// Adds the read-out noise of frame `sequence` to a whole YUYV picture.
    pub fn add_noise(&self, sequence: u64, picture: &mut [u8]) {
        let mut random = SplitMix64::new(sequence);
        for row in picture.chunks_exact_mut(2 * self.width) {
            // An even start keeps luma noise on luma.
            let start = (random.bits() as usize % NOISE) & !1;
            for (byte, noise) in row.iter_mut().zip(&self.noise[start..]) {
                *byte = byte.saturating_add_signed(*noise);
            }
        }
    }
}

/// Blurs lines `1..` of `source` (`width` wide) into `target`: the binomial 1-2-1 both ways, about
/// what a webcam's lens and demosaicing leave. The outermost pixels are copied.
pub fn blur(source: &[Rgb], width: usize, target: &mut [Rgb]) {
    let height = source.len() / width.max(1);
    target[..source.len()].copy_from_slice(source);
    if width < 3 || height < 3 {
        return;
    }
    for y in 1..height - 1 {
        let rows = [&source[(y - 1) * width..], &source[y * width..], &source[(y + 1) * width..]];
        let column = |x: usize| -> Rgb {
            std::array::from_fn(|c| rows[0][x][c] + 2.0 * rows[1][x][c] + rows[2][x][c])
        };
        let (mut left, mut middle) = (column(0), column(1));
        for x in 1..width - 1 {
            let right = column(x + 1);
            target[y * width + x] =
                std::array::from_fn(|c| (left[c] + 2.0 * middle[c] + right[c]) / 16.0);
            (left, middle) = (middle, right);
        }
    }
}
