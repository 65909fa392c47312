//! One person's pose in the payload of a TUNNEL message (`docs/mavlink.md`).

use crate::skeleton::JOINTS;
use crate::wire::Share;
use crate::wire::bytes::{Reader, Writer};
use crate::wire::{PersonRecord, PoseMessage, WireError};

/// Bytes of the payload.
pub const PAYLOAD: usize = 128;
/// `payload_type` of joints; private types are above 32767.
pub const JOINTS_TYPE: u16 = 43_500;
/// `payload_type` of a root.
pub const ROOT_TYPE: u16 = 43_501;
/// Bytes of a root's payload.
pub const ROOT_PAYLOAD: usize = HEADER + 12;

const HEADER: usize = 9;
const VERSION: u8 = 1;
const PREDICTED: u8 = 1 << 0;
const DEGRADED: u8 = 1 << 1;
const MEDIA_TIME: u8 = 1 << 2;
const HAS_ROOT: u8 = 1 << 3;

/// What both payloads begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelHeader {
    /// No detection supports this frame.
    pub predicted: bool,
    /// The sender works with less than it was configured for.
    pub degraded: bool,
    /// `describes_ms` is on a recording's clock.
    pub media_time: bool,
    /// A root follows, in a message of its own.
    pub has_root: bool,
    /// Which camera.
    pub camera: u8,
    /// The last 16 bits of the track number.
    pub track: u16,
    /// The last 8 bits of the frame number.
    pub frame: u8,
    /// The moment that the pose describes: milliseconds, modulo 2^32.
    pub describes_ms: u32,
}

/// The joints of one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelPose {
    /// Whose.
    pub header: TunnelHeader,
    /// Human3.6M-17, millimetres in the camera's axes, relative to the pelvis.
    pub joints: [[i16; 3]; JOINTS],
    /// Per joint.
    pub confidence: [Share; JOINTS],
}

/// Where one person's pelvis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelRoot {
    /// Whose.
    pub header: TunnelHeader,
    /// Millimetres in the camera frame.
    pub root: [i32; 3],
}

impl TunnelHeader {
    fn new(message: &PoseMessage, person: &PersonRecord) -> Self {
        Self {
            predicted: person.predicted,
            degraded: message.degraded,
            media_time: message.media_time,
            has_root: person.root.is_some(),
            camera: message.camera,
            track: person.track as u16,
            frame: message.sequence as u8,
            describes_ms: person.describes_us.div_euclid(1_000) as u32,
        }
    }

    fn write(&self, w: &mut Writer<'_>) {
        let flags = [
            (self.predicted, PREDICTED),
            (self.degraded, DEGRADED),
            (self.media_time, MEDIA_TIME),
            (self.has_root, HAS_ROOT),
        ];
        let set: u8 = flags.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum();
        w.u8(VERSION << 4 | set);
        w.u8(self.camera);
        w.u16(self.track);
        w.u8(self.frame);
        w.u32(self.describes_ms);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let first = r.u8()?;
        if first >> 4 != VERSION {
            return Err(WireError::Version { major: first >> 4 });
        }
        Ok(Self {
            predicted: first & PREDICTED != 0,
            degraded: first & DEGRADED != 0,
            media_time: first & MEDIA_TIME != 0,
            has_root: first & HAS_ROOT != 0,
            camera: r.u8()?,
            track: r.u16()?,
            frame: r.u8()?,
            describes_ms: r.u32()?,
        })
    }
}

fn millimetres(metres: f32) -> f32 {
    (metres * 1e3).round()
}

impl TunnelPose {
    /// One person of a message; `None` without joints. What is farther than 32 m from its own
    /// pelvis is cut to that.
    pub fn new(message: &PoseMessage, person: &PersonRecord) -> Option<Self> {
        let joints = person.joints.as_ref()?;
        Some(Self {
            header: TunnelHeader::new(message, person),
            // `as` saturates.
            joints: joints.xyz.map(|joint| joint.map(|v| millimetres(v) as i16)),
            confidence: joints.confidence,
        })
    }

    /// The payload.
    pub fn encode(&self) -> [u8; PAYLOAD] {
        let mut payload = [0; PAYLOAD];
        let mut w = Writer::new(&mut payload);
        self.header.write(&mut w);
        for joint in self.joints {
            for coordinate in joint {
                w.u16(coordinate.cast_unsigned());
            }
        }
        w.put(&self.confidence.map(Share::byte));
        payload
    }

    /// Reads a payload of type [`JOINTS_TYPE`].
    ///
    /// # Errors
    /// If it is too short or of another version.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(payload, "tunnel pose");
        let header = TunnelHeader::read(&mut r)?;
        let mut joints = [[0; 3]; JOINTS];
        for coordinate in joints.as_flattened_mut() {
            *coordinate = r.u16()?.cast_signed();
        }
        let mut confidence = [Share::UNKNOWN; JOINTS];
        for share in &mut confidence {
            *share = Share::from_byte(r.u8()?);
        }
        Ok(Self { header, joints, confidence })
    }
}

impl TunnelRoot {
    /// One person of a message; `None` without root.
    pub fn new(message: &PoseMessage, person: &PersonRecord) -> Option<Self> {
        let root = person.root?;
        Some(Self {
            header: TunnelHeader::new(message, person),
            root: root.map(|v| millimetres(v) as i32),
        })
    }

    /// The payload, of which the first [`ROOT_PAYLOAD`] bytes count.
    pub fn encode(&self) -> [u8; PAYLOAD] {
        let mut payload = [0; PAYLOAD];
        let mut w = Writer::new(&mut payload);
        self.header.write(&mut w);
        for coordinate in self.root {
            w.u32(coordinate.cast_unsigned());
        }
        payload
    }

    /// Reads a payload of type [`ROOT_TYPE`].
    ///
    /// # Errors
    /// If it is too short or of another version.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(payload, "tunnel root");
        let header = TunnelHeader::read(&mut r)?;
        let mut root = [0; 3];
        for coordinate in &mut root {
            *coordinate = r.u32()?.cast_signed();
        }
        Ok(Self { header, root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn any_header() -> impl Strategy<Value = TunnelHeader> {
        (any::<[bool; 4]>(), any::<(u8, u16, u8, u32)>()).prop_map(|(flags, rest)| TunnelHeader {
            predicted: flags[0],
            degraded: flags[1],
            media_time: flags[2],
            has_root: flags[3],
            camera: rest.0,
            track: rest.1,
            frame: rest.2,
            describes_ms: rest.3,
        })
    }

    proptest! {
        #[test]
        fn any_pose_comes_back_from_its_128_bytes(
            header in any_header(),
            joints in any::<[[i16; 3]; JOINTS]>(),
            confidence in any::<[u8; JOINTS]>(),
        ) {
            let pose =
                TunnelPose { header, joints, confidence: confidence.map(Share::from_byte) };
            prop_assert_eq!(TunnelPose::decode(&pose.encode()), Ok(pose));
        }

        #[test]
        fn any_root_comes_back(header in any_header(), root in any::<[i32; 3]>()) {
            let root = TunnelRoot { header, root };
            prop_assert_eq!(TunnelRoot::decode(&root.encode()[..ROOT_PAYLOAD]), Ok(root));
        }

        #[test]
        fn any_bytes_are_a_pose_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..140)) {
            let _ = (TunnelPose::decode(&bytes), TunnelRoot::decode(&bytes));
        }
    }

    #[test]
    fn nothing_is_left_over_in_the_payload() {
        assert_eq!(HEADER + JOINTS * 7, PAYLOAD);
    }
}
