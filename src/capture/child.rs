//! What the programs that give us pictures (ffmpeg, gst-launch-1.0) have in common as children.

use std::borrow::Cow;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, Command, ExitStatus};
use std::time::Instant;

use rustix::event::{PollFd, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};

/// How much of what is said on standard error is kept.
const KEPT: usize = 4096;

/// A started program. It gets its own process group, so that a ctrl-C in the terminal reaches us
/// alone and the shutdown is ours to order; it is killed when this is dropped, and if we are
/// killed ourselves it ends with its next write, since nobody else holds the pipe's end.
pub(super) struct Process(Child);

impl Process {
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        command.process_group(0).spawn().map(Self)
    }

    /// Its pipes.
    pub(super) fn pipes(&mut self) -> &mut Child {
        &mut self.0
    }

    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait()
    }

    pub(super) fn kill(&mut self) {
        // Both fail only if the child is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Standard error, read as it comes: a chatty one must not block the child. Its end is kept.
pub(super) struct Complaints {
    /// `None` once it is closed.
    pipe: Option<ChildStderr>,
    said: Vec<u8>,
}

impl Complaints {
    pub(super) fn of(pipe: Option<ChildStderr>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            ioctl_fionbio(pipe, true)?;
        }
        Ok(Self { pipe, said: Vec::new() })
    }

    /// What to poll for more, while there may be more.
    pub(super) fn pipe(&self) -> Option<&ChildStderr> {
        self.pipe.as_ref()
    }

    /// Takes what is there.
    pub(super) fn listen(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut chunk = [0; KEPT];
        loop {
            match pipe.read(&mut chunk) {
                Ok(0) => {
                    self.pipe = None;
                    return;
                }
                Ok(n) => {
                    self.said.extend_from_slice(&chunk[..n]);
                    let surplus = self.said.len().saturating_sub(KEPT);
                    self.said.drain(..surplus);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// The end of all that was said.
    pub(super) fn text(&mut self) -> Cow<'_, str> {
        self.listen();
        String::from_utf8_lossy(&self.said)
    }
}

/// Makes a pipe of pixels ready to be polled.
pub(super) fn prepare(pixels: impl AsFd) -> io::Result<()> {
    ioctl_fionbio(&pixels, true)?;
    // Fewer switches between the two processes; refused where the user's pipes are full.
    let _ = rustix::pipe::fcntl_setpipe_size(&pixels, 1 << 20);
    Ok(())
}

/// Waits for one of `fds`; false if it is `until` first.
pub(super) fn wait_for(fds: &mut [PollFd<'_>], until: Instant) -> Result<bool, Errno> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(fds, Some(&timeout)) {
            Err(Errno::INTR) => {}
            other => return other.map(|ready| ready > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;
    use std::time::Duration;

    #[test]
    fn complaints_are_read_and_their_end_is_kept() {
        let script = "i=0; while [ $i -lt 20000 ]; do echo line $i >&2; i=$((i+1)); done";
        let mut command = Command::new("sh");
        let command = command.args(["-c", script]).stderr(Stdio::piped());
        let mut process = Process::start(command).unwrap();
        let mut complaints = Complaints::of(process.pipes().stderr.take()).unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while let Some(pipe) = complaints.pipe() {
            let mut fds = [PollFd::new(pipe, rustix::event::PollFlags::IN)];
            assert!(wait_for(&mut fds, until).unwrap(), "the child is blocked");
            complaints.listen();
        }
        assert!(process.wait().unwrap().success());
        let said = complaints.text();
        assert!(said.ends_with("line 19999\n") && said.len() == KEPT, "{said}");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = Process::start(Command::new("sleep").arg("1000")).unwrap();
        let id = process.0.id();
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    }
}
