//! What the listener shows and counts, datagram by datagram.

use std::net::SocketAddr;

use super::statistics::Moment;
use super::{Format, Listen, Session};
use crate::wire::samples::{datagrams, frame, header};
use crate::wire::{ClockState, Header, Message, PoseOptions, StatusMessage, encode};

fn arguments(format: Format) -> Listen {
    let uri = "udp://127.0.0.1:7777".into();
    Listen { uri, format, count: None, seconds: None, stats: false, verbose: false }
}

fn from() -> SocketAddr {
    "10.0.0.7:4000".parse().unwrap()
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
