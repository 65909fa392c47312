//! The thread that builds engines beside the run, so that it can change over to them.
//!
//! It has what time the others leave: builds take minutes of a processor that poses are computed
//! by meanwhile. Threads that a library starts for a build inherit that.

use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Shared;
use crate::engine::exchange::{Exchange, Trouble};
use crate::fault::Severity;
use crate::wire::FaultRecord;

/// The least that a thread can have beside others, as `nice` counts.
const NICENESS: i32 = 19;
/// A build that is told to end has this long; then it is left behind.
const PATIENCE: Duration = Duration::from_secs(2);

/// The thread, if there is anything to change over to.
pub(super) struct Builder(Option<(Exchange, JoinHandle<()>)>);

impl Builder {
    pub(super) fn start(exchange: Option<Exchange>) -> std::io::Result<Self> {
        let Some(exchange) = exchange else { return Ok(Self(None)) };
        let builder = exchange.clone();
        let body = move || {
            // On Linux a priority is a thread's; one that cannot be lowered is no reason not to
            // build.
            if let Err(e) = rustix::process::setpriority_process(None, NICENESS) {
                log::debug!("engines are built at the usual priority: {e}");
            }
            builder.work();
        };
        let handle = thread::Builder::new().name("engines".into()).spawn(body)?;
        Ok(Self(Some((exchange, handle))))
    }

    /// Ends what is under way: to be called as soon as the run is to end.
    pub(super) fn stop(&self) {
        if let Some((exchange, _)) = &self.0 {
            exchange.stop();
        }
    }

    /// Waits for the thread, not for long: a library may see only at its next step that a build is
    /// to end.
    pub(super) fn end(self) {
        self.stop();
        let Some((_, handle)) = self.0 else { return };
        let begun = Instant::now();
        while !handle.is_finished() {
            if begun.elapsed() > PATIENCE {
                log::warn!("an engine is still being built: left behind");
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        // A panic in an order has been turned into a refusal.
        let _ = handle.join();
    }
}

impl Shared {
    /// Counts everything that a status tells at once.
    pub(super) fn changed(&self) -> u64 {
        let engines = self.exchange.as_ref().map_or(0, Exchange::changes);
        self.changes.load(Ordering::Acquire).wrapping_add(engines)
    }

    /// What is wrong with engines that poses were, or should be, computed by; and whether poses
    /// come more slowly for it.
    pub(super) fn engine_faults(&self) -> (Vec<FaultRecord>, bool) {
        let troubles = self.exchange.as_ref().map(Exchange::troubles).unwrap_or_default();
        let lost = troubles.iter().any(|t| t.lost);
        let now = self.clock.now();
        let fault = |t: &Trouble| {
            let mut fault = FaultRecord::new(Severity::Skip, t.name, &t.words);
            fault.since_us = (now - t.since.elapsed()).micros();
            fault.count = t.count;
            fault
        };
        (troubles.iter().map(fault).collect(), lost)
    }
}
