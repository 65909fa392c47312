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

use std::sync::Arc;

use canned::Canned;
use counting::allocations;
use posewire::capture::pool::FramePool;
use posewire::detect::OneStage;
use posewire::engine::exchange::{Exchange, Judge};
use posewire::engine::gate::{Budget, Verdict};
use posewire::engine::{Catalog, ModelKind, Precision};
use posewire::handoff::Stop;
use posewire::lift::{LiftSettings, Lifter};
use posewire::pipeline::{Geometry, Pipeline};
use posewire::publish::{self, PublishSettings};
use posewire::time::MonotonicClock;
use posewire::track::{TrackSettings, Tracker};

/// They drift, so that the births and deaths of tracks are on the way, too.
const PASSERS_BY: Canned = Canned { persons: 1, drift: 3 };

#[test]
fn a_frame_becomes_a_packet_without_a_heap_allocation() {
    counts_nothing(canned::pipeline(PASSERS_BY, Default::default()));
}

/// Finder and keypoints have been changed over, the lifter has not: no golden windows are its own.
#[test]
fn nor_does_one_whose_networks_could_be_exchanged_or_have_been() {
    static NOW: Canned = PASSERS_BY;
    let judge: Judge = Box::new(|_, _, _, _| {
        let budget = Budget { mean: 1.0, worst: 1.0 };
        Ok(Verdict { cases: 1, mean: 0.0, worst: 0.0, budget, unit: "px" })
    });
    let exchange = Exchange::new(&NOW, Box::new(NOW), judge, Stop::new());
    let mut pipeline = canned::pipeline_on(&exchange, Default::default());
    let builder = exchange.clone();
    let thread = std::thread::spawn(move || builder.work());
    let mut pool = FramePool::new(2, 640 * 480);
    // A frame at the same moment again changes nothing of what follows.
    while exchange.changes() < 3 {
        pipeline.step(&support::grey_frame(&mut pool, 0, 0.0)).unwrap();
    }
    exchange.stop();
    thread.join().unwrap();
    assert_eq!(exchange.troubles().len(), 1, "the lifter's: {:?}", exchange.troubles());
    counts_nothing(pipeline);
}

#[test]
fn nor_does_one_with_a_one_stage_network() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("one.toml"), ONE_STAGE).unwrap();
    let catalog = Catalog::with_dir(dir.path()).unwrap();
    let model = catalog.pick(ModelKind::OneStage, None).unwrap();
    let canned = Canned { persons: 2, drift: 0 };
    let settings = Default::default();
    let detector = OneStage::new(&canned, &model, Precision::F32, settings).unwrap();
    let mut model = catalog.pick(ModelKind::Lifter, None).unwrap();
    model.golden = None;
    let lifter = Lifter::new(&canned, &model, Precision::F32, &LiftSettings::default()).unwrap();
    let tracker = Tracker::new(TrackSettings::default());
    let geometry = Geometry::AssumedFov(65.0);
    let clock = Arc::new(MonotonicClock);
    let pipeline = Pipeline::new(Box::new(detector), tracker, lifter, geometry, clock, 1).unwrap();
    counts_nothing(pipeline);
}

/// Its file is never read.
const ONE_STAGE: &str = include_str!("data/onestage/unread.toml");

fn counts_nothing(mut pipeline: Pipeline) {
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
