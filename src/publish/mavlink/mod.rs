//! MAVLink 2 for autopilots and ground stations, over UDP or a serial line (`docs/mavlink.md`).

mod link;
mod target;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use glam::{DMat3, DQuat, DVec3};

use super::{PublishError, PublishSettings, Publisher, key, unusable};
use crate::geodetic::Geodetic;
use crate::pose::{Person, Pose3d, PoseFrame};
use crate::rotations::Upright;
use crate::time::{Clock, Timestamp};
use crate::wire::mavlink::tunnel::{
    JOINTS_TYPE, PAYLOAD, ROOT_PAYLOAD, ROOT_TYPE, TunnelPose, TunnelRoot,
};
use crate::wire::mavlink::{
    Framer, MAX_FRAME, Message, SECTORS, SecretKey, Signer, SystemState, clock_is_set,
};
use crate::wire::{EngineId, PoseMessage, PoseOptions, PrecisionId, State, StatusMessage};

use super::serial::line::Line;
use link::Link;
pub use target::{LinkTarget, MavlinkTarget, Messages};

/// Once a second, or a little earlier: without frames, the next chance comes a second later.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(900);
/// Where somebody is, is told at most this often: navigation takes no more.
const PLACE_EVERY: Duration = Duration::from_millis(100);

/// Half the width of a person as an obstacle, metres.
const BODY_RADIUS: f64 = 0.3;
/// What OBSTACLE_DISTANCE says of its range, centimetres.
const RANGE_CM: (u16, u16) = (20, 2_000);
const NOT_KNOWN: u16 = u16::MAX;

/// Sends HEARTBEAT, poses and where people are.
pub struct MavlinkPublisher {
    uri: Arc<str>,
    link: Link,
    framer: Framer,
    to: (u8, u8),
    messages: Messages,
    body: DMat3,
    upright: Upright,
    geodetic: Option<Geodetic>,
    state: SystemState,
    heartbeat_at: Timestamp,
    place_at: Timestamp,
    clock: Arc<dyn Clock>,
    buffer: [u8; MAX_FRAME],
}

impl MavlinkPublisher {
    /// Opens the socket or the device; sends nothing yet.
    ///
    /// # Errors
    /// [`PublishError::Unusable`] if the URI cannot be used on this machine.
    pub fn open(uri: &str, settings: &PublishSettings) -> Result<Self, PublishError> {
        let target = MavlinkTarget::parse(uri).map_err(|problem| unusable(uri, problem))?;
        let clock = settings.clock.clone();
        let signer = match &target.key {
            Some(path) => {
                let secret = key::secret(path).map_err(|problem| unusable(uri, problem))?;
                if !clock_is_set(unix_us(&*clock)) {
                    log::warn!(
                        "publisher {uri}: this machine's clock is not set; receivers that have \
                         seen signed frames before refuse these"
                    );
                }
                Some(Signer::new(SecretKey::new(secret), target.link_id))
            }
            None => None,
        };
        let Messages { tunnel, landing, obstacle, .. } = target.messages;
        if settings.geodetic.is_none() && !(tunnel || landing || obstacle) {
            let problem = "messages=follow needs the camera's place: set [camera] geodetic";
            return Err(unusable(uri, problem));
        }
        let link = match target.link {
            LinkTarget::Udp(udp) => Link::Udp(super::udp::Way::open(udp, clock.clone(), uri)?),
            // A parser of MAVLink finds the next frame by itself.
            LinkTarget::Serial(serial) => {
                Link::Serial(Line::open(uri, serial, clock.clone(), link::ROOM, &[])?)
            }
        };
        let now = clock.now();
        Ok(Self {
            uri: uri.into(),
            link,
            framer: Framer::new(target.system, target.component, signer),
            to: target.to,
            messages: target.messages,
            body: body(target.pitch_degrees, target.yaw_degrees),
            upright: Upright::new(settings.gravity),
            geodetic: settings.geodetic,
            state: SystemState::Boot,
            heartbeat_at: now,
            place_at: now,
            clock,
            buffer: [0; MAX_FRAME],
        })
    }

    fn send(&mut self, message: &Message) -> io::Result<()> {
        let frame = self.framer.frame(message, unix_us(&*self.clock), &mut self.buffer);
        self.link.send(frame)
    }

    fn heartbeat(&mut self) -> io::Result<()> {
        let now = self.clock.now();
        if now < self.heartbeat_at {
            return Ok(());
        }
        self.heartbeat_at = now + HEARTBEAT_EVERY;
        self.send(&Message::Heartbeat { state: self.state })
    }

    fn tunnel(
        &mut self,
        payload_type: u16,
        length: usize,
        payload: [u8; PAYLOAD],
    ) -> io::Result<()> {
        self.send(&Message::Tunnel {
            payload_type,
            target_system: self.to.0,
            target_component: self.to.1,
            length: length as u8,
            payload,
        })
    }

    /// Every person's joints, and root where it is known.
    fn poses(&mut self, frame: &PoseFrame, sent: &mut Outcome) {
        let options = PoseOptions {
            keypoints: false,
            degraded: self.state == SystemState::Critical,
            engine: EngineId::default(),
            precision: PrecisionId::default(),
        };
        let message = PoseMessage::from_frame(frame, &options);
        for person in &message.persons {
            if let Some(pose) = TunnelPose::new(&message, person) {
                sent.note(self.tunnel(JOINTS_TYPE, PAYLOAD, pose.encode()));
            }
            if let Some(root) = TunnelRoot::new(&message, person) {
                sent.note(self.tunnel(ROOT_TYPE, ROOT_PAYLOAD, root.encode()));
            }
        }
    }

    /// Where people are.
    fn places(&mut self, frame: &PoseFrame, sent: &mut Outcome) {
        let now = self.clock.now();
        if now < self.place_at {
            return;
        }
        self.place_at = now + PLACE_EVERY;
        let nearest_first = rooted(frame).min_by_key(|(person, ..)| person.track);
        if let Some((person, pose, root)) = nearest_first {
            // A recording's own time says nothing to an autopilot.
            let at = if frame.media_time { now } else { pose.describes };
            let boot_us = at.micros().max(0).cast_unsigned();
            if self.messages.follow
                && let Some(geodetic) = self.geodetic
            {
                let up = self.upright.turn(root);
                let place = geodetic.place(-up.z, up.x, up.y);
                sent.note(self.send(&Message::FollowTarget {
                    boot_ms: boot_us / 1_000,
                    latitude: (place.latitude_degrees * 1e7).round() as i32,
                    longitude: (place.longitude_degrees * 1e7).round() as i32,
                    altitude: place.altitude_metres as f32,
                    track: person.track.0.into(),
                }));
            }
            if self.messages.landing {
                let [x, y, z] = root;
                let position = self.body * camera_frd(root);
                sent.note(self.send(&Message::LandingTarget {
                    boot_us,
                    target: person.track.0 as u8,
                    angle_x: x.atan2(z),
                    angle_y: y.atan2(z),
                    distance: position.length() as f32,
                    position: position.as_vec3().to_array(),
                }));
            }
        }
        if self.messages.obstacle {
            let mut distances = [NOT_KNOWN; SECTORS];
            for (.., root) in rooted(frame) {
                obstruct(&mut distances, self.body * camera_frd(root));
            }
            sent.note(self.send(&Message::ObstacleDistance {
                boot_us: now.micros().max(0).cast_unsigned(),
                distances,
                least: RANGE_CM.0,
                most: RANGE_CM.1,
            }));
        }
    }

    fn not_sent(&self, cause: io::Error) -> PublishError {
        PublishError::NotSent { uri: self.uri.clone(), cause }
    }
}

/// The first thing that went wrong; what follows is tried all the same.
#[derive(Default)]
struct Outcome(Option<io::Error>);

impl Outcome {
    fn note(&mut self, sent: io::Result<()>) {
        if let Err(e) = sent {
            self.0.get_or_insert(e);
        }
    }
}

/// Everybody of whom it is known where they are.
fn rooted(frame: &PoseFrame) -> impl Iterator<Item = (&Person, &Pose3d, [f32; 3])> {
    frame.persons.iter().filter_map(|person| {
        let pose = person.pose.as_ref()?;
        let root = pose.root.filter(|r| r.iter().all(|v| v.is_finite()))?;
        Some((person, pose, root))
    })
}

/// Camera axes (right, down, forward) as forward, right, down.
fn camera_frd([x, y, z]: [f32; 3]) -> DVec3 {
    DVec3::new(z.into(), x.into(), y.into())
}

/// From a camera's forward, right, down to those of the vehicle that it is mounted on.
fn body(pitch_degrees: f64, yaw_degrees: f64) -> DMat3 {
    let pitch = DQuat::from_rotation_y(pitch_degrees.to_radians());
    let yaw = DQuat::from_rotation_z(yaw_degrees.to_radians());
    DMat3::from_quat(yaw * pitch)
}

/// Enters a person at `at` (body forward, right, down) into the directions that they stand in.
fn obstruct(distances: &mut [u16; SECTORS], at: DVec3) {
    let far = at.x.hypot(at.y);
    let centimetres = ((far - BODY_RADIUS) * 100.0).max(f64::from(RANGE_CM.0));
    if centimetres > f64::from(RANGE_CM.1) {
        return;
    }
    let centimetres = centimetres as u16;
    let half = (BODY_RADIUS / far.max(BODY_RADIUS)).asin().to_degrees();
    let middle = at.y.atan2(at.x).to_degrees();
    let step = 360.0 / SECTORS as f64;
    let (first, last) = (((middle - half) / step).round(), ((middle + half) / step).round());
    let mut sector = first;
    while sector <= last {
        let index = sector.rem_euclid(SECTORS as f64) as usize;
        if let Some(distance) = distances.get_mut(index) {
            *distance = centimetres.min(*distance);
        }
        sector += 1.0;
    }
}

fn unix_us(clock: &dyn Clock) -> i64 {
    clock.now().micros().saturating_add(clock.realtime_offset_nanos().div_euclid(1_000))
}

impl Publisher for MavlinkPublisher {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        self.link.ready().map_err(|e| self.not_sent(e))?;
        let mut sent = Outcome::default();
        sent.note(self.heartbeat());
        if self.messages.tunnel {
            self.poses(frame, &mut sent);
        }
        self.places(frame, &mut sent);
        sent.0.map_or(Ok(()), |e| Err(self.not_sent(e)))
    }

    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        self.state = match status.state {
            State::Starting => SystemState::Boot,
            State::Running => SystemState::Active,
            State::Degraded | State::Failed => SystemState::Critical,
            State::Stopping => SystemState::PowerOff,
        };
        self.heartbeat().map_err(|e| self.not_sent(e))
    }

    fn finish(&mut self) -> Result<(), PublishError> {
        self.send(&Message::Heartbeat { state: SystemState::PowerOff })
            .map_err(|e| self.not_sent(e))
    }

    fn busy_until(&self) -> Option<Timestamp> {
        self.link.busy_until()
    }

    fn describe(&self) -> &str {
        &self.uri
    }
}

#[cfg(test)]
mod tests;
