//! A new pipeline for a run that goes on: after a changed configuration, after a panic.
//!
//! The new one is made beside the old one, on a thread of its own, and taken over between two
//! frames: no frame waits for it. Who is in view gets a new track number, because the new tracker
//! has not seen them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::TURN;
use crate::handoff::Request;
use crate::pipeline::Pipeline;

/// Why pipelines are to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Somebody asked: what the configuration says may have changed.
    Asked,
    /// The present one panicked: the same once more.
    Panicked,
}

/// Makes the run's pipelines, in the order of its sources; `None`: the present ones stay, and the
/// maker has said why.
pub type MakePipelines = Box<dyn FnMut(Reason) -> Option<Vec<Pipeline>> + Send>;

/// How the pipelines of a run are renewed.
pub struct Renewal {
    /// Asks for it; a signal handler raises it.
    pub wanted: Request,
    /// Makes them.
    pub make: MakePipelines,
}

/// A second panic within this is no accident: the process ends with 70 and is started anew.
const ONE_PANIC_IN: Duration = Duration::from_secs(3600);

/// What the threads of a run share of it.
#[derive(Clone, Default)]
pub(super) struct Renewing {
    make: Arc<Mutex<Option<MakePipelines>>>,
    next: Arc<Mutex<Option<Vec<Pipeline>>>>,
    /// Looked at before each frame, so that the lock need not be.
    ready: Arc<AtomicBool>,
    panicked: Arc<Mutex<Option<Instant>>>,
}

impl Renewing {
    /// Starts to listen for the wish, if a pipeline can be renewed at all. The thread ends when
    /// `over` says so.
    pub(super) fn start(
        renewal: Option<Renewal>,
        over: impl Fn() -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Self::default();
        let Some(Renewal { wanted, make }) = renewal else { return Ok(shared) };
        *lock(&shared.make) = Some(make);
        let to = shared.clone();
        let body = move || {
            while !over() {
                if wanted.take()
                    && let Some(pipelines) = to.make(Reason::Asked)
                {
                    *lock(&to.next) = Some(pipelines);
                    to.ready.store(true, Ordering::Release);
                }
                thread::sleep(TURN);
            }
        };
        // Nobody waits for it: loading a network may take longer than ending.
        thread::Builder::new().name("renew".into()).spawn(body)?;
        Ok(shared)
    }

    fn make(&self, reason: Reason) -> Option<Vec<Pipeline>> {
        lock(&self.make).as_mut().and_then(|make| make(reason))
    }

    /// The new pipelines, if there are any; to be asked between two frames.
    pub(super) fn take(&self) -> Option<Vec<Pipeline>> {
        if !self.ready.swap(false, Ordering::Acquire) {
            return None;
        }
        lock(&self.next).take()
    }

    /// Pipelines to go on with after a panic; `None`: it is not the first, or none can be made.
    pub(super) fn after_panic(&self) -> Option<Vec<Pipeline>> {
        let before = lock(&self.panicked).replace(Instant::now());
        if before.is_some_and(|at| at.elapsed() < ONE_PANIC_IN) {
            return None;
        }
        self.make(Reason::Panicked)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
