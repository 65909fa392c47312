//! Recorded poses in the formats of biomechanics and animation.
//!
//! [`collect`] reads a recording's packets into [`People`]; [`Track::of`] brings one person onto
//! an even grid of times; [`trc`], [`c3d`] and [`bvh`] write that. [`csv`] writes what was
//! recorded as it was, row by row.
//!
//! **Frame** of TRC, C3D and BVH: that of [`crate::rotations`], y up, x to the left of somebody
//! who looks into the camera, z towards it; the origin is the camera. Where the person's place
//! was never known, the pelvis stays in the origin.

pub mod bvh;
pub mod c3d;
pub mod csv;
mod track;
pub mod trc;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read;

use crate::pose::MAX_PERSONS;
use crate::recording::{About, Item, ReadError, Reader, Subject};
use crate::skeleton::JOINTS;
use crate::wire::{Assembler, Message, PersonRecord, PoseMessage, decode};

pub use track::{Track, TrackError};

/// One person at one moment, as recorded: metres in the camera's frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The moment that the pose describes, microseconds on the recording's clock.
    pub time_us: i64,
    /// Relative to the pelvis.
    pub joints: [[f32; 3]; JOINTS],
    /// Where the pelvis is, if that is known.
    pub root: Option<[f32; 3]>,
}

/// Everybody who was recorded, by camera and track.
pub type People = BTreeMap<(u8, u32), Vec<Sample>>;

/// Reads the poses of a recording; `each` is called with every frame as it was sent.
///
/// # Errors
/// If it is no recording; what can be read of a damaged one is read.
pub fn collect<R: Read>(
    input: R,
    mut each: impl FnMut(&PoseMessage) -> std::io::Result<()>,
) -> Result<(Option<About>, People), ReadError> {
    let mut reader = Reader::new(input);
    let mut people = People::new();
    let mut about = None;
    let mut parts: BTreeMap<u8, Assembler> = BTreeMap::new();
    loop {
        let item = match reader.next() {
            Ok(Some(item)) => item,
            Ok(None) => break,
            // What was read is worth having.
            Err(ReadError::Damaged { at, problem }) if !people.is_empty() => {
                log::warn!("damaged at byte {at}: {problem}: it ends there");
                break;
            }
            Err(error) => return Err(error),
        };
        let stored = match item {
            Item::About(found) => {
                about = Some(found);
                continue;
            }
            Item::Message(stored) => stored,
            Item::Skipped(problem) => {
                log::warn!("a damaged piece is left out: {problem}");
                continue;
            }
            Item::Cut => {
                log::warn!("it was cut off: its end is missing");
                continue;
            }
            Item::Metadata(_) => continue,
        };
        let Some(entry) = stored.entry() else { continue };
        if entry.topic.subject != Subject::Packet {
            continue;
        }
        let Ok(datagram) = decode(&entry.data) else { continue };
        let Message::Pose(part) = datagram.message else { continue };
        let assembler = parts.entry(part.camera).or_default();
        let Some(frame) = assembler.add(&datagram.header, part) else { continue };
        each(&frame)?;
        for person in &frame.persons {
            if let Some(sample) = Sample::of(person) {
                people.entry((frame.camera, person.track)).or_default().push(sample);
            }
        }
    }
    Ok((about, people))
}

impl Sample {
    fn of(person: &PersonRecord) -> Option<Self> {
        let joints = person.joints?.xyz;
        Some(Self { time_us: person.describes_us, joints, root: person.root })
    }
}

// A frame's persons fit into one message.
const _: () = assert!(MAX_PERSONS <= 255);
