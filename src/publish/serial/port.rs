//! A serial device (or a pseudo terminal) as bytes in and out: opened raw and exclusively, never
//! waiting.
//!
//! Through `rustix`, which the program has anyway. The `serialport` crate was weighed: its errors
//! of a device that went away carry no number, it cannot say what the driver still holds, and its
//! licence (MPL-2.0) is another one than ours.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, ioctl_tiocexcl, isatty, tcflush, tcgetattr,
    tcsetattr,
};

/// Bits that a byte takes on the line: start, eight of data, stop (8N1).
pub const BITS_PER_BYTE: u64 = 10;

/// A `serial:` URI, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialTarget {
    /// The device, by preference one of `/dev/serial/by-id/`, which keeps its name.
    pub path: String,
    /// Bits per second.
    pub baud: u32,
    /// Wait for the receiver's consent (RTS/CTS).
    pub hardware_flow: bool,
    /// Send full messages instead of compact poses.
    pub full: bool,
    /// With full messages: the 2D keypoints, too.
    pub keypoints: bool,
}

impl SerialTarget {
    /// Understands `serial:PATH?baud=…&flow=…&format=…&keypoints=…`.
    ///
    /// # Errors
    /// What is wrong and what to write instead.
    pub fn parse(uri: &str) -> Result<Self, String> {
        const FORM: &str = "write serial:/dev/serial/by-id/NAME?baud=115200";
        let rest = uri.strip_prefix("serial:").ok_or_else(|| format!("no serial: URI: {FORM}"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') {
            return Err(format!(
                "the device is missing: {FORM} (`ls /dev/serial/by-id` lists them)"
            ));
        }
        let mut target = Self {
            path: path.to_owned(),
            baud: 115_200,
            hardware_flow: false,
            full: false,
            keypoints: false,
        };
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (key, value) {
                ("baud", value) => {
                    let baud = value.parse().ok().filter(|b| (300..=12_000_000).contains(b));
                    target.baud = baud.ok_or("baud must be a number from 300 to 12000000")?;
                }
                ("flow", "none") => target.hardware_flow = false,
                ("flow", "hardware") => target.hardware_flow = true,
                ("flow", _) => return Err("flow must be none or hardware (RTS/CTS)".into()),
                ("format", "compact") => target.full = false,
                ("format", "full") => target.full = true,
                ("format", _) => return Err("format must be compact or full".into()),
                ("keypoints", "no") => target.keypoints = false,
                ("keypoints", "yes") => target.keypoints = true,
                ("keypoints", _) => return Err("keypoints must be yes or no".into()),
                _ => {
                    return Err(format!(
                        "{key:?} is not known: use baud, flow, format or keypoints"
                    ));
                }
            }
        }
        if target.keypoints && !target.full {
            return Err("compact messages carry no keypoints: add format=full".into());
        }
        Ok(target)
    }
}

/// Why a device cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortError {
    /// It is not there: it may come back.
    Gone(Errno),
    /// Somebody else has it: that may end.
    Busy(Errno),
    /// Its owner does not let us.
    Denied(Errno),
    /// It is something else than a serial device.
    NotATerminal,
    /// It does not do what was asked for.
    Refused(Errno),
}

impl PortError {
    fn of(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NXIO | Errno::NODEV | Errno::IO => Self::Gone(errno),
            Errno::BUSY => Self::Busy(errno),
            Errno::ACCESS | Errno::PERM => Self::Denied(errno),
            other => Self::Refused(other),
        }
    }

    /// May it heal by itself?
    pub const fn heals(self) -> bool {
        matches!(self, Self::Gone(_) | Self::Busy(_))
    }
}

impl From<PortError> for io::Error {
    fn from(error: PortError) -> Self {
        match error {
            PortError::Gone(e)
            | PortError::Busy(e)
            | PortError::Denied(e)
            | PortError::Refused(e) => e.into(),
            PortError::NotATerminal => Errno::NOTTY.into(),
        }
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(e) => write!(
                f,
                "the device is not there ({e}): is it plugged in? `ls /dev/serial/by-id` lists those \
                 that are"
            ),
            Self::Busy(e) => {
                write!(f, "another program has the device ({e}): `fuser -v` on it names it")
            }
            Self::Denied(e) => write!(
                f,
                "the device may not be opened ({e}): add this user to the group that owns it \
                 (`ls -lL` on it shows which; dialout as a rule)"
            ),
            Self::NotATerminal => {
                f.write_str("this is no serial device: name one of /dev/serial/by-id")
            }
            Self::Refused(e) => write!(
                f,
                "the device refuses these settings ({e}): try another baud rate, or flow=none"
            ),
        }
    }
}

/// An open serial device.
#[derive(Debug)]
pub struct Port {
    fd: OwnedFd,
    baud: u32,
}

impl Port {
    /// Opens a device raw (8N1), for this process alone, and throws away what was in its buffers.
    ///
    /// # Errors
    /// What is in the way.
    pub fn open(target: &SerialTarget) -> Result<Self, PortError> {
        // Without NONBLOCK, opening waits for a modem's carrier; without NOCTTY, the line could
        // become the terminal of this process, and end it when it hangs up.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&*target.path, flags, Mode::empty()).map_err(PortError::of)?;
        if !isatty(&fd) {
            return Err(PortError::NotATerminal);
        }
        ioctl_tiocexcl(&fd).map_err(PortError::of)?;
        let mut settings = tcgetattr(&fd).map_err(PortError::of)?;
        settings.make_raw();
        let modes = &mut settings.control_modes;
        modes.remove(ControlModes::CSTOPB | ControlModes::PARENB);
        modes.insert(ControlModes::CLOCAL | ControlModes::CREAD);
        modes.set(ControlModes::CRTSCTS, target.hardware_flow);
        settings.set_speed(target.baud).map_err(PortError::of)?;
        tcsetattr(&fd, OptionalActions::Now, &settings).map_err(PortError::of)?;
        // Setting succeeds if any of the settings was taken: ask what it has become.
        let baud = match tcgetattr(&fd).map_err(PortError::of)?.output_speed() {
            0 => target.baud,
            baud => baud,
        };
        tcflush(&fd, QueueSelector::IOFlush).map_err(PortError::of)?;
        Ok(Self { fd, baud })
    }

    /// Bits per second that the device really has.
    pub const fn baud(&self) -> u32 {
        self.baud
    }

    /// Does the real rate differ by more than a receiver bears (two per cent)?
    pub fn baud_differs_from(&self, asked: u32) -> bool {
        self.baud.abs_diff(asked) > asked / 50
    }

    /// How long `bytes` take on the line.
    pub fn duration_of(&self, bytes: usize) -> Duration {
        line_time(bytes, self.baud)
    }

    /// True if the driver takes more: fewer than 256 bytes wait in it (Linux says "writable" of a
    /// terminal only then). A pseudo terminal never has any waiting.
    ///
    /// # Errors
    /// If the device is gone.
    pub fn takes_more(&self) -> io::Result<bool> {
        let events = self.wait(PollFlags::OUT, Duration::ZERO)?;
        Ok(events.contains(PollFlags::OUT))
    }

    /// Waits until there is something to read, at most `limit`; true if there is.
    ///
    /// # Errors
    /// If the device is gone.
    pub fn has_input(&self, limit: Duration) -> io::Result<bool> {
        Ok(self.wait(PollFlags::IN, limit)?.contains(PollFlags::IN))
    }

    fn wait(&self, what: PollFlags, limit: Duration) -> io::Result<PollFlags> {
        let limit =
            Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
        let mut fds = [PollFd::new(&self.fd, what)];
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let events = fds[0].revents();
        // What was sent before it hung up is still worth reading.
        if !events.contains(PollFlags::IN)
            && events.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
        {
            return Err(Errno::IO.into());
        }
        Ok(events)
    }

    /// Gives bytes to the driver; says how many it took, 0 if it is full.
    ///
    /// # Errors
    /// If the device is gone.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::io::write(&self.fd, bytes) {
            Ok(n) => Ok(n),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(e) => Err(e.into()),
        }
    }

    /// Takes what has come; 0 if there is nothing.
    ///
    /// # Errors
    /// If the device is gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(&self.fd, &mut *buffer) {
            // A terminal that was closed on the other side is at its end.
            Ok(0) if !buffer.is_empty() => Err(Errno::IO.into()),
            Ok(n) => Ok(n),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(e) => Err(e.into()),
        }
    }

    /// Throws away what the driver has not sent yet.
    pub fn discard_output(&self) {
        // If that fails, what is old is sent.
        let _ = tcflush(&self.fd, QueueSelector::OFlush);
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How long `bytes` take at `baud`.
pub fn line_time(bytes: usize, baud: u32) -> Duration {
    let bits = bytes as u64 * BITS_PER_BYTE;
    Duration::from_nanos(bits.saturating_mul(1_000_000_000) / u64::from(baud.max(1)))
}
