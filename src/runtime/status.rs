//! How the sender is: what the stages note of themselves, put together for whoever is told.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{STATUS_EVERY, Shared, TURN};
use crate::capture::CaptureError;
use crate::fault::{Chain, Fault};
use crate::stats::Counts;
use crate::wire::{FaultRecord, MAX_FAULTS, State, StatusMessage};

impl Shared {
    /// Notes how source number `camera` is, for the status that publishers send.
    pub(super) fn source_is(&self, source: usize, how: Result<(), &CaptureError>) {
        let Some(camera) = self.cameras.get(source) else { return };
        let how = how.map_err(|error| {
            let words = Chain(error).to_string();
            let mut fault = FaultRecord::new(error.severity(), "source-gone", &words);
            fault.since_us = self.clock.now().micros();
            fault.camera = u8::try_from(source).ok();
            fault
        });
        let mut state = camera.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Err(fault), Some(Err(before))) = (&how, state.as_mut()) {
            // The same trouble goes on: since then, and once more.
            before.count = before.count.saturating_add(1);
            before.detail = fault.detail;
            return;
        }
        *state = Some(how);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Notes how the recorder is.
    pub(super) fn recorder_is(&self, how: Option<&FaultRecord>) {
        let mut now = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        if now.is_some() != how.is_some() {
            self.changes.fetch_add(1, Ordering::Release);
        }
        *now = how.cloned();
    }

    /// How the sender is, with rates since `before`, `seconds` ago.
    pub(super) fn status(&self, before: &Counts, seconds: f64) -> StatusMessage {
        let now = self.stats.counters.read();
        let rate = |new: u64, old: u64| {
            ((new.saturating_sub(old)) as f64 / seconds.max(1e-3) * 1e3).round() as u32
        };
        let (mut state, mut faults) = (State::Running, Vec::new());
        for camera in self.cameras.iter() {
            match &*camera.state.lock().unwrap_or_else(PoisonError::into_inner) {
                None if state == State::Running => state = State::Starting,
                None | Some(Ok(())) => {}
                Some(Err(fault)) => {
                    state = State::Degraded;
                    faults.push(fault.clone());
                }
            }
        }
        for camera in self.cameras.iter() {
            if let Some(fault) = &*camera.degraded.lock().unwrap_or_else(PoisonError::into_inner) {
                if state == State::Running {
                    state = State::Degraded;
                }
                faults.push(fault.clone());
            }
        }
        let (engines, slower) = self.engine_faults();
        if slower && state == State::Running {
            state = State::Degraded;
        }
        let stalled = self.stalled();
        let recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A target that is away makes the poses no worse: the state does not follow.
        let targets = self.targets.iter().filter_map(|target| {
            let target = target.lock().unwrap_or_else(PoisonError::into_inner);
            target.as_ref().map(|(fault, _)| fault.clone())
        });
        StatusMessage {
            state,
            interval_ms: STATUS_EVERY.as_millis() as u32 + TURN.as_millis() as u32,
            uptime_s: self.clock.now().since(self.begun).as_secs() as u32,
            fps_in_milli: rate(now.frames_in, before.frames_in),
            fps_out_milli: rate(now.frames_out, before.frames_out),
            frames_in: now.frames_in,
            frames_out: now.frames_out,
            frames_displaced: now.frames_displaced,
            frames_missed: now.frames_missed,
            frames_bad: now.frames_bad,
            temperature_decicelsius: self.thermometer.hottest_decicelsius(),
            // Nor does a recorder that cannot write. It comes first: targets may be many.
            faults: faults
                .into_iter()
                .chain(engines)
                .chain(recorder)
                .chain(stalled)
                .chain(targets)
                .take(MAX_FAULTS)
                .collect(),
        }
    }
}
