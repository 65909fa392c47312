//! What of a frame is not in its picture: the message that goes before it.

use serde::{Deserialize, Serialize};

use crate::frame::{BayerOrder, ColorSpace, Frame, FrameStamp, ImageLayout, PixelFormat, Timebase};
use crate::time::Timestamp;

/// What became of a frame's pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Picture {
    /// Every byte of them follows: replaying gives what was computed.
    Exact,
    /// A JPEG that was made of them follows: replaying gives nearly what was computed.
    Encoded,
    /// Not wanted.
    None,
    /// The recorder could not keep up.
    Dropped,
}

/// A frame's number, times and layout. Its picture, if any, is the next message on the camera's
/// image topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRecord {
    /// See [`Frame::camera`].
    pub camera: u8,
    /// See [`Frame::sequence`].
    pub sequence: u64,
    /// See [`Frame::captured`], nanoseconds.
    pub captured_ns: i64,
    /// True if that is a recording's own clock.
    pub media: bool,
    /// See [`Frame::dequeued`], nanoseconds.
    pub dequeued_ns: i64,
    /// Picture width in pixels.
    pub width: u32,
    /// Picture height in pixels.
    pub height: u32,
    /// Of the pixels as they came.
    pub format: String,
    /// See [`ColorSpace`].
    pub bt709: bool,
    /// See [`ColorSpace`].
    pub full_range: bool,
    /// What became of the pixels.
    pub picture: Picture,
}

/// Formats by their names in recordings. Where Foxglove's `RawImage` knows the format, the name is
/// its own.
const FORMATS: [(&str, PixelFormat); 28] = [
    ("mono8", PixelFormat::Gray8),
    ("mono16", PixelFormat::Gray16),
    ("rgb8", PixelFormat::Rgb8),
    ("bgr8", PixelFormat::Bgr8),
    ("yuyv", PixelFormat::Yuyv),
    ("uyvy", PixelFormat::Uyvy),
    ("nv12", PixelFormat::Nv12),
    ("nv21", PixelFormat::Nv21),
    ("i420", PixelFormat::I420),
    ("i422", PixelFormat::I422),
    ("i444", PixelFormat::I444),
    ("jpeg", PixelFormat::Jpeg),
    ("bayer_rggb8", bayer(BayerOrder::Rggb, 8)),
    ("bayer_grbg8", bayer(BayerOrder::Grbg, 8)),
    ("bayer_gbrg8", bayer(BayerOrder::Gbrg, 8)),
    ("bayer_bggr8", bayer(BayerOrder::Bggr, 8)),
    ("bayer_rggb10", bayer(BayerOrder::Rggb, 10)),
    ("bayer_grbg10", bayer(BayerOrder::Grbg, 10)),
    ("bayer_gbrg10", bayer(BayerOrder::Gbrg, 10)),
    ("bayer_bggr10", bayer(BayerOrder::Bggr, 10)),
    ("bayer_rggb12", bayer(BayerOrder::Rggb, 12)),
    ("bayer_grbg12", bayer(BayerOrder::Grbg, 12)),
    ("bayer_gbrg12", bayer(BayerOrder::Gbrg, 12)),
    ("bayer_bggr12", bayer(BayerOrder::Bggr, 12)),
    ("bayer_rggb16", bayer(BayerOrder::Rggb, 16)),
    ("bayer_grbg16", bayer(BayerOrder::Grbg, 16)),
    ("bayer_gbrg16", bayer(BayerOrder::Gbrg, 16)),
    ("bayer_bggr16", bayer(BayerOrder::Bggr, 16)),
];

const fn bayer(order: BayerOrder, bits: u8) -> PixelFormat {
    PixelFormat::Bayer { order, bits }
}

/// The name of a format in recordings.
pub fn format_name(format: PixelFormat) -> &'static str {
    FORMATS.iter().find(|(_, f)| *f == format).map_or("unknown", |(name, _)| name)
}

impl FrameRecord {
    /// Of a frame, whose pixels become `picture`.
    pub fn of(stamp: &FrameStamp, layout: &ImageLayout, picture: Picture) -> Self {
        Self {
            camera: stamp.camera,
            sequence: stamp.sequence,
            captured_ns: stamp.captured.nanos(),
            media: stamp.timebase == Timebase::Media,
            dequeued_ns: stamp.dequeued.nanos(),
            width: layout.width,
            height: layout.height,
            format: format_name(layout.format).to_owned(),
            bt709: layout.color.bt709,
            full_range: layout.color.full_range,
            picture,
        }
    }

    /// The format of the pixels as they came, if it is known here.
    pub fn pixel_format(&self) -> Option<PixelFormat> {
        FORMATS.iter().find(|(name, _)| *name == self.format).map(|(_, format)| *format)
    }

    /// How the bytes of the picture that follows are to be read, `len` of them; `None` if there is
    /// no such picture.
    pub fn layout(&self, len: usize) -> Option<ImageLayout> {
        let color = ColorSpace { bt709: self.bt709, full_range: self.full_range };
        let format = match self.picture {
            Picture::Exact => self.pixel_format()?,
            Picture::Encoded => PixelFormat::Jpeg,
            Picture::None | Picture::Dropped => return None,
        };
        // The planes of larger pictures may not be addressable.
        if self.width > 1 << 16 || self.height > 1 << 16 {
            return None;
        }
        Some(if format.is_compressed() {
            ImageLayout::compressed(self.width, self.height, format, len)
        } else {
            ImageLayout::packed(self.width, self.height, format, color)
        })
    }

    /// What of the frame is known beside its pixels.
    pub fn stamp(&self) -> FrameStamp {
        FrameStamp {
            camera: self.camera,
            sequence: self.sequence,
            captured: Timestamp::from_nanos(self.captured_ns),
            timebase: if self.media { Timebase::Media } else { Timebase::Monotonic },
            dequeued: Timestamp::from_nanos(self.dequeued_ns),
        }
    }
}

/// Appends the pixels of `frame` to `into`, plane after plane and row after row without padding:
/// [`ImageLayout::picture`] reads them.
pub fn pack(frame: &Frame, into: &mut Vec<u8>) {
    let layout = &frame.layout;
    if layout.format.is_compressed() {
        into.extend_from_slice(frame.plane(0));
        return;
    }
    let packed = layout.format.packed_planes(layout.width, layout.height);
    for (i, (row, rows)) in packed.into_iter().enumerate() {
        let (data, stride) = (frame.plane(i), layout.planes.get(i).map_or(row, |p| p.stride));
        if stride == row {
            into.extend_from_slice(data.get(..row * rows).unwrap_or(data));
            continue;
        }
        for line in 0..rows {
            into.extend_from_slice(data.get(line * stride..line * stride + row).unwrap_or(&[]));
        }
    }
}

/// How [`pack`] lays the pixels of `frame` out.
pub fn packed_layout(frame: &Frame) -> ImageLayout {
    let ImageLayout { width, height, format, color, .. } = frame.layout;
    if format.is_compressed() {
        let len = frame.plane(0).len();
        return ImageLayout { color, ..ImageLayout::compressed(width, height, format, len) };
    }
    ImageLayout::packed(width, height, format, color)
}
