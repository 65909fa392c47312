//! A datagram as one line of JSON: the same fields under the same names as `docs/wire.md`, with
//! joints by name.

use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};

use super::{
    CompactBody, CompactPerson, CompactPose, FaultRecord, Header, Joints3d, Keypoints, Message,
    PersonRecord, PoseMessage, Share, ShortDatagram, ShortMessage, StatusMessage,
};
use crate::skeleton::Skeleton;

/// A datagram that serialises to its JSON object.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Its header.
    pub header: &'a Header,
    /// Its message.
    pub message: &'a Message,
}

/// The same without `keypoints` where there are none: for datagrams, in which bytes count.
#[derive(Clone, Copy, Debug)]
pub struct BriefLine<'a>(pub Line<'a>);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.write(false, serializer)
    }
}

impl Serialize for BriefLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(true, serializer)
    }
}

impl Line<'_> {
    fn write<S: Serializer>(&self, brief: bool, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let h = self.header;
        match self.message {
            Message::Pose(_) => map.serialize_entry("type", "pose")?,
            Message::Status(_) => map.serialize_entry("type", "status")?,
            Message::Unknown { kind } => map.serialize_entry("type", kind)?,
        }
        map.serialize_entry("session", &format_args!("{:016x}", h.session))?;
        map.serialize_entry("packet", &h.packet)?;
        map.serialize_entry("sent_us", &h.sent_us)?;
        map.serialize_entry("realtime_offset_us", &h.realtime_offset_us)?;
        map.serialize_entry("clock", h.clock.name())?;
        match self.message {
            Message::Pose(pose) => pose_entries(pose, brief, &mut map)?,
            Message::Status(status) => status_entries(status, &mut map)?,
            Message::Unknown { .. } => {}
        }
        map.end()
    }
}

/// A message with a short header that serialises to its JSON object. Lengths are in metres.
#[derive(Clone, Copy, Debug)]
pub struct ShortLine<'a>(pub &'a ShortDatagram);

impl Serialize for ShortLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let ShortDatagram { header, message } = self.0;
        match message {
            ShortMessage::Pose(_) => map.serialize_entry("type", "compact")?,
            ShortMessage::Unknown { kind } => map.serialize_entry("type", kind)?,
        }
        map.serialize_entry("session", &format_args!("{:02x}", header.session))?;
        map.serialize_entry("packet", &header.packet)?;
        if let ShortMessage::Pose(pose) = message {
            compact_entries(pose, &mut map)?;
        }
        map.end()
    }
}

fn compact_entries<M: SerializeMap>(m: &CompactPose, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("camera", &m.camera)?;
    map.serialize_entry("sequence", &m.sequence)?;
    map.serialize_entry("media_time", &m.media_time)?;
    map.serialize_entry("degraded", &m.degraded)?;
    map.serialize_entry("age_us", &m.age_us())?;
    map.serialize_entry("lookahead_us", &(u32::from(m.lookahead) * 10_000))?;
    map.serialize_entry("skeleton", Skeleton::Human36m17.name())?;
    map.serialize_entry("persons_in_frame", &m.persons_in_frame)?;
    map.serialize_entry("person_index", &m.person_index)?;
    map.serialize_entry("root_deviation", &m.root_deviation_cm.map(|cm| f64::from(cm) / 100.0))?;
    map.serialize_entry("person", &m.person.as_ref().map(CompactOne))
}

struct CompactOne<'a>(&'a CompactPerson);

impl Serialize for CompactOne<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let p = self.0;
        let mut s = serializer.serialize_struct("person", 9)?;
        s.serialize_field("track", &p.track)?;
        s.serialize_field("describes_us", &p.describes_us)?;
        s.serialize_field("predicted", &p.predicted)?;
        s.serialize_field("revision", &p.revision)?;
        s.serialize_field("withheld", &p.withheld)?;
        s.serialize_field("score", &p.score)?;
        s.serialize_field("plausibility", &p.plausibility)?;
        s.serialize_field("root", &p.body.and_then(|b| b.root_mm).map(metres))?;
        s.serialize_field("joints", &p.body.as_ref().map(Millimetres))?;
        s.end()
    }
}

struct Millimetres<'a>(&'a CompactBody);

impl Serialize for Millimetres<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let joints = std::iter::once([0; 3]).chain(self.0.joints_mm).map(metres);
        let points = joints.zip(self.0.confidence).map(|([x, y, z], c)| (x, y, z, c));
        serializer.collect_map(Skeleton::Human36m17.joint_names().iter().zip(points))
    }
}

/// As decimals that end after three places.
fn metres(mm: [i16; 3]) -> [f64; 3] {
    mm.map(|v| f64::from(v) / 1e3)
}

fn pose_entries<M: SerializeMap>(
    m: &PoseMessage,
    brief: bool,
    map: &mut M,
) -> Result<(), M::Error> {
    map.serialize_entry("camera", &m.camera)?;
    map.serialize_entry("sequence", &m.sequence)?;
    map.serialize_entry("part", &m.part)?;
    map.serialize_entry("parts", &m.parts)?;
    map.serialize_entry("media_time", &m.media_time)?;
    map.serialize_entry("degraded", &m.degraded)?;
    map.serialize_entry("captured_us", &m.captured_us)?;
    map.serialize_entry("dequeued_us", &m.dequeued_us)?;
    map.serialize_entry("decoded_us", &m.decoded_us)?;
    map.serialize_entry("detected_us", &m.detected_us)?;
    map.serialize_entry("lifted_us", &m.lifted_us)?;
    map.serialize_entry("image_size", &m.image_size)?;
    map.serialize_entry("engine", m.engine.name())?;
    map.serialize_entry("precision", m.precision.name())?;
    map.serialize_entry("model", &format_args!("{:08x}", m.model))?;
    map.serialize_entry("skeleton", m.skeleton.name())?;
    map.serialize_entry("persons_in_frame", &m.persons_in_frame)?;
    map.serialize_entry("persons", &Persons(m, brief))
}

struct Persons<'a>(&'a PoseMessage, bool);

impl Serialize for Persons<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(m, brief) = *self;
        serializer.collect_seq(m.persons.iter().map(|p| One(p, m.skeleton, brief)))
    }
}

struct One<'a>(&'a PersonRecord, Skeleton, bool);

impl Serialize for One<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(p, skeleton, brief) = *self;
        let mut s = serializer.serialize_struct("person", 12)?;
        s.serialize_field("track", &p.track)?;
        s.serialize_field("describes_us", &p.describes_us)?;
        s.serialize_field("lookahead_us", &p.lookahead_us)?;
        s.serialize_field("predicted", &p.predicted)?;
        s.serialize_field("revision", &p.revision)?;
        s.serialize_field("withheld", &p.withheld)?;
        s.serialize_field("score", &p.score)?;
        s.serialize_field("plausibility", &p.plausibility)?;
        s.serialize_field("root", &p.root)?;
        s.serialize_field("root_covariance", &p.root_covariance)?;
        s.serialize_field("joints", &p.joints.as_ref().map(|j| Space(j, skeleton)))?;
        if p.keypoints.is_some() || !brief {
            s.serialize_field("keypoints", &p.keypoints.as_ref().map(Picture))?;
        }
        s.end()
    }
}

struct Space<'a>(&'a Joints3d, Skeleton);

impl Serialize for Space<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let points = self.0.xyz.iter().zip(self.0.confidence);
        serializer
            .collect_map(self.1.joint_names().iter().zip(points.map(|([x, y, z], c)| (x, y, z, c))))
    }
}

struct Picture<'a>(&'a Keypoints);

impl Serialize for Picture<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let points = self.0.xy.iter().zip(self.0.confidence);
        serializer.collect_map(
            Skeleton::Coco17.joint_names().iter().zip(points.map(|([x, y], c)| (x, y, c))),
        )
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Three decimals tell 254 steps apart.
        self.value().map(|v| (f64::from(v) * 1e3).round() / 1e3).serialize(serializer)
    }
}

fn status_entries<M: SerializeMap>(m: &StatusMessage, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("state", m.state.name())?;
    map.serialize_entry("interval_ms", &m.interval_ms)?;
    map.serialize_entry("uptime_s", &m.uptime_s)?;
    map.serialize_entry("fps_in", &(f64::from(m.fps_in_milli) / 1e3))?;
    map.serialize_entry("fps_out", &(f64::from(m.fps_out_milli) / 1e3))?;
    map.serialize_entry("frames_in", &m.frames_in)?;
    map.serialize_entry("frames_out", &m.frames_out)?;
    map.serialize_entry("frames_displaced", &m.frames_displaced)?;
    map.serialize_entry("frames_missed", &m.frames_missed)?;
    map.serialize_entry("frames_bad", &m.frames_bad)?;
    let celsius = m.temperature_decicelsius.map(|t| f64::from(t) / 10.0);
    map.serialize_entry("temperature_celsius", &celsius)?;
    map.serialize_entry("faults", &m.faults[..])
}

impl Serialize for FaultRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut s = serializer.serialize_struct("fault", 6)?;
        s.serialize_field("name", self.name.as_str())?;
        s.serialize_field("severity", self.severity.name())?;
        s.serialize_field("camera", &self.camera)?;
        s.serialize_field("since_us", &self.since_us)?;
        s.serialize_field("count", &self.count)?;
        s.serialize_field("detail", self.detail.as_str())?;
        s.end()
    }
}
