//! What recording costs: `cargo bench --bench recording`. The results are in `docs/recording.md`.
//!
//! Frames of a real clip as a 720p camera sends them, 30 a second by a simulated clock, into a
//! real file: CPU time of the recorder's thread and of the copy that perception makes for it, and
//! bytes on disk. Needs `ffmpeg` and the clip of `$POSEWIRE_DATA` (or `../shared/data`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot run may say so"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use posewire::capture::pool::FramePool;
use posewire::frame::{ColorSpace, Frame, FrameStamp, ImageLayout, PixelFormat, Timebase};
use posewire::record::{Frames, Lens, RecordSettings, Recorder, Taken};
use posewire::recording::{About, Picture, frame_record};
use posewire::time::{ManualClock, Timestamp};
use posewire::wire::PoseOptions;
use rustix::time::{ClockId, clock_gettime};

const CLIP: &str = "clips/pose_squats.mp4";
const SIZE: (u32, u32) = (1280, 720);
const RATE: i64 = 30;
const SECONDS: i64 = 20;

/// CPU time of this thread.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Two seconds of the clip, frame by frame, as files that `more` makes of them.
fn pictures(clip: &std::path::Path, ending: &str, more: &[&str]) -> Option<Vec<Vec<u8>>> {
    let dir = tempfile::tempdir().unwrap();
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(clip)
        .args(["-frames:v", "60", "-vf", "transpose,scale=1280:720"])
        .args(more)
        .arg(dir.path().join(format!("%03d.{ending}")))
        .status();
    if !done.is_ok_and(|s| s.success()) {
        println!("skipped: no ffmpeg");
        return None;
    }
    let mut files: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    Some(files.iter().map(|f| std::fs::read(f).unwrap()).collect())
}

fn stamp(n: i64, clock: &ManualClock) -> FrameStamp {
    let captured = Timestamp::from_nanos(n * 1_000_000_000 / RATE);
    clock.set(captured);
    let timebase = Timebase::Monotonic;
    FrameStamp { camera: 0, sequence: n as u64, captured, timebase, dequeued: captured }
}

fn frame(bytes: &[u8], format: PixelFormat, stamp: FrameStamp, pool: &mut FramePool) -> Frame {
    let layout = if format.is_compressed() {
        ImageLayout::compressed(SIZE.0, SIZE.1, format, bytes.len())
    } else {
        ImageLayout::packed(SIZE.0, SIZE.1, format, ColorSpace::default())
    };
    let lease = pool.take(Duration::ZERO).unwrap();
    pool.buffer(&lease).clear();
    pool.buffer(&lease).extend_from_slice(bytes);
    pool.share(lease, layout, stamp).unwrap()
}

fn measure(what: &str, pictures: &[Vec<u8>], format: PixelFormat, frames: Frames) {
    let dir = tempfile::tempdir().unwrap();
    let settings = RecordSettings {
        file: Some(dir.path().join("run.mcap")),
        frames,
        ..RecordSettings::default()
    };
    let clock = Arc::new(ManualClock::default());
    let mut recorder = Recorder::open(
        &settings,
        About::default(),
        Lens::Fov(65.0),
        PoseOptions::default(),
        clock.clone(),
    )
    .unwrap()
    .unwrap();
    let mut pool = FramePool::new(1, pictures[0].len());
    let mut pixels = Vec::new();
    let (mut copying, mut recording) = (Duration::ZERO, Duration::ZERO);
    for n in 0..RATE * SECONDS {
        let stamp = stamp(n, &clock);
        let bytes = &pictures[n as usize % pictures.len()];
        let frame = frame(bytes, format, stamp, &mut pool);
        let poses = support::pose_frame(n as u64, stamp.captured, 1);
        let begun = cpu();
        let mut picture = Picture::None;
        if recorder.wants_pixels() {
            frame_record::pack(&frame, &mut pixels);
            picture = Picture::Exact;
        }
        copying += cpu() - begun;
        let layout = frame.layout.clone();
        drop(frame);
        let begun = cpu();
        pixels = recorder.take(Taken { stamp, layout, picture, pixels, poses });
        recorder.tick();
        recording += cpu() - begun;
    }
    let begun = cpu();
    let done = recorder.finish();
    recording += cpu() - begun;
    assert_eq!((done.frames as i64, done.pictures_dropped, done.lost), (RATE * SECONDS, 0, 0));
    let per_frame = |d: Duration| d.as_secs_f64() * 1e3 / done.frames as f64;
    println!(
        "{what}: recorder {:.2} ms of CPU a frame, copy {:.2} ms; {:.2} MB/s ({:.1} kB a frame)",
        per_frame(recording),
        per_frame(copying),
        done.bytes as f64 / 1e6 / SECONDS as f64,
        done.bytes as f64 / 1e3 / done.frames as f64,
    );
}

fn main() {
    let Some(clip) = support::data(CLIP) else { return };
    let jpeg = ["-pix_fmt", "yuvj422p", "-q:v", "4", "-f", "image2"];
    let raw = ["-pix_fmt", "yuyv422", "-c:v", "rawvideo", "-f", "image2"];
    let Some(jpegs) = pictures(&clip, "jpg", &jpeg) else { return };
    let Some(raws) = pictures(&clip, "yuv", &raw) else { return };
    let mean = jpegs.iter().map(Vec::len).sum::<usize>() as f64 / jpegs.len() as f64;
    println!("{} frames of the clip, JPEG of {:.1} kB in the mean, 4:2:2", jpegs.len(), mean / 1e3);
    measure("poses only (frames = \"none\")", &jpegs, PixelFormat::Jpeg, Frames::None);
    measure("MJPEG as it came", &jpegs, PixelFormat::Jpeg, Frames::Jpeg);
    measure("YUYV encoded, quality 90", &raws, PixelFormat::Yuyv, Frames::Jpeg);
    measure("YUYV exact", &raws, PixelFormat::Yuyv, Frames::Exact);
}
