//! What MAVLink frames leave through: a socket or a serial line.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::publish::serial::port::{Port, PortError, SerialTarget};
use crate::publish::udp::Way;
use crate::time::{Clock, Timestamp};

/// Waits between attempts to reopen a device that went away.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));
/// A line that takes nothing for this long is held up by its receiver: what waits is thrown away.
const STALL: Duration = Duration::from_millis(250);
/// The next group of frames is made when this many bytes are still to be sent.
const LEAD_BYTES: usize = 16;
/// Room for the frames of a whole group of persons, and then some.
const ROOM: usize = 16 << 10;

pub enum Link {
    Udp(Way),
    Serial(Line),
}

impl Link {
    /// Says whether a group of frames may begin.
    pub fn ready(&mut self) -> io::Result<()> {
        match self {
            Self::Udp(_) => Ok(()),
            Self::Serial(line) => line.ready(),
        }
    }

    /// Sends one frame.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(way) => way.send(frame),
            Self::Serial(line) => line.send(frame),
        }
    }

    pub fn busy_until(&self) -> Option<Timestamp> {
        match self {
            Self::Udp(_) => None,
            Self::Serial(line) => Some(line.busy_until()),
        }
    }
}

/// A serial line that is given no more than it can carry, as in `publish/serial`: what the driver
/// holds is sent, however old it is by then.
pub struct Line {
    target: SerialTarget,
    port: Option<Port>,
    /// Why it cannot be opened, and when it is tried again.
    trouble: io::ErrorKind,
    retry_at: Timestamp,
    backoff: Duration,
    /// When all that the driver was given has been sent, by the line's arithmetic.
    free_at: Timestamp,
    stuck_since: Option<Timestamp>,
    out: Vec<u8>,
    taken: usize,
    clock: Arc<dyn Clock>,
}

impl Line {
    /// Opens the device. One that is not there is no error: it is opened when it comes.
    pub fn open(target: SerialTarget, clock: Arc<dyn Clock>) -> Result<Self, PortError> {
        let now = clock.now();
        let (port, trouble) = match Port::open(&target) {
            Ok(port) => (Some(port), io::ErrorKind::NotFound),
            Err(e) if e.heals() => {
                log::warn!("{}: {e}; it is opened as soon as it can be", target.path);
                (None, io::Error::from(e).kind())
            }
            Err(e) => return Err(e),
        };
        if let Some(port) = &port
            && port.baud_differs_from(target.baud)
        {
            log::warn!("{}: {} baud asked for, {} set", target.path, target.baud, port.baud());
        }
        Ok(Self {
            target,
            port,
            trouble,
            retry_at: now,
            backoff: BACKOFF.0,
            free_at: now,
            stuck_since: None,
            out: Vec::with_capacity(ROOM),
            taken: 0,
            clock,
        })
    }

    fn lost(&mut self, cause: io::Error) -> io::Error {
        self.port = None;
        self.forget();
        self.trouble = cause.kind();
        // It may be back already, under the same name.
        self.retry_at = self.clock.now();
        self.backoff = BACKOFF.0;
        cause
    }

    fn forget(&mut self) {
        self.out.clear();
        self.taken = 0;
        self.stuck_since = None;
    }

    fn reopen(&mut self) -> io::Result<()> {
        if self.port.is_some() {
            return Ok(());
        }
        let now = self.clock.now();
        if now < self.retry_at {
            return Err(self.trouble.into());
        }
        match Port::open(&self.target) {
            Ok(port) => {
                self.port = Some(port);
                self.backoff = BACKOFF.0;
                self.free_at = now;
                self.forget();
                Ok(())
            }
            Err(e) => {
                self.retry_at = now + self.backoff;
                self.backoff = (2 * self.backoff).min(BACKOFF.1);
                let cause = io::Error::from(e);
                self.trouble = cause.kind();
                Err(cause)
            }
        }
    }

    fn ready(&mut self) -> io::Result<()> {
        self.reopen()?;
        self.push()?;
        let Some(port) = &self.port else { return Err(self.trouble.into()) };
        let behind = self.taken < self.out.len();
        match port.takes_more() {
            Ok(true) if !behind => {
                self.forget();
                return Ok(());
            }
            Ok(_) => {}
            Err(e) => return Err(self.lost(e)),
        }
        let now = self.clock.now();
        let since = *self.stuck_since.get_or_insert(now);
        if now.since(since) < STALL.max(4 * port.duration_of(self.out.len().max(256))) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // What is cut off fails its check value at the receiver.
        port.discard_output();
        self.forget();
        Ok(())
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.reopen()?;
        if self.taken == self.out.len() {
            self.out.clear();
            self.taken = 0;
        }
        if self.out.len() + frame.len() > ROOM {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.out.extend_from_slice(frame);
        self.push()
    }

    fn push(&mut self) -> io::Result<()> {
        let Some(port) = &self.port else { return Ok(()) };
        while let Some(rest) = self.out.get(self.taken..).filter(|r| !r.is_empty()) {
            match port.write(rest) {
                Ok(0) => break,
                Ok(n) => {
                    self.taken += n;
                    self.free_at = self.free_at.max(self.clock.now()) + port.duration_of(n);
                }
                Err(e) => return Err(self.lost(e)),
            }
        }
        Ok(())
    }

    fn busy_until(&self) -> Timestamp {
        match &self.port {
            None => self.retry_at,
            Some(port) if self.taken < self.out.len() || self.stuck_since.is_some() => {
                self.clock.now() + port.duration_of(64).max(Duration::from_millis(1))
            }
            Some(port) => self.free_at - port.duration_of(LEAD_BYTES),
        }
    }
}
