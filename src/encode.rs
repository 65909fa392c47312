//! Raw pixels to JPEG.

use jpeg_encoder::{ColorType, Encoder, ImageBuffer, JpegColorType, SamplingFactor};

use crate::frame::{ColorSpace, ImageLayout, ImageView, PixelFormat};

/// Encodes pictures at one quality, chroma at half size both ways.
pub struct JpegMaker {
    quality: u8,
    /// A reduced picture.
    reduced: Vec<u8>,
}

impl JpegMaker {
    /// `quality` 1 to 100.
    pub fn new(quality: u8) -> Self {
        Self { quality: quality.clamp(1, 100), reduced: Vec::new() }
    }

    /// A JPEG of packed planes; `None` if the picture is empty or larger than JPEG allows.
    pub fn encode(&mut self, layout: &ImageLayout, pixels: &[u8]) -> Option<Vec<u8>> {
        self.encode_reduced(&layout.picture(pixels)?, 1)
    }

    /// A JPEG with one pixel for every `by` x `by` of the picture: their mean, but for chroma,
    /// which is that of their first. What is left over at the right and at the bottom is cut off.
    /// `None` if nothing is left, or the result is larger than JPEG allows.
    pub fn encode_reduced(&mut self, image: &ImageView<'_>, by: usize) -> Option<Vec<u8>> {
        let side = |pixels: u32| {
            let pixels = usize::try_from(pixels).ok()?.checked_div(by)?;
            u16::try_from(pixels).ok().filter(|&n| n > 0)
        };
        let (width, height) = (side(image.width)?, side(image.height)?);
        let first = image.planes.first()?;
        let direct = match image.format {
            PixelFormat::Gray8 => Some((ColorType::Luma, 1)),
            PixelFormat::Rgb8 => Some((ColorType::Rgb, 3)),
            PixelFormat::Bgr8 => Some((ColorType::Bgr, 3)),
            PixelFormat::Jpeg | PixelFormat::Bayer { .. } => return None,
            _ => None,
        };
        let mut out = Vec::with_capacity(usize::from(width) * usize::from(height) / 4);
        let mut encoder = Encoder::new(&mut out, self.quality);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        let encoded = match direct {
            Some((kind, channels)) => {
                let size = (usize::from(width), usize::from(height));
                let row = size.0 * channels;
                let data = if by == 1 && first.stride == row {
                    first.data.get(..row * size.1)?
                } else {
                    reduce(first.data, first.stride, size, channels, by, &mut self.reduced);
                    &self.reduced
                };
                encoder.encode(data, width, height, kind)
            }
            None => encoder.encode_image(Video { image: image.clone(), by, width, height }),
        };
        encoded.ok().map(|()| out)
    }
}

/// Means of `by` x `by` interleaved pixels; `size` of the result in pixels.
fn reduce(
    data: &[u8],
    stride: usize,
    (width, height): (usize, usize),
    channels: usize,
    by: usize,
    into: &mut Vec<u8>,
) {
    into.clear();
    into.reserve(width * height * channels);
    let count = (by * by) as u32;
    for y in 0..height {
        for x in 0..width {
            for channel in 0..channels {
                let mut sum = count / 2;
                for row in y * by..(y + 1) * by {
                    for column in x * by..(x + 1) * by {
                        let at = row * stride + column * channels + channel;
                        sum += data.get(at).copied().map_or(0, u32::from);
                    }
                }
                into.push((sum / count) as u8);
            }
        }
    }
}

/// A camera's luma and chroma as JPEG wants them: full range, BT.601.
struct Video<'a> {
    image: ImageView<'a>,
    by: usize,
    width: u16,
    height: u16,
}

impl Video<'_> {
    /// Mean luma and first chroma of a pixel of the result, as they are stored.
    fn reduced(&self, x: usize, y: usize) -> [u8; 3] {
        let by = self.by;
        let first = self.at(x * by, y * by);
        if by == 1 {
            return first;
        }
        let mut sum = (by * by / 2) as u32;
        for row in y * by..(y + 1) * by {
            sum += (x * by..(x + 1) * by).map(|c| u32::from(self.at(c, row)[0])).sum::<u32>();
        }
        [(sum / (by * by) as u32) as u8, first[1], first[2]]
    }

    /// Luma and chroma at a pixel, as they are stored.
    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let planes = &self.image.planes;
        let byte = |plane: usize, row: usize, column: usize| {
            planes
                .get(plane)
                .and_then(|p| p.data.get(row * p.stride + column))
                .copied()
                .unwrap_or(0)
        };
        let (half_x, half_y) = (x / 2, y / 2);
        let pair = 4 * half_x;
        match self.image.format {
            PixelFormat::Gray16 => [byte(0, y, 2 * x + 1), 128, 128],
            PixelFormat::Yuyv => [byte(0, y, 2 * x), byte(0, y, pair + 1), byte(0, y, pair + 3)],
            PixelFormat::Uyvy => [byte(0, y, 2 * x + 1), byte(0, y, pair), byte(0, y, pair + 2)],
            PixelFormat::Nv12 => {
                [byte(0, y, x), byte(1, half_y, 2 * half_x), byte(1, half_y, 2 * half_x + 1)]
            }
            PixelFormat::Nv21 => {
                [byte(0, y, x), byte(1, half_y, 2 * half_x + 1), byte(1, half_y, 2 * half_x)]
            }
            PixelFormat::I420 => [byte(0, y, x), byte(1, half_y, half_x), byte(2, half_y, half_x)],
            PixelFormat::I422 => [byte(0, y, x), byte(1, y, half_x), byte(2, y, half_x)],
            _ => [byte(0, y, x), byte(1, y, x), byte(2, y, x)],
        }
    }
}

impl ImageBuffer for Video<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.width
    }

    fn height(&self) -> u16 {
        self.height
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        for x in 0..usize::from(self.width) {
            let [luma, cb, cr] = to_jpeg(self.reduced(x, usize::from(y)), self.image.color);
            buffers[0].push(luma);
            buffers[1].push(cb);
            buffers[2].push(cr);
        }
    }
}

/// From a camera's luma and chroma to JPEG's.
fn to_jpeg([y, cb, cr]: [u8; 3], color: ColorSpace) -> [u8; 3] {
    if color.full_range && !color.bt709 {
        return [y, cb, cr];
    }
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    // In 1/65536: 255/219 and 255/224.
    let (y, cb, cr) = if color.full_range {
        (y << 16, cb << 16, cr << 16)
    } else {
        ((y - 16) * 76_309, cb * 74_606, cr * 74_606)
    };
    let (y, cb, cr) = if color.bt709 {
        // BT.709 to RGB to BT.601, multiplied out (ITU-R BT.709-6 and BT.601-7).
        let turned = |a: f64, b: f64| (a * f64::from(cb) + b * f64::from(cr)) as i32;
        (
            y + turned(0.101_579, 0.196_076),
            turned(0.989_854, -0.110_653),
            turned(-0.072_453, 0.983_398),
        )
    } else {
        (y, cb, cr)
    };
    let byte = |v: i32| ((v + (1 << 15)) >> 16).clamp(0, 255) as u8;
    [byte(y), byte(cb + (128 << 16)), byte(cr + (128 << 16))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::JpegDecoder;

    #[test]
    fn every_raw_format_becomes_a_jpeg_of_the_same_colour() {
        use PixelFormat::*;
        // An orange of BT.601, limited range.
        let (r, g, b) = (200u8, 120, 60);
        let (y, cb, cr) = (134u8, 90, 167);
        let color = ColorSpace::default();
        for format in [Rgb8, Bgr8, Yuyv, Uyvy, Nv12, Nv21, I420, I422, I444] {
            let layout = ImageLayout::packed(34, 18, format, color);
            let pixels: Vec<u8> = match format {
                Rgb8 => [r, g, b].repeat(34 * 18),
                Bgr8 => [b, g, r].repeat(34 * 18),
                Yuyv => [y, cb, y, cr].repeat(17 * 18),
                Uyvy => [cb, y, cr, y].repeat(17 * 18),
                Nv12 => [vec![y; 34 * 18], [cb, cr].repeat(17 * 9)].concat(),
                Nv21 => [vec![y; 34 * 18], [cr, cb].repeat(17 * 9)].concat(),
                I420 => [vec![y; 34 * 18], vec![cb; 17 * 9], vec![cr; 17 * 9]].concat(),
                I422 => [vec![y; 34 * 18], vec![cb; 17 * 18], vec![cr; 17 * 18]].concat(),
                _ => [vec![y; 34 * 18], vec![cb; 34 * 18], vec![cr; 34 * 18]].concat(),
            };
            assert_eq!(pixels.len(), layout.byte_len(), "{format:?}");
            let jpeg = JpegMaker::new(95).encode(&layout, &pixels).unwrap();
            let coded = ImageLayout::compressed(0, 0, Jpeg, jpeg.len());
            let mut decoder = JpegDecoder::new();
            let picture = decoder.decode(&coded.picture(&jpeg).unwrap()).unwrap();
            assert_eq!((picture.width, picture.height), (34, 18));
            let first = &picture.planes[0].data[..3];
            for (got, want) in first.iter().zip([r, g, b]) {
                assert!(got.abs_diff(want) <= 4, "{format:?}: {first:?}");
            }
        }
    }

    #[test]
    fn a_reduced_picture_is_the_mean_of_the_larger_one() {
        use PixelFormat::*;
        // A ramp from left to right, so that a shift by one pixel of the result shows.
        let (width, height, by) = (64usize, 32usize, 4);
        for format in [Gray8, Rgb8, Yuyv, Nv12, I420] {
            let color = ColorSpace { bt709: false, full_range: true };
            let layout = ImageLayout::packed(width as u32, height as u32, format, color);
            let luma = |x: usize| (4 * x) as u8;
            let row = |f: &dyn Fn(usize) -> Vec<u8>| (0..width).flat_map(f).collect::<Vec<u8>>();
            let pixels = match format {
                Gray8 => row(&|x| vec![luma(x)]).repeat(height),
                Rgb8 => row(&|x| vec![luma(x); 3]).repeat(height),
                Yuyv => row(&|x| vec![luma(x), 128]).repeat(height),
                _ => {
                    [row(&|x| vec![luma(x)]).repeat(height), vec![128; width * height / 2]].concat()
                }
            };
            let image = layout.picture(&pixels).unwrap();
            let jpeg = JpegMaker::new(95).encode_reduced(&image, by).unwrap();
            let coded = ImageLayout::compressed(0, 0, Jpeg, jpeg.len());
            let mut decoder = JpegDecoder::new();
            let small = decoder.decode(&coded.picture(&jpeg).unwrap()).unwrap();
            assert_eq!((small.width, small.height), (16, 8), "{format:?}");
            let channels = small.planes[0].stride / 16;
            for x in 0..16 {
                // The mean over four columns.
                let want = 16.0 * x as f32 + 6.0;
                let got = f32::from(small.planes[0].data[x * channels]);
                assert!((got - want).abs() <= 4.0, "{format:?} {x}: {got} for {want}");
            }
        }
        let layout = ImageLayout::packed(3, 3, Gray8, ColorSpace::default());
        assert!(JpegMaker::new(80).encode_reduced(&layout.picture(&[0; 9]).unwrap(), 4).is_none());
    }

    #[test]
    fn bt709_is_turned_into_what_jpeg_means() {
        // The same orange in BT.709, limited range: Kr 0.2126, Kb 0.0722.
        let (r, g, b) = (200.0, 120.0, 60.0);
        let luma = 0.2126 * r + 0.7152 * g + 0.0722 * b;
        let (pb, pr) = ((b - luma) / 1.8556, (r - luma) / 1.5748);
        let stored = [
            (16.0 + luma * 219.0 / 255.0) as u8,
            (128.0 + pb * 224.0 / 255.0f64).round() as u8,
            (128.0 + pr * 224.0 / 255.0f64).round() as u8,
        ];
        let [y, cb, cr] = to_jpeg(stored, ColorSpace { bt709: true, full_range: false });
        let luma601 = 0.299 * r + 0.587 * g + 0.114 * b;
        assert!((f64::from(y) - luma601).abs() < 2.0, "{y} {luma601}");
        assert!((f64::from(cb) - 128.0 - (b - luma601) / 1.772).abs() < 2.0, "{cb}");
        assert!((f64::from(cr) - 128.0 - (r - luma601) / 1.402).abs() < 2.0, "{cr}");
    }
}
