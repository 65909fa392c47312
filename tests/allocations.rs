//! No heap allocation per frame in steady state, on our own way from a frame to its packet.
//!
//! The networks' engines are stood in for: what tract allocates inside of a run is its own and is
//! counted apart by `benches/pipeline.rs`. Everything else is the real thing: sampling crops,
//! decoding heatmaps, following, tracking, windows, packets.
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

#[test]
fn a_frame_becomes_a_packet_without_a_heap_allocation() {
    // They drift, so that the births and deaths of tracks are on the way, too.
    let mut pipeline = canned::pipeline(Canned { persons: 1, drift: 3 }, Default::default());
    let listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut publishers: Vec<_> = ["udp://", "json+udp://", "mavlink:udp://", "vmc://", "osc://"]
        .iter()
        .map(|scheme| {
            publish::open(&format!("{scheme}{address}"), &PublishSettings::default()).unwrap()
        })
        .collect();
    let mut pool = FramePool::new(2, 640 * 480);

    let mut persons = 0;
    let mut before = 0;
    for i in 0..400u64 {
        if i == 200 {
            before = allocations();
        }
        let frame = support::grey_frame(&mut pool, i, i as f64 / 30.0);
        let poses = pipeline.step(&frame).unwrap();
        drop(frame);
        for publisher in &mut publishers {
            publisher.publish(&poses).unwrap();
        }
        if i >= 200 {
            persons += poses.persons.iter().filter(|p| p.pose.is_some()).count();
        }
    }
    let allocated = allocations() - before;
    assert!(persons >= 200, "the way was really gone: {persons} lifted persons in 200 frames");
    assert_eq!(allocated, 0, "allocations in 200 frames");

    let mut datagram = [0u8; 2048];
    let length = listener.recv(&mut datagram).unwrap();
    assert!(posewire::wire::decode(&datagram[..length]).is_ok(), "and packets came out");
}

#[test]
fn the_counter_counts() {
    let before = allocations();
    let v = std::hint::black_box(vec![1u8; 100]);
    drop(v);
    assert!(allocations() > before);
}
