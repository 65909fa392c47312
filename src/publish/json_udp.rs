//! JSON over UDP: one object a datagram, for scripts that read a socket.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use super::numbering::Numbering;
use super::query::udp_target;
use super::udp::Way;
use super::{PublishError, PublishSettings, Publisher, unusable};
use crate::pose::PoseFrame;
use crate::wire::json::Line;
use crate::wire::{Message, PoseMessage, PoseOptions, State, StatusMessage};

/// Room for one person with keypoints, in decimals.
const BUFFER: usize = 8 << 10;

/// Writes metres and pixels with four decimals, and what is smaller than a hundredth (variances)
/// with five. The shortest decimals that give the same f32 again, which serde_json writes, would
/// make one person too long for a datagram of Ethernet.
struct FewDecimals;

impl Formatter for FewDecimals {
    fn write_f32<W: Write + ?Sized>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        if value == 0.0 {
            return writer.write_all(b"0.0");
        }
        let decimals = if value.abs() < 0.01 { 5 } else { 4 };
        write!(writer, "{value:.decimals$}")
    }
}

/// The content of `docs/wire.md`, in the JSON of `listen --format json`. One person a datagram,
/// as `part` of `parts`; a frame without persons is one datagram.
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

    fn send(&mut self, message: &Message) -> io::Result<()> {
        let header = self.numbering.next();
        self.buffer.clear();
        let line = Line { header: &header, message };
        line.serialize(&mut Serializer::with_formatter(&mut self.buffer, FewDecimals))?;
        self.buffer.push(b'\n');
        self.way.send(&self.buffer)
    }

    fn not_sent(&self, cause: io::Error) -> PublishError {
        PublishError::NotSent { uri: self.uri.clone(), cause }
    }

    fn send_status(&mut self, status: StatusMessage) -> Result<(), PublishError> {
        let message = Message::Status(status);
        let sent = self.send(&message);
        if let Message::Status(status) = message {
            self.last_status = Some(status);
        }
        sent.map_err(|e| self.not_sent(e))
    }
}

impl Publisher for JsonUdp {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        let mut whole = PoseMessage::from_frame(frame, &self.options);
        let mut persons = std::mem::take(&mut whole.persons).into_iter();
        whole.parts = persons.len().max(1) as u8;
        let mut message = Message::Pose(whole);
        let mut first_failure = None;
        loop {
            if let Message::Pose(part) = &mut message {
                part.persons = persons.next().into_iter().collect();
            }
            // The other parts are worth sending: each stands by itself.
            let sent = self.send(&message);
            first_failure = first_failure.or(sent.err());
            match &mut message {
                Message::Pose(part) if part.part + 1 < part.parts => part.part += 1,
                _ => break,
            }
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

    use crate::wire::samples;

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
}
