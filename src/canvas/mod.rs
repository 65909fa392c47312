//! Pictures that we draw ourselves: smooth lines, discs and small letters, written as PNG.

mod font;

use std::io::Write;

/// Red, green, blue.
pub type Colour = [u8; 3];

/// A picture of RGB pixels.
pub struct Canvas {
    width: usize,
    height: usize,
    /// Rows from top to bottom.
    pixels: Vec<u8>,
}

/// Letters are drawn in cells of this many pixels, times the scale.
pub const LETTER: (usize, usize) = (6, 8);

impl Canvas {
    /// A picture of one colour, of `width` x `height` pixels.
    pub fn new(width: usize, height: usize, colour: Colour) -> Self {
        Self { width, height, pixels: colour.repeat(width * height) }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The pixel's colour; `None` outside.
    pub fn get(&self, x: usize, y: usize) -> Option<Colour> {
        let at = self.at(x, y)?;
        self.pixels.get(at..at + 3)?.try_into().ok()
    }

    fn at(&self, x: usize, y: usize) -> Option<usize> {
        (x < self.width && y < self.height).then_some(3 * (y * self.width + x))
    }

    /// Lays `colour` over a pixel, 0 (nothing) to 1 (all of it); outside nothing happens.
    pub fn blend(&mut self, x: usize, y: usize, colour: Colour, alpha: f32) {
        let Some(at) = self.at(x, y) else { return };
        let alpha = alpha.clamp(0.0, 1.0);
        for (old, new) in self.pixels[at..at + 3].iter_mut().zip(colour) {
            let mixed = f32::from(*old) + alpha * (f32::from(new) - f32::from(*old));
            *old = mixed.round() as u8;
        }
    }

    /// A line with round ends from `a` to `b`, `width` pixels wide. Pixel centres are at whole
    /// numbers; what lies outside of the picture is not drawn.
    pub fn line(&mut self, a: [f32; 2], b: [f32; 2], width: f32, colour: Colour, alpha: f32) {
        if !a.iter().chain(&b).all(|v| v.is_finite()) {
            return;
        }
        let reach = width / 2.0 + 1.0;
        // A line of a thousand pixels that leaves the picture costs the part inside only.
        let range = |k: usize, end: usize| {
            let low = (a[k].min(b[k]) - reach).floor().max(0.0) as usize;
            let high = (a[k].max(b[k]) + reach).ceil().min(end as f32 - 1.0);
            if high < 0.0 { 0..0 } else { low..high as usize + 1 }
        };
        let d = [b[0] - a[0], b[1] - a[1]];
        let length2 = d[0] * d[0] + d[1] * d[1];
        for y in range(1, self.height) {
            for x in range(0, self.width) {
                let p = [x as f32 - a[0], y as f32 - a[1]];
                let along = if length2 > 0.0 { (p[0] * d[0] + p[1] * d[1]) / length2 } else { 0.0 };
                let along = along.clamp(0.0, 1.0);
                let off = (p[0] - along * d[0]).hypot(p[1] - along * d[1]);
                // The share of a pixel that is covered, nearly.
                self.blend(x, y, colour, alpha * (width / 2.0 + 0.5 - off).clamp(0.0, 1.0));
            }
        }
    }

    /// A disc around `centre`.
    pub fn disc(&mut self, centre: [f32; 2], radius: f32, colour: Colour, alpha: f32) {
        self.line(centre, centre, 2.0 * radius, colour, alpha);
    }

    /// Writes `text` in capitals, its first cell's top-left corner at (`x`, `y`); characters
    /// without a letter here are left blank.
    pub fn text(&mut self, x: usize, y: usize, scale: usize, text: &str, colour: Colour) {
        for (n, letter) in text.chars().enumerate() {
            let left = x + n * LETTER.0 * scale;
            for (column, bits) in font::columns(letter).into_iter().enumerate() {
                for row in (0..LETTER.1).filter(|row| bits >> row & 1 == 1) {
                    for (dx, dy) in (0..scale * scale).map(|k| (k % scale, k / scale)) {
                        self.blend(left + column * scale + dx, y + row * scale + dy, colour, 1.0);
                    }
                }
            }
        }
    }

    /// Puts `other` with its top-left corner at (`x`, `y`).
    pub fn place(&mut self, other: &Self, x: usize, y: usize) {
        for row in 0..other.height {
            for column in 0..other.width {
                if let Some(colour) = other.get(column, row) {
                    self.blend(x + column, y + row, colour, 1.0);
                }
            }
        }
    }

    /// Writes it as PNG.
    ///
    /// # Errors
    /// Those of `out`; and a picture without pixels is none.
    pub fn write_png(&self, out: impl Write) -> Result<(), png::EncodingError> {
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut encoder = png::Encoder::new(out, side(self.width), side(self.height));
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLACK: Colour = [0; 3];
    const WHITE: Colour = [255; 3];

    #[test]
    fn a_line_covers_what_it_should_and_nothing_else() {
        let mut c = Canvas::new(20, 10, BLACK);
        c.line([3.0, 5.0], [12.0, 5.0], 3.0, WHITE, 1.0);
        assert_eq!(c.get(8, 5), Some(WHITE));
        assert_eq!(c.get(8, 6), Some(WHITE));
        assert_eq!(c.get(8, 8), Some(BLACK));
        assert_eq!(c.get(17, 5), Some(BLACK));
    }

    #[test]
    fn what_lies_outside_is_cut_off() {
        let mut c = Canvas::new(8, 8, BLACK);
        c.line([-1e9, 4.0], [1e9, 4.0], 1.0, WHITE, 1.0);
        c.line([-50.0, -50.0], [-20.0, -20.0], 5.0, WHITE, 1.0);
        c.line([f32::NAN, 0.0], [1.0, 1.0], 5.0, WHITE, 1.0);
        c.text(6, 6, 3, "W", WHITE);
        assert_eq!(c.get(0, 0), Some(BLACK));
        assert_eq!(c.get(8, 0), None);
    }

    #[test]
    fn letters_differ_and_unknown_ones_are_blank() {
        let drawn = |text: &str| {
            let mut c = Canvas::new(LETTER.0, LETTER.1, BLACK);
            c.text(0, 0, 1, text, WHITE);
            c.pixels
        };
        let all: std::collections::HashSet<_> = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:/"
            .chars()
            .map(|c| drawn(&c.to_string()))
            .collect();
        // The letter O and the digit 0 are told apart by its stroke.
        assert_eq!(all.len(), 40);
        assert_eq!(drawn("a"), drawn("A"));
        assert_eq!(drawn("\u{e9}"), drawn(" "));
    }

    #[test]
    fn a_picture_comes_back_from_its_png() {
        let mut c = Canvas::new(5, 3, [10, 20, 30]);
        c.blend(2, 1, [200, 100, 50], 1.0);
        let mut file = Vec::new();
        c.write_png(&mut file).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; 45];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, c.pixels);
    }
}
