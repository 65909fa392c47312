//! `posewire listen` as a program: a real publisher, real sockets, and a network that misbehaves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use posewire::pose::{Keypoint, Keypoints2d, Person, Pose3d, PoseFrame, StageStamps, TrackId};
use posewire::publish::{self, PublishSettings};
use posewire::skeleton::JOINTS;
use posewire::time::{Clock, MonotonicClock};

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
