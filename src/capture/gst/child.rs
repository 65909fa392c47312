//! `gst-launch-1.0` as a child process, and its three pipes, read by one `poll`.
//!
//! Pixels come through the child's standard input, of all things: the end of a pipe that can be
//! written to. Standard output carries the words of `-v`, standard error the errors, and the
//! standard library hands a child no fourth descriptor.

use std::collections::VecDeque;
use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use rustix::event::{PollFd, PollFlags};

use super::words::{NAME, Said};
use crate::capture::child::{Complaints, Process, prepare, wait_for};

/// A line that does not end is none of ours.
const MAX_LINE: usize = 1 << 16;

/// What [`Child::wait`] saw.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A line of our element.
    Said(Said),
    /// There are pixels to be read.
    Pixels,
    /// The time is up.
    Nothing,
    /// The child's pixels are at their end.
    Ended,
}

/// One run of the program.
pub(super) struct Child {
    process: Process,
    pixels: PipeReader,
    words: Option<ChildStdout>,
    complaints: Complaints,
    /// Bytes of standard output that are no whole line yet.
    line: Vec<u8>,
    heard: VecDeque<Said>,
    /// Buffers that were announced and not read yet.
    announced: VecDeque<(usize, Option<i64>)>,
    pixels_ended: bool,
}

impl Child {
    pub(super) fn start(program: &Path, pipeline: &str) -> Result<Self, String> {
        // As gst-launch splits its own arguments when they come as one: at spaces. Its parser
        // knows quotes, but they must reach it.
        let words: Vec<&str> = pipeline.split_whitespace().collect();
        if words.is_empty() {
            return Err("an empty pipeline: write gst:ELEMENT ! ELEMENT ...".into());
        }
        let (pixels, end) = io::pipe().map_err(|e| format!("no pipe: {e}"))?;
        let mut command = Command::new(program);
        command
            .arg("-v")
            .args(words)
            .args(["!", "identity", &format!("name={NAME}"), "silent=false"])
            .args(["!", "fdsink", "fd=0", "sync=false"])
            .stdin(Stdio::from(end))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let process = Process::start(&mut command).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => "gst-launch-1.0 was not found on PATH: install it \
                 (Debian, Ubuntu: apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base)"
                .to_owned(),
            _ => format!("gst-launch-1.0 cannot be started: {e}"),
        })?;
        Self::listen_to(process, pixels).map_err(|e| format!("gst-launch-1.0's pipes: {e}"))
    }

    fn listen_to(mut process: Process, pixels: PipeReader) -> io::Result<Self> {
        let (words, errors) = (process.pipes().stdout.take(), process.pipes().stderr.take());
        prepare(&pixels)?;
        if let Some(words) = &words {
            rustix::io::ioctl_fionbio(words, true)?;
        }
        Ok(Self {
            process,
            pixels,
            words,
            complaints: Complaints::of(errors)?,
            line: Vec::new(),
            heard: VecDeque::new(),
            announced: VecDeque::with_capacity(64),
            pixels_ended: false,
        })
    }

    /// Notes a buffer that will come.
    pub(super) fn announce(&mut self, size: usize, presented: Option<i64>) {
        self.announced.push_back((size, presented));
    }

    /// The buffer whose bytes come next.
    pub(super) fn announced(&self) -> Option<(usize, Option<i64>)> {
        self.announced.front().copied()
    }

    pub(super) fn take_announced(&mut self) {
        self.announced.pop_front();
    }

    /// Moves pixels that are there into `place`; how many bytes.
    pub(super) fn read(&mut self, place: &mut [u8]) -> Result<usize, String> {
        let mut filled = 0;
        while filled < place.len() {
            match self.pixels.read(&mut place[filled..]) {
                Ok(0) => {
                    self.pixels_ended = true;
                    break;
                }
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(format!("cannot read pixels: {e}")),
            }
        }
        Ok(filled)
    }

    /// Waits for something to happen, for at most `limit`; `reading`: also for more of the picture
    /// that is being read.
    pub(super) fn wait(&mut self, limit: Duration, reading: bool) -> Result<Event, String> {
        let until = Instant::now() + limit;
        loop {
            if let Some(said) = self.heard.pop_front() {
                return Ok(Event::Said(said));
            }
            // Pixels are of interest only if it is known whose they are: otherwise this would
            // return again and again while the words about them are on their way.
            let expected = reading || !self.announced.is_empty();
            let wanted = expected && !self.pixels_ended;
            if self.words.is_none() && !wanted {
                return Ok(Event::Ended);
            }
            let mut fds = ArrayVec::<PollFd<'_>, 3>::new();
            if let Some(words) = &self.words {
                fds.push(PollFd::from_borrowed_fd(words.as_fd(), PollFlags::IN));
            }
            if let Some(errors) = self.complaints.pipe() {
                fds.push(PollFd::from_borrowed_fd(errors.as_fd(), PollFlags::IN));
            }
            if wanted {
                fds.push(PollFd::from_borrowed_fd(self.pixels.as_fd(), PollFlags::IN));
            }
            let ready = wait_for(&mut fds, until);
            if !ready.map_err(|e| format!("cannot wait for gst-launch-1.0: {e}"))? {
                return Ok(Event::Nothing);
            }
            let pixels = wanted && fds.last().is_some_and(|fd| !fd.revents().is_empty());
            drop(fds);
            self.complaints.listen();
            self.listen_to_words();
            if pixels && self.heard.is_empty() {
                return Ok(Event::Pixels);
            }
        }
    }

    fn listen_to_words(&mut self) {
        let Some(words) = &mut self.words else { return };
        let mut chunk = [0; 8192];
        loop {
            match words.read(&mut chunk) {
                Ok(0) => {
                    self.words = None;
                    return;
                }
                Ok(n) => {
                    for part in chunk[..n].split_inclusive(|b| *b == b'\n') {
                        if self.line.len() + part.len() <= MAX_LINE {
                            self.line.extend_from_slice(part);
                        }
                        if part.ends_with(b"\n") {
                            let line = String::from_utf8_lossy(&self.line);
                            self.heard.extend(Said::parse(line.trim_end()));
                            self.line.clear();
                        }
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    #[cfg(test)]
    pub(super) fn kill_for_a_test(&mut self) {
        self.process.kill();
    }

    #[cfg(test)]
    pub(super) fn id_for_a_test(&mut self) -> u32 {
        self.process.pipes().id()
    }

    /// Whether the child, whose pipes are closed, ended well, and what it said of it.
    pub(super) fn last_words(&mut self) -> (bool, String) {
        let status = self.process.wait();
        let said = self.complaints.text();
        // `ERROR: from element ...: what happened`; other lines are where in the source.
        let line = said
            .lines()
            .map(str::trim)
            .find(|l| l.starts_with("ERROR") || l.starts_with("WARNING"))
            .or_else(|| said.lines().map(str::trim).rfind(|l| !l.is_empty()))
            .map(str::to_owned);
        match (status, line) {
            (Ok(status), _) if status.success() => (true, "the pipeline ended".into()),
            (_, Some(line)) => (false, line),
            (Ok(status), None) => (false, format!("gst-launch-1.0 was stopped: {status}")),
            (Err(e), None) => (false, format!("gst-launch-1.0 ended: {e}")),
        }
    }
}
