//! The kernel's structures and numbers, and the calls that carry them.
//!
//! Source: the kernel's `include/uapi/linux/videodev2.h`. 64-bit machines only: on 32 bits the
//! size of a buffer's time stamp depends on the C library's choice, and the assertions below fail.

use std::time::Duration;

use arrayvec::ArrayVec;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
pub(super) const CAPTURE: u32 = 1;
/// `V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE`.
pub(super) const CAPTURE_MPLANE: u32 = 9;
/// `V4L2_MEMORY_MMAP`.
pub(super) const MMAP: u32 = 1;
/// `V4L2_FIELD_NONE`: progressive.
pub(super) const PROGRESSIVE: u32 = 1;

pub(super) const CAP_VIDEO_CAPTURE: u32 = 0x1;
pub(super) const CAP_VIDEO_CAPTURE_MPLANE: u32 = 0x1000;
pub(super) const CAP_STREAMING: u32 = 0x0400_0000;
pub(super) const CAP_DEVICE_CAPS: u32 = 0x8000_0000;

pub(super) const BUF_FLAG_ERROR: u32 = 0x40;
pub(super) const BUF_FLAG_TIMESTAMP_MASK: u32 = 0xe000;
pub(super) const BUF_FLAG_TIMESTAMP_MONOTONIC: u32 = 0x2000;
pub(super) const BUF_FLAG_TSTAMP_SRC_MASK: u32 = 0x7_0000;
pub(super) const BUF_FLAG_TSTAMP_SRC_SOE: u32 = 0x1_0000;

/// `V4L2_EVENT_SOURCE_CHANGE`.
pub(super) const EVENT_SOURCE_CHANGE: u32 = 5;

/// More planes no format that is read has.
pub(super) const PLANES: usize = 3;

/// The kernel's `VIDEO_MAX_PLANES`.
const MAX_PLANES: usize = 8;

#[repr(C)]
pub(super) struct Capability {
    pub driver: [u8; 16],
    pub card: [u8; 32],
    pub bus_info: [u8; 32],
    pub version: u32,
    pub capabilities: u32,
    pub device_caps: u32,
    pub reserved: [u32; 3],
}

#[repr(C)]
#[derive(Default)]
pub(super) struct FormatDescription {
    pub index: u32,
    pub kind: u32,
    pub flags: u32,
    pub description: [u8; 32],
    pub pixelformat: u32,
    pub mbus_code: u32,
    pub reserved: [u32; 3],
}

/// `struct v4l2_format`: the kernel's union of 200 bytes as words.
#[repr(C)]
pub(super) struct Format {
    pub kind: u32,
    pub padding: u32,
    pub raw: [u32; 50],
}

/// What `struct v4l2_pix_format` and `struct v4l2_pix_format_mplane` say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PixFormat {
    pub width: u32,
    pub height: u32,
    /// The four-letter code.
    pub code: u32,
    pub colorspace: u32,
    pub ycbcr_enc: u32,
    pub quantization: u32,
    /// One of each memory: bytes from row to row, and in all.
    pub planes: ArrayVec<(u32, u32), PLANES>,
}

impl Format {
    pub fn new(kind: u32) -> Self {
        Self { kind, padding: 0, raw: [0; 50] }
    }

    /// A wish. Row lengths and sizes are asked for as 0: some drivers would otherwise keep those
    /// of the format before.
    pub fn asking(kind: u32, code: u32, width: u32, height: u32) -> Self {
        let mut format = Self::new(kind);
        format.raw[..4].copy_from_slice(&[width, height, code, PROGRESSIVE]);
        format
    }

    /// `None` if it has more planes than any format that is read.
    pub fn read(&self) -> Option<PixFormat> {
        let r = &self.raw;
        let mut pix = PixFormat { width: r[0], height: r[1], code: r[2], ..PixFormat::default() };
        if self.kind == CAPTURE {
            pix.planes.push((r[4], r[5]));
            (pix.colorspace, pix.ycbcr_enc, pix.quantization) = (r[6], r[9], r[10]);
            return Some(pix);
        }
        // Eight plane formats of 20 bytes follow the colour space at word 5, then single bytes.
        let [planes, _flags, encoding, quantization] = r[45].to_ne_bytes();
        pix.colorspace = r[4];
        (pix.ycbcr_enc, pix.quantization) = (encoding.into(), quantization.into());
        for plane in 0..usize::from(planes).min(MAX_PLANES) {
            let at = 5 + 5 * plane;
            pix.planes.try_push((r[at + 1], r[at])).ok()?;
        }
        (!pix.planes.is_empty()).then_some(pix)
    }

    /// The reverse of [`read`](Self::read), for the test double.
    pub fn write(&mut self, pix: &PixFormat) {
        let r = &mut self.raw;
        r[..4].copy_from_slice(&[pix.width, pix.height, pix.code, PROGRESSIVE]);
        if self.kind == CAPTURE {
            let (stride, size) = pix.planes.first().copied().unwrap_or_default();
            (r[4], r[5], r[6]) = (stride, size, pix.colorspace);
            (r[9], r[10]) = (pix.ycbcr_enc, pix.quantization);
            return;
        }
        r[4] = pix.colorspace;
        let bytes = [pix.planes.len() as u8, 0, pix.ycbcr_enc as u8, pix.quantization as u8];
        r[45] = u32::from_ne_bytes(bytes);
        for (plane, (stride, size)) in pix.planes.iter().enumerate() {
            (r[5 + 5 * plane], r[6 + 5 * plane]) = (*size, *stride);
        }
    }
}

/// `struct v4l2_streamparm` with its capture member.
#[repr(C)]
pub(super) struct StreamParameters {
    pub kind: u32,
    pub capability: u32,
    pub mode: u32,
    pub numerator: u32,
    pub denominator: u32,
    pub extended: u32,
    pub read_buffers: u32,
    pub reserved: [u32; 4],
    pub rest: [u8; 160],
}

#[repr(C)]
#[derive(Default)]
pub(super) struct RequestBuffers {
    pub count: u32,
    pub kind: u32,
    pub memory: u32,
    pub capabilities: u32,
    pub flags: u8,
    pub reserved: [u8; 3],
}

/// `struct v4l2_buffer`.
#[repr(C)]
#[derive(Default)]
pub(super) struct Buffer {
    pub index: u32,
    pub kind: u32,
    pub bytes_used: u32,
    pub flags: u32,
    pub field: u32,
    pub padding: u32,
    pub seconds: i64,
    pub microseconds: i64,
    pub timecode: [u32; 4],
    pub sequence: u32,
    pub memory: u32,
    /// A union. Single-planar: its first half is the offset to map at. Multi-planar: the address
    /// of the planes, written by `sys.rs` only.
    pub location: u64,
    /// Single-planar: bytes. Multi-planar: the number of planes.
    pub length: u32,
    pub reserved: u32,
    pub request: u32,
    pub tail: u32,
}

/// `struct v4l2_plane`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct BufferPlane {
    pub bytes_used: u32,
    pub length: u32,
    /// A union whose first half is the offset to map at.
    pub location: [u32; 2],
    pub data_offset: u32,
    pub reserved: [u32; 11],
}

/// The planes of a multi-planar buffer: the kernel writes as many as the buffer's `length` says.
pub(super) type BufferPlanes = [BufferPlane; MAX_PLANES];

/// `struct v4l2_frmsizeenum`.
#[repr(C)]
#[derive(Default)]
pub(super) struct FrameSize {
    pub index: u32,
    pub pixel_format: u32,
    /// 1: discrete, 2: continuous, 3: in steps.
    pub kind: u32,
    /// Width, height; or minimum, maximum and step of the width, then of the height.
    pub size: [u32; 6],
    pub reserved: [u32; 2],
}

/// `struct v4l2_frmivalenum`.
#[repr(C)]
#[derive(Default)]
pub(super) struct FrameInterval {
    pub index: u32,
    pub pixel_format: u32,
    pub width: u32,
    pub height: u32,
    /// As of [`FrameSize`].
    pub kind: u32,
    /// Seconds as a fraction; or the shortest, the longest and the step.
    pub interval: [[u32; 2]; 3],
    pub reserved: [u32; 2],
}

/// `struct v4l2_queryctrl`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct ControlDescription {
    pub id: u32,
    pub kind: u32,
    pub name: [u8; 32],
    pub minimum: i32,
    pub maximum: i32,
    pub step: i32,
    pub default_value: i32,
    pub flags: u32,
    pub reserved: [u32; 2],
}

/// `struct v4l2_querymenu`: without the alignment that its union would have.
#[repr(C)]
#[derive(Default)]
pub(super) struct MenuItem {
    pub id: u32,
    pub index: u32,
    pub name: [u8; 32],
    pub reserved: u32,
}

/// `struct v4l2_control`.
#[repr(C)]
#[derive(Default)]
pub(super) struct ControlNumber {
    pub id: u32,
    pub value: i32,
}

/// `struct v4l2_event_subscription`.
#[repr(C)]
#[derive(Default)]
pub(super) struct Subscription {
    pub kind: u32,
    pub id: u32,
    pub flags: u32,
    pub reserved: [u32; 5],
}

/// `struct v4l2_event`.
#[repr(C)]
#[derive(Default)]
pub(super) struct Event {
    pub kind: u32,
    pub padding: u32,
    pub data: [u64; 8],
    pub pending: u32,
    pub sequence: u32,
    pub timestamp: [i64; 2],
    pub id: u32,
    pub reserved: [u32; 8],
    pub tail: u32,
}

// The sizes are part of the ioctls' numbers.
const _: () = {
    assert!(size_of::<Capability>() == 104);
    assert!(size_of::<FormatDescription>() == 64);
    assert!(size_of::<Format>() == 208);
    assert!(size_of::<StreamParameters>() == 204);
    assert!(size_of::<RequestBuffers>() == 20);
    assert!(size_of::<Buffer>() == 88);
    assert!(size_of::<BufferPlane>() == 64);
    assert!(size_of::<FrameSize>() == 44);
    assert!(size_of::<FrameInterval>() == 52);
    assert!(size_of::<ControlDescription>() == 68);
    assert!(size_of::<MenuItem>() == 44);
    assert!(size_of::<ControlNumber>() == 8);
    assert!(size_of::<Subscription>() == 32);
    assert!(size_of::<Event>() == 136);
};

/// One call into a driver, with what it reads and writes.
pub(super) enum Call<'a> {
    QueryCapability(&'a mut Capability),
    EnumerateFormat(&'a mut FormatDescription),
    EnumerateSize(&'a mut FrameSize),
    EnumerateInterval(&'a mut FrameInterval),
    GetFormat(&'a mut Format),
    SetFormat(&'a mut Format),
    SetParameters(&'a mut StreamParameters),
    RequestBuffers(&'a mut RequestBuffers),
    QueryBuffer(&'a mut Buffer, &'a mut BufferPlanes),
    Queue(&'a mut Buffer, &'a mut BufferPlanes),
    Dequeue(&'a mut Buffer, &'a mut BufferPlanes),
    Start(u32),
    Stop(u32),
    QueryControl(&'a mut ControlDescription),
    QueryMenu(&'a mut MenuItem),
    GetControl(&'a mut ControlNumber),
    SetControl(&'a mut ControlNumber),
    Subscribe(&'a mut Subscription),
    TakeEvent(&'a mut Event),
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ready {
    /// A buffer can be taken, or the device has something bad to say.
    pub picture: bool,
    /// An event can be taken.
    pub event: bool,
}

/// The seam between our half of V4L2 and a driver: the kernel's (`sys.rs`), or one that plays
/// through faults ([`double`](super::double)).
pub(super) trait Driver: Send {
    /// One ioctl.
    fn call(&mut self, call: Call<'_>) -> Result<(), Errno>;

    /// Waits until a picture or an event is there, for at most `limit`.
    fn wait(&mut self, limit: Duration) -> Result<Ready, Errno>;

    /// What buffers are mapped from.
    fn memory(&self) -> BorrowedFd<'_>;
}

/// A string of the kernel's: up to the first zero.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_of_either_interface_is_read_as_it_was_written() {
        for (kind, planes) in [(CAPTURE, 1), (CAPTURE_MPLANE, 1), (CAPTURE_MPLANE, 3)] {
            let pix = PixFormat {
                width: 640,
                height: 480,
                code: u32::from_le_bytes(*b"YM12"),
                colorspace: 3,
                ycbcr_enc: 2,
                quantization: 1,
                planes: (0..planes).map(|n| (640 >> n, (640 * 480) >> n)).collect(),
            };
            let mut format = Format::new(kind);
            format.write(&pix);
            assert_eq!(format.read(), Some(pix));
        }
        let mut many = Format::new(CAPTURE_MPLANE);
        many.raw[45] = u32::from_ne_bytes([4, 0, 0, 0]);
        assert_eq!(many.read(), None);
    }
}
