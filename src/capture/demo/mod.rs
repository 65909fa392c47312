//! The built-in source `demo:`: a drawn human in a drawn room, whose true joints are known.
//!
//! [`DemoSource`] paces the frames; [`Renderer`] draws them; who moves and how is
//! [`crate::figure`]. Frame `i` shows the figure at exactly `i / rate` seconds, so that anybody
//! who has the frame's number has the truth ([`crate::figure::truth::moment`]).

mod looks;
mod render;
mod room;
mod sensor;
mod shadow;

use std::sync::Arc;
use std::time::Duration;

use crate::camera::Intrinsics;
use crate::figure::Figure;
use crate::figure::truth::{FRAME_RATE, camera, moment};
use crate::frame::{ColorSpace, FrameStamp, ImageLayout, PixelFormat, Timebase};
use crate::time::{Clock, MonotonicClock, Timestamp};

use super::pool::FramePool;
use super::{CaptureError, FrameSource, Next, SourceInfo, SourceOptions};

pub use render::Renderer;

/// Frames per second beyond which `--rate` is refused.
const MOST_FPS: f64 = 1_000.0;

/// The source `demo:` (endless) or `demo:N` (N seconds).
pub struct DemoSource {
    info: SourceInfo,
    uri: String,
    options: SourceOptions,
    rate: f64,
    /// One past the last frame.
    end: u64,
    next: u64,
    /// When frame 0 was due, once the first frame was asked for; only while playing in real time.
    began: Option<Timestamp>,
    figure: Figure,
    renderer: Renderer,
    layout: ImageLayout,
    pool: FramePool,
    clock: Arc<dyn Clock>,
}

impl DemoSource {
    /// Opens `demo:` or `demo:N`. Honours the camera number, `rate` and `realtime`; `repeat` makes
    /// `demo:N` endless.
    ///
    /// # Errors
    /// [`CaptureError::Unusable`] if the URI or the rate make no sense.
    pub fn open(uri: &str, options: &SourceOptions) -> Result<Self, CaptureError> {
        Self::with_clock(uri, options, Arc::new(MonotonicClock))
    }

    /// The same, paced by another clock.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_clock(
        uri: &str,
        options: &SourceOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CaptureError> {
        let unusable = |problem: String| CaptureError::Unusable { uri: uri.to_owned(), problem };
        let rate = options.rate.unwrap_or(FRAME_RATE);
        if !(rate > 0.0 && rate <= MOST_FPS) {
            return Err(unusable(format!(
                "a rate of {rate} frames per second cannot be drawn: give 0 < rate <= {MOST_FPS}"
            )));
        }
        let length = uri.strip_prefix("demo").unwrap_or(uri);
        let length = length.strip_prefix(':').unwrap_or(length);
        let end = if length.is_empty() {
            u64::MAX
        } else {
            match length.parse::<f64>() {
                Ok(seconds) if seconds > 0.0 && seconds.is_finite() => {
                    (seconds * rate).ceil() as u64
                }
                _ => {
                    return Err(unusable(
                        "give `demo:` for ever, or `demo:SECONDS` with a positive number".into(),
                    ));
                }
            }
        };
        let end = if options.repeat { u64::MAX } else { end };
        let figure = Figure::default();
        let camera = camera();
        let renderer = Renderer::new(figure, camera);
        let color = ColorSpace { bt709: false, full_range: false };
        let layout = ImageLayout::packed(camera.width, camera.height, PixelFormat::Yuyv, color);
        let pool = FramePool::new(FramePool::DEFAULT_COUNT, renderer.byte_len());
        Ok(Self {
            info: SourceInfo {
                summary: format!(
                    "demo (drawn figure), {}x{} Yuyv at {rate} fps",
                    camera.width, camera.height
                ),
                size: Some((camera.width, camera.height)),
                rate: Some(rate),
                live: options.realtime,
            },
            uri: uri.to_owned(),
            options: options.clone(),
            rate,
            end,
            next: 0,
            began: None,
            figure,
            renderer,
            layout,
            pool,
            clock,
        })
    }

    /// The camera that the frames come from.
    pub fn intrinsics() -> Intrinsics {
        camera()
    }

    /// The frame that is due, after waiting for it for at most `limit`; `None`: not yet.
    /// Like a camera's, frames that nobody fetched in time are lost, and leave a gap in the numbers.
    fn wait(&mut self, limit: Duration) -> Option<Timestamp> {
        let now = self.clock.now();
        let began = *self.began.get_or_insert(now);
        let elapsed = now.secs_since(began);
        let newest = (elapsed * self.rate + 1e-6).floor().max(0.0) as u64;
        if newest > self.next {
            self.next = newest.min(self.end);
        }
        let due = began + moment(self.next, self.rate).since(Timestamp::ZERO);
        let wait = due.since(now);
        std::thread::sleep(wait.min(limit));
        (wait <= limit).then_some(due)
    }
}

impl FrameSource for DemoSource {
    fn describe(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, limit: Duration) -> Result<Next, CaptureError> {
        let asked = self.clock.now();
        let (captured, timebase) = if self.options.realtime {
            match self.wait(limit) {
                Some(due) => (due, Timebase::Monotonic),
                None => return Ok(Next::Idle),
            }
        } else {
            (moment(self.next, self.rate), Timebase::Media)
        };
        if self.next >= self.end {
            return Ok(Next::End);
        }
        let left = limit.saturating_sub(self.clock.now().since(asked));
        let Some(lease) = self.pool.take(left) else { return Ok(Next::Idle) };
        let sequence = self.next;
        self.next += 1;
        let pose = self.figure.at(moment(sequence, self.rate));
        let buffer = self.pool.buffer(&lease);
        buffer.resize(self.renderer.byte_len(), 0);
        self.renderer.draw(&pose, sequence, buffer);
        let stamp = FrameStamp {
            camera: self.options.camera,
            sequence,
            captured,
            timebase,
            dequeued: self.clock.now(),
        };
        let frame = self.pool.share(lease, self.layout.clone(), stamp);
        frame.map(Next::Frame).map_err(|e| CaptureError::BadFrame {
            uri: self.uri.clone(),
            sequence,
            problem: e.to_string(),
        })
    }
}

#[cfg(test)]
mod tests;
