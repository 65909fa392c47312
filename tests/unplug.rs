//! Cameras that vanish, freeze, are taken by others and return: the real source, the real
//! supervisor and the real pipeline over a driver at the ioctl seam that fails on demand.
//!
//! `POSEWIRE_CYCLES=1000` runs so many cycles under the supervisor and holds it to two seconds;
//! without, a few, and no time decides.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod support;

use std::fs;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use posewire::capture::v4l2::double::Bench;
use posewire::capture::{CaptureError, FrameSource, Next, Recovery, SourceOptions};
use posewire::frame::Frame;
use posewire::handoff::Stop;
use posewire::pose::PoseFrame;
use posewire::publish::{PublishError, Publisher};
use posewire::runtime::{OpenSource, Source, run};
use posewire::stats::Stats;
use posewire::wire::{State, StatusMessage};

use support::{pipeline, quick, run_of};

const LONG: Duration = Duration::from_secs(30);

/// What may leak.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    descriptors: usize,
    maps: usize,
    threads: usize,
    resident_kib: usize,
}

fn held() -> Held {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let number = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    Held {
        descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
        maps: fs::read_to_string("/proc/self/maps").unwrap().matches("memfd:camera").count(),
        threads: number("Threads:"),
        resident_kib: number("VmRSS:"),
    }
}

/// Tests of this file look at the whole process: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn frame(camera: &mut impl FrameSource) -> Result<Frame, CaptureError> {
    let until = Instant::now() + LONG;
    while Instant::now() < until {
        match camera.next(Duration::from_millis(100))? {
            Next::Frame(frame) => return Ok(frame),
            Next::Idle => {}
            Next::End => panic!("a camera has no end"),
        }
    }
    panic!("no frame in {LONG:?}");
}

/// Unplugged at any moment of a thousand openings, a third of the time while a frame is still held
/// elsewhere: nothing is left behind.
#[test]
fn a_thousand_unpluggings_leave_no_descriptor_map_thread_or_memory_behind() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    const CYCLES: u32 = 1000;
    let bench = Bench::new();
    let options = SourceOptions { rate: Some(500.0), ..SourceOptions::default() };
    let (pull, pulled) = std::sync::mpsc::channel::<Duration>();
    let puller = {
        let bench = bench.clone();
        thread::spawn(move || {
            for after in pulled {
                thread::sleep(after);
                bench.unplug();
            }
        })
    };
    let (mut before, mut keepsake, mut frames) = (None, None, 0u64);
    for cycle in 0..CYCLES {
        if cycle == 100 {
            before = Some(held());
        }
        let mut camera = bench.open(&options).unwrap();
        // Before it streams, between two frames, in the middle of a wait.
        pull.send(Duration::from_micros(u64::from(cycle * 7919 % 9000))).unwrap();
        let error = loop {
            match frame(&mut camera) {
                Ok(frame) => {
                    frames += 1;
                    keepsake = (cycle % 3 == 0).then_some(frame);
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(error, CaptureError::Gone { .. }), "{error}");
        assert!(error.to_string().contains("No such device"), "{error}");
        let absent = bench.open(&options).map(|_| ()).unwrap_err();
        assert!(matches!(absent, CaptureError::Gone { .. }), "{absent}");
        // Frames outlive their camera.
        drop(camera);
        if let Some(frame) = &keepsake {
            assert_eq!(frame.plane(0).len(), 64 * 48 * 2);
        }
        bench.plug();
    }
    drop(keepsake);
    let (before, after) = (before.unwrap(), held());
    drop(pull);
    puller.join().unwrap();
    println!(
        "{CYCLES} cycles, {frames} frames: {before:?} after 100 of them, {after:?} at the end"
    );
    assert_eq!(bench.openings(), (u64::from(CYCLES), 0));
    assert!(after.descriptors <= before.descriptors, "descriptors");
    assert!(after.maps <= before.maps, "maps");
    assert!(after.threads <= before.threads, "threads");
    assert!(after.resident_kib <= before.resident_kib + 1024, "memory");
}

/// Camera, sequence, when.
type Heard = (u8, u64, Instant);

/// Keeps when poses of which camera came.
#[derive(Clone, Default)]
struct Log(Arc<(Mutex<Vec<Heard>>, Condvar)>, Arc<Mutex<Vec<StatusMessage>>>);

impl Publisher for Log {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        if frame.persons.iter().any(|person| person.pose.is_some()) {
            let entry = (frame.camera, frame.sequence, Instant::now());
            self.0.0.lock().unwrap().push(entry);
            self.0.1.notify_all();
        }
        Ok(())
    }

    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        self.1.lock().unwrap().push(status.clone());
        Ok(())
    }

    fn describe(&self) -> &str {
        "a test's log"
    }
}

impl Log {
    /// When the first pose of `camera` came after `since`.
    fn pose(&self, camera: u8, since: Instant) -> Instant {
        let until = Instant::now() + LONG;
        let mut log = self.0.0.lock().unwrap();
        loop {
            // From the end: there may be many.
            let new = log.iter().rev().take_while(|(.., at)| *at > since);
            if let Some((.., at)) = new.filter(|(of, ..)| *of == camera).last() {
                return *at;
            }
            assert!(Instant::now() < until, "no pose of camera {camera} in {LONG:?}");
            log = self.0.1.wait_timeout(log, Duration::from_millis(200)).unwrap().0;
        }
    }

    fn degraded(&self) -> Option<StatusMessage> {
        let statuses = self.1.lock().unwrap();
        statuses.iter().rev().find(|s| s.state == State::Degraded).cloned()
    }
}

/// Runs cameras of benches under the real supervisor, until `act` returns.
fn supervised(benches: &[Bench], log: &Log, stats: &Arc<Stats>, act: impl FnOnce()) {
    let source = |(camera, bench): (usize, &Bench)| {
        let bench = bench.clone();
        let options =
            SourceOptions { camera: camera as u8, rate: Some(60.0), ..SourceOptions::default() };
        let open: OpenSource = Box::new(move || {
            let camera = bench.open(&options)?;
            Ok(Box::new(camera))
        });
        let pipeline = pipeline(quick());
        Source { open, recovery: Recovery::DEVICE, pipeline }
    };
    let publisher: Box<dyn Publisher> = Box::new(log.clone());
    let sources = benches.iter().enumerate().map(source).collect();
    let job = run_of(sources, vec![publisher.into()]);
    let stop = Stop::new();
    thread::scope(|scope| {
        let (raise, stats) = (stop.clone(), stats.clone());
        let running = scope.spawn(move || run(job, &stop, &stats, |_| {}));
        // Whatever becomes of it, the run must end.
        let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        raise.raise();
        running.join().unwrap().unwrap();
        if let Err(panic) = acted {
            std::panic::resume_unwind(panic);
        }
    });
}

/// The other camera's poses came in order, without a restart.
fn undisturbed(log: &Log, bench: &Bench) -> (usize, Duration) {
    assert_eq!(bench.openings().0, 1, "the neighbour was never reopened");
    let log = log.0.0.lock().unwrap();
    let its: Vec<_> = log.iter().filter(|(camera, ..)| *camera == 1).collect();
    assert!(its.windows(2).all(|pair| pair[0].1 < pair[1].1), "in order");
    let gap = its.windows(2).map(|pair| pair[1].2 - pair[0].2).max().unwrap();
    (its.len(), gap)
}

#[test]
fn every_way_to_lose_a_camera_ends_with_poses_again_and_the_other_camera_never_notices() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let (bench, neighbour) = (Bench::new(), Bench::new());
    let (log, stats) = (Log::default(), Arc::new(Stats::default()));
    // It is not there at the start: a named fault, not an exit.
    bench.unplug();
    supervised(&[bench.clone(), neighbour.clone()], &log, &stats, || {
        log.pose(1, Instant::now());
        let status = loop {
            if let Some(status) = log.degraded() {
                break status;
            }
            thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.faults[0].name.as_str(), "source-gone");
        let mut back = Instant::now();
        bench.plug();
        let mut told = vec![("absent at the start", log.pose(0, back) - back)];

        let mut lose = |what, lose: &dyn Fn(), restore: &dyn Fn()| {
            let opened = bench.openings().0;
            lose();
            // Lost means: closed.
            let until = Instant::now() + LONG;
            while bench.openings().1 > 0 && bench.openings().0 == opened {
                assert!(Instant::now() < until, "{what}: never noticed");
                thread::sleep(Duration::from_millis(1));
            }
            restore();
            back = Instant::now();
            let pose = log.pose(0, back);
            told.push((what, pose - back));
        };
        lose("unplugged", &|| bench.unplug(), &|| bench.plug());
        lose("frozen", &|| bench.freeze(true), &|| bench.freeze(false));
        lose("format changed", &|| bench.change_format(), &|| {});
        lose("reset", &|| bench.plug(), &|| {});
        let taken = || {
            bench.take(true);
            bench.plug();
        };
        lose("taken by another program", &taken, &|| bench.take(false));
        for (what, time) in told {
            println!("{what}: a pose {time:?} after its return");
        }
    });
    let (poses, gap) = undisturbed(&log, &neighbour);
    println!("the neighbour: {poses} poses, at most {gap:?} apart");
    assert_eq!(bench.openings().1, 0, "closed at the end");
}

#[test]
fn replugged_again_and_again_under_the_supervisor_a_camera_gives_poses_soon() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let by_hand = std::env::var("POSEWIRE_CYCLES").ok().and_then(|n| n.parse().ok());
    let cycles: u32 = by_hand.unwrap_or(10);
    let (bench, neighbour) = (Bench::new(), Bench::new());
    let (log, stats) = (Log::default(), Arc::new(Stats::default()));
    supervised(&[bench.clone(), neighbour.clone()], &log, &stats, || {
        log.pose(0, Instant::now());
        log.pose(1, Instant::now());
        let (mut before, mut times) = (held(), Vec::new());
        for cycle in 0..cycles {
            if cycle == cycles / 10 {
                before = held();
            }
            bench.unplug();
            // Absent for a while, as long as the backoff grows and beyond.
            thread::sleep(Duration::from_millis(u64::from(cycle * 97 % 1100)));
            let back = Instant::now();
            bench.plug();
            times.push(log.pose(0, back) - back);
        }
        let after = held();
        times.sort_unstable();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{cycles} cycles: first pose {median:?} (median), {worst:?} (worst) after return");
        println!("{before:?} after a tenth of them, {after:?} at the end");
        assert!(after.descriptors <= before.descriptors + 1, "descriptors");
        assert!(after.maps <= before.maps + 6, "maps");
        assert_eq!(after.threads, before.threads, "threads");
        if by_hand.is_some() {
            assert!(worst <= Duration::from_secs(2), "{worst:?}");
            assert!(after.resident_kib <= before.resident_kib + 4096, "memory");
        }
    });
    let (poses, gap) = undisturbed(&log, &neighbour);
    println!("the neighbour: {poses} poses, at most {gap:?} apart");
    assert_eq!(bench.openings().1, 0, "closed at the end");
}
