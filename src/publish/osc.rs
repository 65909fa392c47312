//! Joints as Open Sound Control messages, for Max, TouchDesigner, Pure Data and the like
//! (`docs/osc.md`).

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use rosc::{OscBundle, OscMessage, OscPacket, OscTime, OscType, encoder};

use super::query::udp_target;
use super::udp::Way;
use super::{PublishError, PublishSettings, Publisher, unusable};
use crate::pose::{MAX_PERSONS, Person, PoseFrame};
use crate::skeleton::{JOINTS, Skeleton};
use crate::wire::{State, StatusMessage};

/// "At once": the time tag of OSC for what is not to be waited for.
pub(super) const AT_ONCE: OscTime = OscTime { seconds: 0, fractional: 1 };
/// One datagram of Ethernet.
pub(super) const DATAGRAM: usize = 1_472;

/// A bundle that is made once and filled again and again.
pub(super) fn bundle(content: Vec<OscMessage>) -> OscPacket {
    let content = content.into_iter().map(OscPacket::Message).collect();
    OscPacket::Bundle(OscBundle { timetag: AT_ONCE, content })
}

/// The `n`th message's arguments.
pub(super) fn arguments(bundle: &mut OscPacket, n: usize) -> Option<&mut Vec<OscType>> {
    let OscPacket::Bundle(bundle) = bundle else { return None };
    match bundle.content.get_mut(n) {
        Some(OscPacket::Message(message)) => Some(&mut message.args),
        _ => None,
    }
}

/// Replaces arguments by numbers, from the `first` on.
pub(super) fn set(bundle: &mut OscPacket, n: usize, first: usize, numbers: &[f32]) {
    let Some(arguments) = arguments(bundle, n) else { return };
    for (argument, &number) in arguments.iter_mut().skip(first).zip(numbers) {
        *argument = OscType::Float(number);
    }
}

/// Encodes into a buffer that is used again.
pub(super) fn encode(packet: &OscPacket, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    // A Vec takes everything: this cannot fail.
    encoder::encode_into(packet, buffer)
        .map(drop)
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

fn message(addr: String, args: Vec<OscType>) -> OscMessage {
    OscMessage { addr, args }
}

/// Sends a bundle for each frame and one for each person.
pub struct OscPublisher {
    uri: Arc<str>,
    way: Way,
    frame: OscPacket,
    status: OscPacket,
    /// One for each place; a person keeps their place while they are there.
    persons: Vec<(Option<u32>, OscPacket)>,
    buffer: Vec<u8>,
}

impl OscPublisher {
    /// Opens the socket; sends nothing yet.
    ///
    /// # Errors
    /// [`PublishError::Unusable`] if the URI cannot be used on this machine.
    pub fn open(uri: &str, settings: &PublishSettings) -> Result<Self, PublishError> {
        let (target, _) =
            udp_target(uri, "osc://", &[]).map_err(|problem| unusable(uri, problem))?;
        let person = |place: usize| {
            let mut content = vec![message(
                format!("/posewire/person/{place}/track"),
                vec![OscType::Int(0), OscType::Int(0), OscType::Float(0.0), OscType::Long(0)],
            )];
            content.push(message(
                format!("/posewire/person/{place}/root"),
                vec![OscType::Float(0.0); 3],
            ));
            content.extend(Skeleton::Human36m17.joint_names().iter().map(|joint| {
                let address = format!("/posewire/person/{place}/{joint}");
                message(address, vec![OscType::Float(0.0); 4])
            }));
            (None, bundle(content))
        };
        Ok(Self {
            uri: uri.into(),
            way: Way::open(target, settings.clock.clone(), uri)?,
            frame: bundle(vec![message(
                "/posewire/frame".into(),
                vec![OscType::Int(0), OscType::Long(0), OscType::Long(0), OscType::Int(0)],
            )]),
            status: bundle(vec![message(
                "/posewire/status".into(),
                vec![OscType::String(String::with_capacity(16)), OscType::Float(0.0)],
            )]),
            persons: (0..MAX_PERSONS).map(person).collect(),
            buffer: Vec::with_capacity(DATAGRAM),
        })
    }

    fn send_frame(&mut self, frame: &PoseFrame) -> io::Result<()> {
        if let Some(arguments) = arguments(&mut self.frame, 0) {
            arguments.clear();
            arguments.extend([
                OscType::Int(frame.camera.into()),
                OscType::Long(frame.sequence as i64),
                OscType::Long(frame.captured.micros()),
                OscType::Int(frame.persons.len() as i32),
            ]);
        }
        encode(&self.frame, &mut self.buffer)?;
        self.way.send(&self.buffer)
    }

    /// The place of a person: the one that they had, or the first that is free.
    fn place(&self, track: u32) -> Option<usize> {
        let had = self.persons.iter().position(|(who, _)| *who == Some(track));
        had.or_else(|| self.persons.iter().position(|(who, _)| who.is_none()))
    }

    fn send_person(&mut self, person: &Person) -> io::Result<()> {
        let Some(pose) = &person.pose else { return Ok(()) };
        let finite = pose.joints.as_flattened().iter().all(|v| v.is_finite());
        let Some(place) = self.place(person.track.0).filter(|_| finite) else { return Ok(()) };
        let Some((who, bundle)) = self.persons.get_mut(place) else { return Ok(()) };
        *who = Some(person.track.0);
        if let Some(arguments) = arguments(bundle, 0) {
            arguments.clear();
            arguments.extend([
                OscType::Int(person.track.0 as i32),
                OscType::Int(person.predicted.into()),
                OscType::Float(person.keypoints.score),
                OscType::Long(pose.describes.micros()),
            ]);
        }
        if let Some(arguments) = arguments(bundle, 1) {
            // Not known: no arguments.
            arguments.clear();
            arguments.extend(pose.root.into_iter().flatten().map(OscType::Float));
        }
        for joint in 0..JOINTS {
            let [x, y, z] = pose.joints[joint];
            set(bundle, 2 + joint, 0, &[x, y, z, pose.confidence[joint]]);
        }
        encode(bundle, &mut self.buffer)?;
        self.way.send(&self.buffer)
    }
}

impl Publisher for OscPublisher {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        for (who, _) in &mut self.persons {
            let there = |track| frame.persons.iter().any(|p| p.track.0 == track);
            if who.is_some_and(|track| !there(track)) {
                *who = None;
            }
        }
        let mut first_failure = self.send_frame(frame).err();
        for person in &frame.persons {
            let sent = self.send_person(person);
            first_failure = first_failure.or(sent.err());
        }
        first_failure
            .map_or(Ok(()), |cause| Err(PublishError::NotSent { uri: self.uri.clone(), cause }))
    }

    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        if let Some([OscType::String(state), rate]) =
            arguments(&mut self.status, 0).map(Vec::as_mut_slice)
        {
            state.clear();
            // Writing into a String cannot fail.
            let _ = write!(state, "{}", status.state.name());
            *rate = OscType::Float(status.fps_out_milli as f32 / 1e3);
        }
        encode(&self.status, &mut self.buffer)
            .and_then(|()| self.way.send(&self.buffer))
            .map_err(|cause| PublishError::NotSent { uri: self.uri.clone(), cause })
    }

    fn finish(&mut self) -> Result<(), PublishError> {
        self.status(&StatusMessage { state: State::Stopping, ..StatusMessage::default() })
    }

    fn describe(&self) -> &str {
        &self.uri
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::UdpSocket;

    use crate::wire::samples;

    /// Every message that has come, by its address.
    fn heard(socket: &UdpSocket) -> Vec<(String, Vec<OscType>)> {
        let mut buffer = [0; 2_000];
        let mut all = Vec::new();
        while let Ok(len) = socket.recv(&mut buffer) {
            assert!(len <= DATAGRAM, "{len}");
            let (_, packet) = rosc::decoder::decode_udp(&buffer[..len]).unwrap();
            let OscPacket::Bundle(bundle) = packet else { panic!("{packet:?}") };
            all.extend(bundle.content.into_iter().filter_map(|packet| match packet {
                OscPacket::Message(m) => Some((m.addr, m.args)),
                OscPacket::Bundle(_) => None,
            }));
        }
        all
    }

    fn places(socket: &UdpSocket) -> Vec<(usize, i32)> {
        let place = |address: &str| address.split('/').nth(3)?.parse().ok();
        heard(socket)
            .into_iter()
            .filter(|(address, _)| address.ends_with("/track"))
            .map(|(address, args)| (place(&address).unwrap(), args[0].clone().int().unwrap()))
            .collect()
    }

    #[test]
    fn people_keep_their_places_while_others_come_and_go() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let uri = format!("osc://{}", socket.local_addr().unwrap());
        let mut publisher = OscPublisher::open(&uri, &PublishSettings::default()).unwrap();
        let mut frame = samples::frame(16);
        publisher.publish(&frame).unwrap();
        let all: Vec<_> = (0..16).map(|n| (n, n as i32 + 1)).collect();
        assert_eq!(places(&socket), all);
        frame.persons.remove(0);
        publisher.publish(&frame).unwrap();
        assert_eq!(places(&socket), all[1..]);
        frame.persons[14].track = crate::pose::TrackId(40);
        publisher.publish(&frame).unwrap();
        assert_eq!(places(&socket).last(), Some(&(0, 40)), "the place that became free");
    }

    #[test]
    fn joints_are_metres_of_the_camera_with_their_confidence_and_an_unknown_root_is_empty() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let uri = format!("osc://{}", socket.local_addr().unwrap());
        let mut publisher = OscPublisher::open(&uri, &PublishSettings::default()).unwrap();
        let mut frame = samples::frame(2);
        frame.persons[1].pose.as_mut().unwrap().root = None;
        publisher.publish(&frame).unwrap();
        let all = heard(&socket);
        let find = |address: &str| all.iter().find(|(a, _)| a == address).unwrap().1.clone();
        let pose = frame.persons[1].pose.unwrap();
        let [x, y, z] = pose.joints[16];
        let wanted = [x, y, z, pose.confidence[16]].map(OscType::Float);
        assert_eq!(find("/posewire/person/1/right_wrist"), wanted);
        assert_eq!(find("/posewire/person/0/root"), [0.0, -0.125, 2.5].map(OscType::Float));
        assert!(find("/posewire/person/1/root").is_empty());
        assert_eq!(find("/posewire/frame")[3], OscType::Int(2));
    }
}
