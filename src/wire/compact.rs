//! The compact pose message: one person in 128 bytes, for serial lines and radio links that have
//! no room for floats.
//!
//! It travels behind a short header of its own ([`ShortHeader`], 6 bytes instead of 40); the
//! person's [record](CompactPerson) alone is what fits into a MAVLink `TUNNEL`. Lengths are
//! millimetres in `i16`.

use super::bytes::{Reader, Writer};
use super::{CRC_LEN, CRC32C, EncodeError, Header, MAJOR, PersonRecord, PoseMessage, WireError};
use super::{Joints3d, Share};
use crate::skeleton::{JOINTS, Skeleton};

/// The first byte of a message with a short header.
pub const SHORT_MAGIC: u8 = b'p';
/// The most bytes of a message with a short header: its length is one byte.
pub const MAX_SHORT_MESSAGE: usize = 255;
/// Bytes of a compact pose message with joints, CRC included.
pub const COMPACT_MESSAGE: usize = SHORT_HEADER + FRAME + COMPACT_PERSON + CRC_LEN;
/// Bytes of a person's record with joints.
pub const COMPACT_PERSON: usize = PERSON + BODY;

const COMPACT_POSE: u8 = 3;
const SHORT_HEADER: usize = 6;
const LENGTH_AT: usize = 2;
const FRAME: usize = 10;
const PERSON: usize = 9;
const BODY: usize = JOINTS * 7;

/// "Not known" of the age, and of the root's deviation.
const NO_AGE: u16 = u16::MAX;
const NO_DEVIATION: u8 = u8::MAX;

// Frame flags, in the upper half of the skeleton's byte.
const MEDIA_TIME: u8 = 1 << 4;
const DEGRADED: u8 = 1 << 5;

// Person flags.
const HAS_JOINTS: u8 = 1 << 0;
const HAS_ROOT: u8 = 1 << 1;
const PREDICTED: u8 = 1 << 2;
const REVISION: u8 = 1 << 3;
const WITHHELD: u8 = 1 << 4;

/// What a message with a short header begins with: the low bits of what [`Header`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShortHeader {
    /// The session's lowest byte.
    pub session: u8,
    /// The packet count's lower half. Messages with either header share one count.
    pub packet: u16,
}

impl From<&Header> for ShortHeader {
    fn from(header: &Header) -> Self {
        Self { session: header.session as u8, packet: header.packet as u16 }
    }
}

/// One message with a short header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShortDatagram {
    /// Which in the row it is.
    pub header: ShortHeader,
    /// What it says.
    pub message: ShortMessage,
}

/// What a message with a short header says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ShortMessage {
    /// A person of a frame, or that there was nobody in it: type 3.
    Pose(CompactPose),
    /// A type that this version does not know; its CRC was right, its header counts.
    Unknown {
        /// The type, 0..=15.
        kind: u8,
    },
}

/// A person of a frame, or that there was nobody in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactPose {
    /// Which camera of the sender.
    pub camera: u8,
    /// The times are on a recording's own clock.
    pub media_time: bool,
    /// The sender works with less than it was configured for; its status says why.
    pub degraded: bool,
    /// Persons in the frame.
    pub persons_in_frame: u8,
    /// Which of them this is, from 0.
    pub person_index: u8,
    /// The source's frame number, its lower 16 bits.
    pub sequence: u16,
    /// From the moment that the pose describes (the frame was captured, where nobody is in it)
    /// until it was sent: steps of 100 µs; 65,534 is that or more, `None` is not known. Never
    /// `Some(65_535)`.
    pub age: Option<u16>,
    /// How much future the lifter had seen: steps of 10 ms; 255 is that or more.
    pub lookahead: u8,
    /// Standard deviation of the root's distance: centimetres; 254 is that or more. Never
    /// `Some(255)`.
    pub root_deviation_cm: Option<u8>,
    /// The person; `None`: nobody in the frame.
    pub person: Option<CompactPerson>,
}

/// A person in 128 bytes, or 9 without joints.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactPerson {
    /// Which person, over time: the lower 16 bits of the track.
    pub track: u16,
    /// The moment that the pose describes: the lower 32 bits of its microseconds on the frame's
    /// timeline.
    pub describes_us: u32,
    /// No detection supports this frame.
    pub predicted: bool,
    /// Replaces an earlier pose of the same track at the same moment.
    pub revision: bool,
    /// There was a pose that cannot be said in these numbers.
    pub withheld: bool,
    /// The detector's belief that this is a person.
    pub score: Share,
    /// How human the pose looks.
    pub plausibility: Share,
    /// The lifted joints.
    pub body: Option<CompactBody>,
}

/// Human3.6M-17 joints in millimetres, in the camera's axes (x right, y down, z forward).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactBody {
    /// The pelvis in the camera frame; `None`: not known, or more than 32.767 m away.
    pub root_mm: Option<[i16; 3]>,
    /// Joints 1 to 16 relative to the pelvis, which is joint 0.
    pub joints_mm: [[i16; 3]; JOINTS - 1],
    /// Of all 17 joints.
    pub confidence: [Share; JOINTS],
}

/// Metres to whole millimetres, if they fit.
fn millimetres(metres: [f32; 3]) -> Option<[i16; 3]> {
    let mut all = [0; 3];
    for (mm, m) in all.iter_mut().zip(metres) {
        let rounded = (m * 1e3).round();
        // -32,768 is left out, so that every value can be negated.
        if !(-32_767.0..=32_767.0).contains(&rounded) {
            return None;
        }
        *mm = rounded as i16;
    }
    Some(all)
}

impl CompactBody {
    /// The joints in metres, the pelvis first.
    pub fn joints(&self) -> Joints3d {
        let metres = |mm: [i16; 3]| mm.map(|v| f32::from(v) / 1e3);
        let xyz = std::array::from_fn(|j| match j.checked_sub(1) {
            Some(other) => metres(self.joints_mm[other]),
            None => [0.0; 3],
        });
        Joints3d { xyz, confidence: self.confidence }
    }

    fn new(joints: &Joints3d, root: Option<[f32; 3]>) -> Option<Self> {
        let mut joints_mm = [[0; 3]; JOINTS - 1];
        for (mm, &metres) in joints_mm.iter_mut().zip(&joints.xyz[1..]) {
            *mm = millimetres(metres)?;
        }
        Some(Self { root_mm: root.and_then(millimetres), joints_mm, confidence: joints.confidence })
    }

    fn write(&self, w: &mut Writer<'_>) {
        for mm in std::iter::once(&self.root_mm.unwrap_or_default()).chain(&self.joints_mm) {
            mm.iter().for_each(|v| w.put(&v.to_le_bytes()));
        }
        w.put(&self.confidence.map(Share::byte));
    }

    fn read(r: &mut Reader<'_>, has_root: bool) -> Result<Self, WireError> {
        let mut point = || Ok([r.i16()?, r.i16()?, r.i16()?]);
        let root = point()?;
        let mut joints_mm = [[0; 3]; JOINTS - 1];
        for joint in &mut joints_mm {
            *joint = point()?;
        }
        let mut confidence = [Share::UNKNOWN; JOINTS];
        for share in &mut confidence {
            *share = Share::from_byte(r.u8()?);
        }
        Ok(Self { root_mm: has_root.then_some(root), joints_mm, confidence })
    }
}

impl CompactPerson {
    /// A person of a pose message. A joint that is more than 32.767 m away from its pelvis cannot
    /// be said: such a pose is withheld.
    pub fn new(person: &PersonRecord) -> Self {
        let body = person.joints.as_ref().and_then(|j| CompactBody::new(j, person.root));
        Self {
            track: person.track as u16,
            describes_us: person.describes_us as u32,
            predicted: person.predicted,
            revision: person.revision,
            withheld: person.withheld || (person.joints.is_some() && body.is_none()),
            score: person.score,
            plausibility: person.plausibility,
            body,
        }
    }

    /// The record alone: the first [`len`](Self::len) bytes are used.
    pub fn to_bytes(&self) -> [u8; COMPACT_PERSON] {
        let mut bytes = [0; COMPACT_PERSON];
        self.write(&mut Writer::new(&mut bytes));
        bytes
    }

    /// A record alone. What is behind it is ignored.
    ///
    /// # Errors
    /// [`WireError::TooShort`] if bytes are missing.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        Self::read(&mut Reader::new(bytes, "person record"))
    }

    /// Bytes of the record.
    #[expect(clippy::len_without_is_empty, reason = "no record is empty")]
    pub fn len(&self) -> usize {
        PERSON + self.body.map_or(0, |_| BODY)
    }

    fn write(&self, w: &mut Writer<'_>) {
        let has_root = self.body.is_some_and(|b| b.root_mm.is_some());
        let bits = [
            (self.body.is_some(), HAS_JOINTS),
            (has_root, HAS_ROOT),
            (self.predicted, PREDICTED),
            (self.revision, REVISION),
            (self.withheld, WITHHELD),
        ];
        w.u8(bits.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum());
        w.u16(self.track);
        w.u32(self.describes_us);
        w.u8(self.score.byte());
        w.u8(self.plausibility.byte());
        if let Some(body) = &self.body {
            body.write(w);
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let flags = r.u8()?;
        let has = |bit| flags & bit != 0;
        let (track, describes_us) = (r.u16()?, r.u32()?);
        let (score, plausibility) = (Share::from_byte(r.u8()?), Share::from_byte(r.u8()?));
        let body = has(HAS_JOINTS).then(|| CompactBody::read(r, has(HAS_ROOT))).transpose()?;
        Ok(Self {
            track,
            describes_us,
            predicted: has(PREDICTED),
            revision: has(REVISION),
            withheld: has(WITHHELD),
            score,
            plausibility,
            body,
        })
    }
}

impl CompactPose {
    /// How many messages the persons of `frame` take: one each, and one if nobody is there.
    pub fn count(frame: &PoseMessage) -> usize {
        frame.persons.len().max(1)
    }

    /// Person `index` of `frame`, sent at `sent_us` of the sender's monotonic clock; without that
    /// many persons, the message that says that nobody is there.
    pub fn new(frame: &PoseMessage, index: usize, sent_us: i64) -> Self {
        let person = frame.persons.get(index);
        let moment = person.map_or(frame.captured_us, |p| p.describes_us);
        let age = (!frame.media_time).then(|| sent_us.saturating_sub(moment).max(0) / 100);
        let metres = person.and_then(|p| p.root_covariance).map(|c| c[5].max(0.0).sqrt());
        Self {
            camera: frame.camera,
            media_time: frame.media_time,
            degraded: frame.degraded,
            persons_in_frame: frame.persons_in_frame,
            person_index: person.map_or(0, |_| index as u8),
            sequence: frame.sequence as u16,
            age: age.map(|steps| u16::try_from(steps).unwrap_or(NO_AGE).min(NO_AGE - 1)),
            lookahead: person.map_or(0, |p| (p.lookahead_us / 10_000).min(255) as u8),
            root_deviation_cm: metres
                .map(|m| (m * 100.0).round().min(f32::from(NO_DEVIATION - 1)) as u8),
            person: person.map(CompactPerson::new),
        }
    }

    fn check(&self) -> Result<(), EncodeError> {
        if self.age == Some(NO_AGE) {
            return Err(EncodeError::BadValue { what: "age" });
        }
        if self.root_deviation_cm == Some(NO_DEVIATION) {
            return Err(EncodeError::BadValue { what: "deviation of the root" });
        }
        if self.person.is_some() != (self.persons_in_frame > 0)
            || self.person_index >= self.persons_in_frame.max(1)
        {
            return Err(EncodeError::BadValue { what: "number of persons" });
        }
        Ok(())
    }

    fn write(&self, w: &mut Writer<'_>) {
        let flags =
            if self.media_time { MEDIA_TIME } else { 0 } | if self.degraded { DEGRADED } else { 0 };
        w.u8(self.camera);
        w.u8(Skeleton::Human36m17.wire_id() | flags);
        w.u8(self.persons_in_frame);
        w.u8(self.person_index);
        w.u16(self.sequence);
        w.u16(self.age.unwrap_or(NO_AGE));
        w.u8(self.lookahead);
        w.u8(self.root_deviation_cm.unwrap_or(NO_DEVIATION));
        if let Some(person) = &self.person {
            person.write(w);
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (camera, skeleton_and_flags) = (r.u8()?, r.u8()?);
        let id = skeleton_and_flags & 0x0F;
        if id != Skeleton::Human36m17.wire_id() {
            return Err(WireError::UnknownSkeleton { id, joints: JOINTS as u8 });
        }
        let (persons_in_frame, person_index) = (r.u8()?, r.u8()?);
        if person_index >= persons_in_frame.max(1) {
            return Err(WireError::BadValue { what: "number of persons" });
        }
        let (sequence, age) = (r.u16()?, r.u16()?);
        let (lookahead, deviation) = (r.u8()?, r.u8()?);
        let person = (persons_in_frame > 0).then(|| CompactPerson::read(r)).transpose()?;
        Ok(Self {
            camera,
            media_time: skeleton_and_flags & MEDIA_TIME != 0,
            degraded: skeleton_and_flags & DEGRADED != 0,
            persons_in_frame,
            person_index,
            sequence,
            age: (age != NO_AGE).then_some(age),
            lookahead,
            root_deviation_cm: (deviation != NO_DEVIATION).then_some(deviation),
            person,
        })
    }

    /// Microseconds from the moment that the pose describes until it was sent.
    pub fn age_us(&self) -> Option<u32> {
        self.age.map(|steps| u32::from(steps) * 100)
    }
}

/// Writes one compact pose message to the start of `buffer` and returns its length.
///
/// # Errors
/// If the buffer is too small or a field holds a value that no reader would accept.
pub fn encode_compact(
    header: ShortHeader,
    pose: &CompactPose,
    buffer: &mut [u8],
) -> Result<usize, EncodeError> {
    pose.check()?;
    let room = buffer.len();
    let mut w = Writer::new(buffer);
    w.u8(SHORT_MAGIC);
    w.u8(MAJOR << 4 | COMPACT_POSE);
    w.u8(0); // the length, patched when it is known
    w.u8(header.session);
    w.u16(header.packet);
    pose.write(&mut w);
    let needed = w.len() + CRC_LEN;
    if needed > room {
        return Err(EncodeError::TooLong { needed, room });
    }
    w.patch_u8(LENGTH_AT, needed as u8);
    let crc = CRC32C.checksum(w.written().unwrap_or_default());
    w.u32(crc);
    Ok(needed)
}

/// Reads one message with a short header. Bytes behind it are ignored.
///
/// # Errors
/// Names what is wrong; the message is to be dropped.
pub fn decode_short(bytes: &[u8]) -> Result<ShortDatagram, WireError> {
    let have = bytes.len();
    let least = SHORT_HEADER + CRC_LEN;
    match *bytes {
        [SHORT_MAGIC] => return Err(WireError::Truncated { have, stated: least }),
        [SHORT_MAGIC, kind, ..] if kind >> 4 != MAJOR => {
            return Err(WireError::Version { major: kind >> 4 });
        }
        [SHORT_MAGIC, ..] => {}
        _ => return Err(WireError::NotPosewire),
    }
    let stated = bytes.get(LENGTH_AT).map_or(0, |&l| usize::from(l));
    if have < stated.max(least) {
        return Err(WireError::Truncated { have, stated: stated.max(least) });
    }
    let body_end = stated.checked_sub(CRC_LEN).ok_or(WireError::TooShort { what: "message" })?;
    let mut r = Reader::new(bytes, "message");
    let message = r.take(body_end)?;
    if r.u32()? != CRC32C.checksum(message) {
        return Err(WireError::Crc);
    }
    let mut r = Reader::new(message, "message");
    r.take(1)?;
    let kind = r.u8()? & 0x0F;
    r.take(1)?;
    let header = ShortHeader { session: r.u8()?, packet: r.u16()? };
    let message = match kind {
        COMPACT_POSE => ShortMessage::Pose(CompactPose::read(&mut r)?),
        kind => ShortMessage::Unknown { kind },
    };
    Ok(ShortDatagram { header, message })
}
