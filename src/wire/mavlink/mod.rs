//! MAVLink 2 frames (<https://mavlink.io/en/guide/serialization.html>): the few messages that
//! posewire sends, as bytes.
//!
//! Encoded by hand: `mavlink` 0.21 generates all messages of a dialect, a build as long as that of
//! all our other small dependencies together, and of them five are sent. What comes out is checked
//! against pymavlink (`tests/test_bridges.py`).

mod signing;
pub mod tunnel;

pub use signing::{SecretKey, Signer, clock_is_set};

use crc::{CRC_16_MCRF4XX, Crc};

use super::bytes::Writer;

/// The longest frame that is sent: OBSTACLE_DISTANCE, signed.
pub const MAX_FRAME: usize = 10 + 167 + 2 + signing::SIGNATURE;

static CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_MCRF4XX);

const STX: u8 = 0xFD;
const HEADER: usize = 10;
const FLAG_SIGNED: u8 = 1;

/// `MAV_STATE`: how the sender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SystemState {
    /// Starting.
    Boot = 1,
    /// At work.
    Active = 4,
    /// Something is wrong.
    Critical = 5,
    /// It ends.
    PowerOff = 7,
}

/// A message that posewire sends. Fields that are not here are sent as "not known", or zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Message {
    /// HEARTBEAT (0) of an onboard controller that is no autopilot.
    Heartbeat {
        /// How it is.
        state: SystemState,
    },
    /// TUNNEL (385).
    Tunnel {
        /// A private one is above 32767.
        payload_type: u16,
        /// For whom; 0 for all.
        target_system: u8,
        /// For which of its components; 0 for all.
        target_component: u8,
        /// How much of the payload counts.
        length: u8,
        /// The payload.
        payload: [u8; tunnel::PAYLOAD],
    },
    /// FOLLOW_TARGET (144): where somebody is on the earth.
    FollowTarget {
        /// Milliseconds since the system's start.
        boot_ms: u64,
        /// 1e-7 degrees.
        latitude: i32,
        /// 1e-7 degrees.
        longitude: i32,
        /// Metres above mean sea level.
        altitude: f32,
        /// Which person.
        track: u64,
    },
    /// LANDING_TARGET (149): where somebody is from the vehicle, body frame FRD.
    LandingTarget {
        /// Microseconds since the system's start.
        boot_us: u64,
        /// Which person, its last eight bits.
        target: u8,
        /// To the right in the picture, radians.
        angle_x: f32,
        /// Downwards in the picture, radians.
        angle_y: f32,
        /// Metres.
        distance: f32,
        /// Forward, right, down; metres.
        position: [f32; 3],
    },
    /// OBSTACLE_DISTANCE (330): distances around the vehicle in steps of five degrees, clockwise
    /// from ahead, body frame FRD.
    ObstacleDistance {
        /// Microseconds since the system's start.
        boot_us: u64,
        /// Centimetres; 65,535 is "not known".
        distances: [u16; SECTORS],
        /// Centimetres: nearer is not measured.
        least: u16,
        /// Centimetres: farther is not measured.
        most: u16,
    },
}

/// Directions of OBSTACLE_DISTANCE: 72 of five degrees.
pub const SECTORS: usize = 72;

const MAV_TYPE_ONBOARD_CONTROLLER: u8 = 18;
const MAV_AUTOPILOT_INVALID: u8 = 8;
const MAV_FRAME_BODY_FRD: u8 = 12;
const LANDING_TARGET_TYPE_VISION_OTHER: u8 = 3;
const MAV_DISTANCE_SENSOR_UNKNOWN: u8 = 4;
/// FOLLOW_TARGET's first capability: a position.
const ESTIMATES_POSITION: u8 = 1;

impl Message {
    /// Its number and the byte that its definition adds to the check value (`CRC_EXTRA`).
    const fn id(&self) -> (u32, u8) {
        match self {
            Self::Heartbeat { .. } => (0, 50),
            Self::FollowTarget { .. } => (144, 127),
            Self::LandingTarget { .. } => (149, 200),
            Self::ObstacleDistance { .. } => (330, 23),
            Self::Tunnel { .. } => (385, 147),
        }
    }

    /// The payload: fields by falling size, extensions behind.
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::Heartbeat { state } => {
                w.u32(0);
                w.put(&[MAV_TYPE_ONBOARD_CONTROLLER, MAV_AUTOPILOT_INVALID, 0, *state as u8, 3]);
            }
            Self::Tunnel { payload_type, target_system, target_component, length, payload } => {
                w.u16(*payload_type);
                w.put(&[*target_system, *target_component, *length]);
                w.put(payload);
            }
            Self::FollowTarget { boot_ms, latitude, longitude, altitude, track } => {
                w.u64(*boot_ms);
                w.u64(*track);
                w.put(&latitude.to_le_bytes());
                w.put(&longitude.to_le_bytes());
                w.f32s(&[*altitude]);
                // Velocity, acceleration, attitude, rates, covariance: not estimated.
                w.f32s(&[0.0; 3 + 3 + 4 + 3 + 3]);
                w.u8(ESTIMATES_POSITION);
            }
            Self::LandingTarget { boot_us, target, angle_x, angle_y, distance, position } => {
                w.u64(*boot_us);
                w.f32s(&[*angle_x, *angle_y, *distance]);
                // The size in the picture is not given.
                w.f32s(&[0.0; 2]);
                w.put(&[*target, MAV_FRAME_BODY_FRD]);
                w.f32s(position);
                w.f32s(&[1.0, 0.0, 0.0, 0.0]);
                w.put(&[LANDING_TARGET_TYPE_VISION_OTHER, 1]);
            }
            Self::ObstacleDistance { boot_us, distances, least, most } => {
                w.u64(*boot_us);
                for distance in distances {
                    w.u16(*distance);
                }
                w.u16(*least);
                w.u16(*most);
                w.put(&[MAV_DISTANCE_SENSOR_UNKNOWN, (360 / SECTORS) as u8]);
                w.f32s(&[360.0 / SECTORS as f32, 0.0]);
                w.u8(MAV_FRAME_BODY_FRD);
            }
        }
    }
}

/// Makes frames, one after the other.
#[derive(Debug)]
pub struct Framer {
    /// Which vehicle the sender belongs to.
    pub system: u8,
    /// Which part of it the sender is.
    pub component: u8,
    sequence: u8,
    signer: Option<Signer>,
}

impl Framer {
    /// The first frame has the number 0.
    pub const fn new(system: u8, component: u8, signer: Option<Signer>) -> Self {
        Self { system, component, sequence: 0, signer }
    }

    /// The next frame. `unix_us` is the time for its signature.
    pub fn frame<'a>(
        &mut self,
        message: &Message,
        unix_us: i64,
        buffer: &'a mut [u8; MAX_FRAME],
    ) -> &'a [u8] {
        let (id, extra) = message.id();
        let mut payload = Writer::new(&mut buffer[HEADER..]);
        message.write(&mut payload);
        // Zeros at the end are not sent, but for the first byte.
        let all = payload.written().unwrap_or_default();
        let length = all.iter().rposition(|&b| b != 0).map_or(1, |last| last + 1);
        let [id0, id1, id2, _] = id.to_le_bytes();
        let incompatible = if self.signer.is_some() { FLAG_SIGNED } else { 0 };
        buffer[..HEADER].copy_from_slice(&[
            STX,
            length as u8,
            incompatible,
            0,
            self.sequence,
            self.system,
            self.component,
            id0,
            id1,
            id2,
        ]);
        self.sequence = self.sequence.wrapping_add(1);
        let end = HEADER + length;
        let mut crc = CRC.digest();
        crc.update(&buffer[1..end]);
        crc.update(&[extra]);
        buffer[end..end + 2].copy_from_slice(&crc.finalize().to_le_bytes());
        let mut whole = end + 2;
        if let Some(signer) = &mut self.signer {
            let signature = signer.sign(&buffer[..whole], unix_us);
            buffer[whole..whole + signature.len()].copy_from_slice(&signature);
            whole += signature.len();
        }
        &buffer[..whole]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_byte_for_byte_what_the_guide_says() {
        let mut buffer = [0; MAX_FRAME];
        let mut framer = Framer::new(1, 191, None);
        let message = Message::Heartbeat { state: SystemState::Active };
        let frame = framer.frame(&message, 0, &mut buffer).to_vec();
        assert_eq!(frame[..10], [0xFD, 9, 0, 0, 0, 1, 191, 0, 0, 0]);
        assert_eq!(frame[10..19], [0, 0, 0, 0, 18, 8, 0, 4, 3]);
        // Made by pymavlink 2.4.50: MAVLink(srcSystem=1, srcComponent=191).heartbeat_encode(...).
        assert_eq!(frame[19..], HEARTBEAT_CHECK);
        assert_eq!(
            framer.frame(&message, 0, &mut buffer)[4],
            1,
            "and the next has the next number"
        );
    }

    const HEARTBEAT_CHECK: [u8; 2] = [0xAE, 0xC6];

    #[test]
    fn every_message_fits_and_loses_its_trailing_zeros_only() {
        let mut payload = [0; tunnel::PAYLOAD];
        payload[0] = 7;
        let messages = [
            Message::Tunnel {
                payload_type: 40_000,
                target_system: 0,
                target_component: 0,
                length: 128,
                payload,
            },
            Message::ObstacleDistance {
                boot_us: u64::MAX,
                distances: [u16::MAX; SECTORS],
                least: 20,
                most: 2_000,
            },
            Message::FollowTarget {
                boot_ms: 1,
                latitude: -1,
                longitude: 1,
                altitude: 1.0,
                track: 3,
            },
            Message::LandingTarget {
                boot_us: 1,
                target: 1,
                angle_x: 0.1,
                angle_y: 0.1,
                distance: 2.0,
                position: [1.0; 3],
            },
        ];
        let lengths = [6, 167, 93, 60];
        for (message, length) in messages.iter().zip(lengths) {
            let key = SecretKey::new([1; 32]);
            let mut framer = Framer::new(1, 1, Some(Signer::new(key, 0)));
            let mut buffer = [0xEE; MAX_FRAME];
            let frame = framer.frame(message, 0, &mut buffer);
            assert_eq!(usize::from(frame[1]), length, "{message:?}");
            assert_eq!(frame.len(), 10 + length + 2 + 13);
        }
    }
}
