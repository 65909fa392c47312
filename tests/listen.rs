//! `posewire listen` as a program: a real publisher, real sockets, and a network that misbehaves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "support/line.rs"]
mod line;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use posewire::pose::{Keypoint, Keypoints2d, Person, Pose3d, PoseFrame, StageStamps, TrackId};
use posewire::publish::{self, PublishSettings};
use posewire::skeleton::JOINTS;
use posewire::time::{Clock, MonotonicClock};
use posewire::wire::{
    self, CompactPose, PoseMessage, PoseOptions, ShortHeader, cobs, encode_compact,
};

use line::Pty;

fn frame(sequence: u64, persons: u32) -> PoseFrame {
    let now = MonotonicClock.now();
    let person = |n| Person {
        track: TrackId(n),
        keypoints: Keypoints2d {
            points: [Keypoint { x: 100.0, y: 50.0, confidence: 1.0 }; JOINTS],
            score: 0.9,
        },
        predicted: false,
        pose: Some(Pose3d {
            joints: [[0.0; 3]; JOINTS],
            confidence: [0.5; JOINTS],
            root: Some([0.0, 0.0, 3.0]),
            root_covariance: None,
            plausibility: None,
            describes: now,
            lookahead_nanos: 0,
        }),
        revision: None,
    };
    PoseFrame {
        camera: 0,
        sequence,
        captured: now,
        media_time: false,
        stamps: StageStamps { dequeued: now, decoded: now, detected: now, lifted: now },
        image_size: (640, 480),
        persons: (1..=persons).map(person).collect(),
        model: 1,
        computed: None,
    }
}

/// A port of loopback that was free a moment ago.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Listener(Option<Child>);

impl Listener {
    fn start(port: u16, args: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_posewire"))
            .arg("listen")
            .arg(format!("udp://127.0.0.1:{port}"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It listens once the kernel lists its port.
        let wanted = format!("0100007F:{port:04X}");
        let begin = Instant::now();
        while !std::fs::read_to_string("/proc/net/udp").unwrap().contains(&wanted) {
            assert!(begin.elapsed() < Duration::from_secs(20), "it never listened");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self(Some(child))
    }

    fn end(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn what_is_published_is_printed_and_the_count_ends_it() {
    let port = free_port();
    let listener = Listener::start(port, &["--format", "json", "--count", "5", "--seconds", "30"]);
    let uri = format!("udp://127.0.0.1:{port}?keypoints=yes");
    let mut publisher = publish::open(&uri, &PublishSettings::default()).unwrap();
    for n in 0..5 {
        publisher.publish(&frame(n, 1)).unwrap();
    }
    let output = listener.end();
    assert!(output.status.success());
    let lines = lines(&output);
    assert_eq!(lines.len(), 6);
    for (n, line) in lines[..5].iter().enumerate() {
        assert_eq!(line["sequence"], n as u64);
        assert_eq!(line["persons"][0]["root"], serde_json::json!([0.0, 0.0, 3.0]));
        let age = line["received_us"].as_i64().unwrap() - line["captured_us"].as_i64().unwrap();
        assert!((0..5_000_000).contains(&age), "{age} µs");
    }
    assert_eq!(lines[0]["persons"][0]["keypoints"]["nose"], serde_json::json!([100.0, 50.0, 1.0]));
    assert_eq!((&lines[5]["lost"], &lines[5]["frames"]), (&0.into(), &5.into()));
}

/// Between publisher and listener stands a relay that loses, doubles and swaps datagrams by a
/// fixed rule; the listener must report exactly that.
#[test]
fn the_statistics_are_exactly_what_a_bad_network_did() {
    let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
    relay.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = free_port();
    let listener =
        Listener::start(port, &["--format", "json", "--seconds", "30", "--count", "180"]);
    let to: SocketAddr = ([127, 0, 0, 1], port).into();

    let uri = format!("udp://{}", relay.local_addr().unwrap());
    let mut publisher = publish::open(&uri, &PublishSettings::default()).unwrap();
    let mut held: Option<Vec<u8>> = None;
    let (mut lost, mut doubled, mut swapped) = (0, 0, 0);
    let mut buffer = [0; 2_000];
    // Two datagrams a frame: 6 to 10 persons.
    for n in 0..100u32 {
        publisher.publish(&frame(u64::from(n), 6 + n % 5)).unwrap();
        for part in 0..2 {
            let len = relay.recv(&mut buffer).unwrap();
            let datagram = buffer[..len].to_vec();
            // The first and the last must arrive: what is lost before or after is not seen.
            match (2 * n + part) % 20 {
                7 | 13 => lost += 1,
                3 => {
                    relay.send_to(&datagram, to).unwrap();
                    relay.send_to(&datagram, to).unwrap();
                    doubled += 1;
                }
                16 => held = Some(datagram),
                _ => {
                    relay.send_to(&datagram, to).unwrap();
                    if let Some(late) = held.take() {
                        relay.send_to(&late, to).unwrap();
                        swapped += 1;
                    }
                }
            }
        }
        // The listener's receive buffer is finite.
        std::thread::sleep(Duration::from_millis(1));
    }
    let output = listener.end();
    assert!(output.status.success());
    let lines = lines(&output);
    let report = lines.last().unwrap();
    assert_eq!((lost, doubled, swapped), (20, 10, 10));
    assert_eq!(report["datagrams"], 180);
    assert_eq!(report["lost"], lost);
    assert_eq!(report["duplicates"], doubled);
    assert_eq!(report["reordered"], swapped);
    assert_eq!((&report["frames"], &report["incomplete_frames"]), (&80.into(), &20.into()));
    // Nothing twice, and nothing out of order without saying so.
    let mut newest = -1;
    for line in &lines[..lines.len() - 1] {
        let packet = line["packet"].as_i64().unwrap();
        assert_eq!(line["out_of_order"], packet < newest);
        newest = newest.max(packet);
    }
}

#[test]
fn a_signal_ends_it_with_the_statistics_and_success() {
    let port = free_port();
    let mut listener = Listener::start(port, &[]);
    let uri = format!("udp://127.0.0.1:{port}");
    let mut publisher = publish::open(&uri, &PublishSettings::default()).unwrap();
    publisher.publish(&frame(1, 1)).unwrap();
    let child = listener.0.as_mut().unwrap();
    // Its first line says that it has received; standard output is not read further.
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("person 1"), "{first}");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = listener.end();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("1 datagrams") && said.contains("lifted-sent"), "{said}");
}

#[test]
fn a_port_in_use_and_a_foreign_address_are_one_clear_error_each() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("udp://{}", taken.local_addr().unwrap());
    for (uri, words) in [
        (uri.as_str(), "the port is taken"),
        ("udp://192.0.2.1:7777", "does not have the address"),
        ("udp://127.0.0.1", "port is missing"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_posewire"))
            .args(["listen", uri, "--seconds", "1"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(78));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(words) && said.contains(uri), "{said}");
    }
}

#[test]
fn a_sender_that_restarts_is_seen() {
    let port = free_port();
    let listener = Listener::start(port, &["--format", "json", "--count", "2", "--seconds", "30"]);
    let uri = format!("udp://127.0.0.1:{port}");
    for n in 0..2 {
        // Each has its own session, as a restarted process has.
        let mut publisher = publish::open(&uri, &PublishSettings::default()).unwrap();
        publisher.publish(&frame(n, 1)).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = listener.end();
    let lines = lines(&output);
    let report = lines.last().unwrap();
    assert_eq!((&report["sessions"], &report["restarts"]), (&2.into(), &1.into()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("new session"));
}

/// A network as it is on a bad day, from a seed: 5 % are lost, each takes 15 to 25 ms (so that some
/// overtake others), 3 % come twice. In what order they are to arrive is settled beforehand, so
/// that no machine is too slow for this test.
#[test]
fn of_a_network_with_loss_delay_reordering_and_duplicates_exactly_that_is_reported() {
    const FRAMES: usize = 600;
    const EVERY_US: u64 = 4_000;
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |n: u64| {
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    // (when it arrives, which)
    let mut arrivals: Vec<(u64, usize)> = Vec::new();
    for n in 0..FRAMES {
        // The first and the last must arrive: what is lost before or after is not seen.
        let spared = !(10..FRAMES - 10).contains(&n);
        let copies = match below(100) {
            0..5 if !spared => 0,
            5..8 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            arrivals.push((n as u64 * EVERY_US + 15_000 + below(10_000), n));
        }
    }
    arrivals.sort_unstable();
    // What a listener must find, by plain counting.
    let mut seen = vec![false; FRAMES];
    let (mut highest, mut reordered, mut doubled) = (0, 0, 0);
    for &(_, n) in &arrivals {
        doubled += u32::from(seen[n]);
        reordered += u32::from(!seen[n] && n < highest);
        seen[n] = true;
        highest = highest.max(n);
    }
    let lost = seen.iter().filter(|s| !**s).count();
    assert!(lost > 15 && reordered > 50 && doubled > 8, "{lost} {reordered} {doubled}");

    let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
    relay.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let recorded = folder.path().join("all.pcap");
    let kept = recorded.to_str().unwrap();
    let seconds = ["--format", "json", "--seconds", "60", "--record", kept];
    let count = (FRAMES - lost).to_string();
    let listener = Listener::start(port, &[&seconds[..], &["--count", &count]].concat());
    let to: SocketAddr = ([127, 0, 0, 1], port).into();
    let uri = format!("udp://{}", relay.local_addr().unwrap());
    let mut publisher = publish::open(&uri, &PublishSettings::default()).unwrap();
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    let begin = Instant::now();
    let wait_for = |us: u64| {
        std::thread::sleep(Duration::from_micros(us).saturating_sub(begin.elapsed()));
    };
    let mut buffer = [0; 2_000];
    for &(when, which) in &arrivals {
        while datagrams.len() as u64 * EVERY_US <= when && datagrams.len() < FRAMES {
            let n = datagrams.len() as u64;
            wait_for(n * EVERY_US);
            publisher.publish(&frame(n, 1)).unwrap();
            let len = relay.recv(&mut buffer).unwrap();
            datagrams.push(buffer[..len].to_vec());
        }
        wait_for(when);
        relay.send_to(&datagrams[which], to).unwrap();
    }
    let output = listener.end();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = lines(&output);
    let report = lines.last().unwrap();
    // The last datagrams are the last of their kind, or duplicates that come after the count.
    assert_eq!(report["datagrams"], FRAMES - lost);
    assert_eq!((&report["lost"], &report["reordered"]), (&lost.into(), &reordered.into()));
    let after_the_count = arrivals
        .iter()
        .rev()
        .take_while(|(_, n)| arrivals.iter().filter(|(_, m)| m == n).count() == 2);
    let at_most = doubled;
    let at_least = doubled - after_the_count.count() as u32;
    let duplicates = report["duplicates"].as_u64().unwrap() as u32;
    assert!((at_least..=at_most).contains(&duplicates), "{at_least} {duplicates} {at_most}");
    // Delays are at least those that were injected.
    assert!(report["latency"]["sent-received"]["p50_us"].as_i64().unwrap() >= 15_000);
    assert!(report["jitter_us"].as_f64().unwrap() > 500.0);
    // Nothing twice, and nothing out of order without saying so.
    let mut shown = std::collections::HashSet::new();
    let mut newest = -1;
    for line in &lines[..lines.len() - 1] {
        let packet = line["packet"].as_i64().unwrap();
        assert!(shown.insert(packet), "{packet} was shown twice");
        assert_eq!(line["out_of_order"], packet < newest);
        newest = newest.max(packet);
    }
    assert_eq!(shown.len(), FRAMES - lost);
    // The recording has every datagram that came, duplicates too, in the order of arrival.
    let file = std::fs::read(&recorded).unwrap();
    let mut rows = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let len = u32::from_le_bytes(file[at + 8..at + 12].try_into().unwrap()) as usize;
        rows.push(wire::decode(&file[at + 16 + 28..at + 16 + len]).unwrap().header.packet);
        at += 16 + len;
    }
    let expected: Vec<_> = arrivals.iter().map(|&(_, n)| n as u32).collect();
    assert_eq!(rows, expected[..rows.len()]);
    assert_eq!(rows.len() as u32, (FRAMES - lost) as u32 + duplicates);
}

fn key_file(folder: &std::path::Path, secret: &str) -> String {
    let path = folder.join(format!("key-{secret}"));
    std::fs::write(&path, secret.repeat(32)).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_listener_with_a_key_shows_what_is_signed_with_it_and_counts_the_rest_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (key_file(folder.path(), "5a"), key_file(folder.path(), "a5"));
    let port = free_port();
    let args = ["--format", "json", "--count", "3", "--seconds", "30", "--key-file", &ours];
    let listener = Listener::start(port, &args);
    for query in [String::new(), format!("?key={theirs}"), format!("?key={ours}")] {
        let uri = format!("udp://127.0.0.1:{port}{query}");
        let mut publisher = publish::open(&uri, &PublishSettings::default()).unwrap();
        for n in 0..3 {
            publisher.publish(&frame(n, 1)).unwrap();
        }
    }
    let output = listener.end();
    assert!(output.status.success());
    let lines = lines(&output);
    assert_eq!(lines.len(), 4);
    let refused = serde_json::json!({ "unsigned": 3, "other-key": 3 });
    assert_eq!(lines[3]["refused"], refused);
}

#[test]
fn a_key_file_that_others_can_read_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = key_file(folder.path(), "5a");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&path, mode).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_posewire"))
        .args(["listen", &format!("udp://127.0.0.1:{}", free_port()), "--key-file", &path])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("chmod 600") && said.lines().count() == 1, "{said}");
}

/// Until `child` has `path` open.
fn wait_until_open(child: &Child, path: &std::path::Path) {
    let folder = format!("/proc/{}/fd", child.id());
    let begin = Instant::now();
    let has_it = || {
        std::fs::read_dir(&folder)
            .unwrap()
            .flatten()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == path))
    };
    while !has_it() {
        assert!(begin.elapsed() < Duration::from_secs(20), "it never opened {}", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_line_is_read_and_read_again_when_its_adapter_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("adapter");
    let mut pty = Pty::open();
    pty.link(&link);
    let child = Command::new(env!("CARGO_BIN_EXE_posewire"))
        .args(["listen", &format!("serial:{}?baud=921600", link.display())])
        .args(["--format", "json", "--count", "8", "--seconds", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut listener = Listener(Some(child));
    let child = listener.0.as_mut().unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    wait_until_open(child, pty.path());
    let send = |pty: &Pty, packet: u16, cut: usize| {
        let message =
            PoseMessage::from_frame(&frame(u64::from(packet), 1), &PoseOptions::default());
        let pose = CompactPose::new(&message, 0, message.captured_us);
        let mut buffer = [0; 255];
        let header = ShortHeader { session: 9, packet };
        let len = encode_compact(header, &pose, &mut buffer).unwrap();
        let mut line = [0; 300];
        let len = cobs::encode(&buffer[..len], &mut line).unwrap();
        assert_eq!(pty.write(&line[..len - cut]), len - cut);
    };
    for packet in 0..4 {
        send(&pty, packet, 0);
    }
    // The plug is pulled in the middle of a frame, once the others were read.
    send(&pty, 4, 60);
    let mut lines: Vec<serde_json::Value> = Vec::new();
    lines.extend(shown.by_ref().take(4).map(|l| serde_json::from_str(&l).unwrap()));
    std::fs::remove_file(&link).unwrap();
    drop(pty);
    pty = Pty::open();
    pty.link(&link);
    wait_until_open(child, pty.path());
    for packet in 5..9 {
        send(&pty, packet, 0);
    }
    lines.extend(shown.map(|l| serde_json::from_str(&l).unwrap()));
    let output = listener.end();
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the line is gone") && said.contains("the line is back"), "{said}");
    let packets: Vec<_> = lines[..8].iter().map(|l| l["packet"].as_u64().unwrap()).collect();
    assert_eq!(packets, [0, 1, 2, 3, 5, 6, 7, 8]);
    assert_eq!(lines[0]["person"]["root"], serde_json::json!([0.0, 0.0, 3.0]));
    assert_eq!((&lines[8]["lost"], &lines[8]["sessions"]), (&1.into(), &1.into()));
}
