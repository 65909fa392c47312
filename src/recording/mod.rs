//! Recordings: what is in an MCAP file of ours, and how it gets in and out. `docs/recording.md` is
//! the page for readers of such files.
//!
//! MCAP (mcap.dev) is a container of time-stamped messages in compressed, checksummed chunks; what
//! is before the last whole chunk can be read whatever happened afterwards. Two kinds of messages
//! go side by side: Foxglove's schemas (`foxglove`), so that a viewer comes free, and our own,
//! which lose nothing: a [`FrameRecord`] before each picture, and the bytes of `docs/wire.md`.
//!
//! - Writing: [`compose`] makes [`Entry`]s, [`FileWriter`] puts them into a file.
//! - Reading: [`Reader`] gives them back from any bytes, or says what is wrong with them.
//! - [`recover`] copies what can be read of a file into a whole one.

pub mod about;
pub mod compose;
mod descriptors;
pub(crate) mod foxglove;
pub mod frame_record;
mod read;
mod recover;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;

pub use about::{About, ModelNote};
pub use frame_record::{FrameRecord, Picture};
pub use read::{Item, ReadError, Reader, Stored};
pub use recover::{Recovered, recover};
pub use write::{FileWriter, WriteError};

/// The profile in the header of our files.
pub const PROFILE: &str = "posewire";

/// The name of the metadata record that says how a recording was made.
pub const ABOUT: &str = "posewire";

/// No record or chunk of a file is taken into memory that is larger than this: a picture of
/// 8192x8192 RGB is 201 MB, an uncompressed 4K frame 25 MB.
pub const MAX_RECORD: usize = 256 << 20;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// [`FrameRecord`], JSON: a frame's number, times and layout.
    Frame,
    /// `foxglove.CompressedImage`.
    Image,
    /// `foxglove.RawImage`.
    RawImage,
    /// `foxglove.ImageAnnotations`: 2D keypoints.
    Keypoints,
    /// `foxglove.SceneUpdate`: 3D skeletons.
    Scene,
    /// `foxglove.FrameTransforms`: where each person's joints are.
    Transforms,
    /// `foxglove.CameraCalibration`.
    Calibration,
    /// The datagrams of `docs/wire.md`, byte for byte.
    Packet,
    /// How the sender is, as JSON.
    Status,
}

impl Subject {
    /// Every subject.
    pub const ALL: [Self; 9] = [
        Self::Frame,
        Self::Image,
        Self::RawImage,
        Self::Keypoints,
        Self::Scene,
        Self::Transforms,
        Self::Calibration,
        Self::Packet,
        Self::Status,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::Image => "image",
            Self::RawImage => "image_raw",
            Self::Keypoints => "keypoints",
            Self::Scene => "scene",
            Self::Transforms => "transforms",
            Self::Calibration => "calibration",
            Self::Packet => "packets",
            Self::Status => "status",
        }
    }

    /// Schema name, schema encoding and message encoding.
    const fn encoding(self) -> (&'static str, &'static str, &'static str) {
        const PROTOBUF: &str = "protobuf";
        match self {
            Self::Frame => ("posewire.Frame", "jsonschema", "json"),
            Self::Image => ("foxglove.CompressedImage", PROTOBUF, PROTOBUF),
            Self::RawImage => ("foxglove.RawImage", PROTOBUF, PROTOBUF),
            Self::Keypoints => ("foxglove.ImageAnnotations", PROTOBUF, PROTOBUF),
            Self::Scene => ("foxglove.SceneUpdate", PROTOBUF, PROTOBUF),
            Self::Transforms => ("foxglove.FrameTransforms", PROTOBUF, PROTOBUF),
            Self::Calibration => ("foxglove.CameraCalibration", PROTOBUF, PROTOBUF),
            Self::Packet => ("", "", "posewire-wire"),
            Self::Status => ("posewire.Status", "jsonschema", "json"),
        }
    }
}

/// Where messages go: a subject of one camera. Status belongs to none and says 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// What about.
    pub subject: Subject,
    /// Whose.
    pub camera: u8,
}

impl Topic {
    /// Of a topic's name in a file, if it is one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "/status" {
            return Some(Self { subject: Subject::Status, camera: 0 });
        }
        let (camera, subject) = name.strip_prefix("/camera/")?.split_once('/')?;
        let camera = camera.parse().ok()?;
        let subject = Subject::ALL.into_iter().find(|s| s.name() == subject)?;
        (subject != Subject::Status).then_some(Self { subject, camera })
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            Subject::Status => f.write_str("/status"),
            subject => write!(f, "/camera/{}/{}", self.camera, subject.name()),
        }
    }
}

/// One message of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes.
    pub topic: Topic,
    /// The lower half of the number of the frame that it belongs to; of a status, its number.
    pub sequence: u32,
    /// When what it tells of happened, nanoseconds of Unix time.
    pub time: u64,
    /// The message.
    pub data: Vec<u8>,
}

impl Entry {
    /// Bytes that it takes in memory, about.
    pub fn size(&self) -> usize {
        self.data.len() + size_of::<Self>()
    }
}
