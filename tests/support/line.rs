//! A pseudo terminal as a serial device with somebody at its other end.

#![allow(dead_code, reason = "each test uses some of it")]

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// Both ends of one. Dropping it is pulling the plug.
pub struct Pty {
    other_end: OwnedFd,
    /// Kept open, so that the device does not hang up when nobody else has it.
    device: OwnedFd,
    path: PathBuf,
}

impl Pty {
    pub fn open() -> Self {
        // A child that inherited it would keep the line alive.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let other_end = openpt(flags).unwrap();
        grantpt(&other_end).unwrap();
        unlockpt(&other_end).unwrap();
        let path = PathBuf::from(ptsname(&other_end, Vec::new()).unwrap().into_string().unwrap());
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let device = rustix::fs::open(&path, flags, Mode::empty()).unwrap();
        let mut settings = tcgetattr(&device).unwrap();
        settings.make_raw();
        tcsetattr(&device, OptionalActions::Now, &settings).unwrap();
        let flags = rustix::fs::fcntl_getfl(&other_end).unwrap();
        rustix::fs::fcntl_setfl(&other_end, flags | OFlags::NONBLOCK).unwrap();
        Self { other_end, device, path }
    }

    /// The device.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the device another name, as udev does.
    pub fn link(&self, name: &Path) {
        std::os::unix::fs::symlink(&self.path, name).unwrap();
    }

    /// What the device was given, waiting for at most `limit`; 0 if there is nothing.
    pub fn read_within(&self, buffer: &mut [u8], limit: Duration) -> usize {
        if !wait(&self.other_end, limit) {
            return 0;
        }
        match rustix::io::read(&self.other_end, buffer) {
            Ok(n) => n,
            Err(Errno::AGAIN | Errno::IO) => 0,
            Err(e) => panic!("{e}"),
        }
    }

    /// Gives bytes to whoever reads the device; says how many found room.
    pub fn write(&self, bytes: &[u8]) -> usize {
        match rustix::io::write(&self.other_end, bytes) {
            Ok(n) => n,
            Err(Errno::AGAIN) => 0,
            Err(e) => panic!("{e}"),
        }
    }

    /// Reads from the device itself; bytes that were given to it are waited for.
    pub fn read_device(&self, buffer: &mut [u8]) -> usize {
        if !wait(&self.device, Duration::from_secs(10)) {
            return 0;
        }
        rustix::io::read(&self.device, buffer).unwrap()
    }
}

/// Is there something to read from the other end within `limit`?
pub fn readable(pty: &Pty, limit: Duration) -> bool {
    wait(&pty.other_end, limit)
}

fn wait(fd: &OwnedFd, limit: Duration) -> bool {
    let limit =
        Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    poll(&mut fds, Some(&limit)).unwrap();
    fds[0].revents().contains(PollFlags::IN)
}
