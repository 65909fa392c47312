//! Days of frames in minutes: stamps that go on for weeks, people who come and go, and not a byte
//! more at the end than after the first minutes.
//!
//! `POSEWIRE_SOAK_HOURS=48 cargo test --release --test soak` goes on for so long; by default it is
//! half an hour of frames, begun as if the machine had been up for a hundred days.
#![allow(unsafe_code, reason = "a counting allocator cannot be written without")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "support/canned.rs"]
mod canned;
#[path = "support/counting.rs"]
mod counting;
mod support;

use canned::Canned;
use counting::allocations;
use posewire::capture::pool::FramePool;
use posewire::publish::{self, PublishSettings};
use posewire::wire::{Message, decode};

const FPS: f64 = 10.0;
/// A hundred days: 2^53 nanoseconds, beyond which a double counts no more of them one by one.
const UPTIME_S: f64 = 100.0 * 86_400.0;

#[test]
fn after_days_of_frames_nothing_has_grown_and_stamps_are_exact() {
    let hours: f64 =
        std::env::var("POSEWIRE_SOAK_HOURS").ok().and_then(|h| h.parse().ok()).unwrap_or(0.5);
    let frames = (hours * 3_600.0 * FPS) as u64;
    let mut pipeline = canned::pipeline(Canned { persons: 2, drift: 3 }, Default::default());
    let listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let uri = format!("udp://{}", listener.local_addr().unwrap());
    let mut publisher = publish::open(&uri, &PublishSettings::default()).unwrap();
    let mut pool = FramePool::new(2, 640 * 480);

    let settled = 2_000.min(frames / 4);
    let (mut allocated, mut lifted) = (0, 0_u64);
    let mut tracks = std::collections::BTreeSet::new();
    let mut datagram = [0_u8; 65_536];
    let mut last_us = None;
    for i in 0..frames {
        let frame = support::grey_frame(&mut pool, i, UPTIME_S + i as f64 / FPS);
        let captured = frame.captured;
        let before = allocations();
        let poses = pipeline.step(&frame).unwrap();
        drop(frame);
        publisher.publish(&poses).unwrap();
        if i >= settled {
            allocated += allocations() - before;
        }
        lifted += poses.persons.iter().filter(|p| p.pose.is_some()).count() as u64;
        let mut heard = None;
        while let Ok(length) = listener.recv(&mut datagram) {
            heard = Some(length);
        }
        // Looked at now and then.
        if i % 1_000 == 0 {
            let packet = decode(&datagram[..heard.expect("a datagram")]).unwrap();
            let Message::Pose(pose) = packet.message else { panic!("no pose") };
            assert_eq!(pose.captured_us, captured.micros(), "frame {i}");
            assert!(last_us.is_none_or(|last| pose.captured_us > last), "frame {i}");
            last_us = Some(pose.captured_us);
            tracks.extend(poses.persons.iter().map(|p| p.track.0));
        }
    }
    println!(
        "{frames} frames ({hours} h at {FPS} fps): {lifted} lifted persons, {allocated} allocations \
         after the first {settled}, {} track numbers seen",
        tracks.len()
    );
    assert!(lifted > frames / 2, "people were there: {lifted}");
    assert_eq!(allocated, 0, "allocations in {} frames", frames - settled);
}
