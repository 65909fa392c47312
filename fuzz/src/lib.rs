//! The rooms of posewire that the small targets are about: the same files.
#![allow(dead_code, missing_docs)]

#[cfg(feature = "recording")]
#[path = "../../src/camera.rs"]
pub mod camera;
#[cfg(feature = "jpeg")]
#[path = "../../src/decode/mod.rs"]
pub mod decode;
#[path = "../../src/fault.rs"]
pub mod fault;
#[cfg(any(feature = "recording", feature = "jpeg"))]
#[path = "../../src/frame.rs"]
pub mod frame;
#[cfg(any(feature = "recording", feature = "jpeg"))]
#[path = "../../src/handoff/mod.rs"]
pub mod handoff;
#[cfg(feature = "recording")]
#[path = "../../src/orientation.rs"]
pub mod orientation;
#[path = "../../src/pose.rs"]
pub mod pose;
#[cfg(feature = "recording")]
#[path = "../../src/recording/mod.rs"]
pub mod recording;
#[path = "../../src/view/request.rs"]
pub mod request;
#[path = "../../src/skeleton.rs"]
pub mod skeleton;
#[path = "../../src/time.rs"]
pub mod time;
#[path = "../../src/wire/mod.rs"]
pub mod wire;

use crc::{CRC_32_ISCSI, Crc, Table};

static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// The bytes as a message with a right length and a right check value, so that what lies behind
/// those is reached.
pub fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut message = bytes.to_vec();
    let len = message.len() + 4;
    if message.first() == Some(&b'p') {
        *message.get_mut(2)? = u8::try_from(len).ok()?;
    } else {
        let place = message.get_mut(8..10)?;
        place.copy_from_slice(&u16::try_from(len).ok()?.to_le_bytes());
    }
    let crc = CRC32C.checksum(&message);
    message.extend(crc.to_le_bytes());
    Some(message)
}
