//! Pixels with the time they were seen, and the buffers they lie in.
//!
//! A [`Frame`] shares its memory with the source that filled it. A [`Lease`] goes with it: when
//! the frame is dropped, on whatever thread, the memory reference goes first and the lease's bit
//! second, so that the source finds the buffer unshared when it sees the bit.

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::handoff::Lease;
use crate::time::Timestamp;

/// How a picture's bytes are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// 8-bit luma, one plane.
    Gray8,
    /// 16-bit luma, least significant byte first; the upper eight bits are looked at.
    Gray16,
    /// Red, green, blue bytes.
    Rgb8,
    /// Blue, green, red bytes.
    Bgr8,
    /// Y0 U Y1 V, 4:2:2 packed.
    Yuyv,
    /// U Y0 V Y1, 4:2:2 packed.
    Uyvy,
    /// A luma plane, then interleaved U and V at half size both ways.
    Nv12,
    /// A luma plane, then interleaved V and U at half size both ways.
    Nv21,
    /// Three planes, chroma at half size both ways.
    I420,
    /// Three planes, chroma at half width.
    I422,
    /// Three planes of full size.
    I444,
    /// A JPEG picture (JFIF or a camera's MJPEG frame); decoded by the pipeline, because a frame
    /// that is displaced before anybody looks at it need not be decoded.
    Jpeg,
    /// A sensor's own pixels under its colour filter; decoded by the pipeline, too.
    Bayer {
        /// Which colours the top left cell has.
        order: BayerOrder,
        /// Bits of a value: 8, or more in two bytes, least significant first.
        bits: u8,
    },
}

/// The colours of a 2x2 cell of a sensor's filter, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BayerOrder {
    /// Red, green; green, blue.
    Rggb,
    /// Green, red; blue, green.
    Grbg,
    /// Green, blue; red, green.
    Gbrg,
    /// Blue, green; green, red.
    Bggr,
}

impl PixelFormat {
    /// True if the bytes are compressed: their number does not follow from the picture's size.
    pub const fn is_compressed(self) -> bool {
        matches!(self, Self::Jpeg)
    }

    /// For each plane: (bytes per row, rows) at the given picture size, tightly packed.
    /// Empty for compressed formats.
    pub fn packed_planes(self, width: u32, height: u32) -> ArrayVec<(usize, usize), 3> {
        let (w, h) = (width as usize, height as usize);
        let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
        match self {
            Self::Gray8 => ArrayVec::from_iter([(w, h)]),
            Self::Gray16 => ArrayVec::from_iter([(2 * w, h)]),
            Self::Bayer { bits, .. } => {
                ArrayVec::from_iter([(if bits > 8 { 2 * w } else { w }, h)])
            }
            Self::Rgb8 | Self::Bgr8 => ArrayVec::from_iter([(3 * w, h)]),
            Self::Yuyv | Self::Uyvy => ArrayVec::from_iter([(4 * cw, h)]),
            Self::Nv12 | Self::Nv21 => ArrayVec::from_iter([(w, h), (2 * cw, ch)]),
            Self::I420 => ArrayVec::from_iter([(w, h), (cw, ch), (cw, ch)]),
            Self::I422 => ArrayVec::from_iter([(w, h), (cw, h), (cw, h)]),
            Self::I444 => ArrayVec::from_iter([(w, h), (w, h), (w, h)]),
            Self::Jpeg => ArrayVec::new(),
        }
    }
}

/// How luma and chroma become colour. Ignored for RGB and grey formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ColorSpace {
    /// BT.709 coefficients instead of BT.601.
    pub bt709: bool,
    /// Luma spans 0..255 (JPEG) instead of 16..235.
    pub full_range: bool,
}

/// Which clock a frame's `captured` belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timebase {
    /// This machine's monotonic clock: ages and latencies against it are real.
    Monotonic,
    /// The recording's own clock: only differences between its frames mean anything.
    Media,
}

/// Memory that pixels lie in: a driver's mapped buffer, or the heap.
pub trait PixelMemory: Send + Sync {
    /// The bytes.
    fn bytes(&self) -> &[u8];
}

impl PixelMemory for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Where one plane lies in its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneLayout {
    /// Which of the frame's memories.
    pub memory: u8,
    /// Bytes from its start.
    pub offset: usize,
    /// Bytes from one row to the next; 0 for compressed data.
    pub stride: usize,
    /// Bytes in all.
    pub len: usize,
}

/// What the pixels are: everything but the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageLayout {
    /// Picture width in pixels.
    pub width: u32,
    /// Picture height in pixels.
    pub height: u32,
    /// How the bytes are to be read.
    pub format: PixelFormat,
    /// How luma and chroma become colour.
    pub color: ColorSpace,
    /// The planes, in the format's order.
    pub planes: ArrayVec<PlaneLayout, 3>,
}

impl ImageLayout {
    /// Tightly packed planes, one after the other in one memory.
    pub fn packed(width: u32, height: u32, format: PixelFormat, color: ColorSpace) -> Self {
        let mut offset = 0;
        let mut planes = ArrayVec::new();
        for (stride, rows) in format.packed_planes(width, height) {
            planes.push(PlaneLayout { memory: 0, offset, stride, len: stride * rows });
            offset += stride * rows;
        }
        Self { width, height, format, color, planes }
    }

    /// `len` bytes of compressed data at the start of one memory. `width` and `height` may be 0
    /// where only decoding can tell.
    pub fn compressed(width: u32, height: u32, format: PixelFormat, len: usize) -> Self {
        let color = ColorSpace { bt709: false, full_range: true };
        let planes = ArrayVec::from_iter([PlaneLayout { memory: 0, offset: 0, stride: 0, len }]);
        Self { width, height, format, color, planes }
    }

    /// The picture in `bytes`, a single memory; `None` if they are too few.
    pub fn picture<'a>(&self, bytes: &'a [u8]) -> Option<ImageView<'a>> {
        let planes: Option<ArrayVec<_, 3>> = self
            .planes
            .iter()
            .map(|p| Some(Plane { data: bytes.get(p.offset..p.offset + p.len)?, stride: p.stride }))
            .collect();
        let Self { width, height, format, color, .. } = *self;
        planes.map(|planes| ImageView { width, height, format, color, planes })
    }

    /// Bytes that the planes take in a single memory.
    pub fn byte_len(&self) -> usize {
        self.planes.iter().map(|p| p.offset + p.len).max().unwrap_or(0)
    }
}

/// A picture and when it was taken.
pub struct Frame {
    /// Which camera, counted in the order of the configuration.
    pub camera: u8,
    /// The source's own frame number; gaps are frames that were lost before us.
    pub sequence: u64,
    /// When the light fell on the sensor (middle of exposure where the source can tell).
    pub captured: Timestamp,
    /// Which clock `captured` belongs to.
    pub timebase: Timebase,
    /// When the frame came into our hands, monotonic.
    pub dequeued: Timestamp,
    /// Size, format and planes.
    pub layout: ImageLayout,
    // Order matters: fields drop from top to bottom, and the lease says "nobody holds the
    // memory any more", so the memory reference must be gone before it.
    memory: ArrayVec<Arc<dyn PixelMemory>, 3>,
    #[expect(dead_code, reason = "held for its Drop")]
    lease: Option<Lease>,
}

/// What of a frame is known beside its pixels.
#[derive(Clone, Copy, Debug)]
pub struct FrameStamp {
    /// See [`Frame::camera`].
    pub camera: u8,
    /// See [`Frame::sequence`].
    pub sequence: u64,
    /// See [`Frame::captured`].
    pub captured: Timestamp,
    /// See [`Frame::timebase`].
    pub timebase: Timebase,
    /// See [`Frame::dequeued`].
    pub dequeued: Timestamp,
}

/// A layout that does not fit into the memory it is said to lie in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("plane {plane} of the frame ends at byte {end} of a buffer of {len} bytes")]
pub struct LayoutError {
    /// The first plane that does not fit.
    pub plane: usize,
    /// Where it would end.
    pub end: usize,
    /// The buffer's length.
    pub len: usize,
}

impl Frame {
    /// A frame over shared memory.
    ///
    /// # Errors
    /// If a plane reaches beyond its memory, or rows beyond their plane: a truncated frame.
    pub fn new(
        stamp: FrameStamp,
        layout: ImageLayout,
        memory: ArrayVec<Arc<dyn PixelMemory>, 3>,
        lease: Option<Lease>,
    ) -> Result<Self, LayoutError> {
        let packed = layout.format.packed_planes(layout.width, layout.height);
        if layout.planes.is_empty() || layout.planes.len() < packed.len() {
            return Err(LayoutError { plane: layout.planes.len(), end: 0, len: 0 });
        }
        for (i, plane) in layout.planes.iter().enumerate() {
            let len = memory.get(plane.memory as usize).map_or(0, |m| m.bytes().len());
            let needed = packed.get(i).map_or(plane.len, |&(row, rows)| {
                // The last row may lack its padding.
                if rows == 0 || plane.stride < row {
                    usize::MAX
                } else {
                    plane.stride * (rows - 1) + row
                }
            });
            let end = plane.offset.saturating_add(needed);
            if end > len || needed > plane.len {
                return Err(LayoutError { plane: i, end, len });
            }
        }
        let FrameStamp { camera, sequence, captured, timebase, dequeued } = stamp;
        Ok(Self { camera, sequence, captured, timebase, dequeued, layout, memory, lease })
    }

    /// The bytes of plane `index`; empty if there is no such plane.
    pub fn plane(&self, index: usize) -> &[u8] {
        let Some(p) = self.layout.planes.get(index) else { return &[] };
        self.memory
            .get(p.memory as usize)
            .and_then(|m| m.bytes().get(p.offset..p.offset + p.len))
            .unwrap_or(&[])
    }

    /// The picture as stages read it. For compressed formats the planes are the coded bytes.
    pub fn image(&self) -> ImageView<'_> {
        let planes = (0..self.layout.planes.len())
            .map(|i| Plane { data: self.plane(i), stride: self.layout.planes[i].stride })
            .collect();
        ImageView {
            width: self.layout.width,
            height: self.layout.height,
            format: self.layout.format,
            color: self.layout.color,
            planes,
        }
    }
}

/// One plane's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    /// The bytes, starting with the top row.
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// A picture whose pixels can be read: borrowed from a [`Frame`] or from a decoder's buffer.
#[derive(Clone, Debug)]
pub struct ImageView<'a> {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// How the bytes are to be read.
    pub format: PixelFormat,
    /// How luma and chroma become colour.
    pub color: ColorSpace,
    /// The planes, in the format's order; each is large enough for the picture.
    pub planes: ArrayVec<Plane<'a>, 3>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> FrameStamp {
        FrameStamp {
            camera: 0,
            sequence: 1,
            captured: Timestamp::ZERO,
            timebase: Timebase::Media,
            dequeued: Timestamp::ZERO,
        }
    }

    fn frame(layout: ImageLayout, bytes: usize) -> Result<Frame, LayoutError> {
        let memory: Arc<dyn PixelMemory> = Arc::new(vec![0u8; bytes]);
        Frame::new(stamp(), layout, ArrayVec::from_iter([memory]), None)
    }

    #[test]
    fn every_format_fits_exactly_and_one_byte_less_is_refused() {
        use PixelFormat::*;
        let bayer = |bits| Bayer { order: BayerOrder::Rggb, bits };
        for format in [
            Gray8,
            Gray16,
            bayer(8),
            bayer(10),
            Rgb8,
            Bgr8,
            Yuyv,
            Uyvy,
            Nv12,
            Nv21,
            I420,
            I422,
            I444,
        ] {
            for (w, h) in [(640, 480), (7, 5), (1, 1)] {
                let layout = ImageLayout::packed(w, h, format, ColorSpace::default());
                let len = layout.byte_len();
                assert!(frame(layout.clone(), len).is_ok(), "{format:?} {w}x{h}");
                assert!(frame(layout, len - 1).is_err(), "{format:?} {w}x{h}");
            }
        }
    }

    #[test]
    fn a_stride_smaller_than_a_row_is_refused() {
        let mut layout = ImageLayout::packed(64, 4, PixelFormat::Rgb8, ColorSpace::default());
        layout.planes[0].stride = 64;
        assert!(frame(layout, 10_000).is_err());
    }

    #[test]
    fn dropping_a_frame_frees_the_memory_before_the_lease_returns() {
        let mut memory = Arc::new(vec![0u8; 12]);
        let home = crate::handoff::Leases::new(1);
        let lease = home.take().unwrap();
        let layout = ImageLayout::packed(2, 2, PixelFormat::Rgb8, ColorSpace::default());
        let shared: Arc<dyn PixelMemory> = memory.clone();
        let f = Frame::new(stamp(), layout, ArrayVec::from_iter([shared]), Some(lease)).unwrap();
        assert!(home.take().is_none());
        assert!(Arc::get_mut(&mut memory).is_none());
        std::thread::spawn(move || drop(f)).join().unwrap();
        assert!(home.take().is_some());
        assert!(Arc::get_mut(&mut memory).is_some());
    }
}
