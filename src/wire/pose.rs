//! The pose message: the persons of one frame, or as many of them as fit.

use arrayvec::ArrayVec;

use super::bytes::{Reader, Writer};
use super::{EncodeError, Header, MAX_MESSAGE, POSE, WireError, seal};
use crate::pose::{MAX_PERSONS, Person, Pose3d, PoseFrame};
use crate::skeleton::{JOINTS, Skeleton};
use crate::time::Timestamp;

/// The most person blocks that one frame makes: everybody, and a revision of everybody.
pub const MAX_RECORDS: usize = 2 * MAX_PERSONS;

const FRAME_LEN: usize = 60;
const PERSON_LEN: usize = 24;
const ROOT_LEN: usize = 12;
const COVARIANCE_LEN: usize = 24;
const JOINTS_LEN: usize = JOINTS * 13;
const KEYPOINTS_LEN: usize = JOINTS * 9;

/// "Not known" of a stage's microseconds.
const NO_DELTA: u32 = u32::MAX;

// Frame flags.
const MEDIA_TIME: u16 = 1 << 0;
const DEGRADED: u16 = 1 << 1;

// Person flags. The optional parts follow in the order of their bits.
const HAS_ROOT: u16 = 1 << 0;
const HAS_COVARIANCE: u16 = 1 << 1;
const HAS_JOINTS: u16 = 1 << 2;
const HAS_KEYPOINTS: u16 = 1 << 3;
const PREDICTED: u16 = 1 << 8;
const REVISION: u16 = 1 << 9;
const WITHHELD: u16 = 1 << 10;

/// A share of one in a byte: 0..=254 is n/254, 255 is "not known".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u8);

impl Share {
    /// Not known.
    pub const UNKNOWN: Self = Self(255);

    /// The nearest to `value` in 0..1; not known if that is not a number.
    pub fn new(value: f32) -> Self {
        if value.is_nan() {
            Self::UNKNOWN
        } else {
            Self((value.clamp(0.0, 1.0) * 254.0).round() as u8)
        }
    }

    /// From its byte.
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// Its byte.
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// 0..1, if known.
    pub fn value(self) -> Option<f32> {
        (self != Self::UNKNOWN).then(|| f32::from(self.0) / 254.0)
    }
}

/// What computed the joints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineId(pub u8);

impl EngineId {
    const NAMES: [&'static str; 3] = ["unknown", "tract", "tensorrt"];

    /// Of a backend's name; 0 if the wire has no number for it.
    pub fn from_name(name: &str) -> Self {
        Self(Self::NAMES.iter().position(|&n| n == name).unwrap_or(0) as u8)
    }

    /// The backend's name; "unknown" if this version has none for it.
    pub fn name(self) -> &'static str {
        Self::NAMES.get(usize::from(self.0)).copied().unwrap_or(Self::NAMES[0])
    }
}

/// The arithmetic that the joints were computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrecisionId(pub u8);

impl PrecisionId {
    const NAMES: [&'static str; 4] = ["unknown", "f32", "f16", "i8"];

    /// Of a precision's name; 0 if the wire has no number for it. Configurations say `int8` where
    /// messages say `i8`.
    pub fn from_name(name: &str) -> Self {
        let name = if name == "int8" { "i8" } else { name };
        Self(Self::NAMES.iter().position(|&n| n == name).unwrap_or(0) as u8)
    }

    /// Its name; "unknown" if this version has none for it.
    pub fn name(self) -> &'static str {
        Self::NAMES.get(usize::from(self.0)).copied().unwrap_or(Self::NAMES[0])
    }
}

/// Joints in space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Joints3d {
    /// Metres in the camera's axes (x right, y down, z forward), relative to the pelvis; finite.
    pub xyz: [[f32; 3]; JOINTS],
    /// Per joint.
    pub confidence: [Share; JOINTS],
}

/// Keypoints in the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keypoints {
    /// Pixels; the centre of the top-left pixel is (0, 0); finite.
    pub xy: [[f32; 2]; JOINTS],
    /// Per point.
    pub confidence: [Share; JOINTS],
}

/// One person in a pose message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PersonRecord {
    /// Which person, over time, within the session; 0 if not tracked.
    pub track: u32,
    /// The moment that the pose describes, microseconds on the frame's timeline.
    pub describes_us: i64,
    /// Microseconds of future beyond that moment which the lifter had seen.
    pub lookahead_us: u32,
    /// No detection supports this frame.
    pub predicted: bool,
    /// Replaces an earlier pose of the same track at the same moment.
    pub revision: bool,
    /// There was a pose, but with numbers that are not finite: it was kept back.
    pub withheld: bool,
    /// The detector's belief that this is a person.
    pub score: Share,
    /// How human the pose looks.
    pub plausibility: Share,
    /// The pelvis in the camera frame, metres; finite.
    pub root: Option<[f32; 3]>,
    /// The root's covariance in square metres: xx, xy, xz, yy, yz, zz; finite.
    pub root_covariance: Option<[f32; 6]>,
    /// The lifted joints.
    pub joints: Option<Joints3d>,
    /// COCO-17 keypoints.
    pub keypoints: Option<Keypoints>,
}

/// The persons of one frame, or as many of them as fit into one datagram.
#[derive(Clone, Debug, PartialEq)]
pub struct PoseMessage {
    /// Which camera of the sender.
    pub camera: u8,
    /// What the 3D joints are.
    pub skeleton: Skeleton,
    /// `captured_us` and `describes_us` are on a recording's own clock instead of the sender's
    /// monotonic clock.
    pub media_time: bool,
    /// The sender works with less than it was configured for; its status says why.
    pub degraded: bool,
    /// Which datagram of the frame, from 0.
    pub part: u8,
    /// How many datagrams the frame takes, at least 1.
    pub parts: u8,
    /// Person blocks in all parts together, revisions included.
    pub persons_in_frame: u8,
    /// What computed the joints.
    pub engine: EngineId,
    /// In which arithmetic.
    pub precision: PrecisionId,
    /// Which weights the lifter has: the first four bytes of their SHA-256, big-endian.
    pub model: u32,
    /// Picture size in pixels; 65,535 stands for anything larger.
    pub image_size: (u16, u16),
    /// The source's frame number.
    pub sequence: u64,
    /// When the light fell on the sensor, microseconds on the frame's timeline.
    pub captured_us: i64,
    /// When the frame was in the sender's hands, microseconds of its monotonic clock.
    pub dequeued_us: i64,
    /// Microseconds after `dequeued_us` until the picture was decoded. At most `u32::MAX - 1`.
    pub decoded_us: Option<u32>,
    /// The same until 2D keypoints were known.
    pub detected_us: Option<u32>,
    /// The same until 3D joints were known.
    pub lifted_us: Option<u32>,
    /// The persons, and behind them the revisions of earlier poses (`PersonRecord::revision`).
    pub persons: ArrayVec<PersonRecord, MAX_RECORDS>,
}

/// What a sender puts into pose messages beside the frame's own content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoseOptions {
    /// Send the 2D keypoints too: 153 bytes a person.
    pub keypoints: bool,
    /// See [`PoseMessage::degraded`].
    pub degraded: bool,
    /// See [`PoseMessage::engine`]; for frames that do not say it themselves.
    pub engine: EngineId,
    /// See [`PoseMessage::precision`]; for frames that do not say it themselves.
    pub precision: PrecisionId,
}

impl PersonRecord {
    fn new(person: &Person, captured: Timestamp, keypoints: bool) -> Self {
        let points = &person.keypoints.points;
        Self {
            keypoints: keypoints.then(|| Keypoints {
                // A point without a place is a point that was not seen.
                xy: points.map(|p| if finite(&[p.x, p.y]) { [p.x, p.y] } else { [0.0; 2] }),
                confidence: points
                    .map(|p| Share::new(if finite(&[p.x, p.y]) { p.confidence } else { 0.0 })),
            }),
            predicted: person.predicted,
            ..Self::of_pose(person, person.pose.as_ref(), captured)
        }
    }

    /// What replaces an earlier pose of the person; its keypoints have been sent with that.
    fn revision(person: &Person, captured: Timestamp) -> Option<Self> {
        let pose = person.revision.as_ref()?;
        Some(Self { revision: true, ..Self::of_pose(person, Some(pose), captured) })
    }

    fn of_pose(person: &Person, pose: Option<&Pose3d>, captured: Timestamp) -> Self {
        let joints = pose
            .filter(|p| finite(p.joints.as_flattened()))
            .map(|p| Joints3d { xyz: p.joints, confidence: p.confidence.map(Share::new) });
        let usable = pose.filter(|_| joints.is_some());
        let root = usable.and_then(|p| p.root).filter(|r| finite(r));
        Self {
            track: person.track.0,
            describes_us: pose.map_or(captured, |p| p.describes).micros(),
            lookahead_us: pose.map_or(0, |p| p.lookahead_nanos.div_ceil(1_000)),
            predicted: false,
            revision: false,
            withheld: pose.is_some() && joints.is_none(),
            score: Share::new(person.keypoints.score),
            plausibility: Share::new(usable.and_then(|p| p.plausibility).unwrap_or(f32::NAN)),
            root,
            // Without a root it means nothing.
            root_covariance: usable
                .and_then(|p| p.root_covariance)
                .filter(|c| root.is_some() && finite(c)),
            joints,
            keypoints: None,
        }
    }

    /// Bytes on the wire.
    fn len(&self) -> usize {
        PERSON_LEN
            + self.root.map_or(0, |_| ROOT_LEN)
            + self.root_covariance.map_or(0, |_| COVARIANCE_LEN)
            + self.joints.map_or(0, |_| JOINTS_LEN)
            + self.keypoints.map_or(0, |_| KEYPOINTS_LEN)
    }

    fn flags(&self) -> u16 {
        let bits = [
            (self.root.is_some(), HAS_ROOT),
            (self.root_covariance.is_some(), HAS_COVARIANCE),
            (self.joints.is_some(), HAS_JOINTS),
            (self.keypoints.is_some(), HAS_KEYPOINTS),
            (self.predicted, PREDICTED),
            (self.revision, REVISION),
            (self.withheld, WITHHELD),
        ];
        bits.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum()
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.u16(self.len() as u16);
        w.u16(self.flags());
        w.u32(self.track);
        w.i64(self.describes_us);
        w.u32(self.lookahead_us);
        w.u8(self.score.byte());
        w.u8(self.plausibility.byte());
        w.u16(0);
        if let Some(root) = &self.root {
            w.f32s(root);
        }
        if let Some(covariance) = &self.root_covariance {
            w.f32s(covariance);
        }
        if let Some(joints) = &self.joints {
            w.f32s(joints.xyz.as_flattened());
            w.put(&joints.confidence.map(Share::byte));
        }
        if let Some(keypoints) = &self.keypoints {
            w.f32s(keypoints.xy.as_flattened());
            w.put(&keypoints.confidence.map(Share::byte));
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let flags = r.u16()?;
        let track = r.u32()?;
        let describes_us = r.i64()?;
        let lookahead_us = r.u32()?;
        let (score, plausibility) = (Share(r.u8()?), Share(r.u8()?));
        r.u16()?;
        let has = |bit| flags & bit != 0;
        let root = has(HAS_ROOT).then(|| r.f32s()).transpose()?;
        let root_covariance = has(HAS_COVARIANCE).then(|| r.f32s()).transpose()?;
        let joints = has(HAS_JOINTS)
            .then(|| Ok(Joints3d { xyz: points(r)?, confidence: shares(r)? }))
            .transpose()?;
        let keypoints = has(HAS_KEYPOINTS)
            .then(|| Ok(Keypoints { xy: points(r)?, confidence: shares(r)? }))
            .transpose()?;
        Ok(Self {
            track,
            describes_us,
            lookahead_us,
            predicted: has(PREDICTED),
            revision: has(REVISION),
            withheld: has(WITHHELD),
            score,
            plausibility,
            root,
            root_covariance,
            joints,
            keypoints,
        })
    }

    fn is_finite(&self) -> bool {
        self.root.is_none_or(|r| finite(&r))
            && self.root_covariance.is_none_or(|c| finite(&c))
            && self.joints.is_none_or(|j| finite(j.xyz.as_flattened()))
            && self.keypoints.is_none_or(|k| finite(k.xy.as_flattened()))
    }
}

fn finite(values: &[f32]) -> bool {
    values.iter().all(|v| v.is_finite())
}

fn points<const N: usize>(r: &mut Reader<'_>) -> Result<[[f32; N]; JOINTS], WireError> {
    let mut points = [[0.0; N]; JOINTS];
    for point in &mut points {
        *point = r.f32s()?;
    }
    Ok(points)
}

fn shares(r: &mut Reader<'_>) -> Result<[Share; JOINTS], WireError> {
    let mut shares = [Share::UNKNOWN; JOINTS];
    for (share, &byte) in shares.iter_mut().zip(r.take(JOINTS)?) {
        *share = Share(byte);
    }
    Ok(shares)
}

impl PoseMessage {
    /// All of a frame's persons, as one message. It may be too long for one datagram: send it
    /// through [`Split`].
    pub fn from_frame(frame: &PoseFrame, options: &PoseOptions) -> Self {
        let stamps = &frame.stamps;
        let after = |stage: Timestamp| {
            // A stage that was not reached has the stamp zero, before any frame came.
            let delta = stage.micros().checked_sub(stamps.dequeued.micros())?;
            u32::try_from(delta).ok().filter(|&d| d != NO_DELTA)
        };
        let (width, height) = frame.image_size;
        let side = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        let persons: ArrayVec<_, MAX_RECORDS> = frame
            .persons
            .iter()
            .map(|p| PersonRecord::new(p, frame.captured, options.keypoints))
            .chain(frame.persons.iter().filter_map(|p| PersonRecord::revision(p, frame.captured)))
            .collect();
        let (engine, precision) = match frame.computed {
            Some(by) => (EngineId::from_name(by.backend), PrecisionId::from_name(by.precision)),
            None => (options.engine, options.precision),
        };
        Self {
            camera: frame.camera,
            skeleton: Skeleton::Human36m17,
            media_time: frame.media_time,
            degraded: options.degraded,
            part: 0,
            parts: 1,
            persons_in_frame: persons.len() as u8,
            engine,
            precision,
            model: frame.model,
            image_size: (side(width), side(height)),
            sequence: frame.sequence,
            captured_us: frame.captured.micros(),
            dequeued_us: stamps.dequeued.micros(),
            decoded_us: after(stamps.decoded),
            detected_us: after(stamps.detected),
            lifted_us: after(stamps.lifted),
            persons,
        }
    }

    /// Refuses what no reader would accept.
    pub(super) fn check(&self) -> Result<(), EncodeError> {
        if !self.persons.iter().all(PersonRecord::is_finite) {
            return Err(EncodeError::NotFinite);
        }
        if self.part >= self.parts {
            return Err(EncodeError::BadValue { what: "part number" });
        }
        if self.persons.len() > usize::from(self.persons_in_frame) {
            return Err(EncodeError::BadValue { what: "number of persons" });
        }
        if [self.decoded_us, self.detected_us, self.lifted_us].contains(&Some(NO_DELTA)) {
            return Err(EncodeError::BadValue { what: "stage stamp" });
        }
        Ok(())
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        self.write_part(self.part, self.parts, &self.persons, w);
    }

    fn write_part(&self, part: u8, parts: u8, persons: &[PersonRecord], w: &mut Writer<'_>) {
        let mut flags = 0;
        flags |= if self.media_time { MEDIA_TIME } else { 0 };
        flags |= if self.degraded { DEGRADED } else { 0 };
        w.u16(FRAME_LEN as u16);
        w.u16(flags);
        w.u8(self.camera);
        w.u8(self.skeleton.wire_id());
        w.u8(JOINTS as u8);
        w.u8(Skeleton::Coco17.wire_id());
        w.u8(JOINTS as u8);
        w.u8(part);
        w.u8(parts);
        w.u8(persons.len() as u8);
        w.u8(self.persons_in_frame);
        w.u8(self.engine.0);
        w.u8(self.precision.0);
        w.u8(0);
        w.u32(self.model);
        w.u16(self.image_size.0);
        w.u16(self.image_size.1);
        w.u64(self.sequence);
        w.i64(self.captured_us);
        w.i64(self.dequeued_us);
        for stage in [self.decoded_us, self.detected_us, self.lifted_us] {
            w.u32(stage.unwrap_or(NO_DELTA));
        }
        for person in persons {
            person.write(w);
        }
    }

    pub(super) fn read(body: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut r = body.block("frame block")?;
        let flags = r.u16()?;
        let camera = r.u8()?;
        let skeleton = known_skeleton(r.u8()?, r.u8()?)?;
        let (id, points) = (r.u8()?, r.u8()?);
        if known_skeleton(id, points)? != Skeleton::Coco17 {
            return Err(WireError::UnknownSkeleton { id, joints: points });
        }
        let (part, parts) = (r.u8()?, r.u8()?);
        if part >= parts {
            return Err(WireError::BadValue { what: "part number" });
        }
        let (here, persons_in_frame) = (r.u8()?, r.u8()?);
        if usize::from(here) > MAX_PERSONS || here > persons_in_frame {
            return Err(WireError::BadValue { what: "number of persons" });
        }
        let (engine, precision) = (EngineId(r.u8()?), PrecisionId(r.u8()?));
        r.u8()?;
        let model = r.u32()?;
        let image_size = (r.u16()?, r.u16()?);
        let sequence = r.u64()?;
        let (captured_us, dequeued_us) = (r.i64()?, r.i64()?);
        let mut stage = || r.u32().map(|d| (d != NO_DELTA).then_some(d));
        let (decoded_us, detected_us, lifted_us) = (stage()?, stage()?, stage()?);
        let mut persons = ArrayVec::new();
        for _ in 0..here {
            persons.push(PersonRecord::read(&mut body.block("person block")?)?);
        }
        Ok(Self {
            camera,
            skeleton,
            media_time: flags & MEDIA_TIME != 0,
            degraded: flags & DEGRADED != 0,
            part,
            parts,
            persons_in_frame,
            engine,
            precision,
            model,
            image_size,
            sequence,
            captured_us,
            dequeued_us,
            decoded_us,
            detected_us,
            lifted_us,
            persons,
        })
    }
}

fn known_skeleton(id: u8, joints: u8) -> Result<Skeleton, WireError> {
    Skeleton::from_wire_id(id)
        .filter(|_| usize::from(joints) == JOINTS)
        .ok_or(WireError::UnknownSkeleton { id, joints })
}

/// Spreads the persons of a message over as few datagrams as hold them, in their order.
///
/// A frame without persons is one datagram: the sign of life that tells an empty room from a
/// dead sensor.
pub struct Split<'a> {
    message: &'a PoseMessage,
    rest: &'a [PersonRecord],
    part: u8,
    parts: u8,
}

impl<'a> Split<'a> {
    /// Plans the datagrams of `message`, which speaks for a whole frame.
    pub fn new(message: &'a PoseMessage) -> Self {
        let mut rest = &message.persons[..];
        let mut parts = 0;
        while parts == 0 || !rest.is_empty() {
            rest = &rest[fitting(rest)..];
            parts += 1;
        }
        Self { message, rest: &message.persons, part: 0, parts }
    }

    /// How many datagrams it takes.
    pub const fn parts(&self) -> u8 {
        self.parts
    }

    /// Writes the next datagram into `buffer` and returns it; `None` after the last. The caller
    /// numbers and stamps each in `header`.
    ///
    /// # Errors
    /// If a coordinate is not finite, which a message made by [`PoseMessage::from_frame`] has
    /// none of.
    pub fn next<'b>(
        &mut self,
        header: &Header,
        buffer: &'b mut [u8; MAX_MESSAGE],
    ) -> Result<Option<&'b [u8]>, EncodeError> {
        if self.part == self.parts {
            return Ok(None);
        }
        let (here, rest) = self.rest.split_at(fitting(self.rest));
        if !here.iter().all(PersonRecord::is_finite) {
            return Err(EncodeError::NotFinite);
        }
        let len = seal(header, POSE, buffer, |w| {
            self.message.write_part(self.part, self.parts, here, w);
        })?;
        self.part += 1;
        self.rest = rest;
        Ok(buffer.get(..len))
    }
}

/// How many of the first persons fit into one datagram; at least one, as any person does.
fn fitting(persons: &[PersonRecord]) -> usize {
    let mut room = MAX_MESSAGE - super::header::LEN - FRAME_LEN - super::CRC_LEN;
    persons
        .iter()
        // Readers take no more of them at once.
        .take(MAX_PERSONS)
        .take_while(|p| {
            let left = room.checked_sub(p.len());
            room = left.unwrap_or(0);
            left.is_some()
        })
        .count()
}

// Whoever makes a person's block larger than a datagram must think of something else.
const _: () = assert!(
    super::header::LEN
        + FRAME_LEN
        + PERSON_LEN
        + ROOT_LEN
        + COVARIANCE_LEN
        + JOINTS_LEN
        + KEYPOINTS_LEN
        + super::CRC_LEN
        <= MAX_MESSAGE
);
