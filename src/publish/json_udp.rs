//! JSON over UDP: one object a datagram, for scripts that read a socket.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use super::numbering::Numbering;
use super::query::udp_target;
use super::udp::Way;
use super::{PublishError, PublishSettings, Publisher, unusable};
use crate::pose::PoseFrame;
use crate::wire::json::{BriefLine, Line};
use crate::wire::{Header, Message, PoseMessage, PoseOptions, State, StatusMessage};

/// Room for one person with keypoints, in decimals.
const BUFFER: usize = 8 << 10;

/// How many decimals numbers have: metres, pixels and the like; what is smaller than a hundredth
/// (variances) has one more. The shortest decimals that give the same f32 again, which serde_json
/// writes, would make one person too long for a datagram of Ethernet.
#[derive(Clone, Copy)]
struct Decimals {
    lengths: usize,
    /// Of confidences; `None`: as they are.
    shares: Option<usize>,
}

impl Decimals {
    /// From the finest to what is short enough for anything. Nearly everybody fits with the first,
    /// to a tenth of a millimetre, and every person of this world with the third.
    const LEVELS: [Self; 6] = [
        Self { lengths: 4, shares: None },
        Self { lengths: 3, shares: None },
        Self { lengths: 3, shares: Some(1) },
        Self { lengths: 2, shares: Some(1) },
        Self { lengths: 1, shares: Some(1) },
        Self { lengths: 0, shares: Some(1) },
    ];
}

impl Formatter for Decimals {
    fn write_f32<W: Write + ?Sized>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        let decimals = self.lengths;
        match value.abs() {
            0.0 => writer.write_all(b"0.0"),
            // No length of a person's: as short as it can be.
            1_000.0.. => write!(writer, "{value:.decimals$e}"),
            0.01.. => write!(writer, "{value:.decimals$}"),
            _ if decimals == 0 => writer.write_all(b"0.0"),
            _ => write!(writer, "{value:.0$}", decimals + 1),
        }
    }

    fn write_f64<W: Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        match self.shares {
            Some(decimals) => write!(writer, "{value:.decimals$}"),
            None => CompactFormatter.write_f64(writer, value),
        }
    }
}

/// Writes a line of at most `limit` bytes, with as many decimals as fit.
fn write_line(line: Line<'_>, limit: usize, into: &mut Vec<u8>) -> serde_json::Result<()> {
    for decimals in Decimals::LEVELS {
        into.clear();
        BriefLine(line).serialize(&mut Serializer::with_formatter(&mut *into, decimals))?;
        into.push(b'\n');
        if into.len() <= limit {
            break;
        }
    }
    Ok(())
}

/// Writes a message as a line of at most `limit` bytes: a status that is too long for it with fewer
/// of its words.
fn write_short(
    header: &Header,
    message: &mut Message,
    limit: usize,
    into: &mut Vec<u8>,
) -> serde_json::Result<()> {
    loop {
        write_line(Line { header, message }, limit, into)?;
        let Message::Status(status) = message else { return Ok(()) };
        if into.len() <= limit || !shorten(status) {
            return Ok(());
        }
    }
}

/// Takes the words of the last fault that has any, or the last fault; false if there is none.
fn shorten(status: &mut StatusMessage) -> bool {
    match status.faults.iter_mut().rfind(|fault| !fault.detail.is_empty()) {
        Some(fault) => fault.detail.clear(),
        None => return status.faults.pop().is_some(),
    }
    true
}

/// The content of `docs/wire.md`, in the JSON of `listen --format json`. One person a datagram,
/// as `part` of `parts`; a frame without persons is one datagram. Without keypoints a datagram
/// always fits into one packet of Ethernet.
pub struct JsonUdp {
    uri: Arc<str>,
    way: Way,
    numbering: Numbering,
    options: PoseOptions,
    buffer: Vec<u8>,
    last_status: Option<StatusMessage>,
}

impl JsonUdp {
    /// Opens the socket; sends nothing yet.
    ///
    /// # Errors
    /// [`PublishError::Unusable`] if the URI cannot be used on this machine.
    pub fn open(uri: &str, settings: &PublishSettings) -> Result<Self, PublishError> {
        let (target, own) = udp_target(uri, "json+udp://", &["keypoints"])
            .map_err(|problem| unusable(uri, problem))?;
        let mut keypoints = false;
        for (_, value) in own {
            keypoints = match value {
                "yes" => true,
                "no" => false,
                _ => return Err(unusable(uri, "keypoints must be yes or no")),
            };
        }
        Ok(Self {
            uri: uri.into(),
            way: Way::open(target, settings.clock.clone(), uri)?,
            numbering: Numbering::new(settings),
            options: PoseOptions {
                keypoints,
                degraded: false,
                engine: settings.engine,
                precision: settings.precision,
            },
            buffer: Vec::with_capacity(BUFFER),
            last_status: None,
        })
    }

    fn send(&mut self, mut message: Message) -> io::Result<()> {
        let header = self.numbering.next();
        let with_keypoints = self.options.keypoints && matches!(message, Message::Pose(_));
        let limit = if with_keypoints { BUFFER } else { self.way.packet() };
        write_short(&header, &mut message, limit, &mut self.buffer)?;
        self.way.send(&self.buffer)
    }

    fn not_sent(&self, cause: io::Error) -> PublishError {
        PublishError::NotSent { uri: self.uri.clone(), cause }
    }

    fn send_status(&mut self, status: StatusMessage) -> Result<(), PublishError> {
        self.last_status = Some(status.clone());
        self.send(Message::Status(status)).map_err(|e| self.not_sent(e))
    }
}

impl Publisher for JsonUdp {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        let mut whole = PoseMessage::from_frame(frame, &self.options);
        let persons = std::mem::take(&mut whole.persons);
        whole.parts = persons.len().max(1) as u8;
        let mut first_failure = None;
        for part in 0..whole.parts {
            let persons = persons.get(usize::from(part)).copied().into_iter().collect();
            let message = Message::Pose(PoseMessage { part, persons, ..whole.clone() });
            // The other parts are worth sending: each stands by itself.
            first_failure = first_failure.or(self.send(message).err());
        }
        first_failure.map_or(Ok(()), |e| Err(self.not_sent(e)))
    }

    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        self.options.degraded = matches!(status.state, State::Degraded | State::Failed);
        self.send_status(status.clone())
    }

    fn finish(&mut self) -> Result<(), PublishError> {
        let Some(status) = self.last_status.take() else { return Ok(()) };
        self.send_status(StatusMessage { state: State::Stopping, ..status })
    }

    fn describe(&self) -> &str {
        &self.uri
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::UdpSocket;

    use proptest::prelude::*;

    use crate::pose::TrackId;
    use crate::skeleton::JOINTS;
    use crate::time::Timestamp;
    use crate::wire::any::{any_header, any_pose, any_status};
    use crate::wire::{ClockState, EngineId, PrecisionId, samples};

    fn heard(socket: &UdpSocket) -> Vec<(usize, serde_json::Value)> {
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 8_192];
        let mut all = Vec::new();
        while let Ok(len) = socket.recv(&mut buffer) {
            all.push((len, serde_json::from_slice(&buffer[..len]).unwrap()));
        }
        all
    }

    #[test]
    fn each_person_is_a_datagram_that_says_which_part_of_the_frame_it_is() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let uri = format!("json+udp://{}", socket.local_addr().unwrap());
        let mut publisher = JsonUdp::open(&uri, &PublishSettings::default()).unwrap();
        for persons in [0, 1, 16] {
            let frame = samples::frame(persons);
            publisher.publish(&frame).unwrap();
            let all = heard(&socket);
            assert_eq!(all.len(), persons.max(1));
            for (n, (len, line)) in all.iter().enumerate() {
                assert!(*len <= 1_472, "{len}");
                assert_eq!(line["part"], n);
                assert_eq!(line["parts"], persons.max(1));
                assert_eq!(line["persons_in_frame"], persons);
                let here = line["persons"].as_array().unwrap();
                assert_eq!(here.len(), usize::from(persons > 0));
                for person in here {
                    assert_eq!(person["track"], n + 1);
                    let got = person["joints"]["head"][2].as_f64().unwrap();
                    let wanted = frame.persons[n].pose.unwrap().joints[10][2];
                    // Half of the fourth decimal, and what an f32 of a few metres rounds to.
                    let error = (got - f64::from(wanted)).abs();
                    assert!(error <= 5e-5 + 2e-7 * f64::from(wanted.abs()).max(1.0), "{error}");
                }
            }
        }
        publisher.status(&StatusMessage::default()).unwrap();
        publisher.finish().unwrap();
        let all = heard(&socket);
        assert_eq!(all[0].1["state"], "starting");
        assert_eq!(all[1].1["state"], "stopping");
        assert_eq!(all[1].1["packet"], 19);
    }

    /// What fits into one packet under IPv6 and IPv4.
    const PACKETS: [usize; 2] = [1_452, 1_472];

    /// A sender that has run for ten years, and somebody in the far left top corner: every number
    /// as long as it is in this world.
    fn long_person() -> (Header, PoseMessage) {
        let us = 315_576_000_000_000;
        let header = Header {
            packet: u32::MAX,
            sent_us: us,
            realtime_offset_us: 2_082_758_400_000_000,
            clock: ClockState::Unknown,
            ..samples::header()
        };
        let mut frame = samples::frame(1);
        (frame.camera, frame.sequence, frame.image_size) = (255, 10_u64.pow(10), (10_000, 10_000));
        frame.captured = Timestamp::from_nanos(us * 1_000);
        frame.stamps.dequeued = frame.captured;
        for stamp in
            [&mut frame.stamps.decoded, &mut frame.stamps.detected, &mut frame.stamps.lifted]
        {
            *stamp = Timestamp::from_nanos(us * 1_000 + 999_999_000);
        }
        let person = &mut frame.persons[0];
        (person.track, person.keypoints.score) = (TrackId(u32::MAX), 0.123);
        let pose = person.pose.as_mut().unwrap();
        pose.describes = frame.captured;
        pose.joints = [[-1.234_56; 3]; JOINTS];
        pose.confidence = [0.123; JOINTS];
        pose.plausibility = Some(0.123);
        pose.root = Some([-12.345_67; 3]);
        pose.root_covariance = Some([-0.123_456; 6]);
        let options = PoseOptions {
            engine: EngineId::from_name("tensorrt"),
            precision: PrecisionId::from_name("unknown"),
            ..Default::default()
        };
        (header, PoseMessage::from_frame(&frame, &options))
    }

    #[test]
    fn the_longest_person_of_this_world_fits_with_its_millimetres() {
        let (header, message) = long_person();
        let mut buffer = Vec::new();
        for limit in PACKETS {
            let line = Line { header: &header, message: &Message::Pose(message.clone()) };
            write_line(line, limit, &mut buffer).unwrap();
            assert!(buffer.len() <= limit, "{}", buffer.len());
            let value: serde_json::Value = serde_json::from_slice(&buffer).unwrap();
            let person = &value["persons"][0];
            let head = &person["joints"]["head"];
            assert!((head[1].as_f64().unwrap() + 1.234_56).abs() <= 5.1e-4, "{head}");
            assert!((person["root"][2].as_f64().unwrap() + 12.345_67).abs() <= 5.1e-4);
            assert!(person.get("keypoints").is_none());
        }
    }

    /// At worst no decimal is left: half a metre, or half of what is no length of a person's.
    fn close(got: &serde_json::Value, wanted: f32) -> bool {
        let (got, wanted) = (got.as_f64().unwrap(), f64::from(wanted));
        let size = wanted.abs();
        (got - wanted).abs() <= if size < 999.0 { 0.501 } else { size / 2.0 }
    }

    proptest! {
        #[test]
        fn whatever_can_be_constructed_is_one_line_of_one_packet(
            header in any_header(),
            mut pose in any_pose(1),
            status in any_status(),
        ) {
            pose.persons.iter_mut().for_each(|p| p.keypoints = None);
            let mut buffer = Vec::new();
            for limit in PACKETS {
                let mut message = Message::Pose(pose.clone());
                write_short(&header, &mut message, limit, &mut buffer).unwrap();
                prop_assert!(buffer.len() <= limit, "{}", buffer.len());
                let value: serde_json::Value = serde_json::from_slice(&buffer).unwrap();
                for (person, sent) in value["persons"].as_array().unwrap().iter().zip(&pose.persons) {
                    let names = pose.skeleton.joint_names();
                    for (n, joint) in sent.joints.iter().flat_map(|j| j.xyz.iter().enumerate()) {
                        let got = &person["joints"][names[n]];
                        prop_assert!((0..3).all(|i| close(&got[i], joint[i])), "{got} {joint:?}");
                    }
                }
                let mut message = Message::Status(status.clone());
                write_short(&header, &mut message, limit, &mut buffer).unwrap();
                prop_assert!(buffer.len() <= limit, "{}", buffer.len());
                let value: serde_json::Value = serde_json::from_slice(&buffer).unwrap();
                prop_assert_eq!(value["uptime_s"].as_u64(), Some(status.uptime_s.into()));
            }
        }
    }
}
