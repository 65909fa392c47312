//! Mapped memory and the kernel's driver.
//!
//! The only file of this room with `unsafe`. What it exports is safe: a [`Device`] owns the driver
//! and knows which buffers it may write; bytes can be seen only of a buffer that the driver does
//! not have, and a buffer is given to the driver only when nobody sees its bytes.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::io::{Errno, retry_on_intr};
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::abi::*;
use crate::frame::PixelMemory;

const O_NONBLOCK: i32 = 0o4000;

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
const G_CTRL: Opcode = opcode::read_write::<ControlNumber>(b'V', 27);
const S_CTRL: Opcode = opcode::read_write::<ControlNumber>(b'V', 28);
const QUERYCTRL: Opcode = opcode::read_write::<ControlDescription>(b'V', 36);
const QUERYMENU: Opcode = opcode::read_write::<MenuItem>(b'V', 37);
const ENUM_FRAMESIZES: Opcode = opcode::read_write::<FrameSize>(b'V', 74);
const ENUM_FRAMEINTERVALS: Opcode = opcode::read_write::<FrameInterval>(b'V', 75);
const DQEVENT: Opcode = opcode::read::<Event>(b'V', 89);
const SUBSCRIBE_EVENT: Opcode = opcode::write::<Subscription>(b'V', 90);

/// The structure that an ioctl of this room reads or writes.
///
/// # Safety
/// The type is `repr(C)`, has the kernel's layout for the opcodes it is used with, and is valid
/// for every pattern of bytes, because the kernel may write any.
unsafe trait Argument {}
// SAFETY: all are repr(C) structures of integers and arrays of integers, laid out as in
// videodev2.h; their sizes are asserted in abi.rs.
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
unsafe impl Argument for FrameSize {}
// SAFETY: as above.
unsafe impl Argument for FrameInterval {}
// SAFETY: as above.
unsafe impl Argument for ControlDescription {}
// SAFETY: as above.
unsafe impl Argument for MenuItem {}
// SAFETY: as above.
unsafe impl Argument for ControlNumber {}
// SAFETY: as above.
unsafe impl Argument for Subscription {}
// SAFETY: as above.
unsafe impl Argument for Event {}

/// Calls an ioctl that reads and writes `argument`, again if a signal interrupts it.
fn call<const OPCODE: Opcode, T: Argument>(file: &File, argument: &mut T) -> Result<(), Errno> {
    retry_on_intr(|| {
        // SAFETY: the opcodes above encode the size of T, T has the kernel's layout and takes any
        // bytes (Argument), and the reference is exclusive for the length of the call. None of
        // these structures makes the kernel follow a pointer; that of a format holds one for
        // overlays only, which are not used.
        unsafe { ioctl(file, Updater::<OPCODE, T>::new(argument)) }
    })
}

/// Calls an ioctl about a buffer. The kernel writes the planes of a multi-planar one.
fn call_buffer<const OPCODE: Opcode>(
    file: &File,
    buffer: &mut Buffer,
    planes: &mut BufferPlanes,
) -> Result<(), Errno> {
    if buffer.kind == CAPTURE_MPLANE {
        buffer.location = planes.as_mut_ptr().expose_provenance() as u64;
        // The kernel writes no more planes than this says.
        buffer.length = planes.len() as u32;
    }
    retry_on_intr(|| {
        // SAFETY: OPCODE encodes the size of Buffer, which has the kernel's layout and takes any
        // bytes. Of a single-planar MMAP buffer the kernel follows no pointer. Of a multi-planar
        // one it follows `location`, which was just set to `planes`: exclusively borrowed until
        // this function returns, as long as `length` says, and valid for any bytes.
        unsafe { ioctl(file, Updater::<OPCODE, Buffer>::new(buffer)) }
    })
}

/// A device node of the kernel's.
pub(super) struct Kernel(File);

impl Kernel {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(path).map(Self)
    }
}

impl Driver for Kernel {
    fn call(&mut self, argument: Call<'_>) -> Result<(), Errno> {
        let file = &self.0;
        match argument {
            Call::QueryCapability(a) => call::<QUERYCAP, _>(file, a),
            Call::EnumerateFormat(a) => call::<ENUM_FMT, _>(file, a),
            Call::EnumerateSize(a) => call::<ENUM_FRAMESIZES, _>(file, a),
            Call::EnumerateInterval(a) => call::<ENUM_FRAMEINTERVALS, _>(file, a),
            Call::GetFormat(a) => call::<G_FMT, _>(file, a),
            Call::SetFormat(a) => call::<S_FMT, _>(file, a),
            Call::SetParameters(a) => call::<S_PARM, _>(file, a),
            Call::RequestBuffers(a) => call::<REQBUFS, _>(file, a),
            Call::QueryBuffer(a, planes) => call_buffer::<QUERYBUF>(file, a, planes),
            Call::Queue(a, planes) => call_buffer::<QBUF>(file, a, planes),
            Call::Dequeue(a, planes) => call_buffer::<DQBUF>(file, a, planes),
            Call::Start(kind) => retry_on_intr(|| {
                // SAFETY: STREAMON reads an int, the buffer type, behind the pointer that Setter
                // passes.
                unsafe { ioctl(file, Setter::<STREAMON, i32>::new(kind as i32)) }
            }),
            Call::Stop(kind) => retry_on_intr(|| {
                // SAFETY: as STREAMON.
                unsafe { ioctl(file, Setter::<STREAMOFF, i32>::new(kind as i32)) }
            }),
            Call::QueryControl(a) => call::<QUERYCTRL, _>(file, a),
            Call::QueryMenu(a) => call::<QUERYMENU, _>(file, a),
            Call::GetControl(a) => call::<G_CTRL, _>(file, a),
            Call::SetControl(a) => call::<S_CTRL, _>(file, a),
            Call::Subscribe(a) => call::<SUBSCRIBE_EVENT, _>(file, a),
            Call::TakeEvent(a) => call::<DQEVENT, _>(file, a),
        }
    }

    fn wait(&mut self, limit: Duration) -> Result<Ready, Errno> {
        let timeout = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&self.0, PollFlags::IN | PollFlags::PRI)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => Ok(Ready::default()),
            Ok(_) => {
                let seen = fds[0].revents();
                let event = seen.contains(PollFlags::PRI);
                // Errors, too, show in the taking.
                Ok(Ready { picture: !seen.difference(PollFlags::PRI).is_empty(), event })
            }
            // A signal: the caller has its own clock and comes again.
            Err(Errno::INTR) => Ok(Ready::default()),
            Err(e) => Err(e),
        }
    }

    fn memory(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A part of a driver's buffer in our address space, read-only.
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

impl Mapping {
    fn new(memory: BorrowedFd<'_>, offset: u32, len: u32) -> Result<Self, Errno> {
        let len = len as usize;
        // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing of ours;
        // length and offset are the driver's own for this buffer, and a driver that does not know
        // the offset refuses.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ,
                MapFlags::SHARED,
                memory,
                u64::from(offset),
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { start, len })
    }
}

impl PixelMemory for Mapping {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is the non-null start of a mapping of `len` readable bytes that lives
        // until `drop`. The driver, whichever it is of this room's two, (or the device by DMA) writes into it only between QBUF and
        // DQBUF or STREAMOFF. The only way to a `&Mapping` outside of this file is an Arc from
        // `Device::share`, which gives one only for a buffer that is not queued; and
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
    /// One of each plane that has memory of its own.
    memory: ArrayVec<Arc<Mapping>, PLANES>,
    /// The driver has it and may write.
    queued: bool,
}

/// A filled buffer.
#[derive(Clone, Debug)]
pub(super) struct Filled {
    pub index: usize,
    /// Of each memory: where the data begins, and where it ends.
    pub used: ArrayVec<(usize, usize), PLANES>,
    pub sequence: u32,
    pub flags: u32,
    /// The driver's stamp.
    pub nanos: i64,
}

impl Filled {
    /// The driver says that the data is damaged.
    pub fn damaged(&self) -> bool {
        self.flags & BUF_FLAG_ERROR != 0
    }
}

/// An open camera and its buffers.
pub(super) struct Device {
    // Fields drop from top to bottom: the stream is stopped by `drop`, then mappings that no
    // frame holds are undone, then the driver is closed.
    slots: Vec<Slot>,
    streaming: bool,
    kind: u32,
    driver: Box<dyn Driver>,
}

impl Device {
    pub(super) fn new(driver: Box<dyn Driver>) -> Self {
        Self { slots: Vec::new(), streaming: false, kind: CAPTURE, driver }
    }

    /// Uses the multi-planar interface from now on.
    pub(super) fn multi_planar(&mut self) {
        self.kind = CAPTURE_MPLANE;
    }

    pub(super) fn kind(&self) -> u32 {
        self.kind
    }

    /// Any call but those about buffers and streaming, which have functions of their own.
    pub(super) fn call(&mut self, call: Call<'_>) -> Result<(), Errno> {
        match call {
            Call::RequestBuffers(_) | Call::QueryBuffer(..) | Call::Queue(..) => Err(Errno::INVAL),
            Call::Dequeue(..) | Call::Start(_) | Call::Stop(_) => Err(Errno::INVAL),
            call => self.driver.call(call),
        }
    }

    /// Has the driver make about `count` buffers and maps them. Once per device.
    pub(super) fn make_buffers(&mut self, count: u32) -> Result<usize, Errno> {
        if !self.slots.is_empty() {
            return Err(Errno::BUSY);
        }
        let kind = self.kind;
        let mut request = RequestBuffers { count, kind, memory: MMAP, ..RequestBuffers::default() };
        self.driver.call(Call::RequestBuffers(&mut request))?;
        for index in 0..request.count.min(64) {
            let mut b = Buffer { index, kind, memory: MMAP, ..Buffer::default() };
            let mut planes = BufferPlanes::default();
            self.driver.call(Call::QueryBuffer(&mut b, &mut planes))?;
            let mut memory = ArrayVec::new();
            if kind == CAPTURE {
                memory.push(Arc::new(self.map(b.location as u32, b.length)?));
            } else {
                for plane in planes.iter().take(b.length as usize) {
                    let mapping = self.map(plane.location[0], plane.length)?;
                    memory.try_push(Arc::new(mapping)).map_err(|_| Errno::INVAL)?;
                }
            }
            self.slots.push(Slot { memory, queued: false });
        }
        Ok(self.slots.len())
    }

    fn map(&self, offset: u32, len: u32) -> Result<Mapping, Errno> {
        Mapping::new(self.driver.memory(), offset, len)
    }

    /// Gives a buffer to the driver.
    ///
    /// # Errors
    /// `BUSY` if somebody can still see its bytes, or the driver has it already.
    pub(super) fn queue(&mut self, index: usize) -> Result<(), Errno> {
        let slot = self.slots.get_mut(index).ok_or(Errno::INVAL)?;
        if slot.queued || slot.memory.iter_mut().any(|memory| Arc::get_mut(memory).is_none()) {
            return Err(Errno::BUSY);
        }
        let index = index as u32;
        let mut b = Buffer { index, kind: self.kind, memory: MMAP, ..Buffer::default() };
        let mut planes = BufferPlanes::default();
        if self.kind == CAPTURE_MPLANE {
            b.length = slot.memory.len() as u32;
        }
        // Before the call: from within it on, the driver may write.
        slot.queued = true;
        let done = self.driver.call(Call::Queue(&mut b, &mut planes));
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
        self.driver.call(Call::Start(self.kind))?;
        self.streaming = true;
        Ok(())
    }

    /// Waits until a buffer is filled or the device has something to say.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<Ready, Errno> {
        self.driver.wait(limit)
    }

    /// Takes a filled buffer from the driver; `None` if there is none.
    pub(super) fn dequeue(&mut self) -> Result<Option<Filled>, Errno> {
        let mut b = Buffer { kind: self.kind, memory: MMAP, ..Buffer::default() };
        let mut planes = BufferPlanes::default();
        match self.driver.call(Call::Dequeue(&mut b, &mut planes)) {
            Ok(()) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(e) => return Err(e),
        }
        let index = b.index as usize;
        let slot = self.slots.get_mut(index).ok_or(Errno::INVAL)?;
        slot.queued = false;
        let mut used = ArrayVec::new();
        for (memory, plane) in slot.memory.iter().zip(&planes) {
            let (begin, end) = match self.kind {
                CAPTURE => (0, b.bytes_used),
                // The offset is counted among the used bytes.
                _ => (plane.data_offset, plane.bytes_used),
            };
            let end = (end as usize).min(memory.len);
            used.push(((begin as usize).min(end), end));
        }
        let nanos = b.seconds.saturating_mul(1_000_000_000);
        let nanos = nanos.saturating_add(b.microseconds.saturating_mul(1_000));
        Ok(Some(Filled { index, used, sequence: b.sequence, flags: b.flags, nanos }))
    }

    /// The bytes of a buffer that the driver does not have; `None` if it has it. As long as one of
    /// the references lives, [`queue`](Self::queue) refuses the buffer.
    pub(super) fn share(&self, index: usize) -> Option<ArrayVec<Arc<dyn PixelMemory>, PLANES>> {
        let slot = self.slots.get(index).filter(|slot| !slot.queued)?;
        let share = |memory: &Arc<Mapping>| -> Arc<dyn PixelMemory> { memory.clone() };
        Some(slot.memory.iter().map(share).collect())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if !self.streaming {
            return;
        }
        // A device that was unplugged says ENODEV: nothing is left to be stopped.
        match self.driver.call(Call::Stop(self.kind)) {
            Ok(()) | Err(Errno::NODEV) => {}
            Err(e) => log::warn!("stopping a camera: {e}"),
        }
    }
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
        assert_eq!(G_CTRL, 0xc008_561b);
        assert_eq!(S_CTRL, 0xc008_561c);
        assert_eq!(QUERYCTRL, 0xc044_5624);
        assert_eq!(QUERYMENU, 0xc02c_5625);
        assert_eq!(ENUM_FRAMESIZES, 0xc02c_564a);
        assert_eq!(ENUM_FRAMEINTERVALS, 0xc034_564b);
        assert_eq!(DQEVENT, 0x8088_5659);
        assert_eq!(SUBSCRIBE_EVENT, 0x4020_565a);
    }

    #[test]
    fn what_is_no_camera_says_so_and_does_nothing() {
        let mut device = Device::new(Box::new(Kernel::open(Path::new("/dev/null")).unwrap()));
        let mut format = Format::new(CAPTURE);
        assert_eq!(device.call(Call::GetFormat(&mut format)), Err(Errno::NOTTY));
        assert_eq!(device.make_buffers(4).unwrap_err(), Errno::NOTTY);
        assert_eq!(device.queue(0).unwrap_err(), Errno::INVAL);
        assert!(device.share(0).is_none());
        assert_eq!(device.call(Call::Start(CAPTURE)), Err(Errno::INVAL));
    }
}
