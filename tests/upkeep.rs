//! What keeps a run going for weeks: renewal, signs of life, degradation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posewire::degrade::DegradeSettings;
use posewire::fault::Exit;
use posewire::handoff::{Request, Stop};
use posewire::runtime::{Job, Reason, Renewal, Upkeep, run};
use posewire::stats::Stats;
use posewire::wire::{State, StatusMessage};

use support::{GreySource, Kept, OnePerson, once, pipeline, quick};

fn job(source: GreySource, detector: OnePerson, kept: &Kept, upkeep: Upkeep) -> Job {
    Job { upkeep, ..support::job(once(source), detector, vec![Box::new(kept.clone())]) }
}

/// A detector that panics at these frames.
fn panicking(at: &'static [u64]) -> OnePerson {
    OnePerson(Box::new(move |frame| {
        assert!(!at.contains(&frame.sequence), "a test's panic at frame {}", frame.sequence);
    }))
}

#[test]
fn a_first_panic_costs_one_frame_and_a_second_one_ends_the_run_with_70() {
    let kept = Kept::default();
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let told = reasons.clone();
    let renewal = Renewal {
        wanted: Request::default(),
        make: Box::new(move |reason| {
            told.lock().unwrap().push(reason);
            Some(vec![pipeline(panicking(&[40]))])
        }),
    };
    let upkeep = Upkeep { renewal: Some(renewal), ..Upkeep::default() };
    let job = job(GreySource::new(false, 0, 100), panicking(&[10]), &kept, upkeep);
    let error = run(job, &Stop::new(), &Arc::new(Stats::default()), |_| {}).unwrap_err();
    assert_eq!(error.exit(), Exit::Internal);
    assert!(error.to_string().contains("a test's panic at frame 40"), "{error}");
    assert_eq!(*reasons.lock().unwrap(), [Reason::Panicked]);
    let expected: Vec<u64> = (0..40).filter(|n| *n != 10).collect();
    assert_eq!(*kept.sequences.lock().unwrap(), expected);
}

#[test]
fn a_renewed_pipeline_is_taken_over_between_two_frames_and_no_frame_is_lost() {
    let kept = Kept::default();
    let wanted = Request::default();
    let seen_by_new = Arc::new(AtomicU64::new(0));
    let seen = seen_by_new.clone();
    let renewal = Renewal {
        wanted: wanted.clone(),
        make: Box::new(move |reason| {
            assert_eq!(reason, Reason::Asked);
            let seen = seen.clone();
            let detector = OnePerson(Box::new(move |_| {
                seen.fetch_add(1, Ordering::Relaxed);
            }));
            Some(vec![pipeline(detector)])
        }),
    };
    let mut source = GreySource::new(false, 0, 200);
    source.interval = Duration::from_millis(10);
    let asking = OnePerson(Box::new(move |frame| {
        if frame.sequence == 20 {
            wanted.raise();
        }
    }));
    let upkeep = Upkeep { renewal: Some(renewal), ..Upkeep::default() };
    let stats = Arc::new(Stats::default());
    run(job(source, asking, &kept, upkeep), &Stop::new(), &stats, |_| {}).unwrap();
    assert_eq!(*kept.sequences.lock().unwrap(), (0..200).collect::<Vec<_>>());
    let new = seen_by_new.load(Ordering::Relaxed);
    assert!(new > 0 && new < 180, "{new} frames went through the new pipeline");
}

#[test]
fn a_maker_that_refuses_leaves_all_as_it_was() {
    let kept = Kept::default();
    let wanted = Request::default();
    wanted.raise();
    let renewal = Renewal { wanted, make: Box::new(|_| None) };
    let mut source = GreySource::new(false, 0, 50);
    source.interval = Duration::from_millis(10);
    let upkeep = Upkeep { renewal: Some(renewal), ..Upkeep::default() };
    let stats = Arc::new(Stats::default());
    run(job(source, quick(), &kept, upkeep), &Stop::new(), &stats, |_| {}).unwrap();
    assert_eq!(*kept.sequences.lock().unwrap(), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_stage_that_hangs_is_found_and_one_that_waits_is_not() {
    let kept = Kept::default();
    let release = Stop::new();
    let hang = release.clone();
    let detector = OnePerson(Box::new(move |frame| {
        while frame.sequence == 3 && !hang.is_raised() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }));
    let upkeep = Upkeep::default();
    let health = upkeep.health.clone();
    let mut source = GreySource::new(true, 0, 6);
    source.interval = Duration::from_millis(20);
    let mut found = None;
    let stats = Arc::new(Stats::default());
    run(job(source, detector, &kept, upkeep), &Stop::new(), &stats, |_| {
        // Everything else waits for frames the whole time, and comes round.
        if let Err(stuck) = health.alive(Duration::from_millis(1_500)) {
            release.raise();
            found.get_or_insert(stuck);
        }
    })
    .unwrap();
    assert_eq!(found.expect("it hangs until it is found").stage, "perception");
    assert!(health.alive(Duration::ZERO).is_ok(), "what is over is not stuck");
}

#[test]
fn work_is_left_out_on_purpose_and_said_in_the_status() {
    let kept = Kept::default();
    // 50 frames a second, each of which takes half a frame too long.
    let mut source = GreySource::new(true, 0, 500);
    source.interval = Duration::from_millis(20);
    let detector = OnePerson(Box::new(|_| std::thread::sleep(Duration::from_millis(30))));
    let upkeep = Upkeep { degrade: DegradeSettings::default(), ..Upkeep::default() };
    let stats = Arc::new(Stats::default());
    run(job(source, detector, &kept, upkeep), &Stop::new(), &stats, |_| {}).unwrap();
    assert!(stats.counters.read().frames_left_out > 20, "{:?}", stats.counters.read());
    let statuses = kept.statuses.lock().unwrap();
    let said = |s: &&StatusMessage| s.faults.iter().any(|f| f.name.as_str() == "overloaded");
    let first = statuses.iter().find(said).expect("it is said");
    assert_eq!(first.state, State::Degraded);
    assert!(first.faults[0].detail.contains("lower the camera's rate"), "{:?}", first.faults[0]);
}
