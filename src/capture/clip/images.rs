//! A folder of pictures, or one.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mjpeg::{MAX_BYTES, jpeg_layout};
use super::{ClipFormat, Read, ReadError, Reader, Refusal};
use crate::decode::MAX_SIDE;
use crate::frame::{ColorSpace, ImageLayout, PixelFormat};

/// JPEG and PNG files in their natural order: `f2.png` before `f10.png`.
pub(super) struct Images {
    format: ClipFormat,
    paths: Vec<PathBuf>,
    at: usize,
}

impl Images {
    pub(super) fn folder(path: &Path) -> Result<Self, Refusal> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let path = entry?.path();
            if is_picture(&path) && path.is_file() {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            return Err(Refusal::Unusable("no .jpg, .jpeg or .png file in the directory".into()));
        }
        paths.sort_by(|a, b| {
            natural(&a.as_os_str().to_string_lossy(), &b.as_os_str().to_string_lossy())
        });
        let what = format!("{} pictures", paths.len());
        Ok(Self { format: ClipFormat { what, ..ClipFormat::default() }, paths, at: 0 })
    }

    pub(super) fn file(path: &Path) -> Result<Self, Refusal> {
        let format = ClipFormat { what: "one picture".into(), ..ClipFormat::default() };
        Ok(Self { format, paths: vec![path.to_owned()], at: 0 })
    }
}

impl Reader for Images {
    fn format(&self) -> &ClipFormat {
        &self.format
    }

    fn read(&mut self, buffer: &mut Vec<u8>, _limit: Duration) -> Result<Read, ReadError> {
        let Some(path) = self.paths.get(self.at) else { return Ok(Read::End) };
        self.at += 1;
        let layout = load(path, buffer).map_err(|problem| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            ReadError::Bad(format!("{name}: {problem}"))
        })?;
        Ok(Read::Picture { layout, time: None })
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        self.at = 0;
        Ok(())
    }
}

fn is_picture(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| ["jpg", "jpeg", "png"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// Reads a file by its content, not by its name.
fn load(path: &Path, buffer: &mut Vec<u8>) -> Result<ImageLayout, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    buffer.clear();
    file.take(MAX_BYTES as u64).read_to_end(buffer).map_err(|e| e.to_string())?;
    if !buffer.starts_with(b"\x89PNG") {
        return jpeg_layout(buffer).map_err(ReadError::into_problem);
    }
    let file = File::open(path).map_err(|e| e.to_string())?;
    png_pixels(BufReader::new(file), buffer)
}

/// Decodes a PNG to 8-bit RGB or grey; transparency is left out.
fn png_pixels(
    input: impl std::io::BufRead + std::io::Seek,
    out: &mut Vec<u8>,
) -> Result<ImageLayout, String> {
    let mut decoder = png::Decoder::new(input);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    let (width, height) = reader.info().size();
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!("PNG of {width}x{height} is larger than {MAX_SIDE}x{MAX_SIDE}"));
    }
    let size = reader.output_buffer_size().ok_or("PNG is too large for memory")?;
    out.resize(size, 0);
    let info = reader.next_frame(out).map_err(|e| e.to_string())?;
    let (format, channels, kept) = match info.color_type {
        png::ColorType::Grayscale => (PixelFormat::Gray8, 1, 1),
        png::ColorType::GrayscaleAlpha => (PixelFormat::Gray8, 2, 1),
        png::ColorType::Rgb => (PixelFormat::Rgb8, 3, 3),
        png::ColorType::Rgba => (PixelFormat::Rgb8, 4, 3),
        other => return Err(format!("PNG colour type {other:?} is not read")),
    };
    if kept < channels {
        for i in 0..width as usize * height as usize {
            out.copy_within(i * channels..i * channels + kept, i * kept);
        }
    }
    Ok(ImageLayout::packed(width, height, format, ColorSpace::default()))
}

/// Compares names as people do: runs of digits by their value.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a.as_bytes(), b.as_bytes());
    loop {
        let (number_x, number_y) = (digits(x), digits(y));
        if number_x > 0 && number_y > 0 {
            let ((run_x, rest_x), (run_y, rest_y)) = (x.split_at(number_x), y.split_at(number_y));
            let (value_x, value_y) = (without_zeros(run_x), without_zeros(run_y));
            // Without leading zeros, the longer number is the larger one.
            let order = value_x.len().cmp(&value_y.len()).then(value_x.cmp(value_y));
            if order != Ordering::Equal {
                return order;
            }
            (x, y) = (rest_x, rest_y);
            continue;
        }
        match (x.split_first(), y.split_first()) {
            (Some((i, rest_x)), Some((j, rest_y))) if i == j => (x, y) = (rest_x, rest_y),
            (Some((i, _)), Some((j, _))) => return i.cmp(j),
            // `f1` and `f01` must still have an order.
            _ => return x.len().cmp(&y.len()).then(a.cmp(b)),
        }
    }
}

/// How many digits stand at the front.
fn digits(name: &[u8]) -> usize {
    name.iter().take_while(|b| b.is_ascii_digit()).count()
}

fn without_zeros(run: &[u8]) -> &[u8] {
    &run[run.iter().take_while(|&&b| b == b'0').count()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count_by_value() {
        let mut names =
            vec!["f10.png", "f2.png", "f1.png", "f01.png", "a9.jpg", "f2b.png", "f.png"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a9.jpg", "f.png", "f01.png", "f1.png", "f2.png", "f2b.png", "f10.png"]);
    }

    #[test]
    fn every_png_colour_type_becomes_rgb_or_grey() {
        use PixelFormat::{Gray8, Rgb8};
        use png::{BitDepth::*, ColorType};
        let grey = &[7, 9][..];
        let rgb = &[1, 2, 3, 4, 5, 6][..];
        let cases = [
            (ColorType::Grayscale, Eight, grey, Gray8, grey),
            (ColorType::GrayscaleAlpha, Eight, &[7, 0, 9, 255], Gray8, grey),
            (ColorType::Rgb, Eight, rgb, Rgb8, rgb),
            (ColorType::Rgba, Eight, &[1, 2, 3, 0, 4, 5, 6, 9], Rgb8, rgb),
            (ColorType::Grayscale, Sixteen, &[7, 200, 9, 1], Gray8, grey),
        ];
        for (color, depth, data, format, pixels) in cases {
            let mut file = Vec::new();
            let mut encoder = png::Encoder::new(&mut file, 2, 1);
            encoder.set_color(color);
            encoder.set_depth(depth);
            encoder.write_header().unwrap().write_image_data(data).unwrap();
            let mut out = Vec::new();
            let layout = png_pixels(std::io::Cursor::new(file), &mut out).unwrap();
            assert_eq!(layout.format, format, "{color:?}");
            assert_eq!(&out[..layout.byte_len()], pixels, "{color:?}");
        }
    }
}
