//! The frames of a recording of ours, with the numbers and times that they had.
//!
//! Times are [`Timebase::Media`], also those of a camera's frames: the clock that they were of is
//! another run's, and nothing now can be compared with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pool::FramePool;
use super::{CaptureError, FrameSource, Next, SourceInfo, SourceOptions};
use crate::fault::Chain;
use crate::frame::Timebase;
use crate::recording::{
    About, Entry, FrameRecord, Item, Picture, ReadError, Reader, Subject, compose,
};
use crate::time::{Clock, MonotonicClock, Timestamp};

/// A source over an MCAP file that posewire wrote.
pub struct Replay {
    uri: String,
    path: PathBuf,
    info: SourceInfo,
    reader: Reader<BufReader<File>>,
    pool: FramePool,
    options: SourceOptions,
    /// Frames whose picture has not come yet, by camera.
    waiting: BTreeMap<u8, FrameRecord>,
    /// Found, but there was no buffer for it.
    ready: Option<(FrameRecord, Vec<u8>)>,
    /// Added to numbers and times of this pass.
    shift: (u64, i64),
    /// Of the first and the newest frame of this pass, numbers and times as given.
    first: Option<(u64, i64)>,
    last: Option<(u64, i64, i64)>,
    given: u64,
    without_picture: u64,
    ended: bool,
}

fn reader(path: &Path) -> Result<Reader<BufReader<File>>, ReadError> {
    Ok(Reader::new(BufReader::with_capacity(1 << 18, File::open(path)?)))
}

/// How the recording at `path` was made; `None` if it does not say.
///
/// # Errors
/// If it is no recording that can be read.
pub fn about(path: &Path) -> Result<Option<About>, ReadError> {
    let mut reader = reader(path)?;
    // It is the first record of our files.
    while let Some(item) = reader.next()? {
        match item {
            Item::About(about) => return Ok(Some(about)),
            Item::Message(_) | Item::Cut => break,
            Item::Metadata(_) | Item::Skipped(_) => {}
        }
    }
    Ok(None)
}

impl Replay {
    /// Opens the recording at `path`. Honours `rate` (frames are then stamped with it), `repeat`;
    /// frames keep their camera's number.
    ///
    /// # Errors
    /// [`CaptureError::Unusable`] if it is none.
    pub fn open(uri: &str, path: &Path, options: &SourceOptions) -> Result<Self, CaptureError> {
        let unusable = |e: ReadError| CaptureError::Unusable {
            uri: uri.to_owned(),
            problem: Chain(&e).to_string(),
        };
        let about = about(path).map_err(unusable)?;
        let by =
            about.map_or("unknown".to_owned(), |a| format!("posewire {} on {}", a.version, a.host));
        let name = path.file_name().map_or(uri.into(), |n| n.to_string_lossy());
        Ok(Self {
            uri: uri.to_owned(),
            path: path.to_owned(),
            info: SourceInfo {
                summary: format!("recording {name}, made by {by}"),
                size: None,
                rate: options.rate,
                live: false,
            },
            reader: reader(path).map_err(unusable)?,
            pool: FramePool::new(FramePool::DEFAULT_COUNT, 0),
            options: options.clone(),
            waiting: BTreeMap::new(),
            ready: None,
            shift: (0, 0),
            first: None,
            last: None,
            given: 0,
            without_picture: 0,
            ended: false,
        })
    }

    /// Reads until the next whole frame.
    fn read(&mut self) -> Result<Option<(FrameRecord, Vec<u8>)>, CaptureError> {
        loop {
            match self.reader.next() {
                Ok(Some(Item::Message(stored))) => {
                    let Some(entry) = stored.entry() else { continue };
                    if let Some(frame) = self.message(entry)? {
                        return Ok(Some(frame));
                    }
                }
                Ok(Some(Item::Skipped(problem))) => return Err(self.bad(problem)),
                Ok(Some(Item::Cut)) => {
                    log::warn!("{}: it was cut off: its end is missing", self.uri);
                }
                Ok(Some(Item::About(_) | Item::Metadata(_))) => {}
                Ok(None) => return Ok(None),
                Err(ReadError::Damaged { at, problem }) if self.given > 0 => {
                    log::warn!("{}: damaged at byte {at}: {problem}: it ends there", self.uri);
                    return Ok(None);
                }
                Err(error) => {
                    self.ended = true;
                    let problem = Chain(&error).to_string();
                    return Err(CaptureError::Unusable { uri: self.uri.clone(), problem });
                }
            }
        }
    }

    fn message(&mut self, entry: Entry) -> Result<Option<(FrameRecord, Vec<u8>)>, CaptureError> {
        let camera = entry.topic.camera;
        let raw = match entry.topic.subject {
            Subject::Frame => {
                let record: FrameRecord = serde_json::from_slice(&entry.data)
                    .map_err(|e| self.bad(format!("its description cannot be read: {e}")))?;
                if matches!(record.picture, Picture::None | Picture::Dropped) {
                    self.without_picture += 1;
                    self.waiting.remove(&camera);
                } else {
                    self.waiting.insert(camera, record);
                }
                return Ok(None);
            }
            Subject::Image => false,
            Subject::RawImage => true,
            _ => return Ok(None),
        };
        let Some(record) = self.waiting.remove(&camera) else { return Ok(None) };
        if record.sequence as u32 != entry.sequence {
            return Ok(None);
        }
        match compose::picture(&entry.data, raw) {
            Some(pixels) => Ok(Some((record, pixels))),
            None => Err(self.bad("its picture cannot be read".to_owned())),
        }
    }

    fn bad(&self, problem: String) -> CaptureError {
        let sequence = self.last.map_or(0, |(sequence, ..)| sequence + 1);
        CaptureError::BadFrame { uri: self.uri.clone(), sequence, problem }
    }

    /// At the end: begins again, if it is to be repeated.
    fn again(&mut self) -> Result<bool, CaptureError> {
        let unusable =
            |problem: String| Err(CaptureError::Unusable { uri: self.uri.clone(), problem });
        if self.given == 0 {
            let why = match self.without_picture {
                0 => "it holds no frames".to_owned(),
                n => format!("it holds {n} frames without their pictures: nothing to replay"),
            };
            return unusable(why);
        }
        let (true, Some((first, began)), Some((last, ended, step))) =
            (self.options.repeat, self.first, self.last)
        else {
            return Ok(false);
        };
        self.reader = match reader(&self.path) {
            Ok(reader) => reader,
            Err(e) => return unusable(Chain(&e).to_string()),
        };
        // One step after the newest; `first` and `began` hold the shift of this pass already.
        self.shift.0 = self.shift.0.wrapping_add((last + 1).wrapping_sub(first));
        self.shift.1 = self.shift.1.wrapping_add((ended + step.max(1)).wrapping_sub(began));
        self.first = None;
        self.waiting.clear();
        Ok(true)
    }
}

impl FrameSource for Replay {
    fn describe(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, limit: Duration) -> Result<Next, CaptureError> {
        let (record, pixels) = loop {
            if self.ended {
                return Ok(Next::End);
            }
            let found = match self.ready.take() {
                Some(ready) => Some(ready),
                None => self.read()?,
            };
            match found {
                Some(frame) => break frame,
                None => {
                    let again = self.again();
                    self.ended = !matches!(again, Ok(true));
                    again?;
                }
            }
        };
        let Some(layout) = record.layout(pixels.len()) else {
            return Err(self.bad(format!("its format {} is not known here", record.format)));
        };
        let Some(lease) = self.pool.take(limit) else {
            self.ready = Some((record, pixels));
            return Ok(Next::Idle);
        };
        let mut stamp = record.stamp();
        stamp.timebase = Timebase::Media;
        stamp.dequeued = MonotonicClock.now();
        stamp.sequence = stamp.sequence.wrapping_add(self.shift.0);
        let time = match self.options.rate {
            Some(rate) => (self.given as f64 * 1e9 / rate).round() as i64,
            None => stamp.captured.nanos().wrapping_add(self.shift.1),
        };
        stamp.captured = Timestamp::from_nanos(time);
        *self.pool.buffer(&lease) = pixels;
        let sequence = stamp.sequence;
        let step = self.last.map_or(0, |(_, before, _)| time.saturating_sub(before));
        self.first.get_or_insert((sequence, time));
        self.last = Some((sequence, time, step));
        match self.pool.share(lease, layout, stamp) {
            Ok(frame) => {
                self.given += 1;
                Ok(Next::Frame(frame))
            }
            Err(e) => {
                let (uri, problem) = (self.uri.clone(), e.to_string());
                Err(CaptureError::BadFrame { uri, sequence, problem })
            }
        }
    }
}
