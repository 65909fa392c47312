//! What `gst-launch-1.0 -v` says of our `identity` element on standard output: the format of what
//! flows through it, and the size and time of every buffer.

use std::fmt;

use crate::decode::MAX_SIDE;
use crate::frame::{ColorSpace, ImageLayout, PixelFormat, PlaneLayout};

/// The name that our element is given.
pub(super) const NAME: &str = "posewire";

/// A line that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The format of what flows.
    Caps(String),
    /// A buffer came through.
    Buffer {
        /// Bytes.
        size: usize,
        /// Presentation time, nanoseconds since the pipeline began.
        presented: Option<i64>,
    },
}

impl Said {
    /// Reads one line; `None` for all others.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("GstIdentity:")?;
        let rest = rest.strip_prefix(NAME)?;
        if let Some(caps) = rest.strip_prefix(".GstPad:src: caps = ") {
            return Some(Self::Caps(caps.trim().to_owned()));
        }
        let message = rest.strip_prefix(": last-message = ")?;
        if !message.starts_with("chain") {
            return None;
        }
        let (before, after) = message.split_once(" bytes, ")?;
        let size = before.rsplit('(').next()?.trim().parse().ok()?;
        let presented = after.split("pts: ").nth(1).and_then(|t| time(t.split(',').next()?.trim()));
        Some(Self::Buffer { size, presented })
    }
}

/// `0:00:00.033333333` in nanoseconds.
fn time(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (h, m, s) = (parts.next()?, parts.next()?, parts.next()?);
    let (s, fraction) = s.split_once('.').unwrap_or((s, "0"));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    let (h, m, s): (i64, i64, i64) = (h.parse().ok()?, m.parse().ok()?, s.parse().ok()?);
    let seconds = h.checked_mul(3600)?.checked_add(m.checked_mul(60)?)?.checked_add(s)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// A format of `video/x-raw` or `image/jpeg`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Format {
    pub pixels: PixelFormat,
    pub width: u32,
    pub height: u32,
    pub rate: Option<f64>,
    pub color: ColorSpace,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} {:?}", self.width, self.height, self.pixels)?;
        if let Some(rate) = self.rate {
            write!(f, " at {rate:.2} fps")?;
        }
        Ok(())
    }
}

impl Format {
    /// Reads caps: `video/x-raw, format=(string)I420, width=(int)320, ...`.
    ///
    /// # Errors
    /// Says what to add to the pipeline.
    pub(super) fn parse(caps: &str) -> Result<Self, String> {
        let field = |name: &str| {
            caps.split(", ").find_map(|part| {
                let value = part.trim().strip_prefix(name)?.strip_prefix('=')?;
                Some(value.rsplit(')').next().unwrap_or(value).trim_matches('"'))
            })
        };
        let kind = caps.split(',').next().unwrap_or_default().trim();
        let pixels = match (kind, field("format")) {
            ("image/jpeg", _) => PixelFormat::Jpeg,
            ("video/x-raw", Some("I420")) => PixelFormat::I420,
            ("video/x-raw", Some("NV12")) => PixelFormat::Nv12,
            ("video/x-raw", Some("NV21")) => PixelFormat::Nv21,
            ("video/x-raw", Some("YUY2")) => PixelFormat::Yuyv,
            ("video/x-raw", Some("UYVY")) => PixelFormat::Uyvy,
            ("video/x-raw", Some("Y42B")) => PixelFormat::I422,
            ("video/x-raw", Some("Y444")) => PixelFormat::I444,
            ("video/x-raw", Some("GRAY8")) => PixelFormat::Gray8,
            ("video/x-raw", Some("RGB")) => PixelFormat::Rgb8,
            ("video/x-raw", Some("BGR")) => PixelFormat::Bgr8,
            ("video/x-raw", other) => {
                return Err(format!(
                    "the pipeline gives {}, which is not read: add \"! videoconvert ! \
                     video/x-raw,format=NV12\" at its end",
                    other.unwrap_or("pictures of no format")
                ));
            }
            (kind, _) => {
                return Err(format!(
                    "the pipeline gives {kind}, no pictures in memory: add a decoder or \
                     converter at its end (nvvidconv for memory:NVMM, decodebin for coded video), \
                     then \"! video/x-raw,format=NV12\""
                ));
            }
        };
        let number = |name: &str| {
            field(name)
                .and_then(|v| v.parse::<u32>().ok())
                .filter(|v| (1..=MAX_SIDE).contains(v))
                .ok_or_else(|| format!("the pipeline gives pictures without a usable {name}"))
        };
        let rate = field("framerate").and_then(|text| {
            let (n, d) = text.split_once('/')?;
            let (n, d): (f64, f64) = (n.parse().ok()?, d.parse().ok()?);
            (n > 0.0 && d > 0.0).then_some(n / d)
        });
        let color = colour(field("colorimetry").unwrap_or_default());
        Ok(Self { pixels, width: number("width")?, height: number("height")?, rate, color })
    }

    /// Where the planes lie in a buffer: GStreamer's default strides are multiples of four, and
    /// planes of halved height begin after an even number of rows (`gst_video_info_align` and
    /// `fill_planes` of gst-plugins-base, video-info.c).
    pub(super) fn layout(&self) -> ImageLayout {
        let four = |n: usize| n.next_multiple_of(4);
        let (w, h) = (self.width as usize, self.height as usize);
        let (w2, h2) = (w.next_multiple_of(2), h.next_multiple_of(2));
        let planes: &[(usize, usize)] = &match self.pixels {
            PixelFormat::Gray8 => vec![(four(w), h)],
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => vec![(four(3 * w), h)],
            PixelFormat::Yuyv | PixelFormat::Uyvy => vec![(four(2 * w), h)],
            PixelFormat::Nv12 | PixelFormat::Nv21 => vec![(four(w), h2), (four(w), h2 / 2)],
            PixelFormat::I420 => {
                let chroma = (four(w2 / 2), h2 / 2);
                vec![(four(w), h2), chroma, chroma]
            }
            PixelFormat::I422 => {
                let chroma = (four(w2 / 2), h);
                vec![(four(w), h), chroma, chroma]
            }
            PixelFormat::I444 => vec![(four(w), h); 3],
            _ => Vec::new(),
        };
        let mut layout = ImageLayout::packed(self.width, self.height, self.pixels, self.color);
        layout.planes.clear();
        let mut offset = 0;
        for &(stride, rows) in planes {
            layout.planes.push(PlaneLayout { memory: 0, offset, stride, len: stride * rows });
            offset += stride * rows;
        }
        layout
    }
}

/// A colorimetry's matrix and range: `bt709`, or `range:matrix:transfer:primaries` in numbers.
fn colour(text: &str) -> ColorSpace {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [range, matrix, _, _] => ColorSpace { bt709: matrix == "3", full_range: range == "1" },
        _ => ColorSpace { bt709: text.starts_with("bt709"), full_range: false },
    }
}
