//! Raw pixels to JPEG.

use jpeg_encoder::{ColorType, Encoder, ImageBuffer, JpegColorType, SamplingFactor};

use crate::frame::{ColorSpace, ImageLayout, ImageView, PixelFormat};
use crate::recording::frame_record::view;

/// Encodes pictures at one quality, chroma at half size both ways.
pub struct JpegMaker {
    quality: u8,
}

impl JpegMaker {
    /// `quality` 1 to 100.
    pub fn new(quality: u8) -> Self {
        Self { quality: quality.clamp(1, 100) }
    }

    /// A JPEG of packed planes; `None` if the picture is empty or larger than JPEG allows.
    pub fn encode(&mut self, layout: &ImageLayout, pixels: &[u8]) -> Option<Vec<u8>> {
        let image = view(layout, pixels)?;
        let width = u16::try_from(image.width).ok().filter(|&w| w > 0)?;
        let height = u16::try_from(image.height).ok().filter(|&h| h > 0)?;
        let mut out = Vec::with_capacity(pixels.len() / 8);
        let mut encoder = Encoder::new(&mut out, self.quality);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        let data = image.planes.first()?.data;
        let direct = match image.format {
            PixelFormat::Gray8 => Some(ColorType::Luma),
            PixelFormat::Rgb8 => Some(ColorType::Rgb),
            PixelFormat::Bgr8 => Some(ColorType::Bgr),
            PixelFormat::Jpeg | PixelFormat::Bayer { .. } => return None,
            _ => None,
        };
        let encoded = match direct {
            Some(kind) => encoder.encode(data, width, height, kind),
            None => encoder.encode_image(Video { image, width, height }),
        };
        encoded.ok().map(|()| out)
    }
}

/// A camera's luma and chroma as JPEG wants them: full range, BT.601.
struct Video<'a> {
    image: ImageView<'a>,
    width: u16,
    height: u16,
}

impl Video<'_> {
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
            let [luma, cb, cr] = to_jpeg(self.at(x, usize::from(y)), self.image.color);
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
            let picture = decoder.decode(&view(&coded, &jpeg).unwrap()).unwrap();
            assert_eq!((picture.width, picture.height), (34, 18));
            let first = &picture.planes[0].data[..3];
            for (got, want) in first.iter().zip([r, g, b]) {
                assert!(got.abs_diff(want) <= 4, "{format:?}: {first:?}");
            }
        }
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
