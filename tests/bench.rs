//! `posewire bench` and `posewire snapshot`, and the line on a terminal, as their user has them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::Path;

use posewire::bench::Report;
use program::{CONFIG, assert_one_error, posewire, succeeds, test_models};

/// Two seconds of the demo's person, with stand-in networks.
fn measured(folder: &Path, name: &str, more: &[&str]) -> (String, Report) {
    let json = folder.join(name);
    let models = test_models();
    let mut args = vec!["bench", "--models", &models, "--seconds", "2", "--warm-up", "0.5"];
    args.extend(["--json", json.to_str().unwrap()]);
    args.extend(more);
    let (said, _) = succeeds(&args);
    (said, Report::from_json(&fs::read_to_string(&json).unwrap()).unwrap())
}

#[test]
fn a_measurement_tells_latency_rates_and_cost_and_can_be_compared_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let drawing = folder.path().join("a.svg");
    let (said, a) = measured(folder.path(), "a.json", &["--plot", drawing.to_str().unwrap()]);
    assert_eq!(a.schema, "posewire-bench-1");
    assert_eq!((a.source.name.as_str(), a.source.flat_out), ("demo:", false));
    assert_eq!((a.models.backend.as_str(), a.models.precision.as_str()), ("tract", "f32"));
    assert!(a.models.files.iter().any(|m| m.kind == "lifter" && m.sha256.len() == 64));
    assert!(a.machine.cores > 0 && a.machine.kernel.is_some() && a.date.ends_with('Z'));
    assert!((2.0..10.0).contains(&a.usage.seconds), "{}", a.usage.seconds);
    assert!(a.frames.sent > 10 && a.frames.fps > 5.0 && a.frames.bad == 0, "{:?}", a.frames);
    assert!(a.usage.cpu_percent > 0.0 && a.usage.peak_rss_bytes > 10 << 20, "{:?}", a.usage);
    assert!(a.first_packet_s.unwrap() > a.load_s && a.load_s > 0.0);
    assert_eq!(a.joules_per_pose.is_some(), !a.energy.is_empty() && a.frames.poses > 0);
    assert!(a.timeline.len() >= 4, "{:?}", a.timeline);

    let stage = |name: &str| a.stage(name).unwrap_or_else(|| panic!("{name}: {said}"));
    let whole = stage("capture-to-packet");
    assert_eq!(whole.count, a.frames.sent);
    assert!(0.0 < whole.p50_ms && whole.p50_ms <= whole.p90_ms, "{whole:?}");
    assert!(whole.p90_ms <= whole.p99_ms && whole.p99_ms <= whole.max_ms, "{whole:?}");
    assert_eq!(whole.histogram.iter().map(|b| b.count).sum::<u64>(), whole.count);
    // The parts make up the whole.
    let parts: f64 = ["capture", "wait+decode", "detect", "lift", "publish"]
        .iter()
        .map(|name| stage(name).mean_ms)
        .sum();
    assert!((parts - whole.mean_ms).abs() < 1e-3 * whole.mean_ms, "{parts} {}", whole.mean_ms);
    assert!(!stage("wait").exact && stage("detect").exact);
    for word in ["fps sent", "capture-to-packet", "p99", "CPU", "power: "] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let drawn = fs::read_to_string(&drawing).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.contains("capture-to-packet"), "{drawn}");

    let (_, b) = measured(folder.path(), "b.json", &["--flat-out"]);
    assert!(b.source.flat_out && b.frames.dropped == 0, "{:?}", b.frames);
    assert!(b.frames.fps > a.frames.fps, "{} {}", b.frames.fps, a.frames.fps);
    // Nobody saw these frames: they have no moment of exposure.
    assert!(b.stage("capture").is_none());
    let [a, b] = ["a.json", "b.json"].map(|n| folder.path().join(n).display().to_string());
    let (compared, _) = succeeds(&["bench", "--compare", &a, &b]);
    assert!(compared.contains("warning: paces differ"), "{compared}");
    assert!(!compared.contains("processors differ"), "{compared}");
    let row = compared.lines().find(|l| l.starts_with("frames per second")).unwrap();
    let ratio: f64 = row.split_whitespace().last().unwrap().parse().unwrap();
    assert!(ratio > 1.0, "{row}");
}

#[test]
fn what_cannot_be_measured_is_said_once_and_before_time_is_spent() {
    let bench = |args: &[&str]| posewire(&[&["bench"], args].concat());
    assert_one_error(&bench(&["--seconds", "0"]), CONFIG, &["--seconds 0", "0.5"]);
    assert_one_error(&bench(&["--warm-up=-1"]), CONFIG, &["--warm-up -1"]);
    let lost = "/nonexistent/posewire.json";
    assert_one_error(&bench(&["--json", lost]), CONFIG, &[lost, "No such file"]);
    assert_one_error(&bench(&["--compare", lost, lost]), CONFIG, &[lost, "No such file"]);
    assert_one_error(&bench(&["--source", "/nonexistent.mp4"]), CONFIG, &["/nonexistent.mp4"]);
    let other = tempfile::NamedTempFile::new().unwrap();
    fs::write(other.path(), "{\"schema\": 1}").unwrap();
    let other = other.path().to_str().unwrap();
    let words = [other, "posewire bench --json"];
    assert_one_error(&bench(&["--compare", other, other]), CONFIG, &words);
}

/// A PNG's size and its RGB pixels.
fn picture(path: &Path) -> (usize, usize, Vec<u8>) {
    let file = std::io::BufReader::new(fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    (info.width as usize, info.height as usize, pixels)
}

#[test]
fn a_snapshot_shows_the_picture_on_the_left_and_the_pose_on_the_right() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.png");
    let path = out.to_str().unwrap();
    let models = test_models();
    let (said, _) = succeeds(&["snapshot", "--models", &models, "--at", "1", "--out", path]);
    assert!(said.contains("1 persons, 1 of them in 3D"), "{said}");
    let (width, height, pixels) = picture(&out);
    assert_eq!(pixels.len(), 3 * width * height);
    let side = |columns: std::ops::Range<usize>, colour: [u8; 3]| {
        let rows = pixels.chunks_exact(3 * width);
        rows.flat_map(|row| row[3 * columns.start..3 * columns.end].chunks_exact(3))
            .filter(|p| p.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 12))
            .count()
    };
    // Left and right limbs in both halves; the camera's half is no empty ground.
    let middle = width / 2;
    for colour in [[255, 150, 60], [70, 165, 255]] {
        assert!(side(0..middle, colour) > 50, "left half, {colour:?}");
        assert!(side(middle + width / 10..width, colour) > 50, "right half, {colour:?}");
    }
    let ground = side(0..middle, [24, 27, 33]);
    assert!(ground < middle * height / 4, "{ground} of {}", middle * height);
}

#[test]
fn a_snapshot_that_cannot_be_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let models = test_models();
    let snapshot =
        |args: &[&str]| posewire(&[&["snapshot", "--models", models.as_str()], args].concat());
    let x = folder.path().join("x.png");
    let x = x.to_str().unwrap();
    assert_one_error(&snapshot(&["--out", x, "--at=-3"]), CONFIG, &["--at -3"]);
    let lost = "/nonexistent/x.png";
    assert_one_error(&snapshot(&["--out", lost, "--at", "0"]), CONFIG, &[lost, "No such file"]);
    let source = "/nonexistent.mp4";
    assert_one_error(&snapshot(&["--out", x, "--source", source]), CONFIG, &[source]);
    assert!(!Path::new(x).exists());
}
