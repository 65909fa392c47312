//! The V4L2 source against a real kernel driver: `vivid`, the kernel's virtual camera, which can
//! also fail on demand. Run in a guest by `tests/guest/cameras.sh`; skipped where
//! `POSEWIRE_CAMERA` names no device node; `POSEWIRE_CAMERA_2` is a second one,
//! `POSEWIRE_CAMERA_MPLANE` a multi-planar one. One test at a time (`--test-threads=1`), with
//! `v4l2-ctl` on PATH for what is to be injected.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use posewire::capture::v4l2::controls::{ControlValue, Controls};
use posewire::capture::{CaptureError, FrameSource, Next, SourceOptions, open};
use posewire::frame::{BayerOrder, Frame, PixelFormat, Timebase};
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
    named("POSEWIRE_CAMERA")
}

fn named(variable: &str) -> Option<String> {
    let node = std::env::var(variable).ok();
    if node.is_none() {
        println!("skipped: {variable} names no vivid device node");
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
    let bayer = |order, bits| PixelFormat::Bayer { order, bits };
    for (name, format) in [
        ("YUYV", PixelFormat::Yuyv),
        ("NV12", PixelFormat::Nv12),
        ("NV21", PixelFormat::Nv21),
        ("YU12", PixelFormat::I420),
        ("422P", PixelFormat::I422),
        ("UYVY", PixelFormat::Uyvy),
        ("GREY", PixelFormat::Gray8),
        ("Y16", PixelFormat::Gray16),
        ("RGB3", PixelFormat::Rgb8),
        ("BGR3", PixelFormat::Bgr8),
        ("RGGB", bayer(BayerOrder::Rggb, 8)),
        ("BA81", bayer(BayerOrder::Bggr, 8)),
        ("RG10", bayer(BayerOrder::Rggb, 10)),
    ] {
        let mut source = camera(&node, &format!("?size=640x480&format={name}"));
        for _ in 0..3 {
            whole(&frame(&mut *source), name, format);
        }
    }
}

/// Every plane is there, tightly packed as the driver has it, and has a picture in it.
fn whole(frame: &Frame, name: &str, format: PixelFormat) {
    assert_eq!((frame.layout.format, frame.layout.width), (format, 640), "{name}");
    let image = frame.image();
    let packed = format.packed_planes(640, 480);
    assert_eq!(image.planes.len(), packed.len(), "{name}");
    for (plane, (row, rows)) in image.planes.iter().zip(packed) {
        // What a driver that carries the row length of the last format over gets wrong.
        assert_eq!((plane.stride, plane.data.len()), (row, row * rows), "{name}");
        let first = plane.data[0];
        assert!(plane.data.iter().any(|&b| b != first), "{name}: a plane of one value");
    }
}

#[test]
fn a_multi_planar_camera_gives_its_planes_from_one_memory_or_several() {
    let Some(node) = named("POSEWIRE_CAMERA_MPLANE") else { return };
    for (name, format) in [
        ("NM12", PixelFormat::Nv12),
        ("NM21", PixelFormat::Nv21),
        ("YM12", PixelFormat::I420),
        ("YUYV", PixelFormat::Yuyv),
        ("GREY", PixelFormat::Gray8),
    ] {
        let query = format!("?size=640x480&format={name}");
        control(&node, "timestamp_source=1");
        let mut source = match open(&format!("v4l2:{node}{query}"), &OPTIONS) {
            Ok(source) => source,
            // Not every kernel's has every one, but the ones that the issue names.
            Err(e) if name != "NM12" && e.to_string().contains("the camera has no") => {
                println!("{name}: {e}");
                continue;
            }
            Err(e) => panic!("{name}: {e}"),
        };
        println!("{}", source.describe().summary);
        assert!(source.describe().summary.contains("multi-planar"));
        for _ in 0..3 {
            whole(&frame(&mut *source), name, format);
        }
    }
}

/// Two at once, read in turn: each keeps its rate, loses nothing and stamps forward.
#[test]
fn two_cameras_at_once_give_every_frame_at_the_devices_rate() {
    let (Some(first), Some(second)) = (node(), named("POSEWIRE_CAMERA_2")) else { return };
    let mut sources =
        [camera(&first, "?size=320x180&format=YUYV"), camera(&second, "?size=320x180&format=NV12")];
    let mut seen: [Vec<(u64, f64)>; 2] = Default::default();
    while seen.iter().any(|seen| seen.len() < 100) {
        for (source, seen) in sources.iter_mut().zip(&mut seen) {
            if let Next::Frame(frame) = source.next(Duration::from_millis(5)).unwrap() {
                seen.push((frame.sequence, frame.captured.secs_f64()));
            }
        }
    }
    for (source, seen) in sources.iter().zip(&seen) {
        assert!(seen.windows(2).all(|p| p[1].0 == p[0].0 + 1), "a gap: {seen:?}");
        assert!(seen.windows(2).all(|p| p[1].1 > p[0].1), "stamps go back: {seen:?}");
        let rate = source.describe().rate.unwrap();
        let (begin, end) = (seen[0].1, seen[seen.len() - 1].1);
        let measured = (seen.len() - 1) as f64 / (end - begin);
        println!("{rate} fps nominal, {measured:.3} by {} stamps, no gap", seen.len());
        assert!((measured - rate).abs() < 0.02 * rate, "{measured} instead of {rate} fps");
    }
}

#[test]
fn frames_that_the_device_drops_show_in_their_numbers() {
    let Some(node) = node() else { return };
    let mut source = camera(&node, "?size=320x180");
    frame(&mut *source);
    control(&node, "percentage_of_dropped_buffers=50");
    let mut numbers = Vec::new();
    for _ in 0..40 {
        numbers.push(frame(&mut *source).sequence);
    }
    control(&node, "percentage_of_dropped_buffers=0");
    let span = numbers[numbers.len() - 1] - numbers[0] + 1;
    let lost = span - numbers.len() as u64;
    println!("{lost} of {span} frames were dropped by the device");
    assert!(lost >= 10, "{lost} of {span}");
}

#[test]
fn a_stamp_from_the_future_is_replaced_by_the_time_of_arrival() {
    let Some(node) = node() else { return };
    control(&node, "timestamp_source=0");
    let mut source = open(&format!("v4l2:{node}?size=320x180"), &OPTIONS).unwrap();
    for _ in 0..5 {
        let frame = frame(&mut *source);
        assert!(frame.captured <= frame.dequeued);
    }
}

#[test]
fn controls_are_set_by_name_and_again_after_the_camera_came_back() {
    let Some(node) = node() else { return };
    let read = |name: &str| {
        let out = Command::new("v4l2-ctl").args(["-d", &node, "-C", name]).output().unwrap();
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let wanted = [("brightness", 77), ("hue", -20), ("no_such_thing", 1)];
    let values = wanted.map(|(name, value)| (name.to_owned(), ControlValue::Number(value)));
    let controls: Controls = BTreeMap::from(values).into();
    let options = SourceOptions { controls, ..OPTIONS };
    for _ in 0..2 {
        control(&node, "brightness=128,hue=0");
        let mut source = open(&format!("v4l2:{node}?size=320x180"), &options).unwrap();
        frame(&mut *source);
        assert_eq!(read("brightness"), "brightness: 77");
        assert_eq!(read("hue"), "hue: -20");
    }
    control(&node, "brightness=128,hue=0");
}

#[test]
fn a_driver_that_fails_while_it_is_set_up_is_gone_and_works_again() {
    let Some(node) = node() else { return };
    for injected in [
        "inject_vidioc_reqbufs_error=1",
        "inject_vidioc_qbuf_error=1",
        "inject_vidioc_streamon_error=1",
    ] {
        control(&node, injected);
        let error = open(&format!("v4l2:{node}?size=320x180"), &OPTIONS).map(|_| ()).unwrap_err();
        assert!(matches!(error, CaptureError::Gone { .. }), "{injected}: {error}");
        println!("{injected}: {error}");
        frame(&mut *camera(&node, "?size=320x180"));
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
    let name = open("v4l2:serial/none-such");
    assert!(matches!(name, CaptureError::Gone { .. }), "{name}");
    let format = open(&format!("v4l2:{node}?format=MJPG"));
    assert!(format.to_string().contains("the camera has no MJPG; it has: "), "{format}");
}

/// Nodes that vanish and come back, as of a camera that is unplugged: the driver is unbound while
/// it streams. It comes last by its name: later tests would find other numbers.
#[test]
fn zz_nodes_that_vanish_while_streaming_come_back_under_the_same_name() {
    let Some(node) = node() else { return };
    let driver = "/sys/bus/platform/drivers/vivid";
    let bus = "v4l2:bus/platform:vivid-000?size=320x180";
    let mut source = open(bus, &OPTIONS).unwrap();
    let held = frame(&mut *source);
    std::fs::write(format!("{driver}/unbind"), "vivid.0").unwrap();
    let error = end_of(&mut *source);
    assert!(matches!(error, CaptureError::Gone { .. }), "{error}");
    let absent = open(bus, &OPTIONS).map(|_| ()).unwrap_err();
    assert!(absent.to_string().contains("no camera with the bus"), "{absent}");
    assert!(!std::path::Path::new(&node).exists());
    drop(source);
    assert!(!held.plane(0).is_empty(), "frames outlive their camera");
    std::fs::write(format!("{driver}/bind"), "vivid.0").unwrap();
    let mut again = open(bus, &OPTIONS).unwrap();
    frame(&mut *again);
}
