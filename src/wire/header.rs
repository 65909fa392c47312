//! What every datagram begins with.

use super::bytes::{Reader, Writer};
use super::{MAGIC, MAJOR, MINOR, WireError};

/// Bytes of the header in this minor version.
pub(super) const LEN: usize = 40;
/// Where the message's length stands.
pub(super) const LENGTH_AT: usize = 8;

/// How the sender's realtime clock is disciplined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockState {
    /// The sender does not know.
    #[default]
    Unknown,
    /// Nothing disciplines it: comparing it with another machine's clock means nothing.
    Free,
    /// NTP: good to some milliseconds.
    Ntp,
    /// PTP: good to some microseconds.
    Ptp,
}

impl ClockState {
    /// Lower-case, for text and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Free => "free",
            Self::Ntp => "ntp",
            Self::Ptp => "ptp",
        }
    }

    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Free,
            2 => Self::Ntp,
            3 => Self::Ptp,
            _ => Self::Unknown,
        }
    }
}

/// Who sent a datagram, when, and which in the row it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Drawn at random whenever the packet numbers start anew: another value is a restarted
    /// sender, or another one.
    pub session: u64,
    /// Counts this session's datagrams of every type, from 0, wrapping: a gap is a loss.
    pub packet: u32,
    /// When it was sent: microseconds of the sender's monotonic clock.
    pub sent_us: i64,
    /// Microseconds to add to a monotonic stamp of this sender to get Unix time.
    pub realtime_offset_us: i64,
    /// What that Unix time is worth.
    pub clock: ClockState,
}

impl Header {
    pub(super) fn write(&self, kind: u8, w: &mut Writer<'_>) {
        w.put(&MAGIC);
        w.u8(MAJOR);
        w.u8(MINOR);
        w.u8(kind);
        w.u8(LEN as u8);
        w.u16(0); // the length, patched when it is known
        w.u8(self.clock as u8);
        w.u8(0);
        w.u32(self.packet);
        w.u64(self.session);
        w.i64(self.sent_us);
        w.i64(self.realtime_offset_us);
    }

    /// From a reader over exactly the header's bytes, whose magic and version were checked.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<(u8, Self), WireError> {
        r.take(6)?; // magic, major, minor
        let kind = r.u8()?;
        r.take(3)?; // the header's and the message's length
        let clock = ClockState::from_byte(r.u8()?);
        r.u8()?;
        let (packet, session) = (r.u32()?, r.u64()?);
        let (sent_us, realtime_offset_us) = (r.i64()?, r.i64()?);
        Ok((kind, Self { session, packet, sent_us, realtime_offset_us, clock }))
    }

    /// The packet number of the first datagram of a group whose part `part` this is.
    pub const fn group(&self, part: u8) -> u32 {
        self.packet.wrapping_sub(part as u32)
    }
}
