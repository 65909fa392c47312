//! The V4L2 source against a real kernel driver: `vivid`, the kernel's virtual camera, which can
//! also fail on demand. Run in a guest by `tests/guest/cameras.sh`; skipped where
//! `POSEWIRE_CAMERA` names no device node. One test at a time (`--test-threads=1`), with
//! `v4l2-ctl` on PATH for what is to be injected.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]

use std::process::Command;
use std::time::{Duration, Instant};

use posewire::capture::v4l2::controls::Controls;
use posewire::capture::{CaptureError, FrameSource, Next, SourceOptions, open};
use posewire::frame::{Frame, PixelFormat, Timebase};
use posewire::time::{Clock, MonotonicClock};

const LIMIT: Duration = Duration::from_secs(3);
const OPTIONS: SourceOptions = SourceOptions {
    camera: 1,
    rate: None,
    realtime: false,
    repeat: false,
    controls: Controls::NONE,
};

fn node() -> Option<String> {
    let node = std::env::var("POSEWIRE_CAMERA").ok();
    if node.is_none() {
        println!("skipped: POSEWIRE_CAMERA names no vivid device node");
    }
    node
}

/// Sets a control of the driver. Stamps are set to the past: vivid's default lies in the future.
fn control(node: &str, setting: &str) {
    let status = Command::new("v4l2-ctl").args(["-d", node, "-c", setting]).status().unwrap();
    assert!(status.success(), "v4l2-ctl -c {setting}");
}

fn camera(node: &str, query: &str) -> Box<dyn FrameSource> {
    control(node, "timestamp_source=1");
    open(&format!("v4l2:{node}{query}"), &OPTIONS).unwrap()
}

fn frame(source: &mut dyn FrameSource) -> Frame {
    match source.next(LIMIT) {
        Ok(Next::Frame(frame)) => frame,
        Ok(Next::Idle) => panic!("no frame in time"),
        Ok(Next::End) => panic!("a camera has no end"),
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn frames_come_in_order_with_the_drivers_monotonic_stamps() {
    let Some(node) = node() else { return };
    let mut source = camera(&node, "?size=640x480");
    let info = source.describe().clone();
    println!("{}", info.summary);
    assert!(info.live);
    assert_eq!(info.size, Some((640, 480)));
    let rate = info.rate.unwrap();
    assert!(rate >= 25.0, "{rate} fps");
    let mut last = frame(&mut *source);
    for _ in 0..50 {
        let next = frame(&mut *source);
        assert_eq!((next.camera, next.timebase), (1, Timebase::Monotonic));
        assert!(next.captured <= next.dequeued);
        let frames = (next.sequence - last.sequence) as f64;
        assert!((1.0..=2.0).contains(&frames), "{frames} frames at once");
        let step = next.captured.secs_since(last.captured);
        assert!((step - frames / rate).abs() < 0.01, "{step} s for {frames} frames");
        last = next;
    }
}

#[test]
fn every_raw_format_arrives_whole() {
    let Some(node) = node() else { return };
    for (name, format) in [
        ("YUYV", PixelFormat::Yuyv),
        ("NV12", PixelFormat::Nv12),
        ("UYVY", PixelFormat::Uyvy),
        ("GREY", PixelFormat::Gray8),
        ("RGB3", PixelFormat::Rgb8),
        ("BGR3", PixelFormat::Bgr8),
    ] {
        let mut source = camera(&node, &format!("?size=640x480&format={name}"));
        for _ in 0..3 {
            let frame = frame(&mut *source);
            assert_eq!((frame.layout.format, frame.layout.width), (format, 640), "{name}");
            let image = frame.image();
            for (plane, (row, rows)) in image.planes.iter().zip(format.packed_planes(640, 480)) {
                // What a driver that carries the row length of the last format over gets wrong.
                assert_eq!((plane.stride, plane.data.len()), (row, row * rows), "{name}");
                let first = plane.data[0];
                assert!(plane.data.iter().any(|&b| b != first), "{name}: a plane of one value");
            }
        }
    }
}

#[test]
fn a_slow_reader_gets_the_newest_picture_and_not_a_backlog() {
    let Some(node) = node() else { return };
    let mut source = camera(&node, "?size=640x480");
    let mut last = frame(&mut *source).sequence;
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(200));
        let frame = frame(&mut *source);
        let age = MonotonicClock.now().secs_since(frame.captured);
        assert!(age < 0.1, "{age} s old");
        assert!(frame.sequence >= last + 3, "{} after {last}", frame.sequence);
        last = frame.sequence;
    }
}

#[test]
fn held_frames_are_never_overwritten_and_the_camera_goes_on_when_they_are_dropped() {
    let Some(node) = node() else { return };
    let mut source = camera(&node, "?size=640x480");
    let mut held: Vec<(Frame, Vec<u8>)> = Vec::new();
    loop {
        match source.next(Duration::from_millis(500)) {
            Ok(Next::Frame(frame)) => {
                let copy = frame.plane(0).to_vec();
                held.push((frame, copy));
            }
            Ok(Next::Idle) => break,
            _ => panic!("neither a frame nor idle"),
        }
    }
    assert!(held.len() >= 4, "{} buffers", held.len());
    std::thread::sleep(Duration::from_millis(300));
    for (frame, copy) in &held {
        assert!(frame.plane(0) == copy, "frame {} was overwritten", frame.sequence);
    }
    let (first, _) = held.remove(0);
    std::thread::spawn(move || drop(first)).join().unwrap();
    assert!(frame(&mut *source).sequence > held.last().unwrap().0.sequence);
    // Frames outlive their camera.
    drop(source);
    for (frame, copy) in &held {
        assert!(frame.plane(0) == copy);
    }
}

#[test]
fn a_frame_that_the_driver_flags_is_counted_and_the_next_one_comes() {
    let Some(node) = node() else { return };
    let mut source = camera(&node, "?size=640x480");
    let before = frame(&mut *source).sequence;
    control(&node, "inject_v4l2_buf_flag_error=1");
    let (mut bad, mut good) = (0, 0);
    let until = Instant::now() + LIMIT;
    while good < 10 && Instant::now() < until {
        match source.next(LIMIT) {
            Ok(Next::Frame(_)) => good += 1,
            Err(CaptureError::BadFrame { sequence, .. }) => {
                assert!(sequence > before);
                bad += 1;
            }
            Err(e) => panic!("{e}"),
            Ok(_) => {}
        }
    }
    assert_eq!((bad, good), (1, 10));
}

/// Reads until the source fails.
fn end_of(source: &mut dyn FrameSource) -> CaptureError {
    for _ in 0..100 {
        if let Err(e) = source.next(LIMIT) {
            return e;
        }
    }
    panic!("it did not fail");
}

#[test]
fn a_camera_that_goes_away_is_gone_and_can_be_opened_again() {
    let Some(node) = node() else { return };
    for injected in ["disconnect=1", "inject_fatal_streaming_error=1"] {
        let mut source = camera(&node, "?size=640x480");
        frame(&mut *source);
        control(&node, injected);
        let error = end_of(&mut *source);
        assert!(matches!(error, CaptureError::Gone { .. }), "{injected}: {error}");
        drop(source);
        let mut again = camera(&node, "?size=640x480");
        frame(&mut *again);
    }
}

#[test]
fn a_camera_that_somebody_else_uses_says_so() {
    let Some(node) = node() else { return };
    let mut first = camera(&node, "?size=640x480");
    frame(&mut *first);
    let second = open(&format!("v4l2:{node}?size=320x180"), &OPTIONS).map(|_| ());
    let error = second.unwrap_err();
    assert!(matches!(error, CaptureError::Gone { .. }), "{error}");
    assert!(error.to_string().contains("another program"), "{error}");
    // And is not disturbed by the attempt.
    frame(&mut *first);
}

#[test]
fn wrong_nodes_are_refused_with_what_is_wrong() {
    let open = |uri: &str| open(uri, &OPTIONS).map(|_| ()).unwrap_err();
    let absent = open("v4l2:/dev/video987");
    assert!(matches!(absent, CaptureError::Gone { .. }), "{absent}");
    let null = open("v4l2:/dev/null");
    assert!(null.to_string().contains("no Video4Linux2 device"), "{null}");
    let query = open("/dev/video987?size=big");
    assert!(query.to_string().contains("size=1280x720"), "{query}");
    let Some(node) = node() else { return };
    let format = open(&format!("v4l2:{node}?format=MJPG"));
    assert!(format.to_string().contains("the camera has no MJPG; it has: "), "{format}");
}
