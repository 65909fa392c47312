//! Messages over a serial line (`docs/serial.md`): the newest pose, whatever the line's speed.
//!
//! A line is slower than memory. What is put into a driver's buffer is sent, however old it is by
//! then; so nothing is put there before the line is free: [`SerialPublisher`] adds up what the
//! bytes take at the real baud rate, and tells when it takes more
//! ([`Publisher::busy_until`]). A device that was unplugged is reopened by its path.

pub mod port;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::numbering::Numbering;
use super::{PublishError, PublishSettings, Publisher, unusable};
use crate::pose::{MAX_PERSONS, PoseFrame};
use crate::time::{Clock, Timestamp};
use crate::wire::{
    CompactPose, EncodeError, MAX_MESSAGE, MAX_SHORT_MESSAGE, Message, PoseMessage, PoseOptions,
    ShortHeader, Split, State, StatusMessage, cobs, encode, encode_compact,
};
use port::{Port, SerialTarget, line_time};

/// Waits between attempts to reopen a device that went away.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));
/// A line that takes nothing for this long is held up by its receiver: what waits is thrown away.
const STALL: Duration = Duration::from_millis(250);
/// The next message is made when this many bytes are still to be sent: the line never falls idle.
const LEAD_BYTES: usize = 16;
/// A status takes at most this part of the line's time.
const STATUS_SHARE: u32 = 4;

/// Sends messages over a serial line, as frames (`wire::cobs`).
pub struct SerialPublisher {
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
    /// A status is not sent before.
    status_at: Timestamp,
    /// What is being sent, and how much of it the driver has taken.
    out: Vec<u8>,
    taken: usize,
    numbering: Numbering,
    options: PoseOptions,
    clock: Arc<dyn Clock>,
    last_status: Option<StatusMessage>,
}

impl SerialPublisher {
    /// Opens the device. One that is not there is no error: it is opened when it comes.
    ///
    /// # Errors
    /// [`PublishError::Unusable`] if the URI is not understood or the device can never work so.
    pub fn open(uri: &str, settings: &PublishSettings) -> Result<Self, PublishError> {
        let target = SerialTarget::parse(uri).map_err(|problem| unusable(uri, problem))?;
        let now = settings.clock.now();
        // The largest group: sixteen persons, in whichever format.
        let compact = MAX_PERSONS * cobs::framed_len(MAX_SHORT_MESSAGE);
        let full = MAX_PERSONS * cobs::framed_len(MAX_MESSAGE);
        let mut publisher = Self {
            uri: uri.into(),
            options: PoseOptions {
                keypoints: target.keypoints,
                degraded: false,
                engine: settings.engine,
                precision: settings.precision,
            },
            out: Vec::with_capacity(1 + if target.full { full } else { compact }),
            target,
            port: None,
            trouble: io::ErrorKind::NotFound,
            retry_at: now,
            backoff: BACKOFF.0,
            free_at: now,
            stuck_since: None,
            status_at: now,
            taken: 0,
            numbering: Numbering::new(settings),
            clock: settings.clock.clone(),
            last_status: None,
        };
        match Port::open(&publisher.target) {
            Ok(port) => publisher.begin(port),
            Err(e) if e.heals() => {
                log::warn!("publisher {uri}: {e}; it is opened as soon as it can be");
            }
            Err(e) => return Err(unusable(uri, e.to_string())),
        }
        Ok(publisher)
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
        let person = cobs::framed_len(crate::wire::COMPACT_MESSAGE);
        log::info!(
            "publisher {}: {real} baud carry {:.0} compact poses a second",
            self.uri,
            1.0 / line_time(person, real).as_secs_f64()
        );
        self.port = Some(port);
        self.backoff = BACKOFF.0;
        self.stuck_since = None;
        self.free_at = self.clock.now();
        // A reader that joined in the middle of something is in step behind this.
        self.out.clear();
        self.taken = 0;
        self.out.push(0);
    }

    fn not_sent(&self, cause: io::Error) -> PublishError {
        PublishError::NotSent { uri: self.uri.clone(), cause }
    }

    /// Opens the device again, if it is time to.
    fn reopen(&mut self) -> Result<(), PublishError> {
        if self.port.is_some() {
            return Ok(());
        }
        let now = self.clock.now();
        if now < self.retry_at {
            return Err(self.not_sent(self.trouble.into()));
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
                Err(self.not_sent(cause))
            }
        }
    }

    /// The device went away.
    fn lost(&mut self, cause: io::Error) -> PublishError {
        self.port = None;
        self.trouble = cause.kind();
        // It may be back already, under the same name.
        self.retry_at = self.clock.now();
        self.backoff = BACKOFF.0;
        self.not_sent(cause)
    }

    /// Makes room for a new group of messages: what the driver has not taken goes first, or is
    /// thrown away if the line has been stuck for too long.
    fn make_room(&mut self) -> Result<(), PublishError> {
        self.reopen()?;
        self.push()?;
        let Some(port) = &self.port else { return Ok(()) };
        let behind = self.taken < self.out.len();
        let takes_more = match port.takes_more() {
            Ok(takes_more) => takes_more && !behind,
            Err(e) => return Err(self.lost(e)),
        };
        if takes_more {
            self.stuck_since = None;
            self.out.clear();
            self.taken = 0;
            return Ok(());
        }
        let now = self.clock.now();
        let since = *self.stuck_since.get_or_insert(now);
        let patience = STALL.max(4 * port.duration_of(self.out.len().max(256)));
        if now.since(since) < patience {
            self.look_again_later();
            return Err(self.not_sent(io::ErrorKind::WouldBlock.into()));
        }
        port.discard_output();
        self.stuck_since = None;
        self.taken = 0;
        self.out.clear();
        // What was cut off ends here; the reader's check value tells it that it was.
        self.out.push(0);
        Ok(())
    }

    /// Appends the frame of a message to what is to be sent.
    fn append(&mut self, message: &[u8]) {
        let begin = self.out.len();
        self.out.resize(begin + cobs::framed_len(message.len()), 0);
        let len = cobs::encode(message, self.out.get_mut(begin..).unwrap_or_default());
        self.out.truncate(begin + len.unwrap_or(0));
    }

    /// Gives the driver what it takes of what is to be sent.
    fn push(&mut self) -> Result<(), PublishError> {
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
        let baud = self.port.as_ref().map_or(self.target.baud, Port::baud);
        let a_little = line_time(64, baud).max(Duration::from_millis(1));
        self.free_at = self.free_at.max(self.clock.now() + a_little);
    }

    fn append_poses(&mut self, message: &PoseMessage) -> Result<(), EncodeError> {
        if self.target.full {
            let mut split = Split::new(message);
            let mut buffer = [0; MAX_MESSAGE];
            for _ in 0..split.parts() {
                if let Some(part) = split.next(&self.numbering.next(), &mut buffer)? {
                    self.append(part);
                }
            }
            return Ok(());
        }
        let mut buffer = [0; MAX_SHORT_MESSAGE];
        for index in 0..CompactPose::count(message) {
            let header = self.numbering.next();
            let pose = CompactPose::new(message, index, header.sent_us);
            let len = encode_compact(ShortHeader::from(&header), &pose, &mut buffer)?;
            self.append(&buffer[..len]);
        }
        Ok(())
    }

    fn send_status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        self.make_room()?;
        let mut buffer = [0; MAX_MESSAGE];
        let message = Message::Status(status.clone());
        let len = encode(&self.numbering.next(), &message, &mut buffer)
            .map_err(|e| self.not_sent(io::Error::new(io::ErrorKind::InvalidData, e)))?;
        self.append(&buffer[..len]);
        let baud = self.port.as_ref().map_or(self.target.baud, Port::baud);
        self.status_at = self.clock.now() + STATUS_SHARE * line_time(cobs::framed_len(len), baud);
        self.push()
    }
}

impl Publisher for SerialPublisher {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        self.make_room()?;
        let message = PoseMessage::from_frame(frame, &self.options);
        self.append_poses(&message)
            .map_err(|e| self.not_sent(io::Error::new(io::ErrorKind::InvalidData, e)))?;
        self.push()
    }

    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        self.options.degraded = matches!(status.state, State::Degraded | State::Failed);
        self.last_status = Some(status.clone());
        if self.clock.now() < self.status_at {
            // A line this slow has better things to carry.
            return Ok(());
        }
        self.send_status(status)
    }

    fn finish(&mut self) -> Result<(), PublishError> {
        let Some(status) = self.last_status.take() else { return Ok(()) };
        self.send_status(&StatusMessage { state: State::Stopping, ..status })
    }

    fn busy_until(&self) -> Option<Timestamp> {
        Some(match &self.port {
            None => self.retry_at,
            Some(port) => self.free_at - port.duration_of(LEAD_BYTES),
        })
    }

    fn describe(&self) -> &str {
        &self.uri
    }
}
