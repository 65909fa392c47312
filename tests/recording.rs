//! Recording, replaying, recovering and exporting with the real program, and killing it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use posewire::capture::replay::Replay;
use posewire::capture::{FrameSource, Next, SourceOptions};
use posewire::frame::{ColorSpace, FrameStamp, ImageLayout, PixelFormat, Timebase};
use posewire::pose::{PoseFrame, StageStamps};
use posewire::record::{Frames, Lens, RecordSettings, Recorder, Taken};
use posewire::recording::{About, FrameRecord, Item, Picture, Reader, Subject};
use posewire::time::{Clock, ManualClock, Timestamp};
use posewire::wire::PoseOptions;

use program::{CONFIG, assert_one_error, command, posewire, said, succeeds, test_models};

/// Frames of a recording, and whether its end is missing.
fn frames(path: &Path) -> (Vec<FrameRecord>, bool) {
    let mut reader = Reader::new(BufReader::new(File::open(path).unwrap()));
    let (mut frames, mut cut) = (Vec::new(), false);
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Message(stored) => {
                let entry = stored.entry().expect("every topic is ours");
                if entry.topic.subject == Subject::Frame {
                    frames.push(serde_json::from_slice(&entry.data).unwrap());
                }
            }
            Item::Cut => cut = true,
            Item::Skipped(problem) => panic!("{problem}"),
            Item::About(_) | Item::Metadata(_) => {}
        }
    }
    (frames, cut)
}

/// Lines of a `jsonl:` target that are poses; the last one may be half a line.
fn published(path: &Path) -> Vec<serde_json::Value> {
    fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|value: &serde_json::Value| value["type"] == "pose")
        .collect()
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Criterion 5 of the recording: kill -9, 20 times.
#[test]
fn killed_while_recording_the_file_opens_and_lacks_at_most_the_last_second() {
    for round in 0..20u32 {
        let dir = tempfile::tempdir().unwrap();
        let (file, lines) = (dir.path().join("run.mcap"), dir.path().join("poses.jsonl"));
        let target = format!("jsonl:{}", lines.display());
        let child = command(&[
            "demo",
            "--stand-in",
            "--seconds",
            "0",
            "--publish",
            &target,
            "--record",
            file.to_str().unwrap(),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
        let mut child = Killed(child);
        // At another moment of the flush's period each time, by what has been published.
        let wanted = 40 + 7 * round as usize % 45;
        let begun = Instant::now();
        while published(&lines).len() < wanted {
            assert!(begun.elapsed() < Duration::from_secs(120), "no poses come");
            std::thread::sleep(Duration::from_millis(5));
        }
        // SIGKILL: nothing is tidied up.
        child.0.kill().unwrap();
        child.0.wait().unwrap();

        let last_sent = published(&lines).last().unwrap()["captured_us"].as_i64().unwrap();
        let (found, cut) = frames(&file);
        assert!(cut, "it was killed, not ended");
        let last = found.last().expect("frames were recorded").captured_ns / 1_000;
        let lost = (last_sent - last) as f64 * 1e-6;
        assert!(lost <= 1.0, "round {round}: {lost} s lost");

        if round % 5 == 0 {
            let whole = dir.path().join("whole.mcap");
            let (out, _) =
                succeeds(&["recover", file.to_str().unwrap(), "--out", whole.to_str().unwrap()]);
            assert!(out.contains("the end was cut off"), "{out}");
            let (again, cut) = frames(&whole);
            assert!(!cut);
            assert_eq!(again, found);
            // The cut one is replayed as it is.
            let (out, err) = succeeds(&["replay", file.to_str().unwrap(), "--compare"]);
            assert!(out.contains(&format!("replayed {} frames", found.len())), "{out}");
            assert!(err.contains("cut off"), "{err}");
        }
    }
}

/// Criterion 6: 30 s, twice, byte for byte.
#[test]
fn a_replay_of_thirty_seconds_gives_the_same_packets_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let recording = path("thirty.mcap");
    let (_, err) = succeeds(&[
        "run",
        "--source",
        "demo:30",
        "--models",
        &test_models(),
        "--record",
        &recording,
    ]);
    assert!(err.contains("recorded 900 frames (0 without their picture, 0 not at all)"), "{err}");
    let mut said = Vec::new();
    for name in ["first", "second"] {
        let (out, _) = succeeds(&["replay", &recording, "--packets", &path(name)]);
        assert!(out.contains("replayed 900 frames (0 bad)"), "{out}");
        said.push(out);
    }
    let (first, second) = (fs::read(path("first")).unwrap(), fs::read(path("second")).unwrap());
    assert!(first.len() > 900 * 300, "{} bytes: persons are in them", first.len());
    assert!(first == second, "the packets differ");
    assert_eq!(said[0], said[1], "and so does the hash");
}

/// Exact pixels, the same models: what is computed again is what was sent.
#[test]
fn a_replay_of_exact_frames_gives_what_was_recorded_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let recording = path("exact.mcap");
    let mut args = vec!["run", "--source", "demo:1", "--pitch", "0", "--record", &recording];
    let (test, real) = (test_models(), support::data("models"));
    let models = real.map_or(test, |path| path.to_str().unwrap().to_owned());
    args.extend(["--models", &models, "--record-exact"]);
    succeeds(&args);
    let (out, err) = succeeds(&["replay", &recording, "--compare"]);
    assert!(out.contains("30 frames in both, 30 identical bit for bit"), "{out}");
    assert!(out.contains("mean 0.000 mm, max 0.000 mm"), "{out}");
    assert!(!err.contains("warning"), "the same models and settings: {err}");
    // As a source like any other, it comes out as it went in, too.
    let again = path("again.mcap");
    let run = ["run", "--source", &recording, "--models", &models, "--pitch", "0"];
    succeeds(&[&run[..], &["--record", &again, "--record-exact"]].concat());
    let (before, after) = (frames(Path::new(&recording)).0, frames(Path::new(&again)).0);
    assert_eq!(before.len(), 30);
    let what = |f: &FrameRecord| (f.sequence, f.captured_ns, f.format.clone(), f.picture);
    assert_eq!(
        before.iter().map(what).collect::<Vec<_>>(),
        after.iter().map(what).collect::<Vec<_>>()
    );
    // And JPEG is a little off, and says so.
    let lossy = path("lossy.mcap");
    let run = ["run", "--source", "demo:1", "--models", &models, "--pitch", "0"];
    succeeds(&[&run[..], &["--record", &lossy]].concat());
    let (out, _) = succeeds(&["replay", &lossy, "--compare"]);
    assert!(out.contains("30 frames in both"), "{out}");
}

#[test]
fn a_signal_makes_the_flight_recorder_write_and_the_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("flight.toml");
    let flight = dir.path().join("flight.mcap");
    let lines = dir.path().join("poses.jsonl");
    let text = format!(
        "[source]\nuri = \"demo:\"\nrealtime = true\n[models]\ndir = {:?}\n\
         [[publish]]\nuri = \"jsonl:{}\"\n\
         [record]\nframes = \"jpeg\"\n[record.flight]\nfile = {flight:?}\nseconds = 2\n",
        test_models(),
        lines.display(),
    );
    fs::write(&config, text).unwrap();
    let child = command(&["run", "--config", config.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let pid = child.0.id().to_string();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait("poses", &|| published(&lines).len() > 20);
    assert!(Command::new("kill").args(["-USR1", &pid]).status().unwrap().success());
    let dump = dir.path().join("flight-000001.mcap");
    // Whole only when its footer is there.
    let whole = || fs::read(&dump).is_ok_and(|b| b.ends_with(b"\x89MCAP0\r\n") && b.len() > 100);
    wait("a flight recording", &whole);
    let before = published(&lines).len();
    wait("poses after it", &|| published(&lines).len() > before + 5);
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let status = child.0.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    let (found, cut) = frames(&dump);
    assert!(!cut && found.len() > 10, "{}", found.len());
    let span = found.last().unwrap().captured_ns - found[0].captured_ns;
    assert!(span <= 2_000_000_000, "{span} ns");
}

#[test]
fn every_export_is_made_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let recording = path("r.mcap");
    let record = ["run", "--source", "demo:2", "--models", &test_models(), "--record", &recording];
    succeeds(&record);
    for format in ["trc", "c3d", "csv", "bvh"] {
        let (out, _) = succeeds(&["export", &recording, "--to", format, "--person", "1"]);
        let file = path(&format!("r.{format}"));
        assert!(out.contains(&file), "{out}");
        assert!(fs::metadata(&file).unwrap().len() > 1_000, "{file}");
        let again = posewire(&["export", &recording, "--to", format, "--person", "1"]);
        assert_one_error(&again, CONFIG, &["is there already"]);
    }
    let nobody = posewire(&["export", &recording, "--to", "trc", "--person", "77"]);
    assert!(said(&nobody).contains("no pose of person 77"), "{}", said(&nobody));
}

#[test]
fn what_is_no_recording_is_refused_with_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.mcap");
    fs::write(&bad, b"this is no recording at all").unwrap();
    let bad = bad.to_str().unwrap();
    for args in [
        &["replay", bad][..],
        &["recover", bad],
        &["export", bad, "--to", "csv"],
        &["export", bad, "--to", "bvh"],
        &["run", "--source", bad, "--models", &test_models()],
    ] {
        assert_one_error(&posewire(args), CONFIG, &["not an MCAP file", "bad.mcap"]);
    }
    for litter in ["bad-recovered.mcap", "bad.csv"] {
        assert!(!dir.path().join(litter).exists(), "{litter}");
    }
    let missing = posewire(&["replay", "/nonexistent/x.mcap"]);
    assert_eq!(missing.status.code(), Some(78));
}

/// The real thing, where it is allowed: a file system of 3 MB that fills up, and is emptied again.
#[test]
fn a_disk_that_fills_up_does_not_stop_poses_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(&disk).output();
    if !mount.as_ref().is_ok_and(|o| o.status.success()) {
        println!("skipped: no file system may be mounted here");
        return;
    }
    struct Mounted<'a>(&'a Path);
    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0).status();
        }
    }
    let mounted = Mounted(&disk);
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1u8; 2 << 20]).unwrap();
    let lines = dir.path().join("poses.jsonl");
    let target = format!("jsonl:{}", lines.display());
    let file = disk.join("run.mcap");
    let child = command(&["demo", "--stand-in", "--seconds", "0", "--publish", &target])
        .args(["--record", file.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let faults = || -> Vec<bool> {
        fs::read_to_string(&lines)
            .unwrap_or_default()
            .lines()
            .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
            .filter(|v| v["type"] == "status")
            .map(|v| v["faults"].to_string().contains("record-disk-full"))
            .collect()
    };
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(180), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait("the disk is full", &|| faults().last() == Some(&true));
    let before = published(&lines).len();
    wait("poses go on", &|| published(&lines).len() > before + 30);
    fs::remove_file(&ballast).unwrap();
    wait("it heals", &|| faults().last() == Some(&false));
    let pid = child.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    assert!(!frames(&file).0.is_empty());
    assert!(!frames(&disk.join("run-000001.mcap")).0.is_empty());
    drop(mounted);
}

/// A frame in which nobody was seen.
fn nobody(sequence: u64, captured: Timestamp) -> PoseFrame {
    PoseFrame {
        camera: 2,
        sequence,
        captured,
        media_time: false,
        stamps: StageStamps::default(),
        image_size: (8, 6),
        persons: Default::default(),
        model: 7,
        computed: None,
    }
}

const MILLISECOND: i64 = 1_000_000;

#[test]
fn a_recording_replays_the_frames_that_went_in_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exact.mcap");
    let settings = RecordSettings {
        file: Some(path.clone()),
        frames: Frames::Exact,
        ..RecordSettings::default()
    };
    let clock = Arc::new(ManualClock::default());
    let about = About { host: "bench".into(), ..About::default() };
    let mut recorder =
        Recorder::open(&settings, about, Lens::Fov(65.0), PoseOptions::default(), clock.clone())
            .unwrap()
            .unwrap();
    let layout = ImageLayout::packed(8, 6, PixelFormat::Nv12, ColorSpace::default());
    let pixels = |n: u64| (0..layout.byte_len() as u64).map(|i| (i * n) as u8).collect::<Vec<_>>();
    for n in 1..=20u64 {
        clock.set(Timestamp::from_nanos(n as i64 * 33 * MILLISECOND));
        let poses = nobody(2 * n, clock.now());
        let stamp = FrameStamp {
            camera: 2,
            sequence: 2 * n,
            captured: clock.now(),
            timebase: Timebase::Monotonic,
            dequeued: clock.now(),
        };
        // The seventh came too fast.
        let picture = if n == 7 { Picture::Dropped } else { Picture::Exact };
        let pixels = if n == 7 { Vec::new() } else { pixels(n) };
        recorder.take(Taken { stamp, layout: layout.clone(), picture, pixels, poses });
        recorder.tick();
    }
    let done = recorder.finish();
    assert_eq!((done.frames, done.pictures_dropped), (20, 1));

    let options = SourceOptions { repeat: true, ..SourceOptions::default() };
    let mut source = Replay::open("exact.mcap", &path, &options).unwrap();
    assert!(source.describe().summary.contains("bench"), "{}", source.describe().summary);
    let mut next = || match source.next(Duration::from_secs(1)).unwrap() {
        Next::Frame(frame) => frame,
        _ => panic!("a frame is missing"),
    };
    let mut last = None;
    for n in (1..=20u64).filter(|&n| n != 7) {
        let frame = next();
        assert_eq!((frame.camera, frame.sequence), (2, 2 * n));
        assert_eq!(frame.captured.nanos(), n as i64 * 33 * MILLISECOND);
        assert_eq!(frame.layout, layout);
        let bytes: Vec<u8> = (0..2).flat_map(|p| frame.plane(p).to_vec()).collect();
        assert_eq!(bytes, pixels(n));
        last = Some((frame.sequence, frame.captured));
    }
    // Once more from the start: numbers and times go on.
    let (sequence, captured) = last.unwrap();
    let frame = next();
    assert_eq!(frame.sequence, sequence + 1);
    assert_eq!((frame.captured.nanos() - captured.nanos()), 33 * MILLISECOND);
    assert_eq!(frame.plane(0), &pixels(1)[..48]);
}
