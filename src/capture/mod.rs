//! Where frames come from.
//!
//! A [`FrameSource`] gives frames one after the other; [`open`] makes one from a URI. Sources do
//! no threading of their own: `runtime` gives each a thread.
//!
//! | URI | source |
//! |---|---|
//! | `demo:`, `demo:SECONDS` | a figure drawn by ourselves: [`demo`] |
//! | `v4l2:by-id/...`, `v4l2:serial/...`, `v4l2:port/...`, `/dev/video0` | a camera: [`v4l2`] |
//! | `x.mcap` | a recording of ours: [`replay`] |
//! | a directory, another file | a recording: [`clip`] |
//! | `gst:PIPELINE` | a GStreamer pipeline: [`gst`] |
//! | `turned:DEGREES:URI`, `turned:DEGREES,mirror:URI` | any of these, turned: [`turned`] |
//! | `faults:SETTINGS:URI` | any of these, with faults on purpose: [`fault_injector`] |
//! | `rtsp://...`, `http://...` | a stream that ffmpeg can play: [`clip`] |
//!
//! Recordings are read as fast as they are processed, or at their own speed with
//! [`SourceOptions::realtime`] ([`paced`]). Sources that write their own pixels take their memory
//! from a [`pool`].

mod child;
pub mod clip;
pub mod demo;
pub mod fault_injector;
pub mod gst;
pub mod paced;
pub mod pool;
pub mod replay;
pub mod turned;
pub mod v4l2;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::fault::{Fault, Severity};
use crate::frame::Frame;
use crate::orientation::Orientation;
use crate::time::MonotonicClock;

/// A camera, a file, or anything else that gives pictures with times.
pub trait FrameSource: Send {
    /// What it is, for logs and for the status line.
    fn describe(&self) -> &SourceInfo;

    /// Waits for the next frame, for at most `limit`.
    ///
    /// # Errors
    /// See [`CaptureError`] and its severity.
    fn next(&mut self, limit: Duration) -> Result<Next, CaptureError>;

    /// True if no frame can come because frames that are still held elsewhere have all buffers:
    /// such a silence is not the camera's.
    fn starved(&self) -> bool {
        false
    }
}

/// What a call of [`FrameSource::next`] gave.
#[expect(clippy::large_enum_variant, reason = "moved once a frame; a box would allocate")]
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

/// What is done when a source is lost: when to open it again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recovery {
    /// The wait before the first attempt.
    pub first: Duration,
    /// The longest wait: each is twice the one before. A device that came back is seen after it,
    /// at the latest.
    pub most: Duration,
    /// Silence of more than three frames and 200 ms is a loss: the source is closed and opened
    /// anew. For what may freeze, and can be opened at any time.
    pub watched: bool,
}

impl Recovery {
    /// Of a stream or recording: 1, 2, 4, 8, 10, 10 ... s.
    pub const STREAM: Self =
        Self { first: Duration::from_secs(1), most: Duration::from_secs(10), watched: false };

    /// Of a device: looking for a node that is not there costs a microsecond, so that it is looked
    /// for often.
    pub const DEVICE: Self =
        Self { first: Duration::from_millis(100), most: Duration::from_millis(400), watched: true };

    /// Of what `uri` names.
    pub fn of(uri: &str) -> Self {
        match Location::of(uri) {
            Location::Camera(..) | Location::Gst(_) => Self::DEVICE,
            Location::Turned(_, inner) | Location::Faults(_, inner) => Self::of(inner),
            _ => Self::STREAM,
        }
    }
}

/// How a source is to be opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceOptions {
    /// The camera number that its frames carry.
    pub camera: u8,
    /// Frames per second to assume instead of the recording's own times, or to ask a camera for.
    pub rate: Option<f64>,
    /// Play a recording at its own speed, stamped as if it were a camera.
    pub realtime: bool,
    /// Start a recording again at its end.
    pub repeat: bool,
    /// What a camera's controls are set to.
    pub controls: v4l2::controls::Controls,
}

/// Opens what `uri` names; the table above says what may be named. Opening a recording may take a
/// moment (ffmpeg is started, a header is read); opening a stream, up to 20 s.
///
/// # Errors
/// [`CaptureError::Unusable`] if it can never work (no such file, nothing in it that can be read,
/// a rate that is no rate), [`CaptureError::Gone`] for a camera or stream that is not there now.
pub fn open(uri: &str, options: &SourceOptions) -> Result<Box<dyn FrameSource>, CaptureError> {
    open_with(uri, options, &clip::Tools::default())
}

fn open_with(
    uri: &str,
    options: &SourceOptions,
    tools: &clip::Tools,
) -> Result<Box<dyn FrameSource>, CaptureError> {
    let unusable = |problem: String| CaptureError::Unusable { uri: uri.to_owned(), problem };
    if let Some(rate) = options.rate.filter(|rate| !(0.001..=1000.0).contains(rate)) {
        return Err(unusable(format!("a rate of {rate} fps: it must be 0.001 to 1000")));
    }
    let recording: Box<dyn FrameSource> = match Location::of(uri) {
        // Draws nothing that is not due: it paces itself.
        Location::Demo => return Ok(Box::new(demo::DemoSource::open(uri, options)?)),
        // A camera runs at its own speed as it is.
        Location::Camera(path, query) => {
            return Ok(Box::new(v4l2::Camera::open(uri, path, query, options)?));
        }
        Location::File(path) if path.extension().is_some_and(|e| e == "mcap") => {
            Box::new(replay::Replay::open(uri, path, options)?)
        }
        Location::Gst(pipeline) => {
            return Ok(Box::new(gst::Gst::open(uri, pipeline, options)?));
        }
        Location::Turned(orientation, inner) => {
            let orientation =
                orientation.parse::<Orientation>().map_err(|e| unusable(format!("{e}")))?;
            let inner = open_with(inner, options, tools)?;
            return Ok(Box::new(turned::Turned::new(uri, inner, orientation)));
        }
        Location::Faults(settings, inner) => {
            let settings = fault_injector::FaultSettings::parse(settings).map_err(unusable)?;
            let clock = Arc::new(MonotonicClock);
            fault_injector::check_present(uri, clock.as_ref())?;
            let inner = open_with(inner, options, tools)?;
            let faulty = fault_injector::FaultInjector::new(uri, inner, settings, clock);
            return Ok(Box::new(faulty));
        }
        Location::Stream => Box::new(clip::open_stream(uri, options, tools)?),
        Location::File(path) => Box::new(clip::open(uri, path, options, tools)?),
    };
    if options.realtime {
        return Ok(Box::new(paced::Paced::new(recording, Arc::new(MonotonicClock))));
    }
    Ok(recording)
}

/// What a URI points at.
#[derive(Debug, PartialEq)]
enum Location<'a> {
    Demo,
    /// A device node, and what follows a `?`.
    Camera(&'a Path, &'a str),
    Stream,
    File(&'a Path),
    /// A pipeline as `gst-launch-1.0` takes it.
    Gst(&'a str),
    /// An orientation, and the source that it is for.
    Turned(&'a str, &'a str),
    /// Settings, and the source that they are for.
    Faults(&'a str, &'a str),
}

impl<'a> Location<'a> {
    fn of(uri: &'a str) -> Self {
        if uri == "demo" || uri.starts_with("demo:") {
            return Self::Demo;
        }
        let device = uri.strip_prefix("v4l2:");
        if device.is_some() || uri.starts_with("/dev/video") || uri.starts_with("/dev/v4l/") {
            let device = device.unwrap_or(uri);
            let (path, query) = device.split_once('?').unwrap_or((device, ""));
            return Self::Camera(Path::new(path), query);
        }
        if let Some(pipeline) = uri.strip_prefix("gst:") {
            return Self::Gst(pipeline);
        }
        if let Some((how, inner)) = uri.strip_prefix("turned:").and_then(|r| r.split_once(':')) {
            return Self::Turned(how, inner);
        }
        if let Some((settings, inner)) = uri.strip_prefix("faults:").and_then(|r| r.split_once(':'))
        {
            return Self::Faults(settings, inner);
        }
        if let Some(path) = uri.strip_prefix("file://") {
            return Self::File(Path::new(path));
        }
        let is_scheme = |s: &str| {
            !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        };
        match uri.split_once("://") {
            Some((scheme, _)) if is_scheme(scheme) => Self::Stream,
            _ => Self::File(Path::new(uri)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_a_camera_a_stream_or_a_file_by_its_form() {
        let camera = |path, query| Location::Camera(Path::new(path), query);
        for (uri, location) in [
            ("demo:", Location::Demo),
            ("v4l2:/dev/video3", camera("/dev/video3", "")),
            ("v4l2:/dev/video3?size=640x480", camera("/dev/video3", "size=640x480")),
            ("/dev/video0", camera("/dev/video0", "")),
            ("/dev/v4l/by-id/usb-x-index0", camera("/dev/v4l/by-id/usb-x-index0", "")),
            ("rtsp://host/stream", Location::Stream),
            ("gst:videotestsrc ! a/b", Location::Gst("videotestsrc ! a/b")),
            ("faults:drop=0.1,seed=2:demo:9", Location::Faults("drop=0.1,seed=2", "demo:9")),
            ("turned:90:/dev/video0", Location::Turned("90", "/dev/video0")),
            ("faults::rtsp://host/x", Location::Faults("", "rtsp://host/x")),
            ("file:///a/b.mp4", Location::File(Path::new("/a/b.mp4"))),
            ("a/b.mp4", Location::File(Path::new("a/b.mp4"))),
            ("odd name: ://x.avi", Location::File(Path::new("odd name: ://x.avi"))),
            ("demonstration.mp4", Location::File(Path::new("demonstration.mp4"))),
        ] {
            assert_eq!(Location::of(uri), location, "{uri}");
        }
    }

    #[test]
    fn the_demo_opens_by_its_uri() {
        let options = SourceOptions { camera: 3, ..SourceOptions::default() };
        let mut demo = open("demo:1", &options).unwrap();
        let Ok(Next::Frame(frame)) = demo.next(Duration::from_secs(10)) else { panic!("no frame") };
        assert_eq!((frame.camera, frame.sequence), (3, 0));
    }

    #[test]
    fn a_rate_that_is_no_rate_is_refused() {
        for rate in [0.0, -5.0, f64::NAN, f64::INFINITY] {
            let options = SourceOptions { rate: Some(rate), ..SourceOptions::default() };
            let error = open("anything", &options).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("rate"), "{error}");
        }
    }
}
