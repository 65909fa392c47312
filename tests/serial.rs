//! A serial line without the hardware: the real publisher on a real pseudo terminal, and between
//! it and the reader a simulated wire that carries so many bytes a second and waits for nobody.
//!
//! Time is the test's own: a step of one millisecond happens when the one before is done, so a
//! busy machine only takes longer. What is asserted are frame numbers and that time's stamps.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "support/line.rs"]
mod line;
mod support;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use posewire::fault::{Fault, Severity};
use posewire::publish::{self, PublishError, PublishSettings, Publisher};
use posewire::time::{Clock, ManualClock, Timestamp};
use posewire::wire::cobs::FrameReader;
use posewire::wire::{CompactPose, Message, Packet, ShortMessage, StatusMessage, decode_packet};

use line::{Pty, readable};
use support::pose_frame;

/// Frames per second.
const RATE: i64 = 60;
const BAUD: usize = 115_200;

fn at_ms(ms: i64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

/// What came out of the line, whole.
#[derive(Debug)]
struct Heard {
    at_ms: i64,
    packet: Packet,
}

impl Heard {
    fn pose(&self) -> Option<&CompactPose> {
        match &self.packet {
            Packet::Short(short) => match &short.message {
                ShortMessage::Pose(pose) => Some(pose),
                ShortMessage::Unknown { .. } => None,
            },
            Packet::Full(_) => None,
        }
    }

    /// How many frames newer than this one there were already.
    fn frames_old(&self) -> i64 {
        newest_at(self.at_ms) - i64::from(self.pose().unwrap().sequence)
    }
}

/// The number of the newest frame at a moment.
fn newest_at(ms: i64) -> i64 {
    ms * RATE / 1_000
}

/// Publisher, wire and reader, moved on step by step.
struct Bench {
    ms: i64,
    clock: Arc<ManualClock>,
    publisher: Box<dyn Publisher>,
    persons: u32,
    published: i64,
    refused: Vec<PublishError>,
    /// The wire's beginning: the other side of the publisher's device.
    begin: Option<Pty>,
    link: PathBuf,
    /// Bytes that are on the wire or before it.
    queued: VecDeque<u8>,
    /// Frames' ends that the publisher has written and the wire has not seen yet.
    budget: f64,
    /// The wire's end: the reader's device, with its finite buffer.
    end: Pty,
    reader_stalls: bool,
    overrun: usize,
    unread: usize,
    frames: FrameReader,
    heard: Vec<Heard>,
    damaged: usize,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(persons: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("by-id-adapter");
        let begin = Pty::open();
        begin.link(&link);
        let clock = Arc::new(ManualClock::default());
        let settings = PublishSettings { clock: clock.clone(), ..Default::default() };
        let uri = format!("serial:{}?baud={BAUD}", link.display());
        Self {
            ms: 0,
            clock,
            publisher: publish::open(&uri, &settings).unwrap(),
            persons,
            published: -1,
            refused: Vec::new(),
            begin: Some(begin),
            link,
            queued: VecDeque::new(),
            budget: 0.0,
            end: Pty::open(),
            reader_stalls: false,
            overrun: 0,
            unread: 0,
            frames: FrameReader::new(),
            heard: Vec::new(),
            damaged: 0,
            _folder: folder,
        }
    }

    fn run_for(&mut self, ms: i64) {
        for _ in 0..ms {
            self.step();
        }
    }

    /// One millisecond.
    fn step(&mut self) {
        self.ms += 1;
        self.clock.set(at_ms(self.ms));
        self.publish();
        self.carry();
        if !self.reader_stalls {
            self.read();
        }
    }

    /// As the runtime does: when the line takes more, the newest.
    fn publish(&mut self) {
        let newest = newest_at(self.ms);
        let busy_until = self.publisher.busy_until().expect("a line has a speed");
        if self.published == newest || busy_until > self.clock.now() {
            return;
        }
        self.published = newest;
        let captured = at_ms(newest * 1_000 / RATE);
        let done = self.publisher.publish(&pose_frame(newest as u64, captured, self.persons));
        if let Err(e) = done {
            self.refused.push(e);
        }
    }

    /// Bytes go from the publisher's device onto the wire, and off it at its rate.
    fn carry(&mut self) {
        if let Some(begin) = &self.begin {
            // The system hands bytes over with a delay of its own that means nothing here: a
            // frame that has begun will end.
            let mut wait = Duration::ZERO;
            loop {
                let mut piece = [0; 4_096];
                let n = begin.read_within(&mut piece, wait);
                self.queued.extend(&piece[..n]);
                if n == 0 && (wait > Duration::ZERO || self.queued.back().is_none_or(|&b| b == 0)) {
                    break;
                }
                wait = if n == 0 { Duration::from_secs(2) } else { Duration::ZERO };
            }
        }
        self.budget += BAUD as f64 / 10.0 / 1_000.0;
        let whole = (self.budget as usize).min(self.queued.len());
        self.budget = if self.queued.is_empty() { 0.0 } else { self.budget - whole as f64 };
        let bytes: Vec<u8> = self.queued.drain(..whole).collect();
        // A receiver whose buffer is full loses bytes; the wire does not wait for it.
        let taken = self.end.write(&bytes);
        self.overrun += bytes.len() - taken;
        self.unread += taken;
    }

    fn read(&mut self) {
        while self.unread > 0 {
            let mut piece = [0; 4_096];
            let n = self.end.read_device(&mut piece);
            assert!(n > 0, "{} bytes never came", self.unread);
            self.unread -= n;
            let mut piece = &piece[..n];
            while let Some(frame) = self.frames.next(&mut piece) {
                match frame.map_err(|_| ()).and_then(|f| decode_packet(f).map_err(|_| ())) {
                    Ok(packet) => self.heard.push(Heard { at_ms: self.ms, packet }),
                    Err(()) => self.damaged += 1,
                }
            }
        }
    }
}

/// Sequence numbers in order, and content as it was sent: nothing torn was taken for whole.
fn assert_whole_and_in_order(heard: &[Heard]) {
    let mut last = -1;
    for one in heard {
        let Some(pose) = one.pose() else { continue };
        let sequence = i64::from(pose.sequence);
        assert!(sequence >= last, "{sequence} after {last}");
        last = sequence;
        let captured = at_ms(sequence * 1_000 / RATE);
        let sent = pose_frame(sequence as u64, captured, u32::from(pose.persons_in_frame));
        let person = pose.person.unwrap();
        let truth = &sent.persons[usize::from(pose.person_index)];
        assert_eq!(u32::from(person.track), truth.track.0);
        assert_eq!(i64::from(person.describes_us), captured.micros());
        let joints = person.body.unwrap().joints();
        for (got, sent) in joints.xyz.iter().zip(truth.pose.unwrap().joints) {
            assert!(got.iter().zip(sent).all(|(a, b)| (a - b).abs() < 6e-4));
        }
    }
}

#[test]
fn sixty_poses_a_second_fit_through_115200_baud_one_frame_old_at_most() {
    let mut bench = Bench::new(1);
    bench.run_for(10_000);
    assert!(bench.refused.is_empty(), "{:?}", bench.refused);
    assert_eq!((bench.damaged, bench.overrun), (0, 0));
    // Every frame, but for those that are still on the way.
    let poses: Vec<_> = bench.heard.iter().filter_map(Heard::pose).collect();
    assert!(poses.len() >= 598, "{} of 600", poses.len());
    assert!(poses.iter().zip(0..).all(|(p, n)| i64::from(p.sequence) == n));
    assert!(bench.heard.iter().all(|h| h.frames_old() <= 1));
    assert_whole_and_in_order(&bench.heard);
}

#[test]
fn a_line_that_is_too_slow_carries_the_newest_pose_and_never_a_backlog() {
    // Three persons take 39 ms; a frame comes every 17.
    let mut bench = Bench::new(3);
    bench.run_for(10_000);
    assert_eq!((bench.refused.len(), bench.damaged, bench.overrun), (0, 0, 0));
    let frames: std::collections::BTreeSet<_> =
        bench.heard.iter().filter_map(Heard::pose).map(|p| p.sequence).collect();
    // The line is used to the full: 450 bytes a frame at 11,520 bytes a second are 25.6.
    assert!((250..=257).contains(&frames.len()), "{} frames in 10 s", frames.len());
    // 39 ms on the wire and 17 ms of waiting for the line: at the end as at the beginning.
    for heard in &bench.heard {
        assert!(heard.frames_old() <= 3, "{} frames old at {} ms", heard.frames_old(), heard.at_ms);
    }
    assert_whole_and_in_order(&bench.heard);
}

#[test]
fn after_a_reader_stalled_for_five_seconds_the_next_pose_is_at_most_two_frames_old() {
    let mut bench = Bench::new(1);
    bench.run_for(3_000);
    bench.reader_stalls = true;
    bench.run_for(5_000);
    assert!(bench.overrun > 10_000, "the stall must cost bytes: {}", bench.overrun);
    bench.reader_stalls = false;
    let before = bench.heard.len();
    let damaged = bench.damaged;
    bench.run_for(1);
    // What its own device had kept comes first, and the last of it is torn.
    assert!(bench.heard.len() > before);
    let stale = bench.heard.len();
    bench.run_for(3_000);
    assert!(bench.damaged - damaged <= 2, "{}", bench.damaged - damaged);
    let fresh = &bench.heard[stale..];
    assert!(fresh[0].at_ms <= 8_001 + 40, "at {} ms", fresh[0].at_ms);
    assert!(fresh.iter().all(|h| h.frames_old() <= 2), "{}", fresh[0].frames_old());
    assert!(fresh.len() >= 175, "{}", fresh.len());
    assert_whole_and_in_order(&bench.heard);
}

#[test]
fn an_adapter_that_is_unplugged_and_plugged_in_again_is_back_within_two_seconds() {
    let mut bench = Bench::new(1);
    bench.run_for(2_000);
    for away_ms in [3_000, 50, 1_234] {
        // Unplugged: the device and its name are gone.
        bench.begin = None;
        std::fs::remove_file(&bench.link).unwrap();
        bench.queued.clear();
        let refused = bench.refused.len();
        bench.run_for(away_ms);
        let new = &bench.refused[refused..];
        assert!(!new.is_empty());
        for e in new {
            assert_eq!(e.severity(), Severity::Skip, "{e}");
        }
        // Another device behind the same name.
        let pty = Pty::open();
        pty.link(&bench.link);
        bench.begin = Some(pty);
        let returned = bench.ms;
        let before = bench.heard.len();
        bench.run_for(2_000);
        let back = bench.heard[before..].first().expect("nothing within two seconds");
        println!("away {away_ms} ms, back after {} ms", back.at_ms - returned);
        assert!(back.frames_old() <= 2, "{}", back.frames_old());
        assert!(back.at_ms - returned <= 2_000);
    }
    assert!(bench.damaged <= 3, "{}", bench.damaged);
    assert_whole_and_in_order(&bench.heard);
}

#[test]
fn a_device_that_is_not_there_yet_is_opened_when_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("adapter");
    let clock = Arc::new(ManualClock::default());
    let settings = PublishSettings { clock: clock.clone(), ..Default::default() };
    let uri = format!("serial:{}", link.display());
    let mut publisher = publish::open(&uri, &settings).unwrap();
    let frame = pose_frame(0, Timestamp::ZERO, 1);
    let e = publisher.publish(&frame).unwrap_err();
    assert_eq!((e.severity(), e.name()), (Severity::Skip, "target-gone"));
    let pty = Pty::open();
    pty.link(&link);
    clock.set(publisher.busy_until().unwrap());
    publisher.publish(&frame).unwrap();
    assert!(matches!(first_packet(&pty), Packet::Short(_)));
}

#[test]
fn status_and_full_messages_go_over_the_same_line() {
    let pty = Pty::open();
    let uri = format!("serial:{}?format=full&keypoints=yes", pty.path().display());
    let mut publisher = publish::open(&uri, &PublishSettings::default()).unwrap();
    publisher.publish(&pose_frame(7, Timestamp::ZERO, 1)).unwrap();
    let Packet::Full(pose) = first_packet(&pty) else { panic!() };
    let Message::Pose(pose) = pose.message else { panic!() };
    assert_eq!((pose.sequence, pose.persons.len()), (7, 1));
    assert!(pose.persons[0].keypoints.is_some());
    publisher.status(&StatusMessage { frames_in: 9, ..Default::default() }).unwrap();
    let Packet::Full(status) = first_packet(&pty) else { panic!() };
    assert!(matches!(status.message, Message::Status(s) if s.frames_in == 9));
    publisher.finish().unwrap();
}

/// A pseudo terminal nobody reads takes some 20 kB and then nothing: what waits is thrown away in
/// time, and a reader that comes back gets the newest.
#[test]
fn a_line_that_is_held_up_costs_no_backlog_and_no_torn_frame_is_taken() {
    let pty = Pty::open();
    let clock = Arc::new(ManualClock::default());
    let settings = PublishSettings { clock: clock.clone(), ..Default::default() };
    let uri = format!("serial:{}?baud=921600", pty.path().display());
    let mut publisher = publish::open(&uri, &settings).unwrap();
    let mut full = 0;
    let frames: u64 = 1_000;
    for n in 0..frames {
        clock.set(at_ms(n as i64 * 16));
        if let Err(e) = publisher.publish(&pose_frame(n, at_ms(n as i64), 1)) {
            assert_eq!(e.name(), "target-full");
            full += 1;
        }
    }
    assert!(full > 100, "{full}");
    let mut reader = FrameReader::new();
    let mut whole = Vec::new();
    let mut piece = [0; 4_096];
    loop {
        let n = pty.read_within(&mut piece, Duration::from_secs(1));
        if n == 0 {
            break;
        }
        let mut piece = &piece[..n];
        while let Some(frame) = reader.next(&mut piece) {
            if let Ok(Packet::Short(short)) =
                frame.map_err(|_| ()).and_then(|f| decode_packet(f).map_err(|_| ()))
            {
                let ShortMessage::Pose(pose) = short.message else { panic!() };
                assert_eq!(pose.person.unwrap().describes_us, u32::from(pose.sequence) * 1_000);
                whole.push(u64::from(pose.sequence));
            }
        }
    }
    assert!(whole.is_sorted());
    // Once there is room again, the next is there at once.
    clock.set(at_ms(frames as i64 * 16));
    for n in frames..frames + 3 {
        clock.set(at_ms(n as i64 * 16));
        let _ = publisher.publish(&pose_frame(n, at_ms(n as i64), 1));
    }
    let mut fresh = Vec::new();
    while readable(&pty, Duration::from_secs(1)) {
        let n = pty.read_within(&mut piece, Duration::ZERO);
        let mut piece = &piece[..n];
        while let Some(frame) = reader.next(&mut piece) {
            if let Ok(Packet::Short(short)) =
                frame.map_err(|_| ()).and_then(|f| decode_packet(f).map_err(|_| ()))
            {
                let ShortMessage::Pose(pose) = short.message else { panic!() };
                fresh.push(u64::from(pose.sequence));
            }
        }
    }
    assert_eq!(fresh.last(), Some(&(frames + 2)), "{fresh:?}");
}

fn first_packet(pty: &Pty) -> Packet {
    let mut reader = FrameReader::new();
    let mut piece = [0; 4_096];
    loop {
        let n = pty.read_within(&mut piece, Duration::from_secs(10));
        assert!(n > 0, "nothing came");
        let mut piece = &piece[..n];
        if let Some(frame) = reader.next(&mut piece) {
            return decode_packet(frame.unwrap()).unwrap();
        }
    }
}
