//! Every other container, decoded by an `ffmpeg` found on PATH, as a child process.
//!
//! The child writes raw I420 pictures in the NUT container to a pipe. NUT, because it is the one
//! simple format of ffmpeg's that carries, within a single pipe and without files, every
//! picture's own time in an exact time base: Y4M and raw video know one constant rate only,
//! Matroska rounds to milliseconds, and `showinfo` or `ffprobe` would need a second stream to be
//! matched frame by frame. The options that keep the times: `-copyts` (no shift of the origin)
//! and `-enc_time_base -1` (the container's ticks; the default rounds to multiples of the nominal
//! frame duration). ffmpeg turns pictures upright by their rotation metadata, and the size in
//! NUT's header is the one after that.
//!
//! Both pipes are read by one `poll`, so that a chatty stderr can neither block the child nor
//! needs a thread.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use rustix::event::{PollFd, PollFlags};

use super::nut::{Item, Nut};
use super::{ClipFormat, Read, ReadError, Reader};
use crate::capture::child::{Complaints, Process, prepare, wait_for};
use crate::decode::MAX_SIDE;
use crate::frame::{ColorSpace, ImageLayout, PixelFormat};

/// How long opening waits for the first bytes: a stream has to connect first.
const OPEN_LIMIT: Duration = Duration::from_secs(20);

/// Bytes read at a time while headers are looked for; pictures are read straight into place.
const CHUNK: usize = 1 << 16;

/// The programs, by name (looked up on PATH) or by path.
#[derive(Clone, Debug)]
pub(in crate::capture) struct Tools {
    pub ffmpeg: OsString,
    pub ffprobe: OsString,
}

impl Default for Tools {
    fn default() -> Self {
        Self { ffmpeg: "ffmpeg".into(), ffprobe: "ffprobe".into() }
    }
}

/// What of a recording only `ffprobe` can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Probe {
    rate: Option<f64>,
    bt709: bool,
}

/// A recording that ffmpeg decodes.
pub(super) struct Ffmpeg {
    format: ClipFormat,
    tools: Tools,
    input: OsString,
    layout: ImageLayout,
    run: Run,
    /// A stream, which may come back if it breaks off.
    live: bool,
}

impl Ffmpeg {
    /// Opens a file.
    pub(super) fn file(path: &Path, tools: &Tools) -> Result<Self, ReadError> {
        // A colon in a name must not make a protocol of it.
        let mut input = OsString::from("file:");
        input.push(path);
        let probe = probe(&input, tools);
        Self::open(input, tools, probe, false)
    }

    /// Opens a network stream. It is not asked for its rate: that would connect twice.
    pub(super) fn stream(uri: &str, tools: &Tools) -> Result<Self, ReadError> {
        Self::open(uri.into(), tools, Probe::default(), true)
    }

    fn open(input: OsString, tools: &Tools, probe: Probe, live: bool) -> Result<Self, ReadError> {
        let mut run = Run::start(&input, tools).map_err(ReadError::Unusable)?;
        let size = run.picture_size(Instant::now() + OPEN_LIMIT);
        let (width, height) = size.map_err(|why| ended(live, why))?;
        let color = ColorSpace { bt709: probe.bt709, full_range: false };
        let format = ClipFormat {
            what: "decoded by ffmpeg".into(),
            size: Some((width, height)),
            rate: probe.rate,
            live,
        };
        let layout = ImageLayout::packed(width, height, PixelFormat::I420, color);
        Ok(Self { format, tools: tools.clone(), input, layout, run, live })
    }

    fn ended(&self, why: String) -> ReadError {
        ended(self.live, why)
    }
}

fn ended(live: bool, why: String) -> ReadError {
    if live { ReadError::Gone(why) } else { ReadError::Unusable(why) }
}

impl Reader for Ffmpeg {
    fn format(&self) -> &ClipFormat {
        &self.format
    }

    fn read(&mut self, buffer: &mut Vec<u8>, limit: Duration) -> Result<Read, ReadError> {
        let until = Instant::now() + limit;
        let len = self.layout.byte_len();
        loop {
            if let Some((time, filled)) = self.run.picture {
                let filled = filled + self.run.fill(&mut buffer[filled..len]);
                if filled == len {
                    self.run.picture = None;
                    return Ok(Read::Picture { layout: self.layout.clone(), time: Some(time) });
                }
                self.run.picture = Some((time, filled));
                if self.run.ended {
                    break;
                }
                if !self.run.wait(until).map_err(|e| self.ended(e))? {
                    return Ok(Read::Pending);
                }
                continue;
            }
            match self.run.next_header(until).map_err(|e| self.ended(e))? {
                Some(Item::Frame { size, time, .. }) if size == len => {
                    if buffer.len() < len {
                        buffer.resize(len, 0);
                    }
                    self.run.picture = Some((time, 0));
                }
                Some(Item::Frame { size, .. }) => {
                    let problem = format!("ffmpeg gave a picture of {size} bytes, not {len}");
                    return Err(self.ended(problem));
                }
                Some(_) => {}
                None if self.run.ended => break,
                None => return Ok(Read::Pending),
            }
        }
        // The pipe is closed.
        if self.run.succeeded() && self.run.picture.is_none() && !self.live {
            if let Some(last) = self.run.last_words() {
                log::warn!("ffmpeg on {}: {last}", self.input.to_string_lossy());
            }
            return Ok(Read::End);
        }
        let why = self.run.why_it_ended();
        Err(self.ended(why))
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        // The old child goes first: two at once would need twice the memory.
        self.run.process.kill();
        self.run = Run::start(&self.input, &self.tools).map_err(ReadError::Unusable)?;
        Ok(())
    }
}

/// One run of ffmpeg.
struct Run {
    process: Process,
    stdout: ChildStdout,
    complaints: Complaints,
    nut: Nut,
    /// Bytes read and not used yet: `inbox[used..]`.
    inbox: Vec<u8>,
    used: usize,
    /// The picture being read: its time and how many bytes of it are in place.
    picture: Option<(i64, usize)>,
    /// stdout is closed.
    ended: bool,
}

impl Run {
    fn start(input: &OsStr, tools: &Tools) -> Result<Self, String> {
        let mut command = Command::new(&tools.ffmpeg);
        command
            .args(["-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", "-copyts", "-i"])
            .arg(input)
            // V, not v: cover pictures are no video.
            .args(["-map", "0:V:0", "-enc_time_base", "-1", "-vf", "scale=out_range=tv"])
            .args(["-pix_fmt", "yuv420p", "-c:v", "rawvideo", "-f", "nut", "pipe:1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::start(&mut command).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => "this kind of recording is decoded by ffmpeg, which was \
                 not found on PATH: install it (Debian, Ubuntu: apt-get install ffmpeg), or \
                 convert the clip to Motion-JPEG in .avi or to .y4m elsewhere"
                .to_owned(),
            _ => format!("ffmpeg cannot be started: {e}"),
        })?;
        let pipes = process.pipes();
        let (Some(stdout), stderr) = (pipes.stdout.take(), pipes.stderr.take()) else {
            return Err("ffmpeg was started without pipes".into());
        };
        let complaints = prepare(&stdout).and_then(|()| Complaints::of(stderr));
        Ok(Self {
            process,
            stdout,
            complaints: complaints.map_err(|e| format!("ffmpeg's pipes: {e}"))?,
            nut: Nut::new(),
            inbox: Vec::with_capacity(CHUNK),
            used: 0,
            picture: None,
            ended: false,
        })
    }

    /// Reads up to the header that says how large the pictures are.
    fn picture_size(&mut self, until: Instant) -> Result<(u32, u32), String> {
        loop {
            match self.nut.size {
                Some((w, h)) if w > MAX_SIDE || h > MAX_SIDE => {
                    return Err(format!("{w}x{h} is larger than {MAX_SIDE}x{MAX_SIDE}"));
                }
                Some(size) => return Ok(size),
                None => {}
            }
            match self.next_header(until)? {
                Some(Item::Header(_)) => {}
                Some(_) => return Err("ffmpeg gave a picture before its size".into()),
                None if self.ended => return Err(self.why_it_ended()),
                None => return Err(format!("ffmpeg gave nothing for {} s", OPEN_LIMIT.as_secs())),
            }
        }
    }

    /// The next header, up to `until`; `None` if it did not come in time or the stream is over.
    fn next_header(&mut self, until: Instant) -> Result<Option<Item>, String> {
        loop {
            match self.nut.next(&self.inbox[self.used..]).map_err(|e| e.to_string())? {
                Item::NeedMore => {}
                item @ (Item::Header(n) | Item::Frame { header: n, .. }) => {
                    self.used += n;
                    return Ok(Some(item));
                }
            }
            // Only the start of a header is left: make room behind it.
            self.inbox.drain(..self.used);
            self.used = 0;
            let start = self.inbox.len();
            self.inbox.resize(start + CHUNK, 0);
            let got = self.stdout.read(&mut self.inbox[start..]);
            self.inbox.truncate(start + *got.as_ref().unwrap_or(&0));
            match got {
                Ok(0) => {
                    self.ended = true;
                    return Ok(None);
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(until)? {
                        return Ok(None);
                    }
                }
                Err(e) => return Err(format!("cannot read from ffmpeg: {e}")),
            }
        }
    }

    /// Moves what is there into `place`; how many bytes. Sets `ended` at the end of the pipe.
    fn fill(&mut self, place: &mut [u8]) -> usize {
        let waiting = &self.inbox[self.used..];
        let mut filled = waiting.len().min(place.len());
        place[..filled].copy_from_slice(&waiting[..filled]);
        self.used += filled;
        while filled < place.len() {
            match self.stdout.read(&mut place[filled..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.ended = true;
                    break;
                }
            }
        }
        filled
    }

    /// Waits until there is something on stdout; false if the time is up first.
    fn wait(&mut self, until: Instant) -> Result<bool, String> {
        loop {
            let mut fds = ArrayVec::<PollFd<'_>, 2>::new();
            fds.push(PollFd::new(&self.stdout, PollFlags::IN));
            if let Some(stderr) = self.complaints.pipe() {
                fds.push(PollFd::new(stderr, PollFlags::IN));
            }
            let something = wait_for(&mut fds, until);
            if !something.map_err(|e| format!("cannot wait for ffmpeg: {e}"))? {
                return Ok(false);
            }
            let ready = !fds[0].revents().is_empty();
            let words = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
            drop(fds);
            if words {
                self.complaints.listen();
            }
            if ready {
                return Ok(true);
            }
        }
    }

    /// The last line on stderr.
    fn last_words(&mut self) -> Option<String> {
        let said = self.complaints.text();
        said.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
    }

    /// True if the child, which closed its stdout, ended well.
    fn succeeded(&mut self) -> bool {
        matches!(self.process.wait(), Ok(status) if status.success())
    }

    /// Why the child, which closed its stdout, ended.
    fn why_it_ended(&mut self) -> String {
        let status = self.process.wait();
        let said = self.last_words();
        if self.complaints.text().contains("matches no streams") {
            return "there is no video in it".into();
        }
        match (status, said) {
            (_, Some(line)) => format!("ffmpeg cannot read it (further): {line}"),
            (Ok(status), None) if status.success() => "ffmpeg found no picture in it".into(),
            (Ok(status), None) => format!("ffmpeg was stopped: {status}"),
            (Err(e), None) => format!("ffmpeg ended: {e}"),
        }
    }
}

/// Asks ffprobe for the rate and the colour matrix. Nothing depends on the answer but the summary
/// line and the exact shade of colours, so that a missing ffprobe is no error. BT.601 where the
/// recording does not say, as swscale (and with it OpenCV) takes it.
fn probe(input: &OsStr, tools: &Tools) -> Probe {
    let output = Command::new(&tools.ffprobe)
        .args(["-v", "error", "-select_streams", "V:0", "-of", "json"])
        .args(["-show_entries", "stream=avg_frame_rate,color_space"])
        .arg(input)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let Ok(output) = output else { return Probe::default() };
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else {
        return Probe::default();
    };
    let stream = &json["streams"][0];
    let rate = stream["avg_frame_rate"].as_str().and_then(|text| {
        let (n, d) = text.split_once('/')?;
        let (n, d): (f64, f64) = (n.parse().ok()?, d.parse().ok()?);
        (n > 0.0 && d > 0.0).then_some(n / d)
    });
    let space = stream["color_space"].as_str().unwrap_or_default();
    Probe { rate, bt709: space == "bt709" || space.starts_with("bt2020") }
}
