//! Cameras, by the kernel's Video4Linux2 interface with mapped buffers.
//!
//! URI: `v4l2:/dev/video0` or `v4l2:/dev/v4l/by-id/...`, optionally with
//! `?size=1280x720&format=MJPG`; without them the size is the one that the camera is set to, and
//! the format is chosen by it (`choose.rs`). 30 fps are asked for, or `--rate`. Single-planar devices only.
//!
//! A buffer belongs to the driver or to one frame: the frame's drop, on whatever thread, sends
//! its lease home, and the next call of [`Camera::next`] gives the buffer back to the driver. If
//! frames hold all buffers the driver has none to fill and the camera drops pictures; `next`
//! waits for a buffer within its limit.
//!
//! The crate `v4l` is not used: it needs libclang to build, delivers frames that the driver
//! flagged as damaged, keeps the row length of the format before, and cannot go on after a
//! time-out.

mod choose;
mod sys;

use std::path::Path;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use rustix::io::Errno;

use super::{CaptureError, FrameSource, Next, SourceInfo, SourceOptions};
use crate::frame::{Frame, FrameStamp, PixelFormat, Timebase};
use crate::handoff::{Lease, Leases};
use crate::time::{Clock, MonotonicClock, Timestamp};

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
    pix: sys::PixFormat,
    format: PixelFormat,
    home: Leases,
    /// The leases of the buffers that the driver has.
    with_driver: Vec<Option<Lease>>,
    /// The driver's 32-bit frame number, continued in 64 bits.
    sequence: Option<u64>,
    /// A damaged frame that is still to be reported.
    damaged: Option<u64>,
}

impl Camera {
    /// Opens the camera at `path`, sets it up as `query` and `options.rate` ask, and starts it.
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
        let failed = |what: &'static str| move |e: Errno| failure(uri, what, e);
        let wish = choose::Wish::parse(query).map_err(unusable)?;
        let mut device = sys::Device::open(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::PermissionDenied => unusable(format!(
                "{} may not be opened: add the user to the group `video` (or a unit's \
                 DeviceAllow=char-video4linux rw)",
                path.display()
            )),
            _ => CaptureError::Gone { uri: uri.to_owned(), problem: format!("open: {e}") },
        })?;
        let identity = device.identity().map_err(|e| match e {
            Errno::NOTTY | Errno::INVAL => {
                unusable(format!("{} is no Video4Linux2 device", path.display()))
            }
            e => failure(uri, "query", e),
        })?;
        if identity.capabilities & sys::CAP_VIDEO_CAPTURE == 0 {
            let kind = if identity.capabilities & sys::CAP_VIDEO_CAPTURE_MPLANE != 0 {
                "gives multi-planar pictures, which are not supported yet"
            } else {
                "gives no pictures (many cameras have a second node for metadata): try another node"
            };
            return Err(unusable(format!("{} {kind}", identity.card)));
        }
        if identity.capabilities & sys::CAP_STREAMING == 0 {
            return Err(unusable(format!("{} cannot stream into mapped buffers", identity.card)));
        }

        let mut offered = Vec::new();
        while let Some(code) =
            device.pixel_format(offered.len() as u32).map_err(failed("list formats"))?
        {
            offered.push(code);
        }
        let current = device.format().map_err(failed("read the format"))?;
        let size = wish.size.unwrap_or((current.width, current.height));
        let code = choose::choose(&offered, size, &wish).map_err(unusable)?;
        let pix = device.set_format(code, size.0, size.1).map_err(failed("set the format"))?;
        let Some(format) = choose::pixel_format(pix.pixelformat) else {
            let got = choose::name(pix.pixelformat);
            return Err(unusable(format!(
                "asked for {}, the camera gives {got}",
                choose::name(code)
            )));
        };
        if wish.size.is_some_and(|size| size != (pix.width, pix.height)) {
            log::warn!("{uri}: the camera gives {}x{} instead", pix.width, pix.height);
        }
        // Not every driver has a rate to set; what it does then shows in the stamps. Without a
        // wish, ask all the same: some drivers begin at their slowest.
        let rate = device.rate(options.rate.unwrap_or(DEFAULT_RATE)).unwrap_or_else(|e| {
            log::warn!("{uri}: the rate cannot be set: {e}");
            None
        });

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
        let summary = format!(
            "camera {} ({}), {}x{} {}{speed}",
            identity.card,
            identity.driver,
            pix.width,
            pix.height,
            choose::name(pix.pixelformat)
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
            sequence: None,
            damaged: None,
        })
    }

    fn flagged(&self, sequence: u64) -> CaptureError {
        let problem = "the driver flagged it as damaged".into();
        CaptureError::BadFrame { uri: self.uri.clone(), sequence, problem }
    }

    /// Gives a buffer back to the driver.
    fn give(&mut self, lease: Lease) -> Result<(), CaptureError> {
        let index = lease.index();
        let done = self.device.queue(index);
        // Also if that failed: the device is then reopened, and the lease must not come home.
        self.with_driver[index] = Some(lease);
        done.map_err(|e| failure(&self.uri, "queue a buffer", e))
    }

    /// Continues the driver's wrapping 32-bit number.
    fn extend(&mut self, number: u32) -> u64 {
        let full = match self.sequence {
            Some(last) => last + u64::from(number.wrapping_sub(last as u32)),
            None => number.into(),
        };
        self.sequence = Some(full);
        full
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
            let sequence = self.extend(filled.sequence);
            let Some(lease) = self.with_driver[filled.index].take() else {
                return Err(failure(&self.uri, "take a picture", Errno::INVAL));
            };
            if filled.damaged {
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
        filled: sys::Filled,
        sequence: u64,
        lease: Lease,
    ) -> Result<Frame, CaptureError> {
        let dequeued = MonotonicClock.now();
        let bad =
            |problem: String| CaptureError::BadFrame { uri: self.uri.clone(), sequence, problem };
        // A stamp ahead of the present is the driver's mistake, and would make latencies negative.
        let captured = filled
            .monotonic_nanos
            .map_or(dequeued, |nanos| Timestamp::from_nanos(nanos).min(dequeued));
        let stamp = FrameStamp {
            camera: self.camera,
            sequence,
            captured,
            timebase: Timebase::Monotonic,
            dequeued,
        };
        // On an error the lease goes home here and the buffer to the driver at the next call.
        let layout = choose::layout(&self.pix, self.format, filled.bytes_used).map_err(bad)?;
        let Some(memory) = self.device.share(filled.index) else {
            return Err(bad("its buffer was given back already".into()));
        };
        Frame::new(stamp, layout, ArrayVec::from_iter([memory]), Some(lease))
            .map_err(|e| bad(e.to_string()))
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
            if !ready {
                if Instant::now() >= until {
                    return Ok(Next::Idle);
                }
                continue;
            }
            match self.newest()? {
                Some((filled, sequence, lease)) => {
                    return self.frame(filled, sequence, lease).map(Next::Frame);
                }
                None => {
                    if let Some(sequence) = self.damaged.take() {
                        return Err(self.flagged(sequence));
                    }
                    // Ready, and nothing there: an error state that taking does not show.
                    return Err(CaptureError::Gone {
                        uri: self.uri.clone(),
                        problem: "the device reports an error and gives no picture".into(),
                    });
                }
            }
        }
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
