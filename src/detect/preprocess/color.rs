//! Components to a tensor's channels.

use crate::engine::sampling::Mixing;
use crate::engine::spec::{Channels, ImageInput};
use crate::frame::{ColorSpace, PixelFormat};

/// What is done to a row of components to make a row of each channel.
///
/// Channel `c` is `clamp(offset + sum of factor[i] * component[i]) / std - mean / std`, with
/// components in 8.8 fixed point and the clamp to 0..255.
pub(super) struct Mixer {
    how: How,
    channels: usize,
    factor: [[f32; 3]; 3],
    offset: [f32; 3],
    mean: [f32; 3],
    per_std: [f32; 3],
}

enum How {
    /// Every channel is made of component 0.
    Luma,
    /// Channel `c` is component `order[c]`.
    Copy([usize; 3]),
    /// All components go into each channel.
    Matrix,
}

/// One unit of 8.8 fixed point.
const FIXED: f32 = 1.0 / 256.0;

impl Mixer {
    pub fn new(format: PixelFormat, color: ColorSpace, input: &ImageInput) -> Self {
        let channels = input.channels.count();
        let mut mixer = Self {
            how: How::Luma,
            channels,
            factor: [[0.0; 3]; 3],
            offset: [0.0; 3],
            mean: input.mean,
            per_std: input.std.map(|s| 1.0 / s),
        };
        let gray = input.channels == Channels::Gray;
        match format {
            PixelFormat::Gray8 | PixelFormat::Gray16 => mixer.luma(1.0, 0.0),
            PixelFormat::Rgb8 | PixelFormat::Bgr8 if gray => {
                // Luma as BT.601 has it, what "grey" means to every imaging library.
                mixer.how = How::Matrix;
                mixer.factor[0] = [0.299 * FIXED, 0.587 * FIXED, 0.114 * FIXED];
            }
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => {
                let order = if input.channels == Channels::Bgr { [2, 1, 0] } else { [0, 1, 2] };
                mixer.how = How::Copy(order);
                mixer.factor = [[FIXED; 3]; 3];
            }
            _ => mixer.yuv(color, input.channels),
        }
        mixer
    }

    /// True if channels need more than component 0.
    pub fn needs_chroma(&self) -> bool {
        !matches!(self.how, How::Luma)
    }

    fn luma(&mut self, gain: f32, offset: f32) {
        self.how = How::Luma;
        self.factor = [[gain * FIXED, 0.0, 0.0]; 3];
        self.offset = [offset; 3];
    }

    /// ITU-R BT.601-7 section 2.5 and BT.709-6 section 3: R = Y + 2 (1 - Kr) Cr,
    /// B = Y + 2 (1 - Kb) Cb, and G from Y = Kr R + Kg G + Kb B.
    fn yuv(&mut self, color: ColorSpace, channels: Channels) {
        let (kr, kb) = if color.bt709 { (0.2126, 0.0722) } else { (0.299, 0.114) };
        let kg = 1.0 - kr - kb;
        // Narrow range: luma 16..235, chroma 16..240 about 128.
        let (luma, black, chroma) =
            if color.full_range { (1.0, 0.0, 1.0) } else { (255.0 / 219.0, 16.0, 255.0 / 224.0) };
        if channels == Channels::Gray {
            return self.luma(luma, -black * luma);
        }
        self.how = How::Matrix;
        let (red, blue) = (2.0 * (1.0 - kr) * chroma, 2.0 * (1.0 - kb) * chroma);
        let rgb = [[luma, 0.0, red], [luma, -blue * kb / kg, -red * kr / kg], [luma, blue, 0.0]];
        for (c, row) in rgb.into_iter().enumerate() {
            let c = if channels == Channels::Bgr { 2 - c } else { c };
            self.factor[c] = row.map(|f| f * FIXED);
            self.offset[c] = -black * luma - 128.0 * (row[1] + row[2]);
        }
    }

    /// A pixel value of 0..255 as channel `c` has it.
    pub fn normalised(&self, c: usize, value: f32) -> f32 {
        (value - self.mean[c]) * self.per_std[c]
    }

    /// The same as numbers, with nothing left out: for whoever samples elsewhere.
    pub fn mixing(&self, pad: f32) -> Mixing {
        let mut factor = self.factor;
        let mut limit = 255.0;
        if let How::Copy(order) = self.how {
            // No product but one, and nothing is cut off.
            limit = f32::MAX;
            for (row, from) in factor.iter_mut().zip(order) {
                *row = [0.0; 3];
                row[from] = FIXED;
            }
        }
        let (offset, mean, per_std) = (self.offset, self.mean, self.per_std);
        let padding = std::array::from_fn(|c| self.normalised(c, pad));
        Mixing { factor, offset, limit, mean, per_std, padding }
    }

    /// Writes a row of every channel to `tensor[c * plane + at..]`.
    pub fn mix(&self, rows: [&[u16]; 3], tensor: &mut [f32], at: usize, plane: usize) {
        let width = rows[0].len();
        for c in 0..self.channels {
            let out = &mut tensor[c * plane + at..][..width];
            let (mean, per_std) = (self.mean[c], self.per_std[c]);
            let offset = self.offset[c];
            let [f0, f1, f2] = self.factor[c];
            let finish = |v: f32| (v.clamp(0.0, 255.0) - mean) * per_std;
            match self.how {
                How::Luma => {
                    for (o, y) in out.iter_mut().zip(rows[0]) {
                        *o = finish(offset + f0 * f32::from(*y));
                    }
                }
                How::Copy(order) => {
                    for (o, v) in out.iter_mut().zip(rows[order[c]]) {
                        *o = (f0 * f32::from(*v) - mean) * per_std;
                    }
                }
                How::Matrix => {
                    let [a, b, d] = [&rows[0][..width], &rows[1][..width], &rows[2][..width]];
                    for (o, (y, (u, v))) in out.iter_mut().zip(a.iter().zip(b.iter().zip(d))) {
                        let sum = f0 * f32::from(*y) + f1 * f32::from(*u) + f2 * f32::from(*v);
                        *o = finish(offset + sum);
                    }
                }
            }
        }
    }
}
