//! What the listener shows and counts, datagram by datagram.

use super::statistics::Moment;
use super::{Format, Listen, Origin, ReplayWindow, Session};
use crate::wire::auth::{Key, TRAILER};
use crate::wire::samples::{datagrams, frame, header};
use crate::wire::{
    ClockState, CompactPose, Header, Message, PoseMessage, PoseOptions, ShortHeader, StatusMessage,
    encode, encode_compact,
};

fn arguments(format: Format) -> Listen {
    let uri = "udp://127.0.0.1:7777".into();
    Listen {
        uri,
        format,
        count: None,
        seconds: None,
        stats: false,
        verbose: false,
        key_file: None,
        record: None,
    }
}

fn from() -> Origin {
    Origin::Udp("10.0.0.7:4000".parse().unwrap())
}

/// 1 ms after the sample datagrams say that they were sent, on the same machine.
fn now() -> Moment {
    let Header { sent_us, realtime_offset_us, .. } = header();
    Moment { monotonic_us: sent_us + 1_000, realtime_offset_us: realtime_offset_us + 3 }
}

fn one_person() -> Vec<u8> {
    datagrams(&frame(1), &PoseOptions::default()).remove(0)
}

fn numbered(packet: u32, session: u64) -> Vec<u8> {
    let message = Message::Status(StatusMessage::default());
    let mut buffer = [0; 1_420];
    let header = Header { packet, session, ..header() };
    let len = encode(&header, &message, &mut buffer).unwrap();
    buffer[..len].to_vec()
}

/// What is written to standard output for the datagrams.
fn shown(args: &Listen, datagrams: &[Vec<u8>]) -> String {
    let mut session = Session::new(args, Vec::new());
    for datagram in datagrams {
        session.take(datagram, from(), now()).unwrap();
    }
    String::from_utf8(session.out).unwrap()
}

#[test]
fn a_person_is_one_line_with_age_root_and_ends() {
    let text = shown(&arguments(Format::Text), &[one_person()]);
    assert_eq!(text.lines().count(), 1);
    for words in
        ["camera 2 frame 345", "t 1.000 s", "age 67.0 ms", "person 1", "root +0.00 -0.12 +2.50 m"]
    {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(text.contains("lookahead 40 ms") && text.contains("left_wrist"), "{text}");
}

#[test]
fn verbose_adds_a_line_for_each_joint() {
    let args = Listen { verbose: true, ..arguments(Format::Text) };
    let text = shown(&args, &[one_person()]);
    assert_eq!(text.lines().count(), 1 + 17);
    assert!(text.contains("pelvis          +0.000 +0.000 +0.000 m  confidence 1.00"), "{text}");
}

#[test]
fn an_empty_room_is_said() {
    let text = shown(&arguments(Format::Text), &datagrams(&frame(0), &PoseOptions::default()));
    assert!(text.contains("nobody"), "{text}");
}

#[test]
fn json_lines_hold_the_message_and_its_way() {
    let text = shown(&arguments(Format::Json), &[one_person()]);
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["type"], "pose");
    assert_eq!(line["from"], "10.0.0.7:4000");
    assert_eq!(line["received_us"], 1_067_000);
    assert_eq!(line["out_of_order"], false);
    assert_eq!(line["persons"][0]["joints"]["pelvis"], serde_json::json!([0.0, 0.0, 0.0, 1.0]));
}

#[test]
fn what_came_before_is_not_shown_again_and_what_is_late_says_so() {
    let numbers = [5, 6, 8, 7, 7];
    let datagrams: Vec<_> = numbers.iter().map(|&n| numbered(n, 1)).collect();
    let text = shown(&arguments(Format::Json), &datagrams);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let packets: Vec<_> = lines.iter().map(|l| l["packet"].as_u64().unwrap()).collect();
    assert_eq!(packets, [5, 6, 8, 7]);
    assert_eq!(lines[3]["out_of_order"], true);
}

#[test]
fn losses_damage_and_restarts_are_in_the_report() {
    let args = arguments(Format::Json);
    let mut session = Session::new(&args, Vec::new());
    let mut damaged = one_person();
    damaged[200] ^= 1;
    let rows = [
        numbered(0, 1),
        numbered(3, 1),
        numbered(3, 1),
        damaged.clone(),
        damaged,
        b"hello".to_vec(),
        numbered(0, 2),
        one_person(),
    ];
    for (n, datagram) in rows.iter().enumerate() {
        let later = Moment { monotonic_us: now().monotonic_us + n as i64, ..now() };
        session.take(datagram, from(), later).unwrap();
    }
    session.end().unwrap();
    let text = String::from_utf8(session.out).unwrap();
    let report: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(report["type"], "statistics");
    assert_eq!((&report["datagrams"], &report["lost"]), (&4.into(), &2.into()));
    assert_eq!((&report["duplicates"], &report["frames"]), (&1.into(), &1.into()));
    assert_eq!((&report["sessions"], &report["restarts"]), (&3.into(), &2.into()));
    assert_eq!(report["refused"], serde_json::json!({ "crc": 2, "not-posewire": 1 }));
    assert_eq!(report["latency"]["captured-dequeued"]["p50_us"], 5_000);
    assert_eq!(report["latency"]["detected-lifted"]["p50_us"], 3_250);
    assert_eq!(report["latency"]["sent-received"]["p50_us"], 1_007);
}

#[test]
fn two_senders_of_one_machine_are_no_restart() {
    let args = arguments(Format::Text);
    let mut session = Session::new(&args, Vec::new());
    for (n, datagram) in
        [numbered(0, 1), numbered(0, 2), numbered(1, 1), numbered(1, 2)].iter().enumerate()
    {
        let later = Moment { monotonic_us: now().monotonic_us + n as i64, ..now() };
        session.take(datagram, from(), later).unwrap();
    }
    assert!(session.statistics.summary().contains("sessions 2 (restarts 0)"));
}

#[test]
fn clocks_are_compared_on_one_machine_or_under_a_common_time_only() {
    let here = now();
    let elsewhere = Moment { realtime_offset_us: here.realtime_offset_us + 60_000_000, ..here };
    for clock in [ClockState::Unknown, ClockState::Free, ClockState::Ntp, ClockState::Ptp] {
        let header = Header { clock, ..header() };
        assert_eq!(here.on_clock_of(&header), Some(here.monotonic_us));
        let common = matches!(clock, ClockState::Ntp | ClockState::Ptp);
        let expected = common.then_some(here.monotonic_us + 60_000_003);
        assert_eq!(elsewhere.on_clock_of(&header), expected);
    }
    let extreme = Header { realtime_offset_us: i64::MIN, ..header() };
    assert_eq!(Moment { realtime_offset_us: i64::MAX, ..here }.on_clock_of(&extreme), None);
}

#[test]
fn silence_is_explained() {
    let args = arguments(Format::Text);
    let session = Session::new(&args, Vec::new());
    assert!(session.statistics.summary().contains("is the sender running"));
}

/// Compact messages of frames with `persons` persons, numbered in a row from `packet`.
fn compact(packet: u16, persons: usize, session: u8) -> Vec<Vec<u8>> {
    let message = PoseMessage::from_frame(&frame(persons), &PoseOptions::default());
    let one = |n: usize| {
        let mut buffer = [0; 255];
        let header = ShortHeader { session, packet: packet.wrapping_add(n as u16) };
        let pose = CompactPose::new(&message, n, 1_066_000);
        let len = encode_compact(header, &pose, &mut buffer).unwrap();
        buffer[..len].to_vec()
    };
    (0..CompactPose::count(&message)).map(one).collect()
}

#[test]
fn compact_persons_are_lines_like_the_others() {
    let args = arguments(Format::Text);
    let mut session = Session::new(&args, Vec::new());
    for message in [compact(0, 2, 7), compact(2, 0, 7)].concat() {
        session.take(&message, Origin::Line, now()).unwrap();
    }
    let text = String::from_utf8(session.out).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    for words in
        ["camera 2 frame 345", "sent after 66.0 ms", "person 2", "root +0.25 -0.12 +2.50 m", "head"]
    {
        assert!(lines[1].contains(words), "{words} in {text}");
    }
    assert!(lines[2].ends_with("nobody"), "{text}");
}

#[test]
fn a_line_counts_short_and_full_headers_as_one_row_wherever_one_joins() {
    let args = arguments(Format::Json);
    let mut session = Session::new(&args, Vec::new());
    // The count of a sender that has been running for long; one message in the middle is lost.
    let count = 0x0005_FFFE_u32;
    let tag = 0xEF;
    let mut rows = compact(count as u16, 1, tag);
    rows.push(numbered(count + 1, 0x0123_4567_89AB_CDEF));
    rows.extend(compact((count + 3) as u16, 2, tag));
    rows.push(numbered(count + 5, 0x0123_4567_89AB_CDEF));
    for row in &rows {
        session.take(row, Origin::Line, now()).unwrap();
    }
    session.end().unwrap();
    let text = String::from_utf8(session.out).unwrap();
    let report: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&report["datagrams"], &report["lost"]), (&5.into(), &1.into()));
    assert_eq!((&report["sessions"], &report["frames"]), (&1.into(), &2.into()));
    assert_eq!((&report["persons"], &report["status_messages"]), (&3.into(), &2.into()));
    assert_eq!(report["latency"]["describes-sent"]["p50_us"], 66_000);
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&first["type"], &first["from"]), (&"compact".into(), &"line".into()));
}

#[test]
fn with_a_key_only_what_is_signed_and_new_is_shown_and_the_rest_is_counted_by_name() {
    let args = arguments(Format::Json);
    let mut session = Session::new(&args, Vec::new());
    let key = Key::new(&[7; 32]).unwrap();
    session.guard = Some((key.clone(), ReplayWindow::default()));
    let signed = |packet, session, key: &Key| {
        let mut datagram = numbered(packet, session);
        let len = datagram.len();
        datagram.resize(len + TRAILER, 0);
        key.sign(&mut datagram, len).unwrap();
        datagram
    };
    let mut forged = signed(2, 1, &key);
    *forged.last_mut().unwrap() ^= 1;
    let mut rows = vec![
        signed(0, 1, &key),
        numbered(1, 1),
        signed(1, 1, &Key::new(&[8; 32]).unwrap()),
        forged,
        signed(0, 1, &key),
        signed(1, 1, &key),
        // Another session, sent at the same moment: not later than what was heard.
        signed(0, 2, &key),
    ];
    rows.extend(compact(0, 1, 1));
    for row in &rows {
        session.take(row, from(), now()).unwrap();
    }
    session.end().unwrap();
    let text = String::from_utf8(session.out).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let shown: Vec<_> =
        lines[..lines.len() - 1].iter().map(|l| l["packet"].as_u64().unwrap()).collect();
    assert_eq!(shown, [0, 1]);
    let expected = serde_json::json!({
        "unsigned": 2, "other-key": 1, "forged": 1, "replayed": 1, "old-session": 1
    });
    assert_eq!(lines.last().unwrap()["refused"], expected);
}

#[test]
fn jitter_is_that_of_rfc_3550_and_needs_no_common_clock() {
    let args = arguments(Format::Json);
    let mut session = Session::new(&args, Vec::new());
    for n in 0..200i64 {
        let message = Message::Status(StatusMessage::default());
        let mut buffer = [0; 1_420];
        let header = Header { packet: n as u32, sent_us: n * 10_000, ..header() };
        let len = encode(&header, &message, &mut buffer).unwrap();
        // Every other one takes 2 ms longer; the receiver's clock is somewhere else altogether.
        let monotonic_us = 77_000_000 + n * 10_000 + n % 2 * 2_000;
        let at = Moment { monotonic_us, realtime_offset_us: 5 };
        session.take(&buffer[..len], from(), at).unwrap();
    }
    session.end().unwrap();
    let text = String::from_utf8(session.out).unwrap();
    let report: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(report["jitter_us"], 2_000.0);
}
