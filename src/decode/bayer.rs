//! Raw sensor pixels to a picture: basic on purpose.
//!
//! Each 2x2 cell of the colour filter becomes one pixel, so the picture has half the width and
//! height; the channels are balanced by the grey-world assumption (the mean of the scene is grey);
//! the sensor's linear values get sRGB's curve, stretched so that the brightest of them is white.
//! No black level, no lens shading, no denoising: an image signal processor (`nvarguscamerasrc` on
//! a Jetson) does better. It is enough to find people in.

use arrayvec::ArrayVec;

use super::DecodeError;
use crate::frame::{BayerOrder, ColorSpace, ImageView, PixelFormat, Plane};

/// Values are brought to this many bits.
const BITS: u8 = 10;
const LEVELS: usize = 1 << BITS;

/// The white balance's limits: a scene of one colour is not grey.
const GAINS: std::ops::RangeInclusive<f64> = 0.25..=4.0;

/// Of the cells, one in so many in each direction is measured.
const MEASURED: usize = 4;

/// So many of the measured values may be brighter than white.
const CLIPPED: f64 = 0.002;

/// Turns Bayer mosaics into [`PixelFormat::Rgb8`] of half the size, in a buffer that it keeps.
#[derive(Default)]
pub struct BayerDecoder {
    pixels: Vec<u8>,
    curves: [Vec<u8>; 3],
}

impl BayerDecoder {
    /// A decoder with empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes `image`, whose plane is a Bayer mosaic; values of more than eight bits are two bytes
    /// each, least significant first. The view borrows from the decoder. An odd last row or column
    /// is left out.
    ///
    /// # Errors
    /// If it is no mosaic, smaller than a cell, or shorter than it says.
    pub fn decode<'a>(&'a mut self, image: &ImageView<'_>) -> Result<ImageView<'a>, DecodeError> {
        let PixelFormat::Bayer { order, bits } = image.format else {
            return Err(DecodeError::Format(image.format));
        };
        let (width, height) = (image.width as usize / 2, image.height as usize / 2);
        let plane = image.planes.first().ok_or(DecodeError::Truncated)?;
        let bytes = if bits > 8 { 2 } else { 1 };
        let row = 2 * width * bytes;
        let enough = plane.stride * (2 * height).saturating_sub(1) + row;
        if width == 0 || height == 0 || plane.stride < row || plane.data.len() < enough {
            return Err(DecodeError::Truncated);
        }
        let cells = Cells { plane: *plane, order, bits };
        self.balance(&cells, width, height);

        let len = 3 * width * height;
        if self.pixels.len() < len {
            self.pixels.resize(len, 0);
        }
        let pixels = &mut self.pixels[..len];
        let [red, green, blue] = &self.curves;
        for (y, row) in pixels.chunks_exact_mut(3 * width).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                let [r, g, b] = cells.at(x, y);
                pixel.copy_from_slice(&[red[r], green[g], blue[b]]);
            }
        }
        Ok(ImageView {
            width: width as u32,
            height: height as u32,
            format: PixelFormat::Rgb8,
            color: ColorSpace { bt709: false, full_range: true },
            planes: ArrayVec::from_iter([Plane { data: pixels, stride: 3 * width }]),
        })
    }

    /// Makes each channel's curve: gain, stretch and sRGB's transfer function in one table.
    fn balance(&mut self, cells: &Cells<'_>, width: usize, height: usize) {
        let (mut sums, mut count) = ([0u64; 3], 0u64);
        let mut brightness = [0u32; LEVELS];
        for y in (0..height).step_by(MEASURED) {
            for x in (0..width).step_by(MEASURED) {
                let rgb = cells.at(x, y);
                for (sum, value) in sums.iter_mut().zip(rgb) {
                    *sum += value as u64;
                }
                brightness[rgb[1]] += 1;
                count += 1;
            }
        }
        let allowed = (count as f64 * CLIPPED) as u32;
        let mut brighter = 0;
        let white = brightness.iter().rposition(|n| {
            brighter += n;
            brighter > allowed
        });
        // A dark picture is not stretched to noise: at most four times.
        let white = white.unwrap_or(0).max(LEVELS / 4) as f64;
        let green = sums[1].max(1) as f64;
        for (curve, sum) in self.curves.iter_mut().zip(sums) {
            let gain = (green / sum.max(1) as f64).clamp(*GAINS.start(), *GAINS.end());
            curve.clear();
            curve.extend((0..LEVELS).map(|level| srgb(level as f64 * gain / white)));
        }
    }
}

/// IEC 61966-2-1: linear light of 0..1 to 0..255.
fn srgb(linear: f64) -> u8 {
    let v = linear.clamp(0.0, 1.0);
    let coded = if v <= 0.003_130_8 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
    (255.0 * coded).round() as u8
}

/// A mosaic, cell by cell.
struct Cells<'a> {
    plane: Plane<'a>,
    order: BayerOrder,
    bits: u8,
}

impl Cells<'_> {
    /// Red, green and blue of a cell, of [`BITS`] bits.
    fn at(&self, x: usize, y: usize) -> [usize; 3] {
        let a = self.sample(2 * x, 2 * y);
        let b = self.sample(2 * x + 1, 2 * y);
        let c = self.sample(2 * x, 2 * y + 1);
        let d = self.sample(2 * x + 1, 2 * y + 1);
        match self.order {
            BayerOrder::Rggb => [a, (b + c) / 2, d],
            BayerOrder::Grbg => [b, (a + d) / 2, c],
            BayerOrder::Gbrg => [c, (a + d) / 2, b],
            BayerOrder::Bggr => [d, (b + c) / 2, a],
        }
    }

    fn sample(&self, x: usize, y: usize) -> usize {
        let data = self.plane.data;
        let row = y * self.plane.stride;
        // The caller has checked the length; a wrong check would cost a black pixel.
        let byte = |at: usize| usize::from(data.get(at).copied().unwrap_or(0));
        if self.bits <= 8 {
            return byte(row + x) << (BITS - 8);
        }
        let value = byte(row + 2 * x) | byte(row + 2 * x + 1) << 8;
        let value = if self.bits > BITS { value >> (self.bits - BITS) } else { value };
        value.min(LEVELS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: [BayerOrder; 4] =
        [BayerOrder::Rggb, BayerOrder::Grbg, BayerOrder::Gbrg, BayerOrder::Bggr];

    /// A mosaic of linear values 0..1, as a sensor of that filter and depth gives it.
    fn mosaic(
        width: usize,
        height: usize,
        order: BayerOrder,
        bits: u8,
        color: impl Fn(usize, usize) -> [f64; 3],
    ) -> Vec<u8> {
        let channel = |x: usize, y: usize| {
            let at = (x % 2, y % 2);
            match order {
                BayerOrder::Rggb => [[0, 1], [1, 2]][at.1][at.0],
                BayerOrder::Grbg => [[1, 0], [2, 1]][at.1][at.0],
                BayerOrder::Gbrg => [[1, 2], [0, 1]][at.1][at.0],
                BayerOrder::Bggr => [[2, 1], [1, 0]][at.1][at.0],
            }
        };
        let mut bytes = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let full = f64::from((1u32 << bits) - 1);
                let value = (color(x / 2, y / 2)[channel(x, y)] * full).round() as u16;
                bytes.push(value as u8);
                if bits > 8 {
                    bytes.push((value >> 8) as u8);
                }
            }
        }
        bytes
    }

    fn decode(
        decoder: &mut BayerDecoder,
        (width, height): (usize, usize),
        order: BayerOrder,
        bits: u8,
        data: &[u8],
    ) -> Result<(u32, u32, Vec<u8>), DecodeError> {
        let stride = width * if bits > 8 { 2 } else { 1 };
        let image = ImageView {
            width: width as u32,
            height: height as u32,
            format: PixelFormat::Bayer { order, bits },
            color: ColorSpace::default(),
            planes: ArrayVec::from_iter([Plane { data, stride }]),
        };
        let out = decoder.decode(&image)?;
        Ok((out.width, out.height, out.planes[0].data.to_vec()))
    }

    /// Grey on average, with a white and a black spot, and a red and a blue one.
    fn scene(x: usize, y: usize) -> [f64; 3] {
        match (x % 8, y % 8) {
            (0..4, 0..4) => [0.9, 0.9, 0.9],
            (4.., 0..4) => [0.6, 0.2, 0.1],
            (0..4, 4..) => [0.1, 0.2, 0.6],
            _ => [0.3, 0.6, 0.3],
        }
    }

    #[test]
    fn every_order_and_depth_gives_the_scenes_colours_at_half_size() {
        let mut decoder = BayerDecoder::new();
        for order in ORDERS {
            for bits in [8, 10, 12, 16] {
                let data = mosaic(64, 48, order, bits, scene);
                let (w, h, rgb) = decode(&mut decoder, (64, 48), order, bits, &data).unwrap();
                assert_eq!((w, h, rgb.len()), (32, 24, 32 * 24 * 3));
                for y in 0..24 {
                    for x in 0..32 {
                        let pixel = &rgb[3 * (32 * y + x)..][..3];
                        // The brightest becomes white, and the means are equal already.
                        let wanted = scene(x, y).map(|v| srgb(v / 0.9));
                        for (got, wanted) in pixel.iter().zip(wanted) {
                            let off = i32::from(*got).abs_diff(i32::from(wanted));
                            assert!(off <= 2, "{order:?} {bits}: {pixel:?} at {x},{y}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_green_cast_is_balanced() {
        // What sensors give under daylight: twice as much green.
        let cast = |x, y| {
            let [r, g, b] = scene(x, y);
            [r * 0.5, g, b * 0.6]
        };
        let data = mosaic(64, 48, BayerOrder::Rggb, 10, cast);
        let mut decoder = BayerDecoder::new();
        let (_, _, rgb) = decode(&mut decoder, (64, 48), BayerOrder::Rggb, 10, &data).unwrap();
        // The white spot is white.
        assert!(rgb[..3].iter().all(|v| *v >= 253), "{:?}", &rgb[..3]);
    }

    #[test]
    fn what_is_too_short_or_no_mosaic_is_refused_and_odd_edges_are_left_out() {
        let mut decoder = BayerDecoder::new();
        let data = mosaic(7, 5, BayerOrder::Bggr, 8, |_, _| [0.5; 3]);
        let odd = decode(&mut decoder, (7, 5), BayerOrder::Bggr, 8, &data).unwrap();
        assert_eq!((odd.0, odd.1), (3, 2));
        let short = decode(&mut decoder, (64, 48), BayerOrder::Bggr, 8, &data);
        assert_eq!(short, Err(DecodeError::Truncated));
        assert_eq!(
            decode(&mut decoder, (1, 1), BayerOrder::Bggr, 8, &[1]),
            Err(DecodeError::Truncated)
        );
        let image = ImageView {
            width: 2,
            height: 2,
            format: PixelFormat::Gray8,
            color: ColorSpace::default(),
            planes: ArrayVec::from_iter([Plane { data: &[0; 4], stride: 2 }]),
        };
        assert!(matches!(decoder.decode(&image), Err(DecodeError::Format(_))));
    }
}
