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

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use posewire::capture::pool::FramePool;
use posewire::detect::TopDown;
use posewire::engine::{
    Backend, Catalog, Engine, EngineError, ModelKind, ModelSpec, Precision, Signature, TensorMut,
    TensorRef,
};
use posewire::lift::{LiftSettings, Lifter};
use posewire::pipeline::{Geometry, Pipeline};
use posewire::publish::{self, PublishSettings};
use posewire::time::{Clock, MonotonicClock};
use posewire::track::{TrackSettings, Tracker};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and nobody who asks for it.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches a plain
// thread-local cell that needs no allocation of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Engines that answer without computing: a person in the middle of the picture.
struct Canned;

impl Backend for Canned {
    fn name(&self) -> &'static str {
        "canned"
    }

    fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn load(
        &self,
        model: &ModelSpec,
        _precision: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        let pairs = |tensors: Vec<posewire::engine::spec::TensorSpec>| {
            tensors.into_iter().map(|t| (t.name, t.shape)).collect()
        };
        let signature =
            Signature { inputs: pairs(model.inputs(batch)), outputs: pairs(model.outputs(batch)) };
        Ok(Box::new(CannedEngine { kind: model.kind(), signature }))
    }
}

struct CannedEngine {
    kind: ModelKind,
    signature: Signature,
}

impl Engine for CannedEngine {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(
        &mut self,
        _inputs: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        for output in outputs {
            output.data.fill(0.0);
            match (self.kind, output.shape) {
                // Scores: logits below any threshold, and one cell in the middle above it.
                (ModelKind::Finder, &[1, 1, rows, columns]) => {
                    output.data.fill(-9.0);
                    output.data[rows / 2 * columns + columns / 2] = 5.0;
                }
                (ModelKind::Finder, _) => output.data.fill(60.0),
                (ModelKind::Keypoints, &[1, joints, rows, columns]) => {
                    for j in 0..joints {
                        let (r, c) = (4 + 3 * j, columns / 2 + j % 7);
                        output.data[(j * rows + r) * columns + c] = 0.9;
                        output.data[(j * rows + r) * columns + c + 1] = 0.6;
                    }
                }
                _ => {
                    for (i, v) in output.data.iter_mut().enumerate() {
                        *v = (i % 13) as f32 * 0.05;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A directory with the manifests of a finder and a keypoint network. Their weights are never
/// read: no real backend loads them.
fn catalog() -> (tempfile::TempDir, Catalog) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["rtmdet_nano_HW140701", "tinypose_256_192"] {
        let from = format!("{}/models/known/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(from, dir.path().join(format!("{name}.toml"))).unwrap();
    }
    let catalog = Catalog::with_dir(dir.path()).unwrap();
    (dir, catalog)
}

#[test]
fn a_frame_becomes_a_packet_without_a_heap_allocation() {
    let (_dir, catalog) = catalog();
    let pick = |kind| catalog.pick(kind, None).unwrap();
    let detector = TopDown::new(
        &Canned,
        &pick(ModelKind::Finder),
        &pick(ModelKind::Keypoints),
        Precision::F32,
        Default::default(),
    )
    .unwrap();
    let mut model = pick(ModelKind::Lifter);
    // A canned answer is not the trained network's, as the check at start would notice.
    model.golden = None;
    let lifter = Lifter::new(&Canned, &model, Precision::F32, &LiftSettings::default()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
    let tracker = Tracker::new(TrackSettings::default());
    let geometry = Geometry::AssumedFov(65.0);
    let mut pipeline =
        Pipeline::new(Box::new(detector), tracker, lifter, geometry, clock, 1).unwrap();
    let listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("udp://{}", listener.local_addr().unwrap());
    let mut publisher = publish::open(&uri, &PublishSettings::default()).unwrap();
    let mut pool = FramePool::new(2, 640 * 480);

    let mut persons = 0;
    let mut before = 0;
    for i in 0..400u64 {
        if i == 200 {
            before = ALLOCATIONS.get();
        }
        let frame = support::grey_frame(&mut pool, i, i as f64 / 30.0);
        let poses = pipeline.step(&frame).unwrap();
        drop(frame);
        publisher.publish(&poses).unwrap();
        if i >= 200 {
            persons += poses.persons.iter().filter(|p| p.pose.is_some()).count();
        }
    }
    let allocations = ALLOCATIONS.get() - before;
    // The canned keypoints drift away from the canned box, so that people come and go all the time.
    assert!(persons >= 200, "the way was really gone: {persons} lifted persons in 200 frames");
    assert_eq!(allocations, 0, "allocations in 200 frames");

    let mut datagram = [0u8; 2048];
    let length = listener.recv(&mut datagram).unwrap();
    assert!(posewire::wire::decode(&datagram[..length]).is_ok(), "and packets came out");
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    let v = std::hint::black_box(vec![1u8; 100]);
    drop(v);
    assert!(ALLOCATIONS.get() > before);
}
