//! Messages over a serial line (`docs/serial.md`): the newest pose, whatever the line's speed.
//!
//! A line is slower than memory: `line::Line` says when it takes more
//! ([`Publisher::busy_until`]), and only then is the next message made.

pub(super) mod line;
pub mod port;

use std::io;
use std::sync::Arc;

use super::numbering::Numbering;
use super::{PublishError, PublishSettings, Publisher, unusable};
use crate::pose::{MAX_PERSONS, PoseFrame};
use crate::time::{Clock, Timestamp};
use crate::wire::{
    CompactPose, EncodeError, MAX_MESSAGE, MAX_SHORT_MESSAGE, Message, PoseMessage, PoseOptions,
    ShortHeader, Split, State, StatusMessage, cobs, encode, encode_compact,
};
use line::Line;
use port::SerialTarget;

/// A status takes at most this part of the line's time.
const STATUS_SHARE: u32 = 4;
/// A frame ends with a zero: a reader that joined in the middle of something is in step behind it.
const RESYNC: &[u8] = &[0];

/// Sends messages over a serial line, as frames (`wire::cobs`).
pub struct SerialPublisher {
    uri: Arc<str>,
    line: Line,
    /// Send full messages instead of compact poses.
    full: bool,
    /// A status is not sent before.
    status_at: Timestamp,
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
        let options = PoseOptions {
            keypoints: target.keypoints,
            degraded: false,
            engine: settings.engine,
            precision: settings.precision,
        };
        let full = target.full;
        // The largest group: sixteen persons, in whichever format.
        let largest = if full { MAX_MESSAGE } else { MAX_SHORT_MESSAGE };
        let room = MAX_PERSONS * cobs::framed_len(largest);
        let line = Line::open(uri, target, settings.clock.clone(), room, RESYNC)?;
        let person = cobs::framed_len(crate::wire::COMPACT_MESSAGE);
        log::info!(
            "publisher {uri}: {} baud carry {:.0} compact poses a second",
            line.baud(),
            1.0 / line.duration_of(person).as_secs_f64()
        );
        Ok(Self {
            uri: uri.into(),
            line,
            full,
            status_at: settings.clock.now(),
            numbering: Numbering::new(settings),
            options,
            clock: settings.clock.clone(),
            last_status: None,
        })
    }

    fn not_sent(&self, cause: io::Error) -> PublishError {
        PublishError::NotSent { uri: self.uri.clone(), cause }
    }

    fn append_poses(&mut self, message: &PoseMessage) -> io::Result<()> {
        if self.full {
            let mut split = Split::new(message);
            let mut buffer = [0; MAX_MESSAGE];
            for _ in 0..split.parts() {
                let part = split.next(&self.numbering.next(), &mut buffer).map_err(unencodable)?;
                if let Some(part) = part {
                    append(&mut self.line, part)?;
                }
            }
            return Ok(());
        }
        let mut buffer = [0; MAX_SHORT_MESSAGE];
        for index in 0..CompactPose::count(message) {
            let header = self.numbering.next();
            let pose = CompactPose::new(message, index, header.sent_us);
            let len = encode_compact(ShortHeader::from(&header), &pose, &mut buffer)
                .map_err(unencodable)?;
            append(&mut self.line, &buffer[..len])?;
        }
        Ok(())
    }

    fn send_poses(&mut self, frame: &PoseFrame) -> io::Result<()> {
        self.line.make_room()?;
        let message = PoseMessage::from_frame(frame, &self.options);
        self.append_poses(&message)?;
        self.line.push()
    }

    fn send_status(&mut self, status: &StatusMessage) -> io::Result<()> {
        self.line.make_room()?;
        let mut buffer = [0; MAX_MESSAGE];
        let message = Message::Status(status.clone());
        let len = encode(&self.numbering.next(), &message, &mut buffer).map_err(unencodable)?;
        append(&mut self.line, &buffer[..len])?;
        let takes = self.line.duration_of(cobs::framed_len(len));
        self.status_at = self.clock.now() + STATUS_SHARE * takes;
        self.line.push()
    }
}

/// Appends the frame of a message to what is to be sent.
fn append(line: &mut Line, message: &[u8]) -> io::Result<()> {
    let mut frame = [0; cobs::framed_len(MAX_MESSAGE)];
    let len = cobs::encode(message, &mut frame).unwrap_or(0);
    line.put(&frame[..len])
}

fn unencodable(error: EncodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Publisher for SerialPublisher {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        self.send_poses(frame).map_err(|e| self.not_sent(e))
    }

    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        self.options.degraded = matches!(status.state, State::Degraded | State::Failed);
        self.last_status = Some(status.clone());
        if self.clock.now() < self.status_at {
            // A line this slow has better things to carry.
            return Ok(());
        }
        self.send_status(status).map_err(|e| self.not_sent(e))
    }

    fn finish(&mut self) -> Result<(), PublishError> {
        let Some(status) = self.last_status.take() else { return Ok(()) };
        self.send_status(&StatusMessage { state: State::Stopping, ..status })
            .map_err(|e| self.not_sent(e))
    }

    fn busy_until(&self) -> Option<Timestamp> {
        Some(self.line.busy_until())
    }

    fn describe(&self) -> &str {
        &self.uri
    }
}
