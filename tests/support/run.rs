//! Runs of the real runtime, with doubles at their ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use posewire::capture::Recovery;
use posewire::pose::PoseFrame;
use posewire::publish::{PublishError, Publisher};
use posewire::runtime::{Job, OpenSource, Source, Target};
use posewire::time::MonotonicClock;
use posewire::wire::StatusMessage;

use super::{GreySource, OnePerson, pipeline};

/// Keeps what it was given, and counts its endings.
#[derive(Clone, Default)]
pub struct Kept {
    pub sequences: Arc<Mutex<Vec<u64>>>,
    pub cameras: Arc<Mutex<Vec<u8>>>,
    pub finished: Arc<AtomicU64>,
    pub statuses: Arc<Mutex<Vec<StatusMessage>>>,
}

impl Publisher for Kept {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        self.sequences.lock().unwrap().push(frame.sequence);
        self.cameras.lock().unwrap().push(frame.camera);
        Ok(())
    }

    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        self.statuses.lock().unwrap().push(status.clone());
        Ok(())
    }

    fn finish(&mut self) -> Result<(), PublishError> {
        self.finished.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn describe(&self) -> &str {
        "a test's target"
    }
}

/// A run of these, and nothing else.
pub fn run_of(sources: Vec<Source>, targets: Vec<Target>) -> Job {
    Job {
        sources,
        targets,
        recorder: None,
        view: None,
        dump: Default::default(),
        clock: Arc::new(MonotonicClock),
        upkeep: Default::default(),
    }
}

/// A run of one source.
pub fn job(open: OpenSource, detector: OnePerson, publishers: Vec<Box<dyn Publisher>>) -> Job {
    let source = Source { open, recovery: Recovery::STREAM, pipeline: pipeline(detector) };
    run_of(vec![source], publishers.into_iter().map(Into::into).collect())
}

/// A detector that takes no time.
pub fn quick() -> OnePerson {
    OnePerson(Box::new(|_| {}))
}

/// Opens a source that is never lost.
pub fn once(source: GreySource) -> OpenSource {
    let mut source = Some(source);
    Box::new(move || Ok(Box::new(source.take().expect("opened once"))))
}
