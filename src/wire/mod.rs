//! Packets to bytes and back: pure functions, no I/O.
//!
//! The format is specified in `docs/wire.md`, so that others can implement it without reading
//! this; the names of fields are the same in both. One datagram is a [`Header`], one [`Message`]
//! and a CRC-32C.
//!
//! - Sending: [`PoseMessage::from_frame`], then [`Split`] gives its datagrams one by one into the
//!   caller's buffer, without allocating. [`encode`] does any single message.
//! - Receiving: [`decode`] turns any bytes into a message or a named [`WireError`].
//! - Slow lines: [`CompactPose`] is a person in 128 bytes behind a header of 6; [`cobs`] makes
//!   frames of messages on a line and finds them again. [`decode_packet`] reads either header.
//! - Over many datagrams: [`Sequencer`] counts what was lost, late or doubled, [`Assembler`] puts
//!   the parts of a frame together.
//! - [`auth`] signs datagrams with a shared key and verifies them.
//! - [`json`] is the same content as one line of JSON.

pub mod auth;
mod bytes;
pub mod cobs;
mod compact;
mod header;
pub mod json;
pub mod mavlink;
mod pose;
mod status;
mod stream;

#[cfg(test)]
pub(crate) mod any;
#[cfg(test)]
mod compact_tests;
#[cfg(test)]
mod golden;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;

pub use compact::{
    COMPACT_MESSAGE, COMPACT_PERSON, CompactBody, CompactPerson, CompactPose, MAX_SHORT_MESSAGE,
    SHORT_MAGIC, ShortDatagram, ShortHeader, ShortMessage, decode_short, encode_compact,
};
pub use header::{ClockState, Header};
pub use pose::{
    EngineId, Joints3d, Keypoints, MAX_RECORDS, PersonRecord, PoseMessage, PoseOptions,
    PrecisionId, Share, Split,
};
pub use status::{FaultRecord, MAX_FAULTS, State, StatusMessage};
pub use stream::{Arrival, Assembler, Sequencer, Tally};

use bytes::{Reader, Writer};

/// The first four bytes of every datagram.
pub const MAGIC: [u8; 4] = *b"PWIR";
/// The version whose change makes older readers refuse.
pub const MAJOR: u8 = 1;
/// The version whose change adds what older readers skip.
pub const MINOR: u8 = 0;

/// The most bytes that a message takes, CRC included. With [`MAX_TRAILER`] behind it, it fits
/// into one Ethernet frame under IPv6 (1,500 - 40 - 8 = 1,452) and IPv4 (1,472).
pub const MAX_MESSAGE: usize = 1_420;
/// Bytes that may follow a message in its datagram: [`auth`] signs there.
pub const MAX_TRAILER: usize = 32;

static CRC32C: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, _>::new(&crc::CRC_32_ISCSI);

const CRC_LEN: usize = 4;

/// One datagram's content.
#[derive(Clone, Debug, PartialEq)]
pub struct Datagram {
    /// Who sent it, when, and which in the row it is.
    pub header: Header,
    /// What it says.
    pub message: Message,
}

/// What a datagram says.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "poses are the rule; boxing them would allocate")]
pub enum Message {
    /// The persons of a frame, or some of them: type 1.
    Pose(PoseMessage),
    /// How the sender is: type 2.
    Status(StatusMessage),
    /// A type that this version does not know; its CRC was right, its header counts.
    Unknown {
        /// The type.
        kind: u8,
    },
}

impl Message {
    /// The number of the type on the wire.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Pose(_) => POSE,
            Self::Status(_) => STATUS,
            Self::Unknown { kind } => *kind,
        }
    }
}

const POSE: u8 = 1;
const STATUS: u8 = 2;

/// A message behind either header.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "boxing them would allocate")]
pub enum Packet {
    /// With the header of 40 bytes.
    Full(Datagram),
    /// With the header of 6 bytes.
    Short(ShortDatagram),
}

/// Why bytes are not a message. A receiver drops the datagram and counts it by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WireError {
    /// It does not begin with [`MAGIC`]: something else is sent to this port.
    #[error("not a posewire datagram (it does not begin with PWIR)")]
    NotPosewire,
    /// Another major version: this reader must be updated, or the sender.
    #[error("wire format {major} is not the {MAJOR} that this program reads: update the older one")]
    Version {
        /// Its major version.
        major: u8,
    },
    /// It ends before the length that it states.
    #[error("cut short: {have} bytes of {stated}")]
    Truncated {
        /// Bytes present.
        have: usize,
        /// Bytes stated, or the least that there can be.
        stated: usize,
    },
    /// The check value does not fit the bytes: damaged on the way.
    #[error("damaged: its CRC-32C is wrong")]
    Crc,
    /// A part ends before its last required field.
    #[error("the {what} is shorter than its fields")]
    TooShort {
        /// Which part.
        what: &'static str,
    },
    /// A number is infinite or not a number.
    #[error("the {what} holds a number that is not finite")]
    NotFinite {
        /// Which part.
        what: &'static str,
    },
    /// A field holds a value that the specification excludes.
    #[error("{what} has a value that is not allowed")]
    BadValue {
        /// Which field.
        what: &'static str,
    },
    /// A skeleton that this version does not know.
    #[error("skeleton {id} with {joints} joints is not known here: update this program")]
    UnknownSkeleton {
        /// Its wire identifier.
        id: u8,
        /// Its joints.
        joints: u8,
    },
}

impl WireError {
    /// A short name for statistics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotPosewire => "not-posewire",
            Self::Version { .. } => "version",
            Self::Truncated { .. } => "truncated",
            Self::Crc => "crc",
            Self::TooShort { .. } => "too-short",
            Self::NotFinite { .. } => "not-finite",
            Self::BadValue { .. } => "bad-value",
            Self::UnknownSkeleton { .. } => "unknown-skeleton",
        }
    }
}

/// Why a message cannot be put into bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It does not fit into [`MAX_MESSAGE`] or the given buffer: [`Split`] it.
    #[error("the message needs {needed} bytes of {room}")]
    TooLong {
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        room: usize,
    },
    /// A coordinate is infinite or not a number.
    #[error("the message holds a coordinate that is not finite")]
    NotFinite,
    /// A field holds a value that the specification excludes.
    #[error("{what} has a value that is not allowed")]
    BadValue {
        /// Which field.
        what: &'static str,
    },
    /// [`Message::Unknown`] has no bytes.
    #[error("message type {kind} is not known here")]
    UnknownMessage {
        /// The type.
        kind: u8,
    },
}

/// Writes one datagram to the start of `buffer` and returns its length.
///
/// # Errors
/// If the message is too long, holds a number that is not finite or a value that no reader would
/// accept, or is of unknown type.
pub fn encode(header: &Header, message: &Message, buffer: &mut [u8]) -> Result<usize, EncodeError> {
    match message {
        Message::Pose(pose) => {
            pose.check()?;
            seal(header, POSE, buffer, |w| pose.write(w))
        }
        Message::Status(status) => {
            status.check()?;
            seal(header, STATUS, buffer, |w| status.write(w))
        }
        Message::Unknown { kind } => Err(EncodeError::UnknownMessage { kind: *kind }),
    }
}

/// Writes header, body and CRC.
fn seal(
    header: &Header,
    kind: u8,
    buffer: &mut [u8],
    body: impl FnOnce(&mut Writer<'_>),
) -> Result<usize, EncodeError> {
    let room = buffer.len().min(MAX_MESSAGE);
    let mut w = Writer::new(buffer.get_mut(..room).unwrap_or_default());
    header.write(kind, &mut w);
    body(&mut w);
    let needed = w.len() + CRC_LEN;
    if needed > room {
        return Err(EncodeError::TooLong { needed, room });
    }
    w.patch_u16(header::LENGTH_AT, needed as u16);
    let crc = CRC32C.checksum(w.written().unwrap_or_default());
    w.u32(crc);
    Ok(needed)
}

/// Reads one datagram. Bytes behind the message (a trailer) are ignored.
///
/// # Errors
/// Names what is wrong; the datagram is to be dropped.
pub fn decode(datagram: &[u8]) -> Result<Datagram, WireError> {
    let (message, header_len) = frame(datagram)?;
    let mut reader = Reader::new(message, "header");
    let mut head = Reader::new(reader.take(header_len)?, "header");
    let (kind, header) = Header::read(&mut head)?;
    let message = match kind {
        POSE => Message::Pose(PoseMessage::read(&mut reader)?),
        STATUS => Message::Status(StatusMessage::read(&mut reader)?),
        kind => Message::Unknown { kind },
    };
    Ok(Datagram { header, message })
}

/// Reads one message with either header: what a line's frame holds.
///
/// # Errors
/// Names what is wrong; the message is to be dropped.
pub fn decode_packet(bytes: &[u8]) -> Result<Packet, WireError> {
    if bytes.first() == Some(&SHORT_MAGIC) {
        decode_short(bytes).map(Packet::Short)
    } else {
        decode(bytes).map(Packet::Full)
    }
}

/// Checks magic, version, length and CRC; returns the message without its CRC, and the header's
/// length.
fn frame(datagram: &[u8]) -> Result<(&[u8], usize), WireError> {
    let have = datagram.len();
    let shared = have.min(MAGIC.len());
    if datagram[..shared] != MAGIC[..shared] || have == 0 {
        return Err(WireError::NotPosewire);
    }
    let least = header::LEN + CRC_LEN;
    let mut r = Reader::new(datagram, "header");
    let cut = |_| WireError::Truncated { have, stated: least };
    r.take(MAGIC.len()).map_err(cut)?;
    let major = r.u8().map_err(cut)?;
    // The version comes before everything else: another one may have moved all the rest.
    if major != MAJOR {
        return Err(WireError::Version { major });
    }
    let (_minor, _kind) = (r.u8().map_err(cut)?, r.u8().map_err(cut)?);
    let header_len = usize::from(r.u8().map_err(cut)?);
    let stated = usize::from(r.u16().map_err(cut)?);
    if have < stated.max(least) {
        return Err(WireError::Truncated { have, stated: stated.max(least) });
    }
    let body_end = stated.checked_sub(CRC_LEN).ok_or(WireError::TooShort { what: "message" })?;
    let mut r = Reader::new(datagram, "message");
    let message = r.take(body_end)?;
    if r.u32()? != CRC32C.checksum(message) {
        return Err(WireError::Crc);
    }
    if header_len < header::LEN || header_len > body_end {
        return Err(WireError::TooShort { what: "header" });
    }
    Ok((message, header_len))
}
