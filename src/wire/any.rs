//! Any header and any message that can be constructed, for property tests.

use arrayvec::ArrayString;
use proptest::prelude::*;

use super::*;
use crate::fault::Severity;
use crate::skeleton::Skeleton;

fn finite() -> impl Strategy<Value = f32> {
    any::<f32>().prop_map(|v| if v.is_finite() { v } else { 1.5 })
}

fn share() -> impl Strategy<Value = Share> {
    any::<u8>().prop_map(Share::from_byte)
}

pub fn any_header() -> impl Strategy<Value = Header> {
    let clock = prop::sample::select(vec![
        ClockState::Unknown,
        ClockState::Free,
        ClockState::Ntp,
        ClockState::Ptp,
    ]);
    (any::<(u64, u32, i64, i64)>(), clock).prop_map(|((session, packet, sent, offset), clock)| {
        Header { session, packet, sent_us: sent, realtime_offset_us: offset, clock }
    })
}

prop_compose! {
    pub fn any_person()(
        (track, describes_us, lookahead_us) in any::<(u32, i64, u32)>(),
        (predicted, revision, withheld) in any::<(bool, bool, bool)>(),
        (score, plausibility) in (share(), share()),
        root in prop::option::of(prop::array::uniform3(finite())),
        root_covariance in prop::option::of(prop::array::uniform6(finite())),
        joints in prop::option::of((
            prop::array::uniform17(prop::array::uniform3(finite())),
            prop::array::uniform17(share()),
        )),
        keypoints in prop::option::of((
            prop::array::uniform17(prop::array::uniform2(finite())),
            prop::array::uniform17(share()),
        )),
    ) -> PersonRecord {
        PersonRecord {
            track, describes_us, lookahead_us, predicted, revision, withheld, score, plausibility,
            root, root_covariance,
            joints: joints.map(|(xyz, confidence)| Joints3d { xyz, confidence }),
            keypoints: keypoints.map(|(xy, confidence)| Keypoints { xy, confidence }),
        }
    }
}

prop_compose! {
    pub fn any_pose(most: usize)(
        persons in prop::collection::vec(any_person(), 0..=most),
        (camera, media_time, degraded) in any::<(u8, bool, bool)>(),
        skeleton in prop::sample::select(vec![Skeleton::Coco17, Skeleton::Human36m17]),
        (part, more) in (0u8..=127, 1u8..=127),
        hidden in 0u8..=200,
        (engine, precision, model) in any::<(u8, u8, u32)>(),
        (image_size, sequence) in any::<((u16, u16), u64)>(),
        (captured_us, dequeued_us) in any::<(i64, i64)>(),
        stages in prop::array::uniform3(prop::option::of(0..u32::MAX)),
    ) -> PoseMessage {
        PoseMessage {
            camera, skeleton, media_time, degraded, part, parts: part + more,
            persons_in_frame: persons.len() as u8 + hidden,
            engine: EngineId(engine), precision: PrecisionId(precision), model, image_size,
            sequence, captured_us, dequeued_us,
            decoded_us: stages[0], detected_us: stages[1], lifted_us: stages[2],
            persons: persons.into_iter().collect(),
        }
    }
}

prop_compose! {
    fn any_fault()(
        severity in prop::sample::select(vec![Severity::Skip, Severity::Restart, Severity::Fatal]),
        camera in prop::option::of(0u8..=254),
        (since_us, count) in any::<(i64, u32)>(),
        name in "[a-z-]{0,32}",
        detail in "\\PC{0,40}",
    ) -> FaultRecord {
        FaultRecord {
            severity, camera, since_us, count,
            name: ArrayString::from(&name).unwrap(),
            detail: ArrayString::from(&detail).unwrap(),
        }
    }
}

prop_compose! {
    pub fn any_status()(
        state in prop::sample::select(vec![
            State::Starting, State::Running, State::Degraded, State::Failed, State::Stopping,
        ]),
        (interval_ms, uptime_s, fps_in_milli, fps_out_milli) in any::<(u32, u32, u32, u32)>(),
        counters in any::<[u64; 5]>(),
        temperature_decicelsius in prop::option::of(i16::MIN + 1..=i16::MAX),
        faults in prop::collection::vec(any_fault(), 0..=MAX_FAULTS),
    ) -> StatusMessage {
        StatusMessage {
            state, interval_ms, uptime_s, fps_in_milli, fps_out_milli,
            frames_in: counters[0], frames_out: counters[1], frames_displaced: counters[2],
            frames_missed: counters[3], frames_bad: counters[4],
            temperature_decicelsius,
            faults: faults.into_iter().collect(),
        }
    }
}

pub fn any_message() -> impl Strategy<Value = Message> {
    // Two persons with everything always fit into one datagram.
    prop_oneof![any_pose(2).prop_map(Message::Pose), any_status().prop_map(Message::Status)]
}
