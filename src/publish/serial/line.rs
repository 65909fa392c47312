//! A serial line that is given no more than it can carry, and that heals by itself.
//!
//! What a driver holds is sent, however old it is by then; so nothing is put there before the line
//! is free: [`Line`] adds up what the bytes take at the real baud rate. A device that was unplugged
//! is reopened by its path.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::port::{Port, SerialTarget, line_time};
use crate::publish::{PublishError, unusable};
use crate::time::{Clock, Timestamp};

/// Waits between attempts to reopen a device that went away.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));
/// A line that takes nothing for this long is held up by its receiver: what waits is thrown away.
const STALL: Duration = Duration::from_millis(250);
/// The next message is made when this many bytes are still to be sent: the line never falls idle.
const LEAD_BYTES: usize = 16;

/// An open device, or one that is being waited for.
pub struct Line {
    /// For the log.
    uri: Arc<str>,
    target: SerialTarget,
    port: Option<Port>,
    /// What was wrong when the port was opened last, and when to try again, how long later.
    trouble: io::ErrorKind,
    retry_at: Timestamp,
    backoff: Duration,
    /// When all that the driver was given has been sent, by the line's arithmetic.
    free_at: Timestamp,
    /// Since when the driver takes nothing.
    stuck_since: Option<Timestamp>,
    /// What puts a reader in step that joined, or was left, in the middle of something.
    resync: &'static [u8],
    /// What is being sent, how much of it the driver has taken, and how much it may be.
    out: Vec<u8>,
    taken: usize,
    room: usize,
    clock: Arc<dyn Clock>,
}

impl Line {
    /// Opens the device. One that is not there is no error: it is opened when it comes. At most
    /// `room` bytes wait to be sent.
    ///
    /// # Errors
    /// [`PublishError::Unusable`] if the device can never work so.
    pub fn open(
        uri: &str,
        target: SerialTarget,
        clock: Arc<dyn Clock>,
        room: usize,
        resync: &'static [u8],
    ) -> Result<Self, PublishError> {
        let now = clock.now();
        let mut line = Self {
            uri: uri.into(),
            target,
            port: None,
            trouble: io::ErrorKind::NotFound,
            retry_at: now,
            backoff: BACKOFF.0,
            free_at: now,
            stuck_since: None,
            resync,
            out: Vec::with_capacity(resync.len() + room),
            taken: 0,
            room: resync.len() + room,
            clock,
        };
        match Port::open(&line.target) {
            Ok(port) => line.begin(port),
            Err(e) if e.heals() => {
                log::warn!("publisher {uri}: {e}; it is opened as soon as it can be");
                line.trouble = io::Error::from(e).kind();
            }
            Err(e) => return Err(unusable(uri, e.to_string())),
        }
        Ok(line)
    }

    /// A device was opened.
    fn begin(&mut self, port: Port) {
        let (asked, real) = (self.target.baud, port.baud());
        if port.baud_differs_from(asked) {
            log::warn!(
                "publisher {}: {asked} baud were asked for, the device runs at {real}: set the \
                 receiver to {real}, or use a device that can do {asked}",
                self.uri
            );
        }
        self.port = Some(port);
        self.backoff = BACKOFF.0;
        self.free_at = self.clock.now();
        self.begin_anew();
    }

    /// Forgets what was to be sent. If it was cut off, its check value tells that to the reader.
    fn begin_anew(&mut self) {
        self.stuck_since = None;
        self.taken = 0;
        self.out.clear();
        self.out.extend_from_slice(self.resync);
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
                self.begin(port);
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

    /// The device went away.
    fn lost(&mut self, cause: io::Error) -> io::Error {
        self.port = None;
        self.trouble = cause.kind();
        // It may be back already, under the same name.
        self.retry_at = self.clock.now();
        self.backoff = BACKOFF.0;
        cause
    }

    /// Makes way for a new group of messages: what the driver has not taken goes first, or is
    /// thrown away if the line has been stuck for too long.
    ///
    /// # Errors
    /// If the device is away, or takes nothing for the moment (`WouldBlock`).
    pub fn make_room(&mut self) -> io::Result<()> {
        self.push()?;
        let Some(port) = &self.port else { return Ok(()) };
        let behind = self.taken < self.out.len();
        let takes_more = match port.takes_more() {
            Ok(takes_more) => takes_more && !behind,
            Err(e) => return Err(self.lost(e)),
        };
        if takes_more {
            self.stuck_since = None;
            return Ok(());
        }
        let now = self.clock.now();
        let since = *self.stuck_since.get_or_insert(now);
        let patience = STALL.max(4 * port.duration_of(self.out.len().max(256)));
        if now.since(since) < patience {
            self.look_again_later();
            return Err(io::ErrorKind::WouldBlock.into());
        }
        port.discard_output();
        self.begin_anew();
        Ok(())
    }

    /// Appends to what is to be sent; [`push`](Self::push) sends it.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room: then nothing of it is sent.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.taken == self.out.len() {
            self.taken = 0;
            self.out.clear();
        }
        if self.out.len() + bytes.len() > self.room {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// Gives the driver what it takes of what is to be sent, opening it again if it is time to.
    ///
    /// # Errors
    /// If the device is away.
    pub fn push(&mut self) -> io::Result<()> {
        self.reopen()?;
        let Some(port) = &self.port else { return Ok(()) };
        while let Some(rest) = self.out.get(self.taken..).filter(|r| !r.is_empty()) {
            match port.write(rest) {
                Ok(0) => {
                    self.look_again_later();
                    break;
                }
                Ok(n) => {
                    self.taken += n;
                    self.free_at = self.free_at.max(self.clock.now()) + port.duration_of(n);
                }
                Err(e) => return Err(self.lost(e)),
            }
        }
        Ok(())
    }

    /// The driver is full, whatever the line's arithmetic says.
    fn look_again_later(&mut self) {
        let a_little = self.duration_of(64).max(Duration::from_millis(1));
        self.free_at = self.free_at.max(self.clock.now() + a_little);
    }

    /// Bits per second: the device's own, or those that were asked for while it is away.
    pub fn baud(&self) -> u32 {
        self.port.as_ref().map_or(self.target.baud, Port::baud)
    }

    /// How long `bytes` take on the line.
    pub fn duration_of(&self, bytes: usize) -> Duration {
        line_time(bytes, self.baud())
    }

    /// When the next group of messages may begin.
    pub fn busy_until(&self) -> Timestamp {
        match &self.port {
            None => self.retry_at,
            Some(port) => self.free_at - port.duration_of(LEAD_BYTES),
        }
    }
}
