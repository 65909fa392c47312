//! Where frames come from.
//!
//! A [`FrameSource`] gives frames one after the other; [`open`] makes one from a URI. Sources do
//! no threading of their own: `runtime` gives each a thread.

pub mod demo;
pub mod pool;

use std::time::Duration;

use crate::fault::{Fault, Severity};
use crate::frame::Frame;

/// A camera, a file, or anything else that gives pictures with times.
pub trait FrameSource: Send {
    /// What it is, for logs and for the status line.
    fn describe(&self) -> &SourceInfo;

    /// Waits for the next frame, for at most `limit`.
    ///
    /// # Errors
    /// See [`CaptureError`] and its severity.
    fn next(&mut self, limit: Duration) -> Result<Next, CaptureError>;
}

/// What a call of [`FrameSource::next`] gave.
pub enum Next {
    /// A frame.
    Frame(Frame),
    /// No frame within the time limit.
    Idle,
    /// The recording is over.
    End,
}

/// What a source is.
#[derive(Clone, Debug)]
pub struct SourceInfo {
    /// One line: `clip squats.mp4, 1280x720 Jpeg at 5 fps`.
    pub summary: String,
    /// Picture size, where it is known before the first frame.
    pub size: Option<(u32, u32)>,
    /// Nominal frames per second, where known.
    pub rate: Option<f64>,
    /// True for cameras and recordings that are played at their own speed: frames must not wait,
    /// so the newest displaces an unread one. False for recordings read as fast as they are
    /// processed: every frame counts and the source waits.
    pub live: bool,
}

/// Why a source gives no frame.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The URI or file can never work: say what would.
    #[error("source {uri}: {problem}")]
    Unusable {
        /// As it was asked for.
        uri: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// One frame is damaged; the next may be whole.
    #[error("source {uri}: frame {sequence} lost: {problem}")]
    BadFrame {
        /// As it was asked for.
        uri: String,
        /// The source's number of the frame.
        sequence: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The device went away or stopped; it may come back.
    #[error("source {uri}: gone: {problem}")]
    Gone {
        /// As it was asked for.
        uri: String,
        /// What was seen.
        problem: String,
    },
}

impl Fault for CaptureError {
    fn severity(&self) -> Severity {
        match self {
            Self::Unusable { .. } => Severity::Fatal,
            Self::BadFrame { .. } => Severity::Skip,
            Self::Gone { .. } => Severity::Restart,
        }
    }
}

/// How a source is to be opened.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceOptions {
    /// The camera number that its frames carry.
    pub camera: u8,
    /// Frames per second to assume instead of the recording's own times, or to ask a camera for.
    pub rate: Option<f64>,
    /// Play a recording at its own speed, stamped as if it were a camera.
    pub realtime: bool,
    /// Start a recording again at its end.
    pub repeat: bool,
}
