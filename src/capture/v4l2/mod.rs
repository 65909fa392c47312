//! Cameras, by the kernel's Video4Linux2 interface with mapped buffers, single- or multi-planar.
//!
//! | URI | the camera |
//! |---|---|
//! | `v4l2:by-id/NAME`, `v4l2:by-path/NAME` | that udev calls so under `/dev/v4l` |
//! | `v4l2:serial/SERIAL` | with that USB serial number |
//! | `v4l2:port/1-1.2` | at that USB port: tells two of a kind apart |
//! | `v4l2:bus/platform:vi` | that names that bus: cameras that are no USB devices |
//! | `v4l2:/dev/video0` | that the kernel numbered so, today |
//!
//! Optionally with `?size=1280x720&format=MJPG`; without them the size is the one that the camera
//! is set to, and the format is chosen by it (`choose.rs`). 30 fps are asked for, or `--rate`.
//! `posewire devices` shows what there is.
//!
//! A buffer belongs to the driver or to one frame: the frame's drop, on whatever thread, sends
//! its lease home, and the next call of [`Camera::next`] gives the buffer back to the driver. If
//! frames hold all buffers the driver has none to fill and the camera drops pictures; `next`
//! waits for a buffer within its limit.
//!
//! - `abi.rs`: the kernel's structures, and the seam to a driver (`Driver`);
//! - `sys.rs`: the kernel's driver, mapped memory, buffers; [`double`]: a driver that fails on
//!   demand;
//! - `setup.rs`, `choose.rs`, `formats.rs`: negotiation; [`controls`]; `stamp.rs`, `pace.rs`: time;
//! - `identity.rs`, [`list`]: which cameras there are.
//!
//! The crate `v4l` is not used: it needs libclang to build, delivers frames that the driver
//! flagged as damaged, keeps the row length of the format before, and cannot go on after a
//! time-out.

mod abi;
mod choose;
pub mod controls;
pub mod double;
mod formats;
mod identity;
pub mod list;
mod pace;
mod setup;
mod stamp;
mod sys;

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use self::pace::{Pace, Pacer};
use self::setup::Refusal;
use self::stamp::{Numbers, Quirk, Stamps};
use super::{CaptureError, FrameSource, Next, SourceInfo, SourceOptions};
use crate::frame::{Frame, FrameStamp, PixelFormat, Timebase};
use crate::handoff::{Lease, Leases};
use crate::time::{Clock, MonotonicClock};

/// Buffers asked for: two for the driver to fill in turn, and those a pipeline holds.
const BUFFERS: u32 = 6;

/// Frames per second asked for where the options name none; the driver gives its nearest.
const DEFAULT_RATE: f64 = 30.0;

/// An open camera that delivers.
pub struct Camera {
    uri: String,
    info: SourceInfo,
    camera: u8,
    device: sys::Device,
    pix: abi::PixFormat,
    format: PixelFormat,
    home: Leases,
    /// The leases of the buffers that the driver has.
    with_driver: Vec<Option<Lease>>,
    numbers: Numbers,
    stamps: Stamps,
    /// What of its stamps was told.
    quirk: Option<Quirk>,
    pacer: Pacer,
    /// A damaged frame that is still to be reported.
    damaged: Option<u64>,
}

impl Camera {
    /// Opens the camera at `path` (or with the identity that it is), sets it up as `query` and the
    /// options ask, and starts it.
    ///
    /// # Errors
    /// [`CaptureError::Unusable`] if it is no camera, may not be opened, or has no format that is
    /// read; [`CaptureError::Gone`] if it is not there or somebody else uses it.
    pub fn open(
        uri: &str,
        path: &Path,
        query: &str,
        options: &SourceOptions,
    ) -> Result<Self, CaptureError> {
        let unusable = |problem: String| CaptureError::Unusable { uri: uri.to_owned(), problem };
        let gone = |problem: String| CaptureError::Gone { uri: uri.to_owned(), problem };
        let wish = choose::Wish::parse(query).map_err(unusable)?;
        let node = identity::find(path).map_err(|e| match e {
            identity::NotFound::Absent(problem) => gone(problem),
            identity::NotFound::Wrong(problem) => unusable(problem),
        })?;
        let driver = sys::Kernel::open(&node).map_err(|e| match e.kind() {
            // udev gives a new node to its group a moment after the kernel has made it.
            std::io::ErrorKind::PermissionDenied if identity::may_be_settling(&node) => {
                gone(format!("{} may not be opened yet: it is new", node.display()))
            }
            std::io::ErrorKind::PermissionDenied => unusable(format!(
                "{} may not be opened: add the user to the group `video` (or a unit's \
                 DeviceAllow=char-video4linux rw)",
                node.display()
            )),
            _ => gone(format!("open {}: {e}", node.display())),
        })?;
        Self::start(uri, &node, Box::new(driver), &wish, options)
    }

    fn start(
        uri: &str,
        path: &Path,
        driver: Box<dyn abi::Driver>,
        wish: &choose::Wish,
        options: &SourceOptions,
    ) -> Result<Self, CaptureError> {
        let unusable = |problem: String| CaptureError::Unusable { uri: uri.to_owned(), problem };
        let failed = |what: &'static str| move |e: Errno| failure(uri, what, e);
        let mut device = sys::Device::new(driver);
        let identity = device.identity().map_err(|e| match e {
            Errno::NOTTY | Errno::INVAL => {
                unusable(format!("{} is no Video4Linux2 device", path.display()))
            }
            e => failure(uri, "query", e),
        })?;
        if !identity.captures() {
            return Err(unusable(format!(
                "{} gives no pictures (many cameras have a second node for metadata): try another \
                 node",
                identity.card
            )));
        }
        if identity.capabilities & abi::CAP_STREAMING == 0 {
            return Err(unusable(format!("{} cannot stream into mapped buffers", identity.card)));
        }
        let agreed = device.negotiate(uri, wish, options.rate, DEFAULT_RATE);
        let agreed = agreed.map_err(|e| match e {
            Refusal::Unusable(problem) => unusable(problem),
            Refusal::Failed(what, e) => failure(uri, what, e),
        })?;
        let setup::Agreed { pix, format, rate } = agreed;
        device.watch_changes();
        options.controls.apply(uri, &mut device);
        let half_exposure = controls::exposure(&mut device)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds / 2.0).ok())
            .unwrap_or_default();

        let count = device.make_buffers(BUFFERS).map_err(failed("make buffers"))?;
        if count < 2 {
            return Err(unusable(format!("the driver has {count} buffers only")));
        }
        let home = Leases::new(count);
        let mut with_driver: Vec<Option<Lease>> = (0..count).map(|_| None).collect();
        while let Some(lease) = home.take() {
            let index = lease.index();
            device.queue(index).map_err(failed("queue a buffer"))?;
            with_driver[index] = Some(lease);
        }
        device.start().map_err(failed("start the stream"))?;

        let speed = rate.map_or(String::new(), |r| format!(" at {r:.2} fps"));
        let planes = if identity.multi_planar() { ", multi-planar" } else { "" };
        let summary = format!(
            "camera {} ({}, {}) at {}, {}x{} {}{planes}{speed}",
            identity.card,
            identity.driver,
            identity.bus,
            path.display(),
            pix.width,
            pix.height,
            formats::name(pix.code)
        );
        let info = SourceInfo { summary, size: Some((pix.width, pix.height)), rate, live: true };
        Ok(Self {
            uri: uri.to_owned(),
            info,
            camera: options.camera,
            device,
            pix,
            format,
            home,
            with_driver,
            numbers: Numbers::default(),
            stamps: Stamps::new(half_exposure),
            quirk: None,
            pacer: Pacer::new(rate),
            damaged: None,
        })
    }

    fn flagged(&self, sequence: u64) -> CaptureError {
        let problem = "the driver flagged it as damaged".into();
        CaptureError::BadFrame { uri: self.uri.clone(), sequence, problem }
    }

    fn gone(&self, problem: &str) -> CaptureError {
        CaptureError::Gone { uri: self.uri.clone(), problem: problem.to_owned() }
    }

    /// Gives a buffer back to the driver.
    fn give(&mut self, lease: Lease) -> Result<(), CaptureError> {
        let index = lease.index();
        let done = self.device.queue(index);
        // Also if that failed: the device is then reopened, and the lease must not come home.
        self.with_driver[index] = Some(lease);
        done.map_err(|e| failure(&self.uri, "queue a buffer", e))
    }

    /// Takes everything that is filled and keeps the newest; the others go back at once.
    fn newest(&mut self) -> Result<Option<(sys::Filled, u64, Lease)>, CaptureError> {
        let mut newest: Option<(sys::Filled, u64, Lease)> = None;
        // Not for ever: a fast camera fills what was just given back.
        for _ in 0..self.with_driver.len() {
            let taken = self.device.dequeue();
            let Some(filled) = taken.map_err(|e| failure(&self.uri, "take a picture", e))? else {
                break;
            };
            let sequence = self.numbers.extend(filled.sequence);
            let Some(lease) = self.with_driver.get_mut(filled.index).and_then(Option::take) else {
                return Err(failure(&self.uri, "take a picture", Errno::INVAL));
            };
            if filled.damaged() {
                self.damaged = Some(sequence);
                self.give(lease)?;
            } else if let Some((_, _, older)) = newest.replace((filled, sequence, lease)) {
                self.give(older)?;
            }
        }
        Ok(newest)
    }

    fn frame(
        &mut self,
        filled: &sys::Filled,
        sequence: u64,
        lease: Lease,
    ) -> Result<Frame, CaptureError> {
        let clock = MonotonicClock;
        let (dequeued, realtime) = (clock.now(), clock.realtime_offset_nanos());
        let (captured, quirk) =
            self.stamps.captured(filled.nanos, filled.flags, dequeued, realtime);
        if quirk.is_some() && quirk != self.quirk {
            self.quirk = quirk;
            log::warn!("{}: {}", self.uri, quirk.map_or("", Quirk::words));
        }
        match self.pacer.frame(sequence, captured) {
            Some(Pace::Slow(rate)) => log::warn!(
                "{}: {rate:.1} frames per second instead of {:.1}: most cameras expose longer in \
                 the dark; give it more light, or set auto_exposure or exposure_dynamic_framerate \
                 under controls",
                self.uri,
                self.info.rate.unwrap_or_default(),
            ),
            Some(Pace::Nominal) => log::info!("{}: it keeps its frame rate again", self.uri),
            None => {}
        }
        let bad =
            |problem: String| CaptureError::BadFrame { uri: self.uri.clone(), sequence, problem };
        let stamp = FrameStamp {
            camera: self.camera,
            sequence,
            captured,
            timebase: Timebase::Monotonic,
            dequeued,
        };
        // On an error the lease goes home here and the buffer to the driver at the next call.
        let layout = formats::layout(&self.pix, self.format, &filled.used).map_err(bad)?;
        let Some(memory) = self.device.share(filled.index) else {
            return Err(bad("its buffer was given back already".into()));
        };
        Frame::new(stamp, layout, memory, Some(lease)).map_err(|e| bad(e.to_string()))
    }
}

impl FrameSource for Camera {
    fn describe(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, limit: Duration) -> Result<Next, CaptureError> {
        let until = Instant::now() + limit.min(Duration::from_secs(3600));
        if let Some(sequence) = self.damaged.take() {
            return Err(self.flagged(sequence));
        }
        loop {
            while let Some(lease) = self.home.take() {
                self.give(lease)?;
            }
            let left = until.saturating_duration_since(Instant::now());
            if self.device.queued() == 0 {
                // Frames hold everything: the driver cannot fill, so there is nothing to wait
                // for but a frame's end.
                match self.home.take_within(left) {
                    Some(lease) => self.give(lease)?,
                    None => return Ok(Next::Idle),
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            let ready = self.device.wait(left);
            let ready = ready.map_err(|e| failure(&self.uri, "wait for a picture", e))?;
            if ready.event && self.device.changed() {
                return Err(self.gone("its picture's size or format has changed"));
            }
            if !ready.picture {
                if Instant::now() >= until {
                    return Ok(Next::Idle);
                }
                continue;
            }
            match self.newest()? {
                Some((filled, sequence, lease)) => {
                    return self.frame(&filled, sequence, lease).map(Next::Frame);
                }
                None => {
                    if let Some(sequence) = self.damaged.take() {
                        return Err(self.flagged(sequence));
                    }
                    // Ready, and nothing there: an error state that taking does not show.
                    return Err(self.gone("the device reports an error and gives no picture"));
                }
            }
        }
    }

    fn starved(&self) -> bool {
        self.device.queued() == 0
    }
}

/// What a failed call means: most often that the camera was unplugged or reset.
fn failure(uri: &str, what: &str, e: Errno) -> CaptureError {
    let uri = uri.to_owned();
    match e {
        Errno::BUSY => {
            let problem = format!("{what}: another program uses the camera");
            CaptureError::Gone { uri, problem }
        }
        e => CaptureError::Gone { uri, problem: format!("{what}: {e}") },
    }
}
