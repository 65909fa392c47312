//! A GStreamer pipeline as a camera: CSI sensors through Argus, RTSP, hardware decoders.
//!
//! URI: `gst:PIPELINE`, the pipeline as `gst-launch-1.0` takes it, up to where its pictures come
//! out: `gst:nvarguscamerasrc ! video/x-raw(memory:NVMM),width=1280,height=720 ! nvvidconv !
//! video/x-raw,format=NV12`. Formats: I420, NV12, NV21, YUY2, UYVY, Y42B, Y444, GRAY8, RGB, BGR,
//! and JPEG pictures. Needs `gst-launch-1.0` with its core elements, no library.
//!
//! The pipeline runs as a child process (`child.rs`). To it `! identity ! fdsink` is added: the
//! pixels come through a pipe of their own, and `identity` says of each buffer on standard output
//! how long it is and when it belongs (`words.rs`). A child that ends or falls silent is a device
//! that went away; `runtime` starts another.
//!
//! Times: a buffer's presentation time is by the pipeline's clock, which is the monotonic one but
//! begins when the pipeline does. The least difference between arrival and presentation ever seen
//! takes the place of the unknown beginning: stamps have the camera's own regularity, and what they
//! lack is the part of the pipeline's delay that is always there.

mod child;
mod words;

use std::path::Path;
use std::time::{Duration, Instant};

use self::child::{Child, Event};
use self::words::{Format, Said};
use super::pool::FramePool;
use super::{CaptureError, FrameSource, Next, SourceInfo, SourceOptions};
use crate::decode::{JpegHeader, MAX_SIDE};
use crate::frame::{FrameStamp, ImageLayout, PixelFormat, Timebase};
use crate::handoff::Lease;
use crate::time::{Clock, MonotonicClock, Timestamp};

/// How long a pipeline may take until its first picture.
const OPEN_LIMIT: Duration = Duration::from_secs(20);

/// How long it may give nothing after that: it hangs, and is started anew.
const SILENCE: Duration = Duration::from_secs(5);

/// The least difference between arrival and presentation is forgotten by this, seconds a second:
/// clocks of cameras that are not the monotonic one drift by up to so much.
const DRIFT: f64 = 50e-6;

/// A buffer that is larger than this is no picture.
const MAX_BYTES: usize = MAX_SIDE as usize * MAX_SIDE as usize * 3;

/// A running pipeline.
pub struct Gst {
    uri: String,
    info: SourceInfo,
    options: SourceOptions,
    child: Child,
    format: Option<Format>,
    /// Of raw pictures in that format.
    raw: Option<ImageLayout>,
    pool: FramePool,
    /// The picture being read.
    filling: Option<Filling>,
    sequence: u64,
    last_arrival: Instant,
    /// Least arrival minus presentation, nanoseconds, and when it was that.
    least_delay: Option<(i64, i64)>,
    last_stamp: Option<Timestamp>,
    ended: bool,
}

struct Filling {
    lease: Lease,
    size: usize,
    filled: usize,
    /// Presentation time, nanoseconds.
    presented: Option<i64>,
}

impl Gst {
    /// Starts `pipeline` and waits until its format is known.
    ///
    /// # Errors
    /// [`CaptureError::Unusable`] if there is no GStreamer, the pipeline cannot be built, or gives
    /// what is not read; [`CaptureError::Gone`] if it ended or gave nothing.
    pub fn open(uri: &str, pipeline: &str, options: &SourceOptions) -> Result<Self, CaptureError> {
        Self::open_with(uri, pipeline, options, Path::new("gst-launch-1.0"))
    }

    fn open_with(
        uri: &str,
        pipeline: &str,
        options: &SourceOptions,
        program: &Path,
    ) -> Result<Self, CaptureError> {
        let unusable = |problem: String| CaptureError::Unusable { uri: uri.to_owned(), problem };
        let child = Child::start(program, pipeline).map_err(unusable)?;
        let name: String = pipeline.split_whitespace().take(1).collect();
        let mut this = Self {
            uri: uri.to_owned(),
            info: SourceInfo {
                summary: format!("pipeline {name}"),
                size: None,
                rate: options.rate,
                live: true,
            },
            options: options.clone(),
            child,
            format: None,
            raw: None,
            pool: FramePool::new(FramePool::DEFAULT_COUNT, 0),
            filling: None,
            sequence: 0,
            last_arrival: Instant::now(),
            least_delay: None,
            last_stamp: None,
            ended: false,
        };
        let until = Instant::now() + OPEN_LIMIT;
        while this.format.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let problem = format!("the pipeline gave nothing for {} s", OPEN_LIMIT.as_secs());
                return Err(this.gone(problem));
            }
            match this.child.wait(left, false) {
                Ok(Event::Said(said)) => this.hear(said)?,
                Ok(Event::Ended) => return Err(this.why_it_ended()),
                // Pixels are left in their pipe until their format is known.
                Ok(Event::Pixels | Event::Nothing) => {}
                Err(problem) => return Err(this.gone(problem)),
            }
        }
        this.last_arrival = Instant::now();
        Ok(this)
    }

    fn gone(&self, problem: String) -> CaptureError {
        CaptureError::Gone { uri: self.uri.clone(), problem }
    }

    /// Takes note of what the pipeline says.
    fn hear(&mut self, said: Said) -> Result<(), CaptureError> {
        match said {
            Said::Caps(text) => {
                let format = Format::parse(&text)
                    .map_err(|problem| CaptureError::Unusable { uri: self.uri.clone(), problem })?;
                if self.format.as_ref().is_some_and(|before| *before != format) {
                    log::warn!("{}: the pipeline's format changed to {format}", self.uri);
                }
                self.info.size = Some((format.width, format.height));
                self.info.rate = self.options.rate.or(format.rate);
                let name = self.info.summary.split(',').next().unwrap_or_default();
                self.info.summary = format!("{name}, {format}");
                self.raw = Some(format.layout());
                self.format = Some(format);
            }
            Said::Buffer { size, presented } => self.child.announce(size, presented),
        }
        Ok(())
    }

    /// What a child's end means.
    fn why_it_ended(&mut self) -> CaptureError {
        self.ended = true;
        let (well, problem) = self.child.last_words();
        let uri = self.uri.clone();
        if problem.contains("erroneous pipeline") || problem.contains("could not link") {
            // Starting it again will not mend a misspelt element.
            let problem = format!("the pipeline cannot be built: {problem}");
            return CaptureError::Unusable { uri, problem };
        }
        if self.format.is_none() && well {
            return CaptureError::Unusable { uri, problem: "the pipeline gave no picture".into() };
        }
        CaptureError::Gone { uri, problem }
    }

    /// The stamp of a picture that is wholly here.
    fn stamp(&mut self, presented: Option<i64>, arrived: Timestamp) -> Timestamp {
        let Some(presented) = presented else { return arrived };
        let now = arrived.nanos();
        let delay = now.saturating_sub(presented);
        let least = match self.least_delay {
            Some((least, at)) => {
                let drifted = least.saturating_add((now.saturating_sub(at) as f64 * DRIFT) as i64);
                // A jump: the pipeline's clock was set, or a stream began anew.
                if delay.saturating_sub(drifted).abs() > 10_000_000_000 { delay } else { drifted }
            }
            None => delay,
        };
        let least = least.min(delay);
        self.least_delay = Some((least, now));
        let stamp = Timestamp::from_nanos(presented.saturating_add(least)).min(arrived);
        let stamp = match self.last_stamp {
            Some(last) if stamp <= last => Timestamp::from_nanos(last.nanos() + 1_000),
            _ => stamp,
        };
        self.last_stamp = Some(stamp);
        stamp
    }

    /// The layout of a buffer of `size` bytes.
    fn layout(&self, size: usize, bytes: &[u8]) -> Result<ImageLayout, String> {
        let (Some(format), Some(layout)) = (&self.format, &self.raw) else {
            return Err("pixels before their format".into());
        };
        if format.pixels == PixelFormat::Jpeg {
            let header = JpegHeader::parse(bytes).map_err(|e| e.to_string())?;
            return Ok(ImageLayout::compressed(header.width, header.height, format.pixels, size));
        }
        if layout.byte_len() != size {
            return Err(format!(
                "the pipeline gave {size} bytes for {format}, not {}: add \"! videoconvert\" at \
                 its end",
                layout.byte_len()
            ));
        }
        Ok(layout.clone())
    }

    /// Reads on in the picture that is being filled; true if it is whole.
    fn fill(&mut self) -> Result<bool, CaptureError> {
        let Some(filling) = &mut self.filling else { return Ok(false) };
        let buffer = self.pool.buffer(&filling.lease);
        match self.child.read(&mut buffer[filling.filled..filling.size]) {
            Ok(0) => {}
            Ok(n) => {
                filling.filled += n;
                self.last_arrival = Instant::now();
            }
            Err(problem) => return Err(self.gone(problem)),
        }
        Ok(self.filling.as_ref().is_some_and(|f| f.filled == f.size))
    }
}

impl FrameSource for Gst {
    fn describe(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, limit: Duration) -> Result<Next, CaptureError> {
        if self.ended {
            return Ok(Next::End);
        }
        let until = Instant::now() + limit.min(Duration::from_secs(3600));
        loop {
            if self.filling.is_none()
                && let Some((size, presented)) = self.child.announced()
            {
                if size > MAX_BYTES {
                    return Err(self.gone(format!("a buffer of {size} bytes")));
                }
                let left = until.saturating_duration_since(Instant::now());
                let Some(lease) = self.pool.take(left) else { return Ok(Next::Idle) };
                self.child.take_announced();
                let buffer = self.pool.buffer(&lease);
                if buffer.len() < size {
                    buffer.resize(size, 0);
                }
                self.filling = Some(Filling { lease, size, filled: 0, presented });
            }
            if self.fill()?
                && let Some(mut done) = self.filling.take()
            {
                let arrived = MonotonicClock.now();
                self.last_arrival = Instant::now();
                let sequence = self.sequence;
                self.sequence += 1;
                let captured = self.stamp(done.presented, arrived);
                let bytes = std::mem::take(self.pool.buffer(&done.lease));
                let layout = self.layout(done.size, &bytes[..done.size]);
                *self.pool.buffer(&done.lease) = bytes;
                let layout = layout.map_err(|problem| {
                    let uri = self.uri.clone();
                    CaptureError::BadFrame { uri, sequence, problem }
                })?;
                done.filled = 0;
                let stamp = FrameStamp {
                    camera: self.options.camera,
                    sequence,
                    captured,
                    timebase: Timebase::Monotonic,
                    dequeued: arrived,
                };
                return self.pool.share(done.lease, layout, stamp).map(Next::Frame).map_err(|e| {
                    let uri = self.uri.clone();
                    CaptureError::BadFrame { uri, sequence, problem: e.to_string() }
                });
            }
            if self.last_arrival.elapsed() > SILENCE {
                let problem = format!("the pipeline gave nothing for {} s", SILENCE.as_secs());
                return Err(self.gone(problem));
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.child.wait(left, self.filling.is_some()) {
                Ok(Event::Said(said)) => self.hear(said)?,
                Ok(Event::Pixels) => {}
                Ok(Event::Nothing) => return Ok(Next::Idle),
                Ok(Event::Ended) => {
                    let error = self.why_it_ended();
                    // A file's end is no fault; a camera's is, and so is that of a stream that is
                    // to go on.
                    let (well, _) = self.child.last_words();
                    if well && !self.options.repeat {
                        return Ok(Next::End);
                    }
                    return Err(error);
                }
                Err(problem) => return Err(self.gone(problem)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
