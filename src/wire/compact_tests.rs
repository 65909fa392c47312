//! Round trips, sizes and damage of messages with a short header.

use proptest::prelude::*;

use super::samples::{frame, header, reseal};
use super::*;
use crate::skeleton::JOINTS;

fn compact(persons: usize, index: usize) -> CompactPose {
    let message = PoseMessage::from_frame(&frame(persons), &PoseOptions::default());
    CompactPose::new(&message, index, header().sent_us)
}

fn encoded(pose: &CompactPose) -> Vec<u8> {
    let mut buffer = [0; MAX_SHORT_MESSAGE];
    let len = encode_compact(ShortHeader::from(&header()), pose, &mut buffer).unwrap();
    buffer[..len].to_vec()
}

fn read(bytes: &[u8]) -> CompactPose {
    match decode_short(bytes).unwrap().message {
        ShortMessage::Pose(pose) => pose,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_person_is_148_bytes_and_150_on_the_line_and_its_record_fits_into_a_tunnel() {
    let bytes = encoded(&compact(1, 0));
    assert_eq!((bytes.len(), COMPACT_MESSAGE), (148, 148));
    let mut line = [0; 200];
    assert_eq!(cobs::encode(&bytes, &mut line), Some(150));
    // MAVLink's TUNNEL carries 128 bytes.
    assert_eq!(COMPACT_PERSON, 128);
    assert_eq!(encoded(&compact(0, 0)).len(), 20);
}

#[test]
fn a_pose_comes_back_to_the_millimetre() {
    let whole = PoseMessage::from_frame(&frame(3), &PoseOptions::default());
    for (index, sent) in whole.persons.iter().enumerate() {
        let got = read(&encoded(&compact(3, index)));
        assert_eq!((got.persons_in_frame, usize::from(got.person_index)), (3, index));
        assert_eq!((got.camera, got.sequence, got.lookahead), (2, 345, 4));
        // Described at 1.000 s, sent at 1.066 s.
        assert_eq!(got.age_us(), Some(66_000));
        let person = got.person.unwrap();
        assert_eq!((u32::from(person.track), person.describes_us), (sent.track, 1_000_000));
        let body = person.body.unwrap();
        let root = body.root_mm.unwrap().map(|mm| f32::from(mm) / 1e3);
        let close =
            |a: [f32; 3], b: [f32; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 5.1e-4);
        assert!(close(root, sent.root.unwrap()));
        let (joints, truth) = (body.joints(), sent.joints.unwrap());
        assert!(joints.xyz.iter().zip(truth.xyz).all(|(&a, b)| close(a, b)));
        assert_eq!(joints.confidence, truth.confidence);
    }
}

#[test]
fn both_headers_count_alike() {
    let header = Header { session: 0xABCD, packet: 0x1_0005, ..header() };
    assert_eq!(ShortHeader::from(&header), ShortHeader { session: 0xCD, packet: 5 });
}

#[test]
fn what_does_not_fit_into_millimetres_is_withheld_or_not_known() {
    let mut far = frame(2);
    far.persons[0].pose.as_mut().unwrap().joints[4][2] = 32.8;
    far.persons[1].pose.as_mut().unwrap().root = Some([0.0, 0.0, -40.0]);
    let message = PoseMessage::from_frame(&far, &PoseOptions::default());
    let pose = |index| read(&encoded(&CompactPose::new(&message, index, 0))).person.unwrap();
    assert!(pose(0).withheld && pose(0).body.is_none());
    assert!(!pose(1).withheld && pose(1).body.unwrap().root_mm.is_none());
}

#[test]
fn ages_lookaheads_and_deviations_end_at_their_limits() {
    let mut message = PoseMessage::from_frame(&frame(1), &PoseOptions::default());
    message.persons[0].lookahead_us = 60_000_000;
    message.persons[0].root_covariance = Some([0.0, 0.0, 0.0, 0.0, 0.0, 100.0]);
    let late = CompactPose::new(&message, 0, 3_600_000_000);
    assert_eq!((late.age, late.lookahead, late.root_deviation_cm), (Some(65_534), 255, Some(254)));
    // A clock that runs backwards, or a moment from the future, is no age below zero.
    assert_eq!(CompactPose::new(&message, 0, i64::MIN).age, Some(0));
    message.persons[0].root_covariance = Some([0.0, 0.0, 0.0, 0.0, 0.0, 0.0625]);
    assert_eq!(CompactPose::new(&message, 0, 0).root_deviation_cm, Some(25));
    message.media_time = true;
    assert_eq!(CompactPose::new(&message, 0, 0).age, None);
}

#[test]
fn every_truncation_is_refused_and_named() {
    for whole in [encoded(&compact(1, 0)), encoded(&compact(0, 0))] {
        for n in 0..whole.len() {
            let error = decode_packet(&whole[..n]).unwrap_err();
            let expected = if n == 0 { "not-posewire" } else { "truncated" };
            assert_eq!(error.name(), expected, "{n} of {}", whole.len());
        }
        // With a right length and a right CRC, too.
        for n in 10..whole.len() {
            let mut cut = whole[..n].to_vec();
            cut[2] = n as u8;
            reseal(&mut cut);
            let error = decode_short(&cut).unwrap_err();
            assert_eq!(error.name(), "too-short", "{n} of {}", whole.len());
        }
    }
}

#[test]
fn later_versions_types_and_skeletons_are_told_apart() {
    let whole = encoded(&compact(1, 0));
    let changed = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[at] = value;
        reseal(&mut bytes);
        decode_short(&bytes)
    };
    assert_eq!(changed(1, 0x23), Err(WireError::Version { major: 2 }));
    assert_eq!(changed(7, 0x07), Err(WireError::UnknownSkeleton { id: 7, joints: 17 }));
    let unknown = changed(1, 0x1F).unwrap();
    assert_eq!(unknown.message, ShortMessage::Unknown { kind: 15 });
    assert_eq!(unknown.header, ShortHeader::from(&header()));
    assert_eq!(decode_short(b"PWIR"), Err(WireError::NotPosewire));
    // Fields that a later minor version appends are skipped.
    let mut longer = whole.clone();
    longer.splice(144..144, [0xEE; 5]);
    longer[2] += 5;
    reseal(&mut longer);
    assert_eq!(decode_short(&longer), decode_short(&whole));
}

#[test]
fn values_that_stand_for_none_cannot_be_sent_as_themselves() {
    let pose = compact(1, 0);
    for wrong in [
        CompactPose { age: Some(65_535), ..pose },
        CompactPose { root_deviation_cm: Some(255), ..pose },
        CompactPose { person: None, ..pose },
        CompactPose { persons_in_frame: 0, ..pose },
        CompactPose { person_index: 1, ..pose },
    ] {
        let got = encode_compact(ShortHeader::default(), &wrong, &mut [0; 255]);
        assert!(matches!(got, Err(EncodeError::BadValue { .. })), "{got:?}");
    }
    let got = encode_compact(ShortHeader::default(), &pose, &mut [0; 100]);
    assert_eq!(got, Err(EncodeError::TooLong { needed: 148, room: 100 }));
}

fn share() -> impl Strategy<Value = Share> {
    any::<u8>().prop_map(Share::from_byte)
}

prop_compose! {
    fn any_body()(
        root_mm in any::<Option<[i16; 3]>>(),
        joints_mm in any::<[[i16; 3]; JOINTS - 1]>(),
        confidence in prop::array::uniform17(share()),
    ) -> CompactBody {
        CompactBody { root_mm, joints_mm, confidence }
    }
}

prop_compose! {
    pub(super) fn any_person()(
        (track, describes_us) in any::<(u16, u32)>(),
        (predicted, revision, withheld) in any::<(bool, bool, bool)>(),
        (score, plausibility) in (share(), share()),
        body in prop::option::of(any_body()),
    ) -> CompactPerson {
        CompactPerson {
            track, describes_us, predicted, revision, withheld, score, plausibility, body,
        }
    }
}

prop_compose! {
    fn any_pose()(
        (camera, media_time, degraded) in any::<(u8, bool, bool)>(),
        (person, index, more) in (prop::option::of(any_person()), 0u8..=127, 1u8..=127),
        (sequence, lookahead) in any::<(u16, u8)>(),
        age in prop::option::of(0..u16::MAX),
        root_deviation_cm in prop::option::of(0..u8::MAX),
    ) -> CompactPose {
        let (persons_in_frame, person_index) =
            if person.is_some() { (index + more, index) } else { (0, 0) };
        CompactPose {
            camera, media_time, degraded, persons_in_frame, person_index, sequence, age,
            lookahead, root_deviation_cm, person,
        }
    }
}

fn any_header() -> impl Strategy<Value = ShortHeader> {
    any::<(u8, u16)>().prop_map(|(session, packet)| ShortHeader { session, packet })
}

proptest! {
    #[test]
    fn what_can_be_constructed_comes_back_equal_also_over_a_line(
        header in any_header(), pose in any_pose(),
    ) {
        let mut buffer = [0; MAX_SHORT_MESSAGE];
        let len = encode_compact(header, &pose, &mut buffer).unwrap();
        let sent = ShortDatagram { header, message: ShortMessage::Pose(pose) };
        prop_assert_eq!(decode_short(&buffer[..len]), Ok(sent));

        let mut line = [0; cobs::framed_len(MAX_SHORT_MESSAGE)];
        let framed = cobs::encode(&buffer[..len], &mut line).unwrap();
        let mut reader = cobs::FrameReader::new();
        let frame = reader.next(&mut &line[..framed]).unwrap().unwrap();
        prop_assert_eq!(decode_packet(frame), Ok(Packet::Short(sent)));
    }

    #[test]
    fn a_record_alone_comes_back_equal(person in any_person()) {
        let bytes = person.to_bytes();
        prop_assert_eq!(CompactPerson::from_bytes(&bytes), Ok(person));
        prop_assert_eq!(CompactPerson::from_bytes(&bytes[..person.len()]), Ok(person));
        prop_assert!(CompactPerson::from_bytes(&bytes[..person.len() - 1]).is_err());
    }

    #[test]
    fn any_bytes_are_a_message_or_a_named_error(
        mut bytes in prop::collection::vec(any::<u8>(), 10..300), sealed: bool, first: bool,
    ) {
        if first {
            (bytes[0], bytes[1]) = (SHORT_MAGIC, 0x10 | bytes[1] & 3);
        }
        if sealed && first {
            bytes.truncate(255);
            bytes[2] = bytes.len() as u8;
            reseal(&mut bytes);
        }
        match decode_packet(&bytes) {
            Ok(Packet::Short(ShortDatagram { header, message: ShortMessage::Pose(pose) })) => {
                let mut again = [0; MAX_SHORT_MESSAGE];
                let len = encode_compact(header, &pose, &mut again).unwrap();
                let got = decode_short(&again[..len]).unwrap();
                prop_assert_eq!(got.message, ShortMessage::Pose(pose));
            }
            Ok(_) => {}
            Err(e) => prop_assert!(!e.name().is_empty() && !e.to_string().is_empty()),
        }
    }

    #[test]
    fn damage_anywhere_is_never_accepted(
        pose in any_pose(), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let mut bytes = encoded(&pose);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(decode_short(&bytes).is_err());
    }
}
