//! The kernel's side of Video4Linux2: structures, ioctls, mapped memory.
//!
//! The only file of this room with `unsafe`. What it exports is safe: a [`Device`] owns the file
//! and knows which buffers the driver may write; bytes can be seen only of a buffer that the
//! driver does not have, and a buffer is given to the driver only when nobody sees its bytes.
//!
//! Source: the kernel's `include/uapi/linux/videodev2.h`. 64-bit machines only: on 32 bits the
//! size of a buffer's time stamp depends on the C library's choice, and the assertions below fail.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::frame::PixelMemory;

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
const CAPTURE: u32 = 1;
/// `V4L2_MEMORY_MMAP`.
const MMAP: u32 = 1;
/// `V4L2_FIELD_NONE`: progressive.
const PROGRESSIVE: u32 = 1;
const O_NONBLOCK: i32 = 0o4000;

pub(super) const CAP_VIDEO_CAPTURE: u32 = 0x1;
pub(super) const CAP_VIDEO_CAPTURE_MPLANE: u32 = 0x1000;
pub(super) const CAP_STREAMING: u32 = 0x0400_0000;
const CAP_DEVICE_CAPS: u32 = 0x8000_0000;
const BUF_FLAG_ERROR: u32 = 0x40;
const BUF_FLAG_TIMESTAMP_MASK: u32 = 0xe000;
const BUF_FLAG_TIMESTAMP_MONOTONIC: u32 = 0x2000;

#[repr(C)]
struct Capability {
    driver: [u8; 16],
    card: [u8; 32],
    bus_info: [u8; 32],
    version: u32,
    capabilities: u32,
    device_caps: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct FormatDescription {
    index: u32,
    kind: u32,
    flags: u32,
    description: [u8; 32],
    pixelformat: u32,
    mbus_code: u32,
    reserved: [u32; 3],
}

/// `struct v4l2_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PixFormat {
    pub width: u32,
    pub height: u32,
    pub pixelformat: u32,
    pub field: u32,
    pub bytesperline: u32,
    pub sizeimage: u32,
    pub colorspace: u32,
    pub private: u32,
    pub flags: u32,
    pub ycbcr_enc: u32,
    pub quantization: u32,
    pub xfer_func: u32,
}

/// `struct v4l2_format`: the kernel's union of 200 bytes begins at byte 8.
#[repr(C)]
struct Format {
    kind: u32,
    padding: u32,
    pix: PixFormat,
    rest: [u8; 152],
}

/// `struct v4l2_streamparm` with its capture member.
#[repr(C)]
struct StreamParameters {
    kind: u32,
    capability: u32,
    mode: u32,
    numerator: u32,
    denominator: u32,
    extended: u32,
    read_buffers: u32,
    reserved: [u32; 4],
    rest: [u8; 160],
}

#[repr(C)]
#[derive(Default)]
struct RequestBuffers {
    count: u32,
    kind: u32,
    memory: u32,
    capabilities: u32,
    flags: u8,
    reserved: [u8; 3],
}

/// `struct v4l2_buffer`.
#[repr(C)]
#[derive(Default)]
struct Buffer {
    index: u32,
    kind: u32,
    bytes_used: u32,
    flags: u32,
    field: u32,
    padding: u32,
    seconds: i64,
    microseconds: i64,
    timecode: [u32; 4],
    sequence: u32,
    memory: u32,
    /// A union; its first half is the offset to map at.
    location: [u32; 2],
    length: u32,
    reserved: u32,
    request: u32,
    tail: u32,
}

// The sizes are part of the ioctls' numbers.
const _: () = {
    assert!(size_of::<Capability>() == 104);
    assert!(size_of::<FormatDescription>() == 64);
    assert!(size_of::<Format>() == 208);
    assert!(size_of::<StreamParameters>() == 204);
    assert!(size_of::<RequestBuffers>() == 20);
    assert!(size_of::<Buffer>() == 88);
};

const QUERYCAP: Opcode = opcode::read::<Capability>(b'V', 0);
const ENUM_FMT: Opcode = opcode::read_write::<FormatDescription>(b'V', 2);
const G_FMT: Opcode = opcode::read_write::<Format>(b'V', 4);
const S_FMT: Opcode = opcode::read_write::<Format>(b'V', 5);
const REQBUFS: Opcode = opcode::read_write::<RequestBuffers>(b'V', 8);
const QUERYBUF: Opcode = opcode::read_write::<Buffer>(b'V', 9);
const QBUF: Opcode = opcode::read_write::<Buffer>(b'V', 15);
const DQBUF: Opcode = opcode::read_write::<Buffer>(b'V', 17);
const STREAMON: Opcode = opcode::write::<i32>(b'V', 18);
const STREAMOFF: Opcode = opcode::write::<i32>(b'V', 19);
const S_PARM: Opcode = opcode::read_write::<StreamParameters>(b'V', 22);

/// The structure that an ioctl of this room reads or writes.
///
/// # Safety
/// The type is `repr(C)`, has the kernel's layout for the opcodes it is used with, and is valid
/// for every pattern of bytes, because the kernel may write any.
unsafe trait Argument {}
// SAFETY: all are repr(C) structures of integers and arrays of integers, laid out as in
// videodev2.h; their sizes are asserted above.
unsafe impl Argument for Capability {}
// SAFETY: as above.
unsafe impl Argument for FormatDescription {}
// SAFETY: as above.
unsafe impl Argument for Format {}
// SAFETY: as above.
unsafe impl Argument for StreamParameters {}
// SAFETY: as above.
unsafe impl Argument for RequestBuffers {}
// SAFETY: as above.
unsafe impl Argument for Buffer {}

/// Calls an ioctl that reads and writes `argument`, again if a signal interrupts it.
fn call<const OPCODE: Opcode, T: Argument>(file: &File, argument: &mut T) -> Result<(), Errno> {
    retry_on_intr(|| {
        // SAFETY: the opcodes above encode the size of T, T has the kernel's layout and takes any
        // bytes (Argument), and the reference is exclusive for the length of the call. None of
        // these structures makes the kernel follow a pointer: MMAP buffers carry an offset.
        unsafe { ioctl(file, Updater::<OPCODE, T>::new(argument)) }
    })
}

/// A driver's buffer in our address space, read-only.
///
/// Not exported: outside of this file it is seen only as [`PixelMemory`], through
/// [`Device::share`].
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is mapped for the process, not for a thread, and is only read through it.
unsafe impl Send for Mapping {}
// SAFETY: shared reads only; the one writer, the kernel, is kept away as `bytes` explains.
unsafe impl Sync for Mapping {}

impl PixelMemory for Mapping {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is the non-null start of a mapping of `len` readable bytes that lives
        // until `drop`. The kernel (the driver, or the device by DMA) writes into it only between
        // QBUF and DQBUF or STREAMOFF. The only way to a `&Mapping` outside of this file is an
        // Arc from `Device::share`, which gives one only for a buffer that is not queued; and
        // `Device::queue` refuses while such an Arc exists. So nobody writes while the slice
        // lives. Any bytes are valid u8.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is exactly what mmap gave, and no slice of it outlives `self`. The
        // driver keeps the memory itself as long as it needs it.
        if let Err(e) = unsafe { munmap(self.start.as_ptr().cast(), self.len) } {
            log::warn!("unmapping a camera's buffer: {e}");
        }
    }
}

struct Slot {
    memory: Arc<Mapping>,
    /// The driver has it and may write.
    queued: bool,
}

/// What a camera says of itself.
#[derive(Debug)]
pub(super) struct Identity {
    pub driver: String,
    pub card: String,
    pub capabilities: u32,
}

/// A filled buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled {
    pub index: usize,
    pub bytes_used: usize,
    pub sequence: u32,
    /// The driver says that the data is damaged.
    pub damaged: bool,
    /// When it was taken, in nanoseconds of `CLOCK_MONOTONIC`, if the driver stamps by it.
    pub monotonic_nanos: Option<i64>,
}

/// An open camera and its buffers.
pub(super) struct Device {
    // Fields drop from top to bottom: the stream is stopped by `drop`, then mappings that no
    // frame holds are undone, then the file is closed.
    slots: Vec<Slot>,
    streaming: bool,
    file: File,
}

impl Device {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(path)?;
        Ok(Self { slots: Vec::new(), streaming: false, file })
    }

    pub(super) fn identity(&self) -> Result<Identity, Errno> {
        let mut c = Capability {
            driver: [0; 16],
            card: [0; 32],
            bus_info: [0; 32],
            version: 0,
            capabilities: 0,
            device_caps: 0,
            reserved: [0; 3],
        };
        call::<QUERYCAP, _>(&self.file, &mut c)?;
        // `capabilities` are the whole hardware's, `device_caps` this node's.
        let own = c.capabilities & CAP_DEVICE_CAPS != 0;
        Ok(Identity {
            driver: text(&c.driver),
            card: text(&c.card),
            capabilities: if own { c.device_caps } else { c.capabilities },
        })
    }

    /// The code of the pixel format number `index`; `None` after the last.
    pub(super) fn pixel_format(&self, index: u32) -> Result<Option<u32>, Errno> {
        let mut d = FormatDescription {
            index,
            kind: CAPTURE,
            flags: 0,
            description: [0; 32],
            pixelformat: 0,
            mbus_code: 0,
            reserved: [0; 3],
        };
        match call::<ENUM_FMT, _>(&self.file, &mut d) {
            Ok(()) => Ok(Some(d.pixelformat)),
            Err(Errno::INVAL) => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(super) fn format(&self) -> Result<PixFormat, Errno> {
        let mut f = Format { kind: CAPTURE, padding: 0, pix: PixFormat::default(), rest: [0; 152] };
        call::<G_FMT, _>(&self.file, &mut f)?;
        Ok(f.pix)
    }

    /// Asks for a format; the driver answers with the nearest it has. Row length and size are
    /// asked for as 0: some drivers would otherwise keep those of the format before.
    pub(super) fn set_format(
        &self,
        pixelformat: u32,
        width: u32,
        height: u32,
    ) -> Result<PixFormat, Errno> {
        let field = PROGRESSIVE;
        let pix = PixFormat { width, height, pixelformat, field, ..PixFormat::default() };
        let mut f = Format { kind: CAPTURE, padding: 0, pix, rest: [0; 152] };
        call::<S_FMT, _>(&self.file, &mut f)?;
        Ok(f.pix)
    }

    /// Asks for `rate` frames per second; gives what the driver will do, if it says.
    pub(super) fn rate(&self, rate: f64) -> Result<Option<f64>, Errno> {
        let mut p = StreamParameters {
            kind: CAPTURE,
            capability: 0,
            mode: 0,
            numerator: 1000,
            denominator: (rate * 1000.0).round() as u32,
            extended: 0,
            read_buffers: 0,
            reserved: [0; 4],
            rest: [0; 160],
        };
        call::<S_PARM, _>(&self.file, &mut p)?;
        let known = p.numerator > 0 && p.denominator > 0;
        Ok(known.then(|| f64::from(p.denominator) / f64::from(p.numerator)))
    }

    /// Has the driver make about `count` buffers and maps them. Once per device.
    pub(super) fn make_buffers(&mut self, count: u32) -> Result<usize, Errno> {
        if !self.slots.is_empty() {
            return Err(Errno::BUSY);
        }
        let mut request =
            RequestBuffers { count, kind: CAPTURE, memory: MMAP, ..RequestBuffers::default() };
        call::<REQBUFS, _>(&self.file, &mut request)?;
        for index in 0..request.count.min(64) {
            let mut b = Buffer { index, kind: CAPTURE, memory: MMAP, ..Buffer::default() };
            call::<QUERYBUF, _>(&self.file, &mut b)?;
            let len = b.length as usize;
            // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing of
            // ours; length and offset are the driver's own for this buffer, and a driver that
            // does not know the offset refuses.
            let start = unsafe {
                mmap(
                    std::ptr::null_mut(),
                    len,
                    ProtFlags::READ,
                    MapFlags::SHARED,
                    &self.file,
                    u64::from(b.location[0]),
                )
            }?;
            let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
            let memory = Arc::new(Mapping { start, len });
            self.slots.push(Slot { memory, queued: false });
        }
        Ok(self.slots.len())
    }

    /// Gives a buffer to the driver.
    ///
    /// # Errors
    /// `BUSY` if somebody can still see its bytes, or the driver has it already.
    pub(super) fn queue(&mut self, index: usize) -> Result<(), Errno> {
        let slot = self.slots.get_mut(index).ok_or(Errno::INVAL)?;
        if slot.queued || Arc::get_mut(&mut slot.memory).is_none() {
            return Err(Errno::BUSY);
        }
        let index = index as u32;
        let mut b = Buffer { index, kind: CAPTURE, memory: MMAP, ..Buffer::default() };
        // Before the call: from within it on, the driver may write.
        slot.queued = true;
        let done = call::<QBUF, _>(&self.file, &mut b);
        if done.is_err() {
            slot.queued = false;
        }
        done
    }

    /// How many buffers the driver has.
    pub(super) fn queued(&self) -> usize {
        self.slots.iter().filter(|slot| slot.queued).count()
    }

    pub(super) fn start(&mut self) -> Result<(), Errno> {
        retry_on_intr(|| {
            // SAFETY: STREAMON reads an int, the buffer type, behind the pointer that Setter
            // passes; CAPTURE fits an i32.
            unsafe { ioctl(&self.file, Setter::<STREAMON, i32>::new(CAPTURE as i32)) }
        })?;
        self.streaming = true;
        Ok(())
    }

    /// Waits until a buffer is filled or the device has something bad to say; false if the time
    /// is up.
    pub(super) fn wait(&self, limit: Duration) -> Result<bool, Errno> {
        let timeout = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(n) => Ok(n > 0),
            // A signal: the caller has its own clock and comes again.
            Err(Errno::INTR) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Takes a filled buffer from the driver; `None` if there is none.
    pub(super) fn dequeue(&mut self) -> Result<Option<Filled>, Errno> {
        let mut b = Buffer { kind: CAPTURE, memory: MMAP, ..Buffer::default() };
        match call::<DQBUF, _>(&self.file, &mut b) {
            Ok(()) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(e) => return Err(e),
        }
        let index = b.index as usize;
        let slot = self.slots.get_mut(index).ok_or(Errno::INVAL)?;
        slot.queued = false;
        let monotonic = b.flags & BUF_FLAG_TIMESTAMP_MASK == BUF_FLAG_TIMESTAMP_MONOTONIC;
        let nanos = b.seconds.saturating_mul(1_000_000_000) + b.microseconds * 1_000;
        Ok(Some(Filled {
            index,
            bytes_used: (b.bytes_used as usize).min(slot.memory.len),
            sequence: b.sequence,
            damaged: b.flags & BUF_FLAG_ERROR != 0,
            monotonic_nanos: (monotonic && nanos > 0).then_some(nanos),
        }))
    }

    /// The bytes of a buffer that the driver does not have; `None` if it has it. As long as the
    /// reference lives, [`queue`](Self::queue) refuses the buffer.
    pub(super) fn share(&self, index: usize) -> Option<Arc<dyn PixelMemory>> {
        let slot = self.slots.get(index).filter(|slot| !slot.queued)?;
        Some(slot.memory.clone())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if !self.streaming {
            return;
        }
        let stopped = retry_on_intr(|| {
            // SAFETY: as STREAMON.
            unsafe { ioctl(&self.file, Setter::<STREAMOFF, i32>::new(CAPTURE as i32)) }
        });
        // A device that was unplugged says ENODEV: nothing is left to be stopped.
        if let Err(e) = stopped.or_else(|e| if e == Errno::NODEV { Ok(()) } else { Err(e) }) {
            log::warn!("stopping a camera: {e}");
        }
    }
}

/// A string of the kernel's: up to the first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_the_kernels() {
        // From videodev2.h of a 64-bit machine, as strace prints them.
        assert_eq!(QUERYCAP, 0x8068_5600);
        assert_eq!(ENUM_FMT, 0xc040_5602);
        assert_eq!(S_FMT, 0xc0d0_5605);
        assert_eq!(REQBUFS, 0xc014_5608);
        assert_eq!(QUERYBUF, 0xc058_5609);
        assert_eq!(QBUF, 0xc058_560f);
        assert_eq!(DQBUF, 0xc058_5611);
        assert_eq!(STREAMON, 0x4004_5612);
        assert_eq!(STREAMOFF, 0x4004_5613);
        assert_eq!(S_PARM, 0xc0cc_5616);
    }

    #[test]
    fn what_is_no_camera_says_so_and_does_nothing() {
        let mut device = Device::open(Path::new("/dev/null")).unwrap();
        assert_eq!(device.identity().unwrap_err(), Errno::NOTTY);
        assert_eq!(device.make_buffers(4).unwrap_err(), Errno::NOTTY);
        assert_eq!(device.queue(0).unwrap_err(), Errno::INVAL);
        assert!(device.share(0).is_none());
    }
}
