//! Threads, queues, faults and shutdown, with the real pipeline and test doubles at its ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use posewire::capture::{CaptureError, Recovery};
use posewire::fault::Exit;
use posewire::handoff::Stop;
use posewire::pose::PoseFrame;
use posewire::publish::{PublishError, Publisher};
use posewire::runtime::{Event, OpenSource, RunError, Source, Target, run};
use posewire::stats::Stats;
use posewire::wire::State;

use support::{GreySource, Kept, OnePerson, job, once, pipeline, quick, run_of};

#[test]
fn a_recording_is_played_without_loss_and_in_order() {
    let kept = Kept::default();
    let stats = Arc::new(Stats::default());
    let job = job(once(GreySource::new(false, 0, 100)), quick(), vec![Box::new(kept.clone())]);
    run(job, &Stop::new(), &stats, |_| {}).unwrap();
    assert_eq!(*kept.sequences.lock().unwrap(), (0..100).collect::<Vec<_>>());
    assert_eq!(kept.finished.load(Ordering::SeqCst), 1);
    let counts = stats.counters.read();
    assert_eq!((counts.frames_in, counts.frames_out, counts.frames_displaced), (100, 100, 0));
}

/// Criterion 4: a slow perception stage sees the newest frame, never a backlog.
#[test]
fn slowed_by_200_ms_perception_still_works_on_the_newest_frame_and_losses_are_counted() {
    let mut source = GreySource::new(true, 0, 150);
    source.interval = Duration::from_millis(10);
    let newest = source.handed_out.clone();
    // How many frames behind the newest one the frame is that perception has just been given.
    let behind = Arc::new(AtomicU64::new(0));
    let worst = behind.clone();
    let slow = OnePerson(Box::new(move |frame| {
        let lag = newest.load(Ordering::SeqCst) - frame.sequence;
        worst.fetch_max(lag, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(200));
    }));
    let kept = Kept::default();
    let stats = Arc::new(Stats::default());
    run(job(once(source), slow, vec![Box::new(kept.clone())]), &Stop::new(), &stats, |_| {})
        .unwrap();
    let counts = stats.counters.read();
    assert_eq!(counts.frames_in, 150);
    assert_eq!(counts.frames_out + counts.frames_displaced, 150, "every frame is accounted for");
    assert!(counts.frames_displaced > 50, "{}", counts.frames_displaced);
    // A backlog would let this grow to a hundred. The source may hand out a frame or a few between
    // the mailbox and the detector's first line, more on a machine that preempts us there.
    assert!(behind.load(Ordering::SeqCst) < 30, "{} frames behind", behind.load(Ordering::SeqCst));
    assert_eq!(kept.sequences.lock().unwrap().last(), Some(&149), "the newest is never lost");
}

/// A target that does not return before it is told to.
struct Stalled {
    gate: Arc<(Mutex<bool>, Condvar)>,
    got: Arc<AtomicU64>,
}

impl Publisher for Stalled {
    fn publish(&mut self, _frame: &PoseFrame) -> Result<(), PublishError> {
        self.got.fetch_add(1, Ordering::SeqCst);
        let (open, changed) = &*self.gate;
        let mut open = open.lock().unwrap();
        while !*open {
            open = changed.wait(open).unwrap();
        }
        Ok(())
    }

    fn describe(&self) -> &str {
        "a stalled target"
    }
}

/// Criterion 4: a stalled publisher slows nobody else, for however long it stalls.
#[test]
fn a_stalled_publisher_delays_nobody_and_what_it_misses_is_counted() {
    const FRAMES: u64 = 120;
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let got = Arc::new(AtomicU64::new(0));
    let stalled = Stalled { gate: gate.clone(), got: got.clone() };
    let kept = Kept::default();
    let stats = Arc::new(Stats::default());
    let seen = kept.sequences.clone();
    let (opened, counters) = (AtomicBool::new(false), stats.clone());
    let job = job(
        once(GreySource::new(false, 0, FRAMES)),
        quick(),
        vec![Box::new(stalled), Box::new(kept.clone())],
    );
    run(job, &Stop::new(), &stats, |_| {
        // The gate opens only once the other target has everything: if the stall delayed anybody
        // else, this would never happen and the test would hang.
        if seen.lock().unwrap().len() as u64 == FRAMES && !opened.swap(true, Ordering::SeqCst) {
            assert_eq!(counters.counters.read().frames_out, FRAMES);
            *gate.0.lock().unwrap() = true;
            gate.1.notify_all();
        }
    })
    .unwrap();
    let displaced = stats.counters.read().publish_displaced;
    assert!(displaced >= FRAMES - 34, "{displaced} fell out of the stalled target's queue");
    assert_eq!(got.load(Ordering::SeqCst) + displaced, FRAMES);
}

#[test]
fn a_publisher_that_never_returns_does_not_keep_the_process_from_ending() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let stalled = Stalled { gate: gate.clone(), got: Arc::default() };
    let stats = Arc::new(Stats::default());
    let job = job(once(GreySource::new(false, 0, 3)), quick(), vec![Box::new(stalled)]);
    run(job, &Stop::new(), &stats, |_| {}).unwrap();
    assert_eq!(stats.counters.read().frames_out, 3);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
}

#[test]
fn a_source_that_goes_away_is_reopened_and_the_poses_go_on() {
    let mut opened = 0;
    let open: OpenSource = Box::new(move || {
        opened += 1;
        let mut source = GreySource::new(true, 100 * opened, 5);
        source.interval = Duration::from_millis(20);
        source.gone_at = (opened == 1).then_some(103);
        Ok(Box::new(source))
    });
    let kept = Kept::default();
    let stats = Arc::new(Stats::default());
    let mut lost = Vec::new();
    run(job(open, quick(), vec![Box::new(kept.clone())]), &Stop::new(), &stats, |event| {
        if let Some(Event::SourceLost(_, words)) = event {
            lost.push(words.clone());
        }
    })
    .unwrap();
    assert_eq!(lost.len(), 1);
    assert!(lost[0].contains("unplugged"), "{lost:?}");
    assert_eq!(stats.counters.read().source_restarts, 1);
    let sequences = kept.sequences.lock().unwrap();
    assert!(sequences.iter().any(|&s| s < 103) && sequences.contains(&204), "{sequences:?}");
    // While it was gone (a second at least), targets were told so, by name.
    let statuses = kept.statuses.lock().unwrap();
    let degraded = statuses.iter().find(|s| s.state == State::Degraded).expect("it was told");
    assert_eq!(degraded.faults[0].name.as_str(), "source-gone");
    assert!(degraded.faults[0].detail.contains("unplugged"));
}

#[test]
fn a_panic_in_perception_ends_the_run_with_the_internal_exit_code_and_its_words() {
    let kept = Kept::default();
    let detector = OnePerson(Box::new(|frame| assert!(frame.sequence < 5, "tripped on purpose")));
    let stats = Arc::new(Stats::default());
    let job = job(once(GreySource::new(false, 0, 50)), detector, vec![Box::new(kept.clone())]);
    let error = run(job, &Stop::new(), &stats, |_| {}).unwrap_err();
    assert_eq!(error.exit(), Exit::Internal);
    assert!(error.to_string().contains("tripped on purpose"), "{error}");
    assert_eq!(*kept.sequences.lock().unwrap(), [0, 1, 2, 3, 4], "what was done is published");
    assert_eq!(kept.finished.load(Ordering::SeqCst), 1);
}

/// A target that can never work.
struct Broken;

impl Publisher for Broken {
    fn publish(&mut self, _frame: &PoseFrame) -> Result<(), PublishError> {
        let (uri, problem) = ("test:".to_owned(), "no such thing".to_owned());
        Err(PublishError::Unusable { uri, problem })
    }

    fn describe(&self) -> &str {
        "a broken target"
    }
}

#[test]
fn a_publisher_that_can_never_work_ends_the_run_as_a_configuration_error() {
    let stats = Arc::new(Stats::default());
    let job = job(once(GreySource::new(false, 0, 1_000_000)), quick(), vec![Box::new(Broken)]);
    let error = run(job, &Stop::new(), &stats, |_| {}).unwrap_err();
    assert!(
        matches!(&error, RunError::Failed { message, .. } if message.contains("no such thing"))
    );
    assert_eq!(error.exit(), Exit::Config);
}

#[test]
fn raising_stop_drains_what_was_captured_and_finishes_every_publisher() {
    let kept = [Kept::default(), Kept::default()];
    let stop = Stop::new();
    let stats = Arc::new(Stats::default());
    let raise = stop.clone();
    let detector = OnePerson(Box::new(move |frame| {
        if frame.sequence == 20 {
            raise.raise();
        }
    }));
    let publishers: Vec<Box<dyn Publisher>> =
        vec![Box::new(kept[0].clone()), Box::new(kept[1].clone())];
    let job = job(once(GreySource::new(false, 0, 1_000_000)), detector, publishers);
    run(job, &stop, &stats, |_| {}).unwrap();
    let out = stats.counters.read().frames_out;
    assert!((21..100).contains(&out), "{out}");
    for k in &kept {
        assert_eq!(k.sequences.lock().unwrap().len() as u64, out, "nothing finished is lost");
        assert_eq!(k.finished.load(Ordering::SeqCst), 1);
    }
}

/// A source of `frames` frames of `camera`, for one of several.
fn one_of(camera: u8, live: bool, frames: u64, interval: Duration) -> Source {
    let mut source = GreySource::new(live, 0, frames);
    (source.camera, source.interval) = (camera, interval);
    Source {
        open: once(source),
        recovery: Recovery::STREAM,
        pipeline: pipeline(OnePerson(Box::new(|_| std::thread::sleep(Duration::from_millis(3))))),
    }
}

#[test]
fn several_sources_share_one_perception_and_each_target_gets_the_poses_that_it_wants() {
    let (all, second) = (Kept::default(), Kept::default());
    let stats = Arc::new(Stats::default());
    let target = |kept: &Kept, source| Target { publisher: Box::new(kept.clone()), source };
    // Two recordings, of which no frame may be lost, and a camera that is far too fast.
    let sources = vec![
        one_of(0, false, 40, Duration::ZERO),
        one_of(1, false, 60, Duration::ZERO),
        one_of(2, true, 300, Duration::from_millis(1)),
    ];
    let job = run_of(sources, vec![target(&all, None), target(&second, Some(1))]);
    run(job, &Stop::new(), &stats, |_| {}).unwrap();
    let (cameras, sequences) = (all.cameras.lock().unwrap(), all.sequences.lock().unwrap());
    let of = |camera: u8| -> Vec<u64> {
        let all = cameras.iter().zip(sequences.iter());
        all.filter(|(c, _)| **c == camera).map(|(_, s)| *s).collect()
    };
    assert_eq!(of(0), (0..40).collect::<Vec<_>>());
    assert_eq!(of(1), (0..60).collect::<Vec<_>>());
    let fast = of(2);
    assert!(fast.windows(2).all(|pair| pair[0] < pair[1]), "in order");
    assert_eq!(fast.last(), Some(&299), "its newest is never lost");
    let counts = stats.counters.read();
    assert_eq!(fast.len() as u64 + counts.frames_displaced, 300, "the rest is counted");
    // While all have frames, no one is served twice before the others.
    let begin = &cameras[..60];
    let share = |camera| begin.iter().filter(|c| **c == camera).count();
    assert!((0..3).all(|camera| share(camera) >= 10), "{begin:?}");
    assert_eq!(*second.sequences.lock().unwrap(), (0..60).collect::<Vec<_>>());
    assert!(second.cameras.lock().unwrap().iter().all(|camera| *camera == 1));
}

#[test]
fn one_source_that_cannot_work_at_all_is_a_configuration_error() {
    let open: OpenSource = Box::new(|| {
        let (uri, problem) = ("test:".to_owned(), "no such thing".to_owned());
        Err(CaptureError::Unusable { uri, problem })
    });
    let mut job = job(open, quick(), vec![]);
    job.sources.push(one_of(1, false, 1_000_000, Duration::ZERO));
    let error = run(job, &Stop::new(), &Arc::new(Stats::default()), |_| {}).unwrap_err();
    assert_eq!(error.exit(), Exit::Config);
}

/// A device that comes back is not at once what it was: udev has yet to give it to our group.
#[test]
fn what_was_open_once_is_never_given_up() {
    let mut opened = 0;
    let open: OpenSource = Box::new(move || {
        opened += 1;
        let mut source = GreySource::new(true, 100 * opened, 5);
        source.gone_at = (opened == 1).then_some(103);
        if (2..4).contains(&opened) {
            let (uri, problem) = ("test:".to_owned(), "may not be opened".to_owned());
            return Err(CaptureError::Unusable { uri, problem });
        }
        Ok(Box::new(source))
    });
    let kept = Kept::default();
    let mut job = job(open, quick(), vec![Box::new(kept.clone())]);
    job.sources[0].recovery = Recovery::DEVICE;
    run(job, &Stop::new(), &Arc::new(Stats::default()), |_| {}).unwrap();
    assert!(kept.sequences.lock().unwrap().contains(&404));
}
