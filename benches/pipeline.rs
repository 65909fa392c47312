//! A frame's way, whole and stage by stage: `cargo bench --bench pipeline`. The results and what
//! they should be are in `docs/performance.md`.
//!
//! - `own/…`: `Pipeline::step` on engines that answer without computing: all that is ours.
//! - `stage/…`: each stage alone.
//! - `model/…`: each network on the CPU backend, and what it allocates per run.
//! - `step/…`: the whole thing, real networks on a real person.
//!
//! What needs the clip or the public models of `$POSEWIRE_DATA` (or `../shared/data`) is skipped
//! with a word where they are not; so is what needs `ffmpeg`.
#![allow(unsafe_code, reason = "a counting allocator cannot be written without")]
#![allow(missing_docs, reason = "criterion's macros make public functions without any")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot run may say so"
)]

#[path = "../tests/support/canned.rs"]
mod canned;
#[path = "../tests/support/counting.rs"]
mod counting;
#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use canned::Canned;
use counting::allocations;
use criterion::{Criterion, criterion_group, criterion_main};
use posewire::camera::Intrinsics;
use posewire::capture::pool::FramePool;
use posewire::capture::{self, Next, SourceOptions};
use posewire::decode::JpegDecoder;
use posewire::detect::{DetectorSettings, TopDown};
use posewire::engine::tract::Tract;
use posewire::engine::{Backend, Catalog, ModelKind, Precision, TensorMut, TensorRef};
use posewire::frame::{ColorSpace, Frame, FrameStamp, ImageLayout, PixelFormat, Timebase};
use posewire::lift::window::Window;
use posewire::lift::{LiftSettings, Lifter};
use posewire::pipeline::{Geometry, Pipeline};
use posewire::publish::{self, PublishSettings};
use posewire::skeleton::JOINTS;
use posewire::time::{Clock, MonotonicClock, Timestamp};
use posewire::track::{TrackSettings, Tracker};
use posewire::wire::{ClockState, Header, MAX_MESSAGE, PoseMessage, PoseOptions, Split};

const CLIP: &str = "clips/pose_squats.mp4";

/// Seconds of a 30 Hz camera's `n`th frame.
fn at(n: u64) -> Timestamp {
    Timestamp::from_secs_f64(n as f64 / 30.0)
}

fn frame(layout: ImageLayout, bytes: &[u8]) -> Frame {
    let mut pool = FramePool::new(1, bytes.len());
    let lease = pool.take(Duration::ZERO).unwrap();
    pool.buffer(&lease).extend_from_slice(bytes);
    let (captured, timebase, dequeued) = (at(0), Timebase::Media, MonotonicClock.now());
    let stamp = FrameStamp { camera: 0, sequence: 0, captured, timebase, dequeued };
    pool.share(lease, layout, stamp).unwrap()
}

fn yuyv() -> Frame {
    let layout = ImageLayout::packed(1280, 720, PixelFormat::Yuyv, ColorSpace::default());
    let bytes: Vec<u8> = (0..layout.byte_len()).map(|i| (i * 31 % 251) as u8).collect();
    frame(layout, &bytes)
}

/// A frame of the clip as a camera would send it, 1280x720 and 4:2:2.
fn jpeg() -> Option<Frame> {
    let clip = support::data(CLIP)?;
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-ss", "3", "-i"])
        .arg(clip)
        .args(["-frames:v", "1", "-vf", "transpose,scale=1280:720", "-pix_fmt", "yuvj422p"])
        .args(["-q:v", "4", "-f", "mjpeg", "-"])
        .output();
    match done {
        Ok(done) if done.status.success() => {
            println!("note: the JPEG has {} bytes", done.stdout.len());
            let len = done.stdout.len();
            let layout = ImageLayout::compressed(1280, 720, PixelFormat::Jpeg, len);
            Some(frame(layout, &done.stdout))
        }
        _ => {
            println!("skipped: JPEG (no ffmpeg)");
            None
        }
    }
}

/// One frame's whole way, again and again. By half a second each: over such a gap the detector
/// does not extrapolate motion, which it must not here. Canned keypoints move with their crop, so
/// that the least motion would feed on itself.
fn steps<'a>(pipeline: &'a mut Pipeline, frame: &'a mut Frame) -> impl FnMut() -> usize + 'a {
    let mut n = 0;
    move || {
        n += 1;
        (frame.sequence, frame.captured) = (n, at(15 * n));
        pipeline.step(frame).unwrap().persons.len()
    }
}

/// Criterion's medians are of means; latency is of single frames.
fn quantiles(what: &str, mut step: impl FnMut() -> usize) {
    for _ in 0..200 {
        step();
    }
    let mut persons = 0;
    let mut times: Vec<Duration> = (0..2000)
        .map(|_| {
            let begin = Instant::now();
            persons += step();
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    let us = |q: usize| times[times.len() * q / 1000].as_secs_f64() * 1e6;
    println!(
        "{what}: of 2000 single frames p50 {:.0} us, p90 {:.0} us, p99 {:.0} us ({persons} persons)",
        us(500),
        us(900),
        us(990)
    );
}

fn own(c: &mut Criterion) {
    let settings = |search_every| DetectorSettings { search_every, ..DetectorSettings::default() };
    let mut run = |name: &str, frame: &mut Frame, persons: usize, search_every: u32| {
        let canned = Canned { persons, drift: 0 };
        let name = format!("own/{name}, {persons} in it");
        let mut pipeline = canned::pipeline(canned, settings(search_every));
        quantiles(&name, steps(&mut pipeline, frame));
        // Time begins anew; so must what is followed.
        let mut pipeline = canned::pipeline(canned, settings(search_every));
        // One counter for all of criterion's rounds: time must not jump back in between.
        let mut step = steps(&mut pipeline, frame);
        c.bench_function(&name, |b| b.iter(&mut step));
    };
    let mut raw = yuyv();
    run("YUYV", &mut raw, 1, 15);
    run("YUYV, finder in every frame", &mut raw, 1, 1);
    run("YUYV", &mut raw, 4, 15);
    run("YUYV, finder in every frame", &mut raw, 4, 1);
    if let Some(mut coded) = jpeg() {
        run("JPEG with its decoding", &mut coded, 1, 15);
    }
}

fn stages(c: &mut Criterion) {
    if let Some(coded) = jpeg() {
        let mut decoder = JpegDecoder::new();
        c.bench_function("stage/JPEG decode 1280x720", |b| {
            b.iter(|| decoder.decode(&coded.image()).unwrap().width);
        });
    }

    let mut tracker = Tracker::new(TrackSettings::default());
    let mut present = ArrayVec::new();
    let mut n = 0;
    c.bench_function("stage/tracker, 4 persons", |b| {
        b.iter(|| {
            n += 1;
            let found = [200.0, 500.0, 800.0, 1100.0].map(|x| support::person(x, n as f32 * 0.2));
            tracker.update(at(n), &found, &mut present);
        });
    });
    assert!(n == 0 || present.len() == 4, "all are followed, if this bench was chosen");

    let camera = Intrinsics::from_fov(1280, 720, 65.0);
    let mut window = Window::new(27, 25.0, true);
    let mut tensor = vec![0.0f32; JOINTS * 3];
    let mut n = 0;
    c.bench_function("stage/window: observe, slots, virtual camera", |b| {
        b.iter(|| {
            n += 1;
            window.observe(at(n), &support::person(640.0, n as f32 * 0.2), &camera);
            let aimed = *window.camera().unwrap();
            // What is new at 30 frames a second: the newest, and mostly a grid slot.
            for slot in 0..2 {
                aimed.fill_slot(&window.slot(slot), &mut tensor);
                black_box(&tensor);
            }
            aimed.context(None, 0)
        });
    });

    for persons in [1, 4] {
        let canned = Canned { persons, drift: 0 };
        let mut pipeline = canned::pipeline(canned, DetectorSettings::default());
        let mut raw = yuyv();
        (0..5).for_each(|n| {
            raw.captured = at(n);
            pipeline.step(&raw).unwrap();
        });
        raw.captured = at(5);
        let poses = pipeline.step(&raw).unwrap();
        assert_eq!(poses.persons.len(), persons);
        let mut buffer = [0; MAX_MESSAGE];
        let header = Header {
            session: 1,
            packet: 1,
            sent_us: 1,
            realtime_offset_us: 1,
            clock: ClockState::Ntp,
        };
        c.bench_function(&format!("stage/wire encode, {persons} in it"), |b| {
            b.iter(|| {
                let message = PoseMessage::from_frame(black_box(&poses), &PoseOptions::default());
                let mut split = Split::new(&message);
                let mut bytes = 0;
                while let Some(datagram) = split.next(&header, &mut buffer).unwrap() {
                    bytes += datagram.len();
                }
                bytes
            });
        });
        // Nobody reads: a full socket drops, as a network does.
        let listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let uri = format!("udp://{}", listener.local_addr().unwrap());
        let mut publisher = publish::open(&uri, &PublishSettings::default()).unwrap();
        c.bench_function(&format!("stage/publish over UDP, {persons} in it"), |b| {
            b.iter(|| publisher.publish(black_box(&poses)));
        });
    }
}

/// Our models, and the public ones where they are.
fn catalogs() -> Vec<(&'static str, Catalog)> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut all = vec![("our", Catalog::with_dir(&ours).unwrap())];
    if let Some(dir) = support::data("models") {
        all.push(("public", Catalog::with_dir(&dir).unwrap()));
    }
    all
}

fn models(c: &mut Criterion) {
    let mut seen = Vec::new();
    let catalogs = catalogs();
    for spec in catalogs.iter().flat_map(|(_, catalog)| catalog.models()) {
        // The embedded ones are in every catalog.
        if seen.contains(&&spec.name) {
            continue;
        }
        seen.push(&spec.name);
        let mut engine = Tract.load(spec, Precision::F32, 1).unwrap();
        let signature = engine.signature().clone();
        let data: Vec<Vec<f32>> = signature
            .inputs
            .iter()
            .map(|(_, s)| (0..s.iter().product()).map(|i| (i % 97) as f32 / 48.0 - 1.0).collect())
            .collect();
        let inputs: Vec<_> = signature
            .inputs
            .iter()
            .zip(&data)
            .map(|((_, shape), data)| TensorRef { shape, data })
            .collect();
        let mut results: Vec<Vec<f32>> =
            signature.outputs.iter().map(|(_, s)| vec![0.0; s.iter().product()]).collect();
        let mut outputs: Vec<_> = signature
            .outputs
            .iter()
            .zip(&mut results)
            .map(|((_, shape), data)| TensorMut { shape, data })
            .collect();
        let mut run = || engine.run(&inputs, &mut outputs).unwrap();
        (0..5).for_each(|_| run());
        let before = allocations();
        (0..10).for_each(|_| run());
        let allocated = (allocations() - before) as f64 / 10.0;
        println!("model/{}: {allocated} allocations per run, all inside tract", spec.name);
        c.bench_function(&format!("model/{}", spec.name), |b| b.iter(&mut run));
    }
}

/// The clip's frames as they come from the source.
fn clip() -> Vec<Frame> {
    let Some(path) = support::data(CLIP) else { return Vec::new() };
    let options = SourceOptions::default();
    let mut source = match capture::open(&path.display().to_string(), &options) {
        Ok(source) => source,
        Err(e) => {
            println!("skipped: {e}");
            return Vec::new();
        }
    };
    let mut frames = Vec::new();
    while frames.len() < 40 {
        match source.next(Duration::from_secs(5)).unwrap() {
            // Copied: the source has fewer buffers than this keeps frames.
            Next::Frame(f) => {
                let mut bytes = Vec::new();
                let mut layout = f.layout.clone();
                for (i, plane) in layout.planes.iter_mut().enumerate() {
                    (plane.memory, plane.offset) = (0, bytes.len());
                    bytes.extend_from_slice(f.plane(i));
                }
                frames.push(frame(layout, &bytes));
            }
            Next::Idle => {}
            _ => break,
        }
    }
    frames
}

fn whole(c: &mut Criterion) {
    let mut frames = clip();
    if frames.is_empty() {
        return;
    }
    for (name, catalog) in catalogs() {
        let pick = |kind| {
            // Two public finders: the smaller one.
            let name =
                (name == "public" && kind == ModelKind::Finder).then_some("rtmdet_nano_HW140701");
            catalog.pick(kind, name).unwrap()
        };
        let (finder, keypoints) = (pick(ModelKind::Finder), pick(ModelKind::Keypoints));
        let settings = DetectorSettings { max_persons: 1, ..DetectorSettings::default() };
        let detector = TopDown::new(&Tract, &finder, &keypoints, Precision::F32, settings).unwrap();
        let model = pick(ModelKind::Lifter);
        let lifter = Lifter::new(&Tract, &model, Precision::F32, &LiftSettings::default()).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
        let tracker = Tracker::new(TrackSettings::default());
        let geometry = Geometry::AssumedFov(65.0);
        let mut pipeline =
            Pipeline::new(Box::new(detector), tracker, lifter, geometry, clock, 1).unwrap();
        let (mut n, mut lifted) = (0u64, 0u64);
        let count = frames.len() as u64;
        c.bench_function(&format!("step/{name} models, clip"), |b| {
            b.iter(|| {
                // There and back: no jump from the last frame to the first.
                let i = n % (2 * count);
                let frame = &mut frames[i.min(2 * count - 1 - i) as usize];
                n += 1;
                (frame.sequence, frame.captured) = (n, at(n));
                let poses = pipeline.step(frame).unwrap();
                lifted += poses.persons.iter().filter(|p| p.pose.is_some()).count() as u64;
            });
        });
        println!("step/{name} models: {lifted} persons lifted in {n} frames");
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = own, stages, models, whole
}
criterion_main!(benches);
