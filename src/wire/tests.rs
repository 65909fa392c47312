//! Round trips, damage, and what older readers do with newer messages.

use arrayvec::ArrayVec;
use proptest::prelude::*;

use super::any::{any_header, any_message, any_person, any_pose};
use super::samples::{datagrams, frame, header, pose_of, reseal};
use super::*;
use crate::fault::Severity;

use crate::pose::MAX_PERSONS;
use crate::time::Timestamp;

#[test]
fn a_frame_comes_back_as_it_was_up_to_microseconds_and_shares_of_254() {
    let sent = frame(1);
    let options = PoseOptions { keypoints: true, ..Default::default() };
    let all = datagrams(&sent, &options);
    assert_eq!(all.len(), 1);
    let got = pose_of(&all[0]);
    assert_eq!((got.camera, got.sequence, got.image_size), (2, 345, (1280, 720)));
    assert_eq!((got.captured_us, got.dequeued_us), (1_040_000, 1_045_000));
    assert_eq!(got.decoded_us, Some(3_500));
    assert_eq!(got.detected_us, Some(17_000));
    assert_eq!(got.lifted_us, Some(20_250));
    let (person, pose) = (&got.persons[0], sent.persons[0].pose.unwrap());
    assert_eq!((person.describes_us, person.lookahead_us), (1_000_000, 40_000));
    assert_eq!(person.root, pose.root);
    let joints = person.joints.unwrap();
    assert_eq!(joints.xyz, pose.joints);
    for (share, confidence) in joints.confidence.iter().zip(pose.confidence) {
        assert!((share.value().unwrap() - confidence).abs() <= 0.5 / 254.0);
    }
    let keypoints = person.keypoints.unwrap();
    assert_eq!(keypoints.xy, sent.persons[0].keypoints.points.map(|p| [p.x, p.y]));
}

#[test]
fn one_person_takes_361_bytes_and_keypoints_153_more() {
    assert_eq!(datagrams(&frame(1), &PoseOptions::default())[0].len(), 361);
    let options = PoseOptions { keypoints: true, ..Default::default() };
    assert_eq!(datagrams(&frame(1), &options)[0].len(), 514);
    assert_eq!(datagrams(&frame(0), &options)[0].len(), 104);
}

#[test]
fn sixteen_persons_are_spread_over_datagrams_that_fit_and_come_together_in_any_order() {
    for (keypoints, parts) in [(false, 4), (true, 6)] {
        let sent = frame(MAX_PERSONS);
        let options = PoseOptions { keypoints, ..Default::default() };
        let all = datagrams(&sent, &options);
        assert_eq!(all.len(), parts);
        for datagram in &all {
            assert!(datagram.len() <= MAX_MESSAGE);
            const { assert!(MAX_MESSAGE + MAX_TRAILER <= 1_472) }
        }
        let whole = PoseMessage::from_frame(&sent, &options);
        let mut assembler = Assembler::default();
        let mut complete = None;
        for datagram in all.iter().rev() {
            assert_eq!(complete, None);
            complete = assembler.add(&decode(datagram).unwrap().header, pose_of(datagram));
        }
        let mut complete = complete.unwrap();
        complete.persons.sort_by_key(|p| p.track);
        assert_eq!(complete, whole);
        assert_eq!(assembler.incomplete(), 0);
    }
}

#[test]
fn a_pose_with_a_number_that_is_not_finite_is_withheld_and_says_so() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut sent = frame(2);
        sent.persons[0].pose.as_mut().unwrap().joints[5][1] = bad;
        sent.persons[1].pose.as_mut().unwrap().root = Some([0.0, bad, 1.0]);
        sent.persons[1].keypoints.points[3].x = bad;
        sent.persons[1].keypoints.score = f32::NAN;
        let options = PoseOptions { keypoints: true, ..Default::default() };
        let got = pose_of(&datagrams(&sent, &options)[0]);
        assert!(got.persons[0].withheld && got.persons[0].joints.is_none());
        assert_eq!(got.persons[0].root, None);
        assert!(!got.persons[1].withheld && got.persons[1].joints.is_some());
        assert_eq!(got.persons[1].root, None);
        assert_eq!(got.persons[1].score, Share::UNKNOWN);
        let keypoints = got.persons[1].keypoints.unwrap();
        assert_eq!((keypoints.xy[3], keypoints.confidence[3].byte()), ([0.0; 2], 0));
    }
}

#[test]
fn a_number_that_is_not_finite_in_a_datagram_is_refused() {
    let mut datagram = datagrams(&frame(1), &PoseOptions::default()).remove(0);
    // The first joint's x, behind the header, the frame block, the person's fields and the root.
    let at = 40 + 60 + 24 + 12;
    datagram[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    reseal(&mut datagram);
    assert_eq!(decode(&datagram), Err(WireError::NotFinite { what: "person block" }));
}

#[test]
fn stages_that_were_not_reached_are_unknown() {
    let mut sent = frame(0);
    sent.stamps.decoded = Timestamp::ZERO;
    sent.stamps.lifted = sent.stamps.dequeued + std::time::Duration::from_secs(5_000);
    let got = pose_of(&datagrams(&sent, &PoseOptions::default())[0]);
    assert_eq!((got.decoded_us, got.lifted_us), (None, None));
    assert_eq!(got.detected_us, Some(17_000));
}

#[test]
fn every_truncation_is_refused_and_named() {
    let options = PoseOptions { keypoints: true, ..Default::default() };
    let mut buffer = [0; MAX_MESSAGE];
    let status = Message::Status(StatusMessage {
        faults: ArrayVec::from_iter([FaultRecord::new(
            Severity::Restart,
            "camera-gone",
            "plug it in",
        )]),
        ..Default::default()
    });
    let len = encode(&header(), &status, &mut buffer).unwrap();
    for whole in [&datagrams(&frame(2), &options)[0], &buffer[..len].to_vec()] {
        for n in 0..whole.len() {
            let error = decode(&whole[..n]).unwrap_err();
            let expected = if n == 0 { "not-posewire" } else { "truncated" };
            assert_eq!(error.name(), expected, "{n} of {}", whole.len());
        }
        assert!(decode(whole).is_ok());
    }
}

#[test]
fn a_message_cut_short_with_a_right_length_and_crc_is_refused_and_never_panics() {
    let whole = &datagrams(&frame(2), &PoseOptions::default())[0];
    for n in CRC_LEN..whole.len() {
        let mut cut = whole[..n].to_vec();
        if n >= 10 {
            cut[8..10].copy_from_slice(&(n as u16).to_le_bytes());
        }
        reseal(&mut cut);
        assert!(decode(&cut).is_err(), "{n}");
    }
}

#[test]
fn bytes_behind_the_message_are_ignored() {
    let mut datagram = datagrams(&frame(1), &PoseOptions::default()).remove(0);
    let alone = decode(&datagram).unwrap();
    datagram.extend([0xA5; MAX_TRAILER]);
    assert_eq!(decode(&datagram), Ok(alone));
}

#[test]
fn foreign_bytes_other_versions_and_unknown_types_are_told_apart() {
    assert_eq!(decode(b"GET / HTTP/1.1\r\n"), Err(WireError::NotPosewire));
    assert_eq!(decode(b""), Err(WireError::NotPosewire));
    let mut next = datagrams(&frame(1), &PoseOptions::default()).remove(0);
    next[4] = 2;
    assert_eq!(decode(&next), Err(WireError::Version { major: 2 }));
    let mut other = datagrams(&frame(1), &PoseOptions::default()).remove(0);
    other[6] = 200;
    reseal(&mut other);
    let got = decode(&other).unwrap();
    assert_eq!(got.message, Message::Unknown { kind: 200 });
    assert_eq!(got.header, header());
    let mut buffer = [0; MAX_MESSAGE];
    assert_eq!(
        encode(&header(), &got.message, &mut buffer),
        Err(EncodeError::UnknownMessage { kind: 200 })
    );
}

#[test]
fn a_newer_minor_version_is_read_and_what_it_added_is_skipped() {
    let old = &datagrams(&frame(2), &PoseOptions { keypoints: true, ..Default::default() })[0];
    let new = super::golden::of_a_newer_minor_version(old);
    assert!(new.len() > old.len());
    assert_eq!(decode(&new), decode(old));
}

#[test]
fn a_skeleton_that_is_not_known_is_named() {
    let mut datagram = datagrams(&frame(1), &PoseOptions::default()).remove(0);
    datagram[40 + 5] = 77;
    reseal(&mut datagram);
    assert_eq!(decode(&datagram), Err(WireError::UnknownSkeleton { id: 77, joints: 17 }));
}

#[test]
fn words_of_a_fault_are_cut_at_a_character() {
    let fault = FaultRecord::new(Severity::Skip, "x", &"é".repeat(200));
    assert_eq!(fault.detail.as_str(), "é".repeat(80));
}

#[test]
fn the_largest_status_fits() {
    let long = "d".repeat(400);
    let mut faults = ArrayVec::new();
    while !faults.is_full() {
        faults.push(FaultRecord::new(Severity::Fatal, &long, &long));
    }
    let message = Message::Status(StatusMessage { faults, ..Default::default() });
    let mut buffer = [0; MAX_MESSAGE];
    let len = encode(&header(), &message, &mut buffer).unwrap();
    assert_eq!(decode(&buffer[..len]).unwrap().message, message);
}

#[test]
fn values_that_stand_for_none_cannot_be_sent_as_themselves() {
    let mut buffer = [0; MAX_MESSAGE];
    let mut refuse = |message| {
        assert!(matches!(
            encode(&header(), &message, &mut buffer),
            Err(EncodeError::BadValue { .. })
        ));
    };
    let pose = PoseMessage::from_frame(&frame(1), &PoseOptions::default());
    refuse(Message::Pose(PoseMessage { lifted_us: Some(u32::MAX), ..pose.clone() }));
    refuse(Message::Pose(PoseMessage { part: 1, ..pose.clone() }));
    refuse(Message::Pose(PoseMessage { persons_in_frame: 0, ..pose }));
    let status = StatusMessage { temperature_decicelsius: Some(i16::MIN), ..Default::default() };
    refuse(Message::Status(status));
}

#[test]
fn shares_come_back_within_half_a_step_and_never_turn_into_unknown() {
    for n in 0..=1_000 {
        let value = n as f32 / 1_000.0;
        let back = Share::new(value).value().unwrap();
        assert!((back - value).abs() <= 0.5 / 254.0 + 1e-6);
    }
    assert_eq!(Share::new(7.0).value(), Some(1.0));
    assert_eq!(Share::new(-7.0).value(), Some(0.0));
    assert_eq!(Share::new(f32::NAN).value(), None);
}

proptest! {
    #[test]
    fn what_can_be_constructed_comes_back_equal(header in any_header(), message in any_message()) {
        let mut buffer = [0; MAX_MESSAGE];
        let len = encode(&header, &message, &mut buffer).unwrap();
        prop_assert_eq!(decode(&buffer[..len]), Ok(Datagram { header, message }));
    }

    #[test]
    fn a_buffer_that_is_too_small_is_an_error_that_says_how_much_is_needed(
        message in any_message(), share in 0.0..1.0,
    ) {
        let mut buffer = [0; MAX_MESSAGE];
        let needed = encode(&header(), &message, &mut buffer).unwrap();
        let room = (needed as f64 * share) as usize;
        let got = encode(&header(), &message, &mut buffer[..room]);
        prop_assert_eq!(got, Err(EncodeError::TooLong { needed, room }));
    }

    #[test]
    fn any_frame_of_any_size_splits_into_datagrams_that_come_together_again(
        persons in prop::collection::vec(any_person(), 0..=MAX_RECORDS),
        mut message in any_pose(0),
        header in any_header(),
    ) {
        message.persons_in_frame = persons.len() as u8;
        message.persons = persons.into_iter().collect();
        (message.part, message.parts) = (0, 1);
        let mut split = Split::new(&message);
        let mut buffer = [0; MAX_MESSAGE];
        let mut assembler = Assembler::default();
        let mut whole = None;
        for n in 0..split.parts() {
            prop_assert_eq!(&whole, &None);
            let header = Header { packet: header.packet.wrapping_add(u32::from(n)), ..header };
            let bytes = split.next(&header, &mut buffer).unwrap().unwrap();
            let got = decode(bytes).unwrap();
            let Message::Pose(part) = got.message else { panic!() };
            whole = assembler.add(&got.header, part);
        }
        prop_assert_eq!(whole.as_ref(), Some(&message));
        prop_assert_eq!(split.next(&header, &mut buffer), Ok(None));
    }

    #[test]
    fn any_bytes_are_a_message_or_a_named_error(bytes in prop::collection::vec(any::<u8>(), 0..1_600)) {
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_behind_a_right_frame_are_a_message_or_a_named_error(
        kind in 0u8..=3, body in prop::collection::vec(any::<u8>(), 0..1_300),
    ) {
        let mut buffer = [0; MAX_MESSAGE];
        let len = seal(&header(), kind, &mut buffer, |w| w.put(&body)).unwrap();
        if let Err(e) = decode(&buffer[..len]) {
            prop_assert!(!e.name().is_empty() && !e.to_string().is_empty());
        }
    }

    #[test]
    fn damage_anywhere_is_never_accepted(
        message in any_message(), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let mut buffer = [0; MAX_MESSAGE];
        let len = encode(&header(), &message, &mut buffer).unwrap();
        buffer[at.index(len)] ^= 1 << bit;
        prop_assert!(decode(&buffer[..len]).is_err());
    }

    #[test]
    fn changed_fields_with_a_right_crc_are_a_message_that_encodes_again_or_a_named_error(
        message in any_message(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut buffer = [0; MAX_MESSAGE];
        let len = encode(&header(), &message, &mut buffer).unwrap();
        for (at, value) in changes {
            buffer[at.index(len)] = value;
        }
        reseal(&mut buffer[..len]);
        if let Ok(got) = decode(&buffer[..len]) {
            if let Message::Unknown { .. } = got.message { return Ok(()); }
            let mut again = [0; MAX_MESSAGE];
            let len = encode(&got.header, &got.message, &mut again).unwrap();
            prop_assert_eq!(decode(&again[..len]), Ok(got));
        }
    }
}
