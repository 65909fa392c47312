//! A camera without hardware, for tests and rehearsals: a driver at the ioctl seam that can be
//! unplugged, frozen, taken by somebody else and changed, at any moment, from any thread.
//!
//! Its file descriptor and its memory are real (a memfd), so that a leak of either is a real one.
//! It fills a buffer only between QBUF and DQBUF, as the kernel does, and it fails as the kernel
//! does: ENODEV from every call once unplugged, EBUSY while another program streams, silence while
//! frozen.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fd::BorrowedFd;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

use super::Camera;
use super::abi::*;
use super::choose::Wish;
#[cfg(test)]
use super::sys::Device;
use crate::capture::{CaptureError, SourceOptions};
use crate::time::{Clock, MonotonicClock};

const YUYV: u32 = u32::from_le_bytes(*b"YUYV");
const GREY: u32 = u32::from_le_bytes(*b"GREY");
const FORMATS: [(u32, &str); 2] = [(YUYV, "YUYV 4:2:2"), (GREY, "8-bit Greyscale")];
const SIZES: [(u32, u32); 2] = [(64, 48), (640, 480)];
const RATES: [[u32; 2]; 2] = [[1, 30], [1, 500]];

const FLAG_READ_ONLY: u32 = 0x4;
const FLAG_INACTIVE: u32 = 0x10;
const AUTO_EXPOSURE: u32 = 0x009a_0901;
const EXPOSURE: u32 = 0x009a_0902;
const MENU: [&str; 4] = ["Auto Mode", "Manual Mode", "Shutter Priority", "Aperture Priority"];

/// id, kind, name, minimum, maximum, default.
const CONTROLS: [(u32, u32, &str, i32, i32, i32); 5] = [
    (0x0098_090c, 2, "White Balance, Automatic", 0, 1, 1),
    (0x0098_0913, 1, "Gain", 0, 100, 10),
    (0x0098_0920, 1, "Brand", 0, 9, 4),
    (AUTO_EXPOSURE, 3, "Auto Exposure", 0, 3, 3),
    (EXPOSURE, 1, "Exposure Time, Absolute", 3, 2047, 156),
];
const BRAND: u32 = 0x0098_0920;

/// A port that a camera is plugged into, more or less.
#[derive(Clone, Default)]
pub struct Bench(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    absent: bool,
    /// Which plugging-in it is: drivers of another are dead.
    plugged: u64,
    frozen: bool,
    busy: bool,
    /// How often its picture's format has changed.
    formats: u64,
    /// Drivers that are open.
    open: usize,
    opened: u64,
}

impl Bench {
    /// With a camera in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the camera as [`Camera::open`] does. It gives 64x48 YUYV at up to 500 fps, or GREY.
    ///
    /// # Errors
    /// As [`Camera::open`].
    pub fn open(&self, options: &SourceOptions) -> Result<Camera, CaptureError> {
        let uri = "v4l2:double";
        let driver = self.driver().map_err(|e| CaptureError::Gone {
            uri: uri.to_owned(),
            problem: format!("open: {e}"),
        })?;
        let wish = Wish { size: Some(SIZES[0]), format: None };
        Camera::start(uri, Path::new("double"), Box::new(driver), &wish, options)
    }

    /// Pulls the plug: every call fails with ENODEV, in the middle of a wait, too.
    pub fn unplug(&self) {
        self.change(|state| state.absent = true);
    }

    /// Puts it back: as another device, which has forgotten all settings.
    pub fn plug(&self) {
        self.change(|state| {
            state.absent = false;
            state.plugged += 1;
        });
    }

    /// No picture comes any more, and nothing says why. Opening it anew helps only once it is
    /// thawed.
    pub fn freeze(&self, frozen: bool) {
        self.change(|state| state.frozen = frozen);
    }

    /// Another program streams: EBUSY.
    pub fn take(&self, busy: bool) {
        self.change(|state| state.busy = busy);
    }

    /// What is plugged into the grabber has another format now.
    pub fn change_format(&self) {
        self.change(|state| state.formats += 1);
    }

    /// How many times it was opened, and how many of them are still open.
    pub fn openings(&self) -> (u64, usize) {
        let state = self.0.lock();
        (state.opened, state.open)
    }

    fn change(&self, how: impl FnOnce(&mut State)) {
        how(&mut self.0.lock());
        self.0.changed.notify_all();
    }

    fn driver(&self) -> Result<Simulated, Errno> {
        let mut state = self.0.lock();
        if state.absent {
            return Err(Errno::NOENT);
        }
        let memory = File::from(memfd_create(c"camera", MemfdFlags::CLOEXEC)?);
        state.open += 1;
        state.opened += 1;
        Ok(Simulated {
            bench: self.0.clone(),
            plugged: state.plugged,
            formats: state.formats,
            memory,
            pix: PixFormat::default(),
            interval: Duration::from_nanos(1_000_000_000 / 30),
            buffers: 0,
            queued: VecDeque::new(),
            streaming: false,
            due: Instant::now(),
            sequence: 0,
            controls: CONTROLS.map(|c| c.5),
        })
    }

    #[cfg(test)]
    pub(super) fn device(&self) -> Result<Device, Errno> {
        Ok(Device::new(Box::new(self.driver()?)))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open file of the camera's.
struct Simulated {
    bench: Arc<Shared>,
    plugged: u64,
    formats: u64,
    memory: File,
    pix: PixFormat,
    interval: Duration,
    buffers: u32,
    queued: VecDeque<u32>,
    streaming: bool,
    /// When the next picture is complete.
    due: Instant,
    sequence: u32,
    controls: [i32; CONTROLS.len()],
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.bench.lock().open -= 1;
    }
}

impl State {
    fn gone(&self, driver: &Simulated) -> bool {
        self.absent || self.plugged != driver.plugged
    }
}

impl Driver for Simulated {
    fn call(&mut self, call: Call<'_>) -> Result<(), Errno> {
        let (frozen, busy) = {
            let state = self.bench.lock();
            if state.gone(self) {
                return Err(Errno::NODEV);
            }
            (state.frozen, state.busy)
        };
        match call {
            Call::QueryCapability(c) => {
                put(&mut c.driver, "double");
                put(&mut c.card, "Camera of no hardware");
                put(&mut c.bus_info, "bench:0");
                c.capabilities = CAP_DEVICE_CAPS;
                c.device_caps = CAP_VIDEO_CAPTURE | CAP_STREAMING;
            }
            Call::EnumerateFormat(d) => {
                let (code, words) = FORMATS.get(d.index as usize).ok_or(Errno::INVAL)?;
                d.pixelformat = *code;
                put(&mut d.description, words);
            }
            Call::EnumerateSize(s) => {
                let (width, height) = SIZES.get(s.index as usize).ok_or(Errno::INVAL)?;
                s.kind = 1;
                s.size[..2].copy_from_slice(&[*width, *height]);
            }
            Call::EnumerateInterval(i) => {
                i.interval[0] = *RATES.get(i.index as usize).ok_or(Errno::INVAL)?;
                i.kind = 1;
            }
            Call::GetFormat(f) => f.write(&self.pix),
            Call::SetFormat(_) if busy => return Err(Errno::BUSY),
            Call::SetFormat(f) => {
                let code = if f.raw[2] == GREY { GREY } else { YUYV };
                let wanted = (f.raw[0], f.raw[1]);
                let (width, height) = if SIZES.contains(&wanted) { wanted } else { SIZES[0] };
                let stride = if code == GREY { width } else { 2 * width };
                let planes = [(stride, stride * height)].into_iter().collect();
                self.pix = PixFormat { width, height, code, planes, ..PixFormat::default() };
                f.write(&self.pix);
            }
            Call::SetParameters(p) => {
                let wanted = f64::from(p.denominator) / f64::from(p.numerator.max(1));
                let rate = wanted.clamp(1.0, 500.0);
                self.interval = Duration::from_secs_f64(1.0 / rate);
                (p.numerator, p.denominator) = (1000, (1000.0 * rate) as u32);
            }
            Call::RequestBuffers(_) if busy => return Err(Errno::BUSY),
            Call::RequestBuffers(r) => {
                r.count = r.count.min(8);
                self.buffers = r.count;
                let size = u64::from(self.span()) * u64::from(r.count);
                self.memory.set_len(size).map_err(|_| Errno::NOMEM)?;
            }
            Call::QueryBuffer(b, _) if b.index < self.buffers => {
                b.length = self.span();
                b.location = u64::from(b.index * self.span());
            }
            Call::Queue(b, _) if b.index < self.buffers && !self.queued.contains(&b.index) => {
                self.queued.push_back(b.index);
            }
            Call::Dequeue(b, _) => return self.dequeue(b, frozen),
            Call::Start(_) => {
                self.streaming = true;
                self.due = Instant::now() + self.interval;
            }
            Call::Stop(_) => self.streaming = false,
            Call::QueryControl(d) => {
                let next = d.id & 0x8000_0000 != 0;
                let id = d.id & 0x7fff_ffff;
                let meant = |c: &(u32, u32, &str, i32, i32, i32)| {
                    if next { c.0 > id } else { c.0 == id }
                };
                let (id, kind, name, minimum, maximum, default_value) =
                    *CONTROLS.iter().find(|c| meant(c)).ok_or(Errno::INVAL)?;
                let manual = self.control(AUTO_EXPOSURE).is_some_and(|v| *v == 1);
                let flags = match id {
                    BRAND => FLAG_READ_ONLY,
                    EXPOSURE if !manual => FLAG_INACTIVE,
                    _ => 0,
                };
                *d = ControlDescription {
                    id,
                    kind,
                    minimum,
                    maximum,
                    step: 1,
                    default_value,
                    flags,
                    ..ControlDescription::default()
                };
                put(&mut d.name, name);
            }
            // Like many cameras, it has not all of the menu.
            Call::QueryMenu(m) if m.id == AUTO_EXPOSURE && matches!(m.index, 1 | 3) => {
                put(&mut m.name, MENU[m.index as usize]);
            }
            Call::GetControl(c) => c.value = *self.control(c.id).ok_or(Errno::INVAL)?,
            Call::SetControl(c) if c.id == BRAND => return Err(Errno::ACCESS),
            Call::SetControl(c) => *self.control(c.id).ok_or(Errno::INVAL)? = c.value,
            Call::Subscribe(_) => {}
            Call::TakeEvent(e) => {
                let now = self.bench.lock().formats;
                if now == self.formats {
                    return Err(Errno::NOENT);
                }
                self.formats = now;
                e.kind = EVENT_SOURCE_CHANGE;
                e.data[0] = 1;
            }
            Call::QueryBuffer(..) | Call::Queue(..) | Call::QueryMenu(_) => {
                return Err(Errno::INVAL);
            }
        }
        Ok(())
    }

    fn wait(&mut self, limit: Duration) -> Result<Ready, Errno> {
        let until = Instant::now() + limit;
        let bench = self.bench.clone();
        let mut state = bench.lock();
        loop {
            // The kernel says POLLERR, and every call then says ENODEV.
            if state.gone(self) {
                return Ok(Ready { picture: true, event: false });
            }
            let now = Instant::now();
            let event = state.formats != self.formats;
            let flows = self.streaming && !state.frozen && !self.queued.is_empty();
            if event || (flows && now >= self.due) {
                return Ok(Ready { picture: flows && now >= self.due, event });
            }
            if now >= until {
                return Ok(Ready::default());
            }
            let next = if flows { self.due.min(until) } else { until };
            let limit = next.saturating_duration_since(now);
            let waited = bench.changed.wait_timeout(state, limit);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

impl Simulated {
    /// Bytes from one buffer to the next: whole pages, as they are mapped.
    fn span(&self) -> u32 {
        let size = self.pix.planes.first().map_or(0, |p| p.1);
        size.next_multiple_of(4096)
    }

    fn control(&mut self, id: u32) -> Option<&mut i32> {
        let index = CONTROLS.iter().position(|c| c.0 == id)?;
        self.controls.get_mut(index)
    }

    fn dequeue(&mut self, b: &mut Buffer, frozen: bool) -> Result<(), Errno> {
        let now = Instant::now();
        if !self.streaming || frozen || now < self.due || self.queued.is_empty() {
            return Err(Errno::AGAIN);
        }
        let index = self.queued.pop_front().ok_or(Errno::AGAIN)?;
        // Pictures that were complete while nobody came for them are lost, by number.
        while self.due + self.interval <= now {
            self.due += self.interval;
            self.sequence += 1;
        }
        let size = self.pix.planes.first().map_or(0, |p| p.1);
        let words = self.sequence.to_le_bytes();
        let at = u64::from(index * self.span());
        self.memory.write_all_at(&words, at).map_err(|_| Errno::IO)?;
        let age = now.duration_since(self.due);
        let stamp = MonotonicClock.now() - age;
        *b = Buffer {
            index,
            kind: b.kind,
            bytes_used: size,
            flags: BUF_FLAG_TIMESTAMP_MONOTONIC,
            seconds: stamp.nanos() / 1_000_000_000,
            microseconds: stamp.nanos() % 1_000_000_000 / 1_000,
            sequence: self.sequence,
            memory: b.memory,
            length: size,
            ..Buffer::default()
        };
        self.due += self.interval;
        self.sequence += 1;
        Ok(())
    }
}

/// Writes a string as the kernel does.
fn put(into: &mut [u8], words: &str) {
    into.fill(0);
    let room = into.len().saturating_sub(1);
    for (to, from) in into.iter_mut().take(room).zip(words.bytes()) {
        *to = from;
    }
}
