//! Pictures of a camera that is mounted on its side or head, or that mirrors.
//!
//! URI: `turned:DEGREES:URI` or `turned:DEGREES,mirror:URI`; from a configuration `rotate` and
//! `mirror` under `[camera]`, which turn the calibration, too. Everything behind sees upright
//! pictures: the networks, the recording, the live view; keypoints are in the turned picture's
//! pixels.
//!
//! Compressed frames and Bayer mosaics are decoded for it, here, on the capturing thread, and those that nobody looks
//! at cost their decoding, too. Formats whose chroma cannot be turned in place (4:2:2; 4:2:0 of
//! odd size) come out as 4:4:4.

use std::time::Duration;

use super::pool::FramePool;
use super::{CaptureError, FrameSource, Next, SourceInfo};
use crate::decode::FrameDecoder;
use crate::frame::{FrameStamp, ImageLayout, ImageView, PixelFormat};
use crate::orientation::Orientation;

/// A source whose pictures are turned.
pub struct Turned {
    uri: String,
    inner: Box<dyn FrameSource>,
    info: SourceInfo,
    orientation: Orientation,
    pool: FramePool,
    decoder: FrameDecoder,
}

impl Turned {
    /// Turns what `inner` gives.
    pub fn new(uri: &str, inner: Box<dyn FrameSource>, orientation: Orientation) -> Self {
        let info = turned(inner.describe(), orientation);
        Self {
            uri: uri.to_owned(),
            inner,
            info,
            orientation,
            pool: FramePool::new(FramePool::DEFAULT_COUNT, 0),
            decoder: FrameDecoder::new(),
        }
    }
}

fn turned(info: &SourceInfo, orientation: Orientation) -> SourceInfo {
    let mut info = info.clone();
    info.summary.push_str(&format!(", turned by {orientation}"));
    info.size = info.size.map(|(w, h)| orientation.size(w, h));
    info
}

impl FrameSource for Turned {
    fn describe(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, limit: Duration) -> Result<Next, CaptureError> {
        // First the memory: a frame that has none to go to would be lost.
        let Some(lease) = self.pool.take(limit) else { return Ok(Next::Idle) };
        let frame = match self.inner.next(limit)? {
            Next::Frame(frame) => frame,
            other => return Ok(other),
        };
        let bad = |problem: String| CaptureError::BadFrame {
            uri: self.uri.clone(),
            sequence: frame.sequence,
            problem,
        };
        let image = self.decoder.decode(frame.image()).map_err(|e| bad(e.to_string()))?;
        let layout = turn(&image, self.orientation, self.pool.buffer(&lease))
            .ok_or_else(|| bad(format!("{:?} cannot be turned", image.format)))?;
        let stamp = FrameStamp {
            camera: frame.camera,
            sequence: frame.sequence,
            captured: frame.captured,
            timebase: frame.timebase,
            dequeued: frame.dequeued,
        };
        self.pool.share(lease, layout, stamp).map(Next::Frame).map_err(|e| bad(e.to_string()))
    }
}

/// Where samples of one kind lie in a picture.
struct Samples {
    plane: usize,
    /// Bytes of a sample, and from one to the next.
    bytes: usize,
    step: usize,
    /// From the pixel's begin.
    offset: usize,
    /// Picture pixels per sample, to the right and downwards, as shifts.
    sub: (usize, usize),
}

const fn samples(
    plane: usize,
    bytes: usize,
    step: usize,
    offset: usize,
    sub: (usize, usize),
) -> Samples {
    Samples { plane, bytes, step, offset, sub }
}

/// The format that comes out, and what its planes are made of.
fn plan(image: &ImageView<'_>) -> Option<(PixelFormat, [Option<Samples>; 3])> {
    use PixelFormat::*;
    let even = image.width.is_multiple_of(2) && image.height.is_multiple_of(2);
    let y = |step, offset| Some(samples(0, 1, step, offset, (0, 0)));
    let chroma = |plane, step, offset, sub| Some(samples(plane, 1, step, offset, sub));
    Some(match image.format {
        Gray8 => (Gray8, [y(1, 0), None, None]),
        Gray16 => (Gray16, [Some(samples(0, 2, 2, 0, (0, 0))), None, None]),
        Rgb8 | Bgr8 => (image.format, [Some(samples(0, 3, 3, 0, (0, 0))), None, None]),
        I444 => (I444, [y(1, 0), chroma(1, 1, 0, (0, 0)), chroma(2, 1, 0, (0, 0))]),
        // With even sides, each chroma sample keeps its four pixels.
        I420 if even => (I420, [y(1, 0), chroma(1, 1, 0, (1, 1)), chroma(2, 1, 0, (1, 1))]),
        Nv12 | Nv21 if even => (image.format, [y(1, 0), Some(samples(1, 2, 2, 0, (1, 1))), None]),
        I420 => (I444, [y(1, 0), chroma(1, 1, 0, (1, 1)), chroma(2, 1, 0, (1, 1))]),
        Nv12 => (I444, [y(1, 0), chroma(1, 2, 0, (1, 1)), chroma(1, 2, 1, (1, 1))]),
        Nv21 => (I444, [y(1, 0), chroma(1, 2, 1, (1, 1)), chroma(1, 2, 0, (1, 1))]),
        I422 => (I444, [y(1, 0), chroma(1, 1, 0, (1, 0)), chroma(2, 1, 0, (1, 0))]),
        Yuyv => (I444, [y(2, 0), chroma(0, 4, 1, (1, 0)), chroma(0, 4, 3, (1, 0))]),
        Uyvy => (I444, [y(2, 1), chroma(0, 4, 0, (1, 0)), chroma(0, 4, 2, (1, 0))]),
        Bayer { .. } | Jpeg => return None,
    })
}

/// Writes the turned picture into `out`, tightly packed; `None` for a format that cannot be.
fn turn(image: &ImageView<'_>, o: Orientation, out: &mut Vec<u8>) -> Option<ImageLayout> {
    let (format, parts) = plan(image)?;
    let (width, height) = o.size(image.width, image.height);
    let layout = ImageLayout::packed(width, height, format, image.color);
    if out.len() < layout.byte_len() {
        out.resize(layout.byte_len(), 0);
    }
    for (place, part) in layout.planes.iter().zip(&parts) {
        let part = part.as_ref()?;
        let to = &mut out[place.offset..place.offset + place.len];
        // Subsampled as it was, or spread over every pixel.
        let kept = format != PixelFormat::I444;
        let shift = if kept { part.sub } else { (0, 0) };
        let spread = if kept { (0, 0) } else { part.sub };
        let (w, h) = ((image.width as usize) >> shift.0, (image.height as usize) >> shift.1);
        let from = image.planes.get(part.plane)?;
        match part.bytes {
            1 => turn_plane::<1>(from.data, from.stride, part, spread, (w, h), o, to)?,
            2 => turn_plane::<2>(from.data, from.stride, part, spread, (w, h), o, to)?,
            _ => turn_plane::<3>(from.data, from.stride, part, spread, (w, h), o, to)?,
        }
    }
    Some(layout)
}

/// Turns `w` x `h` samples of `BYTES` bytes.
fn turn_plane<const BYTES: usize>(
    from: &[u8],
    stride: usize,
    part: &Samples,
    spread: (usize, usize),
    (w, h): (usize, usize),
    o: Orientation,
    to: &mut [u8],
) -> Option<()> {
    let turned_width = if o.quarters % 2 == 1 { h } else { w };
    for (v, row) in to.chunks_exact_mut(turned_width * BYTES).enumerate() {
        for (u, sample) in row.chunks_exact_mut(BYTES).enumerate() {
            // The inverse of `Orientation::point`.
            let (x, y) = match o.quarters {
                0 => (u, v),
                1 => (v, h - 1 - u),
                2 => (w - 1 - u, h - 1 - v),
                _ => (w - 1 - v, u),
            };
            let x = if o.mirror { w - 1 - x } else { x };
            let at = (y >> spread.1) * stride + (x >> spread.0) * part.step + part.offset;
            sample.copy_from_slice(from.get(at..at + BYTES)?);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ColorSpace;

    /// Luma and chroma of one pixel, whatever the format.
    fn pixel(image: &ImageView<'_>, x: usize, y: usize) -> Vec<u8> {
        use PixelFormat::*;
        let at = |plane: usize, x: usize, y: usize| {
            image.planes[plane].data[y * image.planes[plane].stride + x]
        };
        match image.format {
            Gray8 => vec![at(0, x, y)],
            Gray16 => (0..2).map(|b| at(0, 2 * x + b, y)).collect(),
            Rgb8 | Bgr8 => (0..3).map(|c| at(0, 3 * x + c, y)).collect(),
            I444 => (0..3).map(|p| at(p, x, y)).collect(),
            I422 => vec![at(0, x, y), at(1, x / 2, y), at(2, x / 2, y)],
            I420 => vec![at(0, x, y), at(1, x / 2, y / 2), at(2, x / 2, y / 2)],
            Nv12 => {
                let c = x / 2 * 2;
                vec![at(0, x, y), at(1, c, y / 2), at(1, c + 1, y / 2)]
            }
            Nv21 => {
                let c = x / 2 * 2;
                vec![at(0, x, y), at(1, c + 1, y / 2), at(1, c, y / 2)]
            }
            Yuyv => {
                vec![at(0, 2 * x, y), at(0, x / 2 * 4 + 1, y), at(0, x / 2 * 4 + 3, y)]
            }
            Uyvy => {
                vec![at(0, 2 * x + 1, y), at(0, x / 2 * 4, y), at(0, x / 2 * 4 + 2, y)]
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_pixel_of_every_format_goes_where_the_orientation_says() {
        use PixelFormat::*;
        let color = ColorSpace { bt709: true, full_range: true };
        for format in [Gray8, Gray16, Rgb8, Bgr8, Yuyv, Uyvy, Nv12, Nv21, I420, I422, I444] {
            for (width, height) in [(8, 6), (7, 5), (1, 1), (2, 9)] {
                let layout = ImageLayout::packed(width, height, format, color);
                let bytes: Vec<u8> = (0..layout.byte_len()).map(|i| (i * 37 % 251) as u8).collect();
                let image = layout.picture(&bytes).unwrap();
                for n in 0..8 {
                    let o = Orientation { mirror: n >= 4, quarters: n % 4 };
                    // A larger buffer than needed, as pools have them.
                    let mut out = vec![0xee; 1000];
                    let turned = turn(&image, o, &mut out).unwrap();
                    assert_eq!((turned.width, turned.height), o.size(width, height));
                    assert_eq!(turned.color, color);
                    let result = turned.picture(&out).unwrap();
                    for y in 0..height {
                        for x in 0..width {
                            let [u, v] = o.point([x.into(), y.into()], width, height);
                            assert_eq!(
                                pixel(&result, u as usize, v as usize),
                                pixel(&image, x as usize, y as usize),
                                "{format:?} {width}x{height} {o} ({x}, {y})"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_turned_source_says_so_and_keeps_numbers_and_stamps() {
        let plain =
            super::super::SourceOptions { camera: 2, ..super::super::SourceOptions::default() };
        let mut straight = super::super::open("demo:1", &plain).unwrap();
        let mut turned = super::super::open("turned:90,mirror:demo:1", &plain).unwrap();
        let (w, h) = straight.describe().size.unwrap();
        assert_eq!(turned.describe().size, Some((h, w)));
        assert!(turned.describe().summary.contains("turned by 90,mirror"));
        let limit = Duration::from_secs(5);
        let (Ok(Next::Frame(a)), Ok(Next::Frame(b))) = (straight.next(limit), turned.next(limit))
        else {
            panic!("no frame");
        };
        assert_eq!((b.sequence, b.captured, b.camera), (a.sequence, a.captured, 2));
        assert_eq!((b.layout.width, b.layout.height), (h, w));
        let error = super::super::open("turned:45:demo:1", &plain).err().unwrap();
        assert!(error.to_string().contains("90"), "{error}");
    }

    #[test]
    fn compressed_frames_are_decoded_and_turned_and_damaged_ones_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let data = include_bytes!("../../tests/data/jpeg/yuv422.jpg");
        std::fs::write(folder.path().join("a.jpg"), data).unwrap();
        std::fs::write(folder.path().join("b.jpg"), &data[..data.len() - 40]).unwrap();
        let uri = format!("turned:180:{}", folder.path().display());
        let plain =
            super::super::SourceOptions { camera: 0, ..super::super::SourceOptions::default() };
        let mut source = super::super::open(&uri, &plain).unwrap();
        let limit = Duration::from_secs(5);
        let Ok(Next::Frame(frame)) = source.next(limit) else { panic!("no frame") };
        {
            let image = frame.image();
            assert_eq!((image.format, image.width, image.height), (PixelFormat::Rgb8, 64, 48));
            // The first quarter, red, is now the last.
            let red = pixel(&image, 48, 36);
            assert!(red[0] > 180 && red[1] < 70, "{red:?}");
        }
        assert!(matches!(source.next(limit), Err(CaptureError::BadFrame { .. })));
        assert!(matches!(source.next(limit), Ok(Next::End)));
    }
}
