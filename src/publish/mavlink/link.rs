//! What MAVLink frames leave through: a socket or a serial line.

use std::io;

use crate::publish::serial::line::Line;
use crate::publish::udp::Way;
use crate::time::Timestamp;

/// Room for the frames of a whole group of persons, and then some.
pub const ROOM: usize = 16 << 10;

pub enum Link {
    Udp(Way),
    Serial(Line),
}

impl Link {
    /// Says whether a group of frames may begin.
    pub fn ready(&mut self) -> io::Result<()> {
        match self {
            Self::Udp(_) => Ok(()),
            Self::Serial(line) => line.make_room(),
        }
    }

    /// Sends one frame.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(way) => way.send(frame),
            Self::Serial(line) => {
                // A device that has come back begins with what is put there now.
                line.push()?;
                line.put(frame)?;
                line.push()
            }
        }
    }

    pub fn busy_until(&self) -> Option<Timestamp> {
        match self {
            Self::Udp(_) => None,
            Self::Serial(line) => Some(line.busy_until()),
        }
    }
}
