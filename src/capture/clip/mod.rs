//! Recordings: files and folders of pictures.
//!
//! A `Reader` knows one container and gives pictures with the container's own times; `Clip`
//! makes frames of them: buffers, numbers, `--rate`, `--repeat`. Playing at recorded speed is
//! [`super::paced`].
//!
//! | reader | takes | times |
//! |---|---|---|
//! | `images` | a folder (or one file) of JPEG and PNG | index / rate |
//! | `mjpeg` | JPEGs one after the other | index / rate |
//! | `avi` | RIFF AVI and OpenDML with Motion-JPEG | index × the stream's scale / rate |
//! | `y4m` | 8-bit YUV4MPEG2 | index / the header's F |
//! | `ffmpeg` | everything else, through a child process | the container's own |

mod avi;
mod ffmpeg;
mod images;
mod mjpeg;
mod nut;
mod y4m;

use std::path::Path;
use std::time::{Duration, Instant};

use super::pool::FramePool;
use super::{CaptureError, FrameSource, Next, SourceInfo, SourceOptions};
use crate::frame::{FrameStamp, ImageLayout, Timebase};
use crate::handoff::Lease;
use crate::time::{Clock, MonotonicClock, Timestamp};

pub(super) use ffmpeg::Tools;

/// Frames per second of recordings that have no times of their own.
pub const ASSUMED_RATE: f64 = 30.0;

/// Reads the pictures of one container, in order.
pub(super) trait Reader: Send {
    /// What is known of the recording.
    fn format(&self) -> &ClipFormat;

    /// Puts the next picture into `buffer`, whose old content is void. After
    /// [`Read::Pending`] the next call gets the same buffer, untouched.
    fn read(&mut self, buffer: &mut Vec<u8>, limit: Duration) -> Result<Read, ReadError>;

    /// Goes back to the first picture.
    fn rewind(&mut self) -> Result<(), ReadError>;
}

/// What a recording is.
#[derive(Clone, Debug, Default)]
pub(super) struct ClipFormat {
    /// Container and coding: `Motion-JPEG in AVI`.
    pub what: String,
    /// Picture size, where it is known beforehand.
    pub size: Option<(u32, u32)>,
    /// Frames per second, where the recording says so.
    pub rate: Option<f64>,
    /// True for a stream that will not wait for us.
    pub live: bool,
}

/// What a [`Reader::read`] gave.
#[derive(Debug)]
pub(super) enum Read {
    /// A picture, with its time in nanoseconds on the recording's clock where it has one.
    Picture { layout: ImageLayout, time: Option<i64> },
    /// Nothing in time.
    Pending,
    /// There are no more.
    End,
}

/// Why a [`Reader::read`] gave nothing.
#[derive(Debug)]
pub(super) enum ReadError {
    /// One picture is damaged; go on with the next.
    Bad(String),
    /// The recording cannot be read (further).
    Unusable(String),
    /// A stream broke off that may come back.
    Gone(String),
}

impl ReadError {
    fn io(error: &std::io::Error) -> Self {
        Self::Unusable(format!("cannot read: {error}"))
    }

    fn into_problem(self) -> String {
        match self {
            Self::Bad(problem) | Self::Unusable(problem) | Self::Gone(problem) => problem,
        }
    }
}

/// What opening a container gave, other than a reader.
pub(super) enum Refusal {
    /// It can never work.
    Unusable(String),
    /// A valid file of a kind that this reader leaves to ffmpeg.
    NotOurs(String),
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Unusable(format!("cannot read: {error}"))
    }
}

/// A source over a [`Reader`].
pub(super) struct Clip {
    uri: String,
    info: SourceInfo,
    reader: Box<dyn Reader>,
    pool: FramePool,
    /// A buffer that is partly filled.
    filling: Option<Lease>,
    options: SourceOptions,
    /// Frames per second where the recording has no times: `--rate`, the container's, or 30.
    rate: f64,
    /// The number of the next picture, damaged ones included.
    sequence: u64,
    /// The number of the first picture of this pass.
    pass_start: u64,
    /// Time of the first picture of this pass, minus the recording's own.
    shift: i64,
    /// Time of the newest picture and its distance from the one before.
    last: Option<(i64, i64)>,
    /// Whole pictures given in this pass.
    given: u64,
    last_problem: Option<String>,
    ended: bool,
}

impl Clip {
    /// A source that reads `reader` to its end (or for ever).
    pub(super) fn new(uri: &str, reader: Box<dyn Reader>, options: &SourceOptions) -> Self {
        let format = reader.format().clone();
        let rate = options.rate.or(format.rate);
        let size = format.size.map_or(String::new(), |(w, h)| format!(", {w}x{h}"));
        let speed = match (options.rate, format.rate) {
            (Some(rate), _) => format!("{rate} fps as asked for"),
            (None, Some(rate)) => format!("{} fps", (rate * 100.0).round() / 100.0),
            (None, None) => {
                format!("no rate given: {ASSUMED_RATE} fps assumed where it has no times")
            }
        };
        let summary = format!("clip {}: {}{size}, {speed}", base_name(uri), format.what);
        let bytes = format.size.map_or(0, |(w, h)| w as usize * h as usize * 3 / 2);
        Self {
            uri: uri.to_owned(),
            info: SourceInfo { summary, size: format.size, rate, live: format.live },
            pool: FramePool::new(FramePool::DEFAULT_COUNT, bytes),
            filling: None,
            options: options.clone(),
            rate: rate.unwrap_or(ASSUMED_RATE),
            reader,
            sequence: 0,
            pass_start: 0,
            shift: 0,
            last: None,
            given: 0,
            last_problem: None,
            ended: false,
        }
    }

    fn unusable(&self, problem: impl Into<String>) -> CaptureError {
        CaptureError::Unusable { uri: self.uri.clone(), problem: problem.into() }
    }

    fn failed(&mut self, error: ReadError) -> CaptureError {
        let uri = self.uri.clone();
        match error {
            ReadError::Bad(problem) => {
                let sequence = self.sequence;
                self.sequence += 1;
                self.last_problem = Some(problem.clone());
                CaptureError::BadFrame { uri, sequence, problem }
            }
            ReadError::Unusable(problem) => {
                self.ended = true;
                CaptureError::Unusable { uri, problem }
            }
            ReadError::Gone(problem) => {
                self.ended = true;
                CaptureError::Gone { uri, problem }
            }
        }
    }

    /// One time step, in nanoseconds.
    fn step(&self) -> i64 {
        (1e9 / self.rate).round() as i64
    }

    /// The time of the picture with the number `self.sequence`.
    fn time(&self, own: Option<i64>) -> i64 {
        let index = (self.sequence - self.pass_start) as f64;
        match own {
            Some(own) if self.options.rate.is_none() => own,
            // Not a sum of steps: their rounding would add up.
            _ => (index * 1e9 / self.rate).round() as i64,
        }
    }

    /// Begins anew, with times that go on.
    fn start_again(&mut self) -> Result<(), ReadError> {
        self.reader.rewind()?;
        let (newest, distance) = self.last.unwrap_or((0, 0));
        let distance = if distance > 0 { distance } else { self.step() };
        self.shift = newest + distance;
        self.pass_start = self.sequence;
        self.given = 0;
        // The first picture's own time is not always zero; `next` takes it off.
        Ok(())
    }
}

impl FrameSource for Clip {
    fn describe(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, limit: Duration) -> Result<Next, CaptureError> {
        let until = Instant::now() + limit.min(Duration::from_secs(3600));
        while !self.ended {
            let left = until.saturating_duration_since(Instant::now());
            let Some(lease) = self.filling.take().or_else(|| self.pool.take(left)) else {
                return Ok(Next::Idle);
            };
            let left = until.saturating_duration_since(Instant::now());
            let (layout, own) = match self.reader.read(self.pool.buffer(&lease), left) {
                Ok(Read::Picture { layout, time }) => (layout, time),
                Ok(Read::Pending) => {
                    self.filling = Some(lease);
                    return Ok(Next::Idle);
                }
                Ok(Read::End) if self.given == 0 => {
                    self.ended = true;
                    let why = self.last_problem.take().map_or(String::new(), |p| format!(": {p}"));
                    return Err(self.unusable(format!("holds no picture that can be read{why}")));
                }
                Ok(Read::End) if self.options.repeat => {
                    self.start_again().map_err(|e| self.failed(e))?;
                    continue;
                }
                Ok(Read::End) => {
                    self.ended = true;
                    break;
                }
                Err(error) => return Err(self.failed(error)),
            };

            let mut time = self.time(own);
            if self.pass_start > 0 {
                if self.given == 0 {
                    self.shift -= time;
                }
                time += self.shift;
            }
            let stamp = FrameStamp {
                camera: self.options.camera,
                sequence: self.sequence,
                captured: Timestamp::from_nanos(time),
                timebase: Timebase::Media,
                dequeued: MonotonicClock.now(),
            };
            return match self.pool.share(lease, layout, stamp) {
                Ok(frame) => {
                    self.last = Some((time, self.last.map_or(0, |(before, _)| time - before)));
                    self.sequence += 1;
                    self.given += 1;
                    Ok(Next::Frame(frame))
                }
                Err(e) => Err(self.failed(ReadError::Bad(e.to_string()))),
            };
        }
        Ok(Next::End)
    }
}

/// The last part of a path or URI.
fn base_name(uri: &str) -> &str {
    uri.trim_end_matches('/').rsplit('/').next().unwrap_or(uri)
}

/// Opens the recording at `path`, by what it is.
pub(super) fn open(
    uri: &str,
    path: &Path,
    options: &SourceOptions,
    tools: &Tools,
) -> Result<Clip, CaptureError> {
    let unusable = |problem: String| CaptureError::Unusable { uri: uri.to_owned(), problem };
    let stat = std::fs::metadata(path).map_err(|e| {
        unusable(match e.kind() {
            std::io::ErrorKind::NotFound => "there is no such file or directory".into(),
            _ => format!("cannot be opened: {e}"),
        })
    })?;
    if stat.is_file() && stat.len() == 0 {
        return Err(unusable("the file is empty".into()));
    }
    let extension =
        path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).unwrap_or_default();
    let opened: Result<Box<dyn Reader>, Refusal> = match extension.as_str() {
        _ if stat.is_dir() => images::Images::folder(path).map(|r| Box::new(r) as _),
        "jpg" | "jpeg" | "png" => images::Images::file(path).map(|r| Box::new(r) as _),
        "mjpeg" | "mjpg" => mjpeg::Mjpeg::open(path).map(|r| Box::new(r) as _),
        "avi" => avi::Avi::open(path).map(|r| Box::new(r) as _),
        "y4m" => y4m::Y4m::open(path).map(|r| Box::new(r) as _),
        _ => Err(Refusal::NotOurs(String::new())),
    };
    let reader = match opened {
        Ok(reader) => reader,
        Err(Refusal::Unusable(problem)) => return Err(unusable(problem)),
        Err(Refusal::NotOurs(why)) => {
            let opened = ffmpeg::Ffmpeg::file(path, tools).map_err(|e| {
                let problem = e.into_problem();
                unusable(if why.is_empty() { problem } else { format!("{why}: {problem}") })
            })?;
            Box::new(opened)
        }
    };
    Ok(Clip::new(uri, reader, options))
}

/// Opens a network stream that ffmpeg understands (`rtsp://`, `http://`, ...).
pub(super) fn open_stream(
    uri: &str,
    options: &SourceOptions,
    tools: &Tools,
) -> Result<Clip, CaptureError> {
    let uri = uri.to_owned();
    match ffmpeg::Ffmpeg::stream(&uri, tools) {
        Ok(reader) => Ok(Clip::new(&uri, Box::new(reader), options)),
        Err(ReadError::Gone(problem)) => Err(CaptureError::Gone { uri, problem }),
        Err(other) => Err(CaptureError::Unusable { uri, problem: other.into_problem() }),
    }
}

#[cfg(test)]
mod tests;
