//! Full disks, limits, the flight recorder, and what ends up in a file.

use std::fs::{self, File};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::*;
use crate::frame::{PixelFormat, Timebase};
use crate::recording::{Item, Reader};
use crate::time::ManualClock;
use crate::wire::samples;

/// A file system with room for so many bytes more.
#[derive(Clone)]
struct Small {
    room: Arc<AtomicU64>,
}

struct SmallFile {
    file: File,
    room: Arc<AtomicU64>,
}

impl Store for Small {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Out>> {
        let file = File::options().write(true).create_new(true).open(path)?;
        Ok(Box::new(SmallFile { file, room: self.room.clone() }))
    }
}

impl Write for SmallFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room.load(Ordering::SeqCst) as usize;
        if room == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // As file systems do: what fits is written.
        let n = self.file.write(&bytes[..bytes.len().min(room)])?;
        self.room.fetch_sub(n as u64, Ordering::SeqCst);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for SmallFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Out for SmallFile {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}

const MILLISECOND: i64 = 1_000_000;

struct Bench {
    directory: tempfile::TempDir,
    clock: Arc<ManualClock>,
    room: Arc<AtomicU64>,
    recorder: Recorder,
    now: i64,
    number: u64,
}

impl Bench {
    fn new(change: impl FnOnce(&Path, &mut RecordSettings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = RecordSettings::default();
        change(directory.path(), &mut settings);
        let clock = Arc::new(ManualClock::default());
        let room = Arc::new(AtomicU64::new(u64::MAX));
        let small = Small { room: room.clone() };
        let recorder = Recorder::with_store(
            &settings,
            About::default(),
            Lens::Fov(65.0),
            PoseOptions::default(),
            clock.clone(),
            || Box::new(small.clone()),
        )
        .unwrap()
        .unwrap();
        Self { directory, clock, room, recorder, now: 0, number: 0 }
    }

    /// Records a frame of `size` bytes of noise, 40 ms after the last.
    fn frame(&mut self, size: usize) {
        self.number += 1;
        self.now += 40 * MILLISECOND;
        self.clock.set(Timestamp::from_nanos(self.now));
        let mut poses = samples::frame(1);
        poses.sequence = self.number;
        let stamp = FrameStamp {
            camera: poses.camera,
            sequence: self.number,
            captured: Timestamp::from_nanos(self.now),
            timebase: Timebase::Monotonic,
            dequeued: Timestamp::from_nanos(self.now),
        };
        let layout = ImageLayout::compressed(64, 48, PixelFormat::Jpeg, size);
        let mut state = self.number;
        let pixels = (0..size)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let picture = Picture::Exact;
        self.recorder.take(Taken { stamp, layout, picture, pixels, poses });
        self.recorder.tick();
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            fs::read_dir(self.directory.path()).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    }
}

/// Numbers of the frames in a file.
fn frames(path: &Path) -> Vec<u64> {
    let mut reader = Reader::new(BufReader::new(File::open(path).unwrap()));
    let mut found = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        let Item::Message(stored) = item else { continue };
        let entry = stored.entry().unwrap();
        if entry.topic.subject == Subject::Frame {
            let record: FrameRecord = serde_json::from_slice(&entry.data).unwrap();
            found.push(record.sequence);
        }
    }
    found
}

#[test]
fn a_full_disk_is_a_named_fault_that_heals_and_costs_no_file_its_content() {
    let mut bench = Bench::new(|dir, s| s.file = Some(dir.join("run.mcap")));
    for _ in 0..50 {
        bench.frame(10_000);
    }
    assert_eq!(bench.recorder.fault(), None);
    bench.room.store(60_000, Ordering::SeqCst);
    for _ in 0..200 {
        bench.frame(10_000);
    }
    let fault = bench.recorder.fault().unwrap().clone();
    assert_eq!(fault.name.as_str(), "record-disk-full");
    assert!(fault.detail.contains("max_bytes"), "{}", fault.detail);
    assert!(fault.count > 1, "it is tried again: {}", fault.count);
    assert_eq!(bench.files().len(), 1, "no litter of attempts: {:?}", bench.files());
    bench.room.store(u64::MAX, Ordering::SeqCst);
    for _ in 0..400 {
        bench.frame(10_000);
    }
    assert_eq!(bench.recorder.fault(), None, "healed");
    let done = bench.recorder.finish();
    assert!(done.lost > 0 && done.files == 2, "{done:?}");
    let files = bench.files();
    let (before, after) = (frames(&files[1]), frames(&files[0]));
    // `run-000001.mcap` sorts before `run.mcap`.
    assert!(files[1].ends_with("run.mcap"));
    assert_eq!(before, (1..=before.len() as u64).collect::<Vec<_>>());
    // 50 were recorded before; half a second may not have been flushed.
    assert!(before.len() >= 37, "{}", before.len());
    assert_eq!(*after.last().unwrap(), 650);
    assert!(after.len() > 100, "it came back within 10 s: {}", after.len());
}

#[test]
fn a_disk_that_is_full_from_the_start_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let settings =
        RecordSettings { file: Some(directory.path().join("a.mcap")), ..RecordSettings::default() };
    let room = Arc::new(AtomicU64::new(0));
    let store = Small { room: room.clone() };
    let now = Timestamp::ZERO;
    let mut disk = Disk::open(
        settings.file.as_ref().unwrap(),
        &settings,
        About::default(),
        Box::new(store),
        now,
    )
    .unwrap();
    assert_eq!(disk.fault().unwrap().name.as_str(), "record-disk-full");
    room.store(u64::MAX, Ordering::SeqCst);
    let topic = Topic { subject: Subject::Packet, camera: 0 };
    let entry = Entry { topic, sequence: 0, time: 0, data: vec![1; 100] };
    for step in 0..40 {
        let now = now + Duration::from_millis(100 * step);
        disk.put(&entry, now);
        disk.tick(now);
    }
    assert_eq!(disk.fault(), None);
}

#[test]
fn files_follow_one_another_and_the_oldest_go_when_there_are_too_many_bytes() {
    let mut bench = Bench::new(|dir, s| {
        s.file = Some(dir.join("ring.mcap"));
        s.segment_bytes = 1 << 20;
        s.max_bytes = 4 << 20;
    });
    fs::write(bench.directory.path().join("ring-notes.mcap"), b"somebody else's").unwrap();
    for _ in 0..600 {
        bench.frame(20_000);
    }
    bench.recorder.finish();
    let mut files = bench.files();
    assert!(files.iter().any(|f| f.ends_with("ring-notes.mcap")), "not ours to delete");
    files.retain(|f| !f.ends_with("ring-notes.mcap"));
    let total: u64 = files.iter().map(|f| f.metadata().unwrap().len()).sum();
    assert!(total <= 4 << 20, "{total} bytes");
    assert!(total > 2 << 20, "{total} bytes: no more is deleted than needed");
    let numbers: Vec<u64> = files.iter().flat_map(|f| frames(f)).collect();
    assert_eq!(*numbers.last().unwrap(), 600);
    assert!(numbers.windows(2).all(|p| p[1] == p[0] + 1), "no frame between files is lost");
}

#[test]
fn a_new_file_begins_after_its_time_and_old_ones_stay_without_limits() {
    let mut bench = Bench::new(|dir, s| {
        s.file = Some(dir.join("hour.mcap"));
        s.segment_seconds = 2.0;
    });
    for _ in 0..250 {
        bench.frame(500);
    }
    bench.recorder.finish();
    let files = bench.files();
    assert!((4..=6).contains(&files.len()), "10 s in files of 2 s and up to 0.5: {files:?}");
    let numbers: Vec<u64> = files.iter().flat_map(|f| frames(f)).collect();
    assert_eq!(numbers, (1..=250).collect::<Vec<_>>());
}

#[test]
fn files_that_were_closed_too_long_ago_go() {
    let mut bench = Bench::new(|dir, s| {
        s.file = Some(dir.join("day.mcap"));
        s.segment_seconds = 1.0;
        s.max_age_seconds = 3_600.0;
        // By the file system's time, as of a run before this one.
        for (name, hours) in [("day-000001.mcap", 3), ("day-000002.mcap", 0), ("other.mcap", 3)] {
            let file = File::create(dir.join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3_600 * hours)).unwrap();
        }
    });
    for _ in 0..60 {
        bench.frame(500);
    }
    bench.recorder.finish();
    let files = bench.files();
    let there = |name: &str| files.iter().any(|f| f.ends_with(name));
    assert!(!there("day-000001.mcap"), "{files:?}");
    assert!(there("day-000002.mcap") && there("other.mcap"), "{files:?}");
    let numbers: Vec<u64> =
        files.iter().filter(|f| f.metadata().unwrap().len() > 0).flat_map(|f| frames(f)).collect();
    assert_eq!(numbers, (1..=60).collect::<Vec<_>>());
}

#[test]
fn what_is_there_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.mcap");
    fs::write(&path, b"precious").unwrap();
    let settings = RecordSettings { file: Some(path.clone()), ..RecordSettings::default() };
    for _ in 0..2 {
        let about = About::default();
        let now = Timestamp::ZERO;
        Disk::open(&path, &settings, about, Box::new(Files), now).unwrap().finish(now);
    }
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    for name in ["run-000001.mcap", "run-000002.mcap"] {
        assert!(directory.path().join(name).exists(), "{name}");
    }
}

#[test]
fn unusable_paths_and_settings_say_what_would_do() {
    let open = |settings: &RecordSettings| {
        let clock = Arc::new(ManualClock::default());
        let about = About::default();
        Recorder::open(settings, about, Lens::Fov(65.0), PoseOptions::default(), clock)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let at = |file: &str| RecordSettings { file: Some(file.into()), ..RecordSettings::default() };
    assert!(open(&at("/no/such/place/run.mcap")).contains("directory does not exist"));
    assert!(open(&at("/tmp")).contains("is a directory"));
    let change = |f: &dyn Fn(&mut RecordSettings)| {
        let mut s = RecordSettings::default();
        f(&mut s);
        open(&s)
    };
    assert!(change(&|s| s.jpeg_quality = 0).contains("jpeg_quality = 0"));
    assert!(change(&|s| s.jpeg_quality = 101).contains("from 1"));
    assert!(change(&|s| s.flush_seconds = 5.0).contains("flush_seconds = 5"));
    assert!(change(&|s| s.max_bytes = 10).contains("max_bytes = 10"));
    assert!(change(&|s| s.flight.seconds = f64::NAN).contains("flight.seconds"));
}

#[test]
fn the_flight_recorder_keeps_the_last_seconds_and_writes_them_when_asked() {
    let mut bench = Bench::new(|dir, s| {
        s.flight.file = Some(dir.join("flight.mcap"));
        s.flight.seconds = 2.0;
        s.flight.max_files = 2;
    });
    for _ in 0..200 {
        bench.frame(1_000);
    }
    bench.recorder.trigger(&Trigger::Signal);
    let first = bench.files();
    assert_eq!(first.len(), 1);
    let numbers = frames(&first[0]);
    assert_eq!((numbers[0], *numbers.last().unwrap()), (150, 200), "2 s of 25 frames");
    // Asked again at once it writes again; a fault in the same seconds is in that file already.
    bench.recorder.trigger(&Trigger::Fault("source-gone".into()));
    assert_eq!(bench.files().len(), 1);
    bench.recorder.trigger(&Trigger::Signal);
    bench.recorder.trigger(&Trigger::Signal);
    let files = bench.files();
    assert_eq!(files.len(), 2, "max_files");
    assert!(files[1].ends_with("flight-000003.mcap"), "{files:?}");
    assert_eq!(bench.recorder.finish().dumps, 3);
}

#[test]
fn the_flight_recorder_stays_within_its_memory_and_keeps_the_calibration() {
    let mut bench = Bench::new(|dir, s| {
        s.flight.file = Some(dir.join("f.mcap"));
        s.flight.seconds = 3600.0;
        s.flight.max_bytes = 1 << 20;
    });
    for _ in 0..300 {
        bench.frame(50_000);
    }
    let kept = bench.recorder.flight.as_ref().unwrap().bytes();
    assert!(kept <= 1 << 20 && kept > 1 << 19, "{kept} bytes");
    bench.recorder.trigger(&Trigger::Failure);
    let file = &bench.files()[0];
    let mut reader = Reader::new(File::open(file).unwrap());
    let mut calibrations = 0;
    while let Some(item) = reader.next().unwrap() {
        if let Item::Message(m) = item {
            calibrations += u64::from(m.channel.topic.ends_with("/calibration"));
        }
    }
    assert!(calibrations > 0);
    assert!((10..30).contains(&frames(file).len()), "{}", frames(file).len());
}

#[test]
fn a_new_fault_and_a_slow_pose_make_the_flight_recorder_write() {
    let mut bench = Bench::new(|dir, s| {
        s.flight.file = Some(dir.join("f.mcap"));
        s.flight.seconds = 1.0;
        s.flight.latency_ms = 10.0;
    });
    // The sample's poses took 25 ms.
    bench.frame(100);
    assert_eq!(bench.files().len(), 1);
    for _ in 0..30 {
        bench.frame(100);
    }
    assert_eq!(bench.files().len(), 2, "once in the time that it spans");

    let mut bench = Bench::new(|dir, s| s.flight.file = Some(dir.join("f.mcap")));
    bench.frame(100);
    let mut status = StatusMessage::default();
    bench.recorder.status(&status);
    assert_eq!(bench.files().len(), 0);
    status.faults.push(FaultRecord::new(crate::fault::Severity::Restart, "source-gone", "x"));
    bench.recorder.status(&status);
    bench.recorder.status(&status);
    assert_eq!(bench.files().len(), 1);
}
