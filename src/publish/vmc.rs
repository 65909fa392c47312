//! The Virtual Motion Capture protocol (<https://protocol.vmc.info>), for whatever moves a
//! humanoid avatar: VSeeFace, Warudo, Blender with an add-on, Unity with EVMC4U (`docs/osc.md`).
//!
//! VMC carries one performer: the person who has been followed longest. It carries rotations
//! relative to the T-pose and no joint positions, so that an avatar keeps its own proportions;
//! [`crate::rotations`] says how they are found. Unity is left-handed: x to the right, y up, z
//! forward, which is our upright frame with x mirrored.

use std::io;
use std::sync::Arc;

use glam::{DQuat, DVec3};
use rosc::{OscMessage, OscPacket, OscType};

use super::osc::{DATAGRAM, arguments, bundle, encode, set};
use super::query::{number, udp_target};
use super::udp::Way;
use super::{PublishError, PublishSettings, Publisher, unusable};
use crate::figure::body::Body;
use crate::pose::{Pose3d, PoseFrame};
use crate::rotations::{self, Upright};
use crate::skeleton::{JOINTS, h36m};
use crate::time::{Clock, Timestamp};
use crate::wire::StatusMessage;

/// A bone of Unity's humanoid, ours that it is, and the one that it hangs from.
struct Bone {
    name: &'static str,
    ours: usize,
    parent: usize,
}

const fn bone(name: &'static str, ours: usize, parent: usize) -> Bone {
    Bone { name, ours, parent }
}

/// The bones that are sent. Hands and feet are not: nothing is known of how they are turned, and
/// an avatar holds them straight by itself, or by what another tracker says.
const BONES: [Bone; 15] = [
    bone("Hips", h36m::PELVIS, h36m::PELVIS),
    bone("Spine", h36m::SPINE, h36m::PELVIS),
    bone("Chest", h36m::THORAX, h36m::SPINE),
    bone("Neck", h36m::NECK, h36m::THORAX),
    bone("Head", h36m::HEAD, h36m::NECK),
    bone("LeftShoulder", h36m::LEFT_SHOULDER, h36m::THORAX),
    bone("LeftUpperArm", h36m::LEFT_ELBOW, h36m::LEFT_SHOULDER),
    bone("LeftLowerArm", h36m::LEFT_WRIST, h36m::LEFT_ELBOW),
    bone("RightShoulder", h36m::RIGHT_SHOULDER, h36m::THORAX),
    bone("RightUpperArm", h36m::RIGHT_ELBOW, h36m::RIGHT_SHOULDER),
    bone("RightLowerArm", h36m::RIGHT_WRIST, h36m::RIGHT_ELBOW),
    bone("LeftUpperLeg", h36m::LEFT_KNEE, h36m::PELVIS),
    bone("LeftLowerLeg", h36m::LEFT_ANKLE, h36m::LEFT_KNEE),
    bone("RightUpperLeg", h36m::RIGHT_KNEE, h36m::PELVIS),
    bone("RightLowerLeg", h36m::RIGHT_ANKLE, h36m::RIGHT_KNEE),
];

// Places of the messages in the bundle.
const OK: usize = 0;
const TIME: usize = 1;
const FIRST_BONE: usize = 3;

/// How tall the stated rest pose is where nothing else is said, metres.
const HEIGHT: f64 = 1.70;

/// Sends one bundle for each frame.
pub struct VmcPublisher {
    uri: Arc<str>,
    way: Way,
    upright: Upright,
    lengths: [f64; JOINTS],
    ankle: f64,
    camera_height: Option<f64>,
    clock: Arc<dyn Clock>,
    begun: Timestamp,
    bundle: OscPacket,
    /// Nobody is there: without bones.
    nobody: OscPacket,
    buffer: Vec<u8>,
}

impl VmcPublisher {
    /// Opens the socket; sends nothing yet.
    ///
    /// # Errors
    /// [`PublishError::Unusable`] if the URI cannot be used on this machine.
    pub fn open(uri: &str, settings: &PublishSettings) -> Result<Self, PublishError> {
        let (target, own) = udp_target(uri, "vmc://", &["height", "camera_height"])
            .map_err(|problem| unusable(uri, problem))?;
        let (mut height, mut camera_height) = (HEIGHT, None);
        for (key, value) in own {
            let set = match key {
                "height" => number(key, value, 0.5..=2.5).map(|v| height = v),
                _ => number(key, value, 0.0..=20.0).map(|v| camera_height = Some(v)),
            };
            set.map_err(|problem| unusable(uri, problem))?;
        }
        let body = Body::of_height(height);
        let status = || OscMessage {
            addr: "/VMC/Ext/OK".into(),
            // Loaded, calibrated, in normal mode, tracking or not.
            args: [1, 3, 0, 0].map(OscType::Int).into(),
        };
        let time = || OscMessage { addr: "/VMC/Ext/T".into(), args: vec![OscType::Float(0.0)] };
        let placed = |addr: &str, name: &str| OscMessage {
            addr: addr.into(),
            args: std::iter::once(OscType::String(name.into()))
                .chain([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0].map(OscType::Float))
                .collect(),
        };
        let mut content = vec![status(), time(), placed("/VMC/Ext/Root/Pos", "root")];
        content.extend(BONES.iter().map(|bone| placed("/VMC/Ext/Bone/Pos", bone.name)));
        Ok(Self {
            uri: uri.into(),
            way: Way::open(target, settings.clock.clone(), uri)?,
            upright: Upright::new(settings.gravity),
            lengths: lengths(&body),
            ankle: body.ankle,
            camera_height,
            begun: settings.clock.now(),
            clock: settings.clock.clone(),
            bundle: bundle(content),
            nobody: bundle(vec![status(), time()]),
            buffer: Vec::with_capacity(DATAGRAM),
        })
    }

    fn fill(&mut self, pose: &Pose3d) {
        let world = rotations::rotations(&self.upright.turn_all(&pose.joints));
        let body = rotations::pose(DVec3::ZERO, &self.lengths, &rotations::local(&world));
        let root = pose.root.filter(|r| r.iter().all(|v| v.is_finite()));
        let root = root.map(|r| self.upright.turn(r));
        // Where the floor is, is not known without the camera's height: the lowest joint stands
        // on it, as high as an ankle is.
        let lowest = body.iter().map(|j| j.y).fold(f64::INFINITY, f64::min);
        let standing = self.ankle - lowest;
        let up = match (self.camera_height, root) {
            (Some(height), Some(root)) => height + root.y,
            _ => standing,
        };
        let hips = DVec3::new(root.map_or(0.0, |r| r.x), up, root.map_or(0.0, |r| r.z));
        for (n, bone) in BONES.iter().enumerate() {
            let hung = bone.ours != bone.parent;
            let turn =
                if hung { world[bone.parent].conjugate() * world[bone.ours] } else { world[0] };
            let at = if hung { self.joint(bone) } else { hips };
            set(&mut self.bundle, FIRST_BONE + n, 1, &unity(at, turn.normalize()));
        }
    }

    /// Where a bone begins in the rest pose, from where the bone begins that it hangs from.
    fn joint(&self, bone: &Bone) -> DVec3 {
        let start = |ours: usize| {
            let mut at = DVec3::ZERO;
            let mut joint = rotations::PARENT[ours];
            while joint != h36m::PELVIS {
                at += rotations::REST[joint] * self.lengths[joint];
                joint = rotations::PARENT[joint];
            }
            at
        };
        start(bone.ours) - start(bone.parent)
    }

    fn send(&mut self, anybody: bool) -> io::Result<()> {
        let time = self.clock.now().secs_since(self.begun) as f32;
        let bundle = if anybody { &mut self.bundle } else { &mut self.nobody };
        set(bundle, TIME, 0, &[time]);
        if let Some(tracking) = arguments(bundle, OK).and_then(|a| a.last_mut()) {
            *tracking = OscType::Int(anybody.into());
        }
        encode(bundle, &mut self.buffer)?;
        self.way.send(&self.buffer)
    }
}

/// Position and rotation of Unity: x mirrored.
fn unity(at: DVec3, turn: DQuat) -> [f32; 7] {
    [-at.x, at.y, at.z, turn.x, -turn.y, -turn.z, turn.w].map(|v| v as f32)
}

/// The rest pose's bones: the proportions of the demo's figure.
fn lengths(body: &Body) -> [f64; JOINTS] {
    let mut lengths = [0.0; JOINTS];
    for (joints, length) in [
        ([h36m::LEFT_HIP, h36m::RIGHT_HIP], body.hip),
        ([h36m::LEFT_KNEE, h36m::RIGHT_KNEE], body.thigh),
        ([h36m::LEFT_ANKLE, h36m::RIGHT_ANKLE], body.shank),
        ([h36m::SPINE; 2], body.spine),
        ([h36m::THORAX; 2], body.thorax),
        ([h36m::NECK; 2], body.neck),
        ([h36m::HEAD; 2], body.head),
        ([h36m::LEFT_SHOULDER, h36m::RIGHT_SHOULDER], body.shoulder),
        ([h36m::LEFT_ELBOW, h36m::RIGHT_ELBOW], body.upper_arm),
        ([h36m::LEFT_WRIST, h36m::RIGHT_WRIST], body.forearm),
    ] {
        for joint in joints {
            lengths[joint] = length;
        }
    }
    lengths
}

impl Publisher for VmcPublisher {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        let followed = frame.longest_followed().map(|(_, pose)| *pose);
        if let Some(pose) = &followed {
            self.fill(pose);
        }
        self.send(followed.is_some())
            .map_err(|cause| PublishError::NotSent { uri: self.uri.clone(), cause })
    }

    /// A receiver that hears nothing cannot tell an empty room from a dead sensor. While frames
    /// come, they say it.
    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        if status.fps_out_milli > 0 {
            return Ok(());
        }
        self.send(false).map_err(|cause| PublishError::NotSent { uri: self.uri.clone(), cause })
    }

    fn describe(&self) -> &str {
        &self.uri
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::UdpSocket;
    use std::time::Duration;

    use crate::wire::samples;

    fn publisher(query: &str) -> (VmcPublisher, UdpSocket) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let uri = format!("vmc://{}?{query}", socket.local_addr().unwrap());
        (VmcPublisher::open(&uri, &PublishSettings::default()).unwrap(), socket)
    }

    /// Numbers behind the names of the bones.
    fn bones(socket: &UdpSocket) -> Vec<(String, Vec<f32>)> {
        let mut buffer = [0; 2_000];
        let len = socket.recv(&mut buffer).unwrap();
        assert!(len <= DATAGRAM, "{len}");
        let (_, packet) = rosc::decoder::decode_udp(&buffer[..len]).unwrap();
        let OscPacket::Bundle(bundle) = packet else { panic!("{packet:?}") };
        let bone = |packet| match packet {
            OscPacket::Message(m) if m.addr == "/VMC/Ext/Bone/Pos" => {
                let mut args = m.args.into_iter();
                let name = args.next().and_then(OscType::string).unwrap();
                Some((name, args.map(|a| a.float().unwrap()).collect()))
            }
            _ => None,
        };
        bundle.content.into_iter().filter_map(bone).collect()
    }

    /// How the demo's figure would stand in the camera's axes, in the T-pose.
    fn t_pose() -> [[f32; 3]; JOINTS] {
        let lengths = lengths(&Body::of_height(1.6));
        let turns = [DQuat::IDENTITY; JOINTS];
        rotations::pose(DVec3::ZERO, &lengths, &turns)
            .map(|j| [j.x as f32, -j.y as f32, -j.z as f32])
    }

    #[test]
    fn the_t_pose_is_sent_as_no_rotation_with_both_feet_on_the_floor() {
        let (mut publisher, socket) = publisher("height=1.8");
        let mut frame = samples::frame(1);
        let pose = frame.persons[0].pose.as_mut().unwrap();
        (pose.joints, pose.root) = (t_pose(), None);
        publisher.publish(&frame).unwrap();
        let bones = bones(&socket);
        assert_eq!(bones.len(), 15);
        for (name, numbers) in &bones {
            let [.., x, y, z, w] = numbers[..] else { panic!() };
            assert!(w > 1.0 - 1e-6 && [x, y, z].iter().all(|v| v.abs() < 1e-4), "{name}");
        }
        let body = Body::of_height(1.8);
        let hips = &bones[0].1;
        assert!((f64::from(hips[1]) - (body.leg() + body.ankle)).abs() < 1e-5);
        let at = |name: &str| bones.iter().find(|(n, _)| n == name).unwrap().1[..3].to_vec();
        // Unity's left is at negative x.
        assert!((f64::from(at("LeftUpperLeg")[0]) + body.hip).abs() < 1e-6);
        assert!((f64::from(at("RightLowerLeg")[1]) + body.thigh).abs() < 1e-6);
        assert!((f64::from(at("RightUpperArm")[0]) - body.shoulder).abs() < 1e-6);
        assert!((f64::from(at("Neck")[1]) - body.thorax).abs() < 1e-6);
    }

    #[test]
    fn a_known_root_places_the_avatar_and_the_cameras_height_its_floor() {
        let (mut publisher, socket) = publisher("camera_height=1.5");
        let mut frame = samples::frame(1);
        let pose = frame.persons[0].pose.as_mut().unwrap();
        (pose.joints, pose.root) = (t_pose(), Some([0.5, 0.6, 3.0]));
        publisher.publish(&frame).unwrap();
        let hips = bones(&socket)[0].1[..3].to_vec();
        for (got, wanted) in hips.iter().zip([-0.5, 0.9, -3.0]) {
            assert!((got - wanted).abs() < 1e-6, "{hips:?}");
        }
    }

    #[test]
    fn the_one_who_has_been_followed_longest_performs_and_an_empty_room_has_no_bones() {
        let (mut publisher, socket) = publisher("");
        let mut frame = samples::frame(3);
        frame.persons.swap(0, 2);
        publisher.publish(&frame).unwrap();
        let several = bones(&socket);
        publisher.publish(&samples::frame(1)).unwrap();
        assert_eq!(bones(&socket), several, "the first of them");
        frame.persons.clear();
        publisher.publish(&frame).unwrap();
        assert!(bones(&socket).is_empty());
        publisher.status(&StatusMessage::default()).unwrap();
        assert!(bones(&socket).is_empty(), "no frames at all, but a sign of life");
    }

    #[test]
    fn each_unusable_uri_says_what_to_write_instead() {
        for (uri, words) in [
            ("vmc://127.0.0.1", "vmc://host:port"),
            ("vmc://127.0.0.1:1?height=3", "0.5 to 2.5"),
            ("vmc://127.0.0.1:1?size=1", "ttl, interface, dscp, height"),
            ("osc://127.0.0.1:1?size=1", "ttl, interface, dscp"),
            ("osc:127.0.0.1:1", "osc://host:port"),
            ("json+udp://127.0.0.1:1?keypoints=2", "yes or no"),
            ("json+udp://127.0.0.1:0", "1 to 65535"),
        ] {
            let Err(e) = super::super::open(uri, &PublishSettings::default()) else {
                panic!("{uri} was accepted");
            };
            let said = e.to_string();
            assert!(said.contains(words) && said.contains(uri), "{said}");
        }
    }
}
