//! Frames and datagrams for tests.

use super::*;
use crate::pose::{Keypoint, Keypoints2d, Person, Pose3d, PoseFrame, StageStamps, TrackId};
use crate::skeleton::JOINTS;
use crate::time::Timestamp;

/// A frame as the pipeline makes it, with `persons` persons whose numbers are all different.
pub fn frame(persons: usize) -> PoseFrame {
    let at = |us: i64| Timestamp::from_nanos(us * 1_000 + 7);
    let person = |n: usize| {
        // Multiples of 1/64: the same in every language's arithmetic.
        let grid = |i: usize, axis: usize| ((i * 7 + axis * 3 + n) % 64) as f32 / 64.0 - 0.5;
        let joints = std::array::from_fn(|j| {
            if j == 0 { [0.0; 3] } else { std::array::from_fn(|axis| grid(j, axis)) }
        });
        Person {
            track: TrackId(n as u32 + 1),
            keypoints: Keypoints2d {
                points: std::array::from_fn(|j| Keypoint {
                    x: 320.0 + 64.0 * grid(j, 0),
                    y: 240.0 + 64.0 * grid(j, 1),
                    confidence: (j as f32 + 1.0) / JOINTS as f32,
                }),
                score: 0.75,
            },
            predicted: n % 4 == 3,
            pose: Some(Pose3d {
                joints,
                confidence: std::array::from_fn(|j| 1.0 - j as f32 / 64.0),
                root: Some([0.25 * n as f32, -0.125, 2.5]),
                root_covariance: None,
                plausibility: None,
                describes: at(1_000_000),
                lookahead_nanos: 40_000_000,
            }),
            revision: None,
        }
    };
    PoseFrame {
        camera: 2,
        sequence: 345,
        captured: at(1_040_000),
        media_time: false,
        stamps: StageStamps {
            dequeued: at(1_045_000),
            decoded: at(1_048_500),
            detected: at(1_062_000),
            lifted: at(1_065_250),
        },
        image_size: (1280, 720),
        persons: (0..persons).map(person).collect(),
        model: 0xCAFE_F00D,
        computed: None,
    }
}

pub fn header() -> Header {
    Header {
        session: 0x0123_4567_89AB_CDEF,
        packet: 1_000,
        sent_us: 1_066_000,
        realtime_offset_us: 1_700_000_000_000_000,
        clock: ClockState::Ntp,
    }
}

/// All datagrams of a frame, numbered from the header's packet number.
pub fn datagrams(frame: &PoseFrame, options: &PoseOptions) -> Vec<Vec<u8>> {
    let message = PoseMessage::from_frame(frame, options);
    let mut split = Split::new(&message);
    let mut buffer = [0; MAX_MESSAGE];
    let mut all = Vec::new();
    for n in 0..u32::from(split.parts()) {
        let header = Header { packet: header().packet + n, ..header() };
        all.push(split.next(&header, &mut buffer).unwrap().unwrap().to_vec());
    }
    assert_eq!(split.next(&header(), &mut buffer), Ok(None));
    all
}

pub fn pose_of(datagram: &[u8]) -> PoseMessage {
    match decode(datagram).unwrap().message {
        Message::Pose(pose) => pose,
        other => panic!("{other:?}"),
    }
}

/// Puts the right CRC to a datagram that a test has changed.
pub fn reseal(datagram: &mut [u8]) {
    let body = datagram.len() - CRC_LEN;
    let crc = CRC32C.checksum(&datagram[..body]);
    datagram[body..].copy_from_slice(&crc.to_le_bytes());
}
