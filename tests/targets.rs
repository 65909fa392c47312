//! Targets that are slow or that fail, under the real runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod support;

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use posewire::handoff::Stop;
use posewire::pose::PoseFrame;
use posewire::publish::{PublishError, Publisher};
use posewire::runtime::{Job, run};
use posewire::stats::Stats;
use posewire::time::Timestamp;
use posewire::wire::StatusMessage;

use support::{GreySource, once, quick};

fn job(frames: u64, publishers: Vec<Box<dyn Publisher>>) -> Job {
    support::job(once(GreySource::new(false, 0, frames)), quick(), publishers)
}

fn wait_until(what: impl Fn() -> bool) {
    let begin = Instant::now();
    while !what() {
        assert!(begin.elapsed() < Duration::from_secs(60), "it never happened");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A line that is slower than the poses: with its first it takes as long as all others need.
struct Slow {
    stats: Arc<Stats>,
    frames: u64,
    sequences: Arc<Mutex<Vec<u64>>>,
}

impl Publisher for Slow {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        self.sequences.lock().unwrap().push(frame.sequence);
        wait_until(|| self.stats.counters.read().frames_out == self.frames);
        Ok(())
    }

    fn busy_until(&self) -> Option<Timestamp> {
        Some(Timestamp::ZERO)
    }

    fn describe(&self) -> &str {
        "a slow line"
    }
}

#[test]
fn a_slow_line_is_given_the_newest_pose_only_and_the_others_are_counted() {
    const FRAMES: u64 = 20;
    let stats = Arc::new(Stats::default());
    let sequences = Arc::new(Mutex::new(Vec::new()));
    let slow = Slow { stats: stats.clone(), frames: FRAMES, sequences: sequences.clone() };
    run(job(FRAMES, vec![Box::new(slow)]), &Stop::new(), &stats, |_| {}).unwrap();
    let got = sequences.lock().unwrap();
    let (first, last) = (got[0], *got.last().unwrap());
    assert_eq!((got.len(), last), (2, FRAMES - 1), "{got:?}");
    let counts = stats.counters.read();
    // Those before the first that it got may have been displaced, too.
    assert_eq!(counts.publish_displaced, FRAMES - 2);
    assert_eq!(counts.published, 2);
    assert!(first < FRAMES - 1);
}

/// A target where nobody listens.
struct Refused;

impl Publisher for Refused {
    fn publish(&mut self, _frame: &PoseFrame) -> Result<(), PublishError> {
        Err(PublishError::NotSent {
            uri: "test:".into(),
            cause: ErrorKind::ConnectionRefused.into(),
        })
    }

    fn describe(&self) -> &str {
        "a target where nobody listens"
    }
}

/// Keeps what it is told; waits with its second frame until the other target has failed often.
struct Told {
    stats: Arc<Stats>,
    statuses: Arc<Mutex<Vec<StatusMessage>>>,
    frames: u64,
}

impl Publisher for Told {
    fn publish(&mut self, _frame: &PoseFrame) -> Result<(), PublishError> {
        self.frames += 1;
        if self.frames == 2 {
            wait_until(|| self.stats.counters.read().publish_failed >= 3);
        }
        Ok(())
    }

    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        self.statuses.lock().unwrap().push(status.clone());
        Ok(())
    }

    fn describe(&self) -> &str {
        "a target that is told"
    }
}

#[test]
fn a_target_that_fails_is_a_fault_by_name_that_the_other_targets_are_told_at_once() {
    let stats = Arc::new(Stats::default());
    let statuses = Arc::new(Mutex::new(Vec::new()));
    let told = Told { stats: stats.clone(), statuses: statuses.clone(), frames: 0 };
    run(job(10, vec![Box::new(Refused), Box::new(told)]), &Stop::new(), &stats, |_| {}).unwrap();
    let statuses = statuses.lock().unwrap();
    let fault = statuses.iter().flat_map(|s| &s.faults).next().expect("it was told");
    assert_eq!(fault.name.as_str(), "target-refused");
    assert!(fault.count >= 1 && fault.detail.contains("nobody listens"), "{fault:?}");
    assert_eq!(stats.counters.read().publish_failed, 10);
}
