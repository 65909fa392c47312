//! How a run is kept going for weeks: signs of life, renewal, degradation.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::health::Health;
use super::renewal::Renewal;
use super::{STATUS_EVERY, Shared};
use crate::degrade::{Cause, DegradeSettings, Effort, Governor, Observation};
use crate::engine::exchange::Exchange;
use crate::fault::Severity;
use crate::frame::Frame;
use crate::pipeline::Pipeline;
use crate::stats::Counts;
use crate::wire::{FaultRecord, StatusMessage};

/// What a run needs to be kept going; by default nothing is renewed and nobody is told.
#[derive(Default)]
pub struct Upkeep {
    /// Where its signs of life go.
    pub health: Arc<Health>,
    /// How its pipelines are made anew, if they can be.
    pub renewal: Option<Renewal>,
    /// When work is left out.
    pub degrade: DegradeSettings,
    /// What the pipelines' networks may change over to: its orders are carried out beside the run,
    /// on a thread that has what time the others leave.
    pub exchange: Option<Exchange>,
}

/// When somebody was last told how the run is, what was counted then, after how many changes.
#[derive(Default)]
pub(super) struct Told(Option<(Instant, Counts, u64)>);

impl Told {
    /// The status that is due: once a second, and at once when something changed.
    pub(super) fn due(&mut self, shared: &Shared) -> Option<StatusMessage> {
        let changes = shared.changed();
        let (when, before, known) = self.0.unwrap_or((Instant::now(), Counts::default(), u64::MAX));
        let passed = when.elapsed();
        if changes == known && passed < STATUS_EVERY {
            return None;
        }
        let status = shared.status(&before, passed.as_secs_f64());
        // A change amid a second must not make the rates those of a few milliseconds.
        let counted = if passed >= STATUS_EVERY || self.0.is_none() {
            (Instant::now(), shared.stats.counters.read())
        } else {
            (when, before)
        };
        self.0 = Some((counted.0, counted.1, changes));
        Some(status)
    }
}

/// A target or recorder that has not come round for so long has stalled.
const STALLED: Duration = Duration::from_secs(5);

impl Shared {
    /// A target (the first of several) that takes nothing at all, or the recorder.
    pub(super) fn stalled(&self) -> Option<FaultRecord> {
        let stuck = self.health.stuck(STALLED).into_iter().find(|stuck| !stuck.vital)?;
        let (stage, seconds) = (&stuck.stage, stuck.since.as_secs());
        let words = format!(
            "{stage} has waited for {seconds} s for its file, line or network; the others go on"
        );
        let mut fault = FaultRecord::new(Severity::Skip, "target-stalled", &words);
        fault.since_us = (self.clock.now() - stuck.since).micros();
        Some(fault)
    }

    /// Tells the governor what a frame cost, and does what it says.
    pub(super) fn govern(
        &self,
        governor: &mut Governor,
        pipeline: &mut Pipeline,
        camera: usize,
        frame: &Frame,
        busy: Duration,
    ) {
        let (captured, sequence) = (frame.captured, frame.sequence);
        let celsius = governor.celsius(captured, || {
            self.thermometer.hottest_decicelsius().map(|t| f64::from(t) / 10.0)
        });
        if !governor.observe(&Observation { captured, sequence, busy, celsius }) {
            return;
        }
        let effort = governor.effort();
        pipeline.set_search_stride(effort.search_stride);
        let fault = governor.cause().map(|cause| {
            let (name, words) = words(cause, effort);
            log::warn!("{words}");
            let mut fault = FaultRecord::new(Severity::Skip, name, &words);
            fault.since_us = self.clock.now().micros();
            fault.camera = u8::try_from(camera).ok();
            fault
        });
        if fault.is_none() {
            log::info!("keeping up again: every frame is looked at, the finder runs as configured");
        }
        let Some(camera) = self.cameras.get(camera) else { return };
        let mut degraded = camera.degraded.lock().unwrap_or_else(PoisonError::into_inner);
        *degraded = match (degraded.take(), fault) {
            // The same trouble goes on, at another level: since then.
            (Some(before), Some(mut fault)) if before.name == fault.name => {
                fault.since_us = before.since_us;
                fault.count = before.count.saturating_add(1);
                Some(fault)
            }
            (_, fault) => fault,
        };
        drop(degraded);
        self.changes.fetch_add(1, Ordering::Release);
    }
}

/// A stable name, and words with the remedy.
fn words(cause: Cause, effort: Effort) -> (&'static str, String) {
    let done = match effort.frame_stride {
        1 => format!("the finder runs {} times more rarely", effort.search_stride),
        n => format!("one frame of {n} is looked at"),
    };
    match cause {
        Cause::Load(load) => (
            "overloaded",
            format!(
                "perception takes {:.0} % of the time there is: {done}; lower the camera's rate, \
                 or take a smaller model",
                100.0 * load
            ),
        ),
        Cause::Heat(celsius) => {
            ("overheated", format!("{celsius:.0} degrees: {done}; look after the cooling"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_fault_fit_the_wire_whole() {
        for (cause, effort) in [
            (Cause::Load(12.5), Effort { search_stride: 3, frame_stride: 1 }),
            (Cause::Heat(101.0), Effort { search_stride: 3, frame_stride: 4 }),
        ] {
            let (name, words) = words(cause, effort);
            let fault = FaultRecord::new(Severity::Skip, name, &words);
            assert_eq!(fault.detail.as_str(), words);
        }
    }
}
