//! Random pictures, network inputs and crops: for the sampling kernel's test and its example.

use posewire::detect::Crop;
use posewire::engine::spec::{Channels, ImageInput, Letterbox};
use posewire::frame::{ColorSpace, ImageLayout, PixelFormat};

/// Numbers without order, the same ones every time (xorshift).
pub struct Random(pub u32);

impl Random {
    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    pub fn below(&mut self, end: u32) -> u32 {
        (self.next() >> 8) % end
    }

    pub fn within(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 8) as f32 / 16_777_216.0
    }
}

/// A picture of random bytes, whose last row lacks its padding.
pub fn picture(
    width: u32,
    height: u32,
    format: PixelFormat,
    random: &mut Random,
) -> (ImageLayout, Vec<u8>) {
    let bits = random.next();
    let color = ColorSpace { bt709: bits & 1 == 1, full_range: bits & 2 == 2 };
    let mut layout = ImageLayout::packed(width, height, format, color);
    let padding = random.below(20) as usize;
    let mut end = 0;
    for plane in &mut layout.planes {
        let (row, rows) = (plane.stride, plane.len / plane.stride);
        plane.stride += padding;
        plane.offset = end;
        plane.len = plane.stride * (rows - 1) + row;
        end += plane.len;
    }
    // Extremes, too: sums are largest there.
    let bytes = (0..end).map(|_| [0, 255, random.next() as u8][random.below(3) as usize]).collect();
    (layout, bytes)
}

/// A network's input of some normalisation, with the size that `size` draws.
pub fn input(random: &mut Random, size: impl FnOnce(&mut Random) -> (usize, usize)) -> ImageInput {
    let channels = [Channels::Rgb, Channels::Bgr, Channels::Gray][random.below(3) as usize];
    let mut three = |low, high| std::array::from_fn(|_| random.within(low, high));
    let (mean, std) = (three(0.0, 130.0), three(1.0, 70.0));
    let (width, height) = size(random);
    ImageInput { name: "x".into(), width, height, channels, mean, std, pad: 114.0 }
}

/// Enlarged or shrunk, within the picture or beyond its borders, or beside it.
pub fn crop(layout: &ImageLayout, input: &ImageInput, random: &mut Random) -> Crop {
    let (w, h) = (layout.width as f32, layout.height as f32);
    if random.below(4) == 0 {
        let place = [Letterbox::Centre, Letterbox::TopLeft][random.below(2) as usize];
        let crop = Crop::letterbox(layout.width, layout.height, input, place);
        // Of the smallest inputs it shrinks more than is sampled at all.
        if crop.scale_x <= 256.0 {
            return crop;
        }
    }
    let most = [0.4, 1.2, 5.0, 30.0][random.below(4) as usize];
    Crop {
        left: random.within(-w, w),
        top: random.within(-h, h),
        scale_x: random.within(0.05, most),
        scale_y: random.within(0.05, most),
    }
}
