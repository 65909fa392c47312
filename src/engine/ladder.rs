//! The fastest precision that is right, network by network (`precision = "auto"`).
//!
//! Fewer bits are not assumed to be faster: each precision is loaded, held against its budget and
//! timed on this device, and of those that pass the one with the smallest median is taken. It
//! costs every engine's build, once; what was taken is kept, and at later starts it is loaded alone,
//! if it still passes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::exchange::{Judge, Verified};
use super::gate::{self, Budget, Candidate, Verdict};
use super::{
    Backend, Engine, EngineError, ModelSpec, Precision, StreamingLifter, TensorMut, TensorRef,
};
use crate::skeleton::JOINTS;

/// From the surest to the boldest.
pub const RUNGS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::I8];
/// Calls of an engine that are timed; a tenth more go before.
const CALLS: usize = 100;

/// A backend that computes each network in the fastest of its precisions that are right; the one
/// that is asked for does not matter.
pub struct Ladder<B> {
    backend: B,
    reference: &'static dyn Backend,
    judge: Judge,
    /// What was chosen, by the models' names: for good, so that several cameras have the same.
    chosen: Mutex<HashMap<String, Precision>>,
}

impl<B: Backend> Ladder<B> {
    /// Of `backend`'s precisions, with `reference` and `judge` for networks that see pictures.
    pub fn new(backend: B, reference: &'static dyn Backend, judge: Judge) -> Self {
        Self { backend, reference, judge, chosen: Mutex::default() }
    }

    fn chosen(&self, model: &ModelSpec) -> Option<Precision> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).get(&model.name).copied()
    }

    fn note(&self, model: &ModelSpec, precision: Precision) {
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        chosen.insert(model.name.clone(), precision);
    }

    /// The precisions that the backend has for it, each once.
    fn rungs(&self, model: &ModelSpec) -> Vec<Precision> {
        let mut rungs: Vec<_> =
            RUNGS.iter().map(|asked| self.backend.precision(model, *asked)).collect();
        rungs.dedup();
        rungs
    }

    /// What was the fastest at an earlier start, if it passes; else what is now.
    fn pick<T>(
        &self,
        model: &ModelSpec,
        mut load: impl FnMut(Precision) -> Result<(T, Verdict), EngineError>,
        time: impl FnMut(&mut T) -> Result<Duration, EngineError>,
    ) -> Result<T, EngineError> {
        let rungs = self.rungs(model);
        if let Some(precision) = self.backend.kept_choice(model).filter(|p| rungs.contains(p)) {
            let (name, rung) = (&model.name, precision.name());
            match load(precision) {
                Ok((network, verdict)) if verdict.passed() => {
                    log::info!("{name}: {rung} was the fastest at an earlier start");
                    self.note(model, precision);
                    return Ok(network);
                }
                Ok((_, verdict)) => {
                    log::warn!("{name} in {rung} as at an earlier start: {verdict}")
                }
                Err(e) => log::warn!("{name} in {rung} as at an earlier start: {e}"),
            }
        }
        let (precision, network) = choose(model, &rungs, load, time)?;
        self.note(model, precision);
        self.backend.keep_choice(model, precision);
        Ok(network)
    }

    fn lifter(
        &self,
        model: &ModelSpec,
        precision: Precision,
        persons: usize,
    ) -> Result<(Box<dyn StreamingLifter>, Verdict), EngineError> {
        let (lifter, verdict) = gate::load_lifter(&self.backend, model, precision, persons)?;
        let verdict = verdict
            .ok_or_else(|| model.problem("it has no golden windows to choose a precision by"))?;
        Ok((lifter, verdict))
    }
}

impl<B: Backend> Backend for Ladder<B> {
    fn name(&self) -> &'static str {
        self.backend.name()
    }

    fn check(&self) -> Result<(), EngineError> {
        self.backend.check()
    }

    fn load(
        &self,
        model: &ModelSpec,
        asked: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        if !model.kind().sees_pictures() {
            // A reference lifter's, or a part's: nothing here can judge it.
            return self.backend.load(model, asked, batch);
        }
        let verified =
            Verified { backend: &self.backend, reference: self.reference, judge: &self.judge };
        if let Some(precision) = self.chosen(model) {
            return verified.load(model, precision, batch);
        }
        self.pick(
            model,
            |precision| verified.load_with_verdict(model, precision, batch),
            |engine| time_network(&mut **engine, CALLS),
        )
    }

    fn precision(&self, model: &ModelSpec, asked: Precision) -> Precision {
        self.chosen(model).unwrap_or_else(|| self.backend.precision(model, asked))
    }

    fn budget(&self, model: &ModelSpec, asked: Precision) -> Result<Budget, EngineError> {
        self.backend.budget(model, self.precision(model, asked))
    }

    fn load_lifter(
        &self,
        model: &ModelSpec,
        _: Precision,
        persons: usize,
    ) -> Result<Box<dyn StreamingLifter>, EngineError> {
        if let Some(precision) = self.chosen(model) {
            return self.backend.load_lifter(model, precision, persons);
        }
        self.pick(
            model,
            |precision| self.lifter(model, precision, persons),
            |lifter| time_step(model, &mut **lifter, CALLS),
        )
    }
}

/// The fastest of what `load` gives with a verdict that it passes.
///
/// # Errors
/// If there is none: why the first one is none.
fn choose<T>(
    model: &ModelSpec,
    rungs: &[Precision],
    mut load: impl FnMut(Precision) -> Result<(T, Verdict), EngineError>,
    mut time: impl FnMut(&mut T) -> Result<Duration, EngineError>,
) -> Result<(Precision, T), EngineError> {
    let mut best: Option<Candidate<(Precision, T)>> = None;
    let mut refused = None;
    for precision in rungs {
        let (name, rung) = (&model.name, precision.name());
        let timed = load(*precision).and_then(|(mut network, verdict)| {
            let median = time(&mut network)?;
            Ok(Candidate { what: (*precision, network), verdict, median })
        });
        let candidate = match timed {
            Ok(candidate) => candidate,
            Err(e) => {
                log::info!("{name}: not in {rung}: {e}");
                refused = refused.or(Some(e));
                continue;
            }
        };
        let ms = candidate.median.as_secs_f64() * 1e3;
        log::info!("{name} in {rung}: {ms:.3} ms a call, {}", candidate.verdict);
        if !candidate.verdict.passed() {
            refused = refused
                .or_else(|| Some(model.problem(format!("in {rung} it is {}", candidate.verdict))));
        }
        best = gate::fastest(best.into_iter().chain([candidate]));
    }
    match best {
        Some(Candidate { what, .. }) => Ok(what),
        None => Err(refused.unwrap_or_else(|| model.problem("there is no precision to choose"))),
    }
}

/// The median time of a call, with inputs of zero.
///
/// # Errors
/// If a call fails.
pub fn time_network(engine: &mut dyn Engine, calls: usize) -> Result<Duration, EngineError> {
    let signature = engine.signature().clone();
    let room = |tensors: &[(String, Vec<usize>)]| -> Vec<Vec<f32>> {
        tensors.iter().map(|(_, shape)| vec![0.0; shape.iter().product()]).collect()
    };
    let (given, mut wanted) = (room(&signature.inputs), room(&signature.outputs));
    gate::time(calls, || {
        let inputs: Vec<TensorRef<'_>> = signature
            .inputs
            .iter()
            .zip(&given)
            .map(|((_, shape), data)| TensorRef { shape, data })
            .collect();
        let mut outputs: Vec<TensorMut<'_>> = signature
            .outputs
            .iter()
            .zip(&mut wanted)
            .map(|((_, shape), data)| TensorMut { shape, data })
            .collect();
        engine.run(&inputs, &mut outputs)
    })
}

/// The median time of what a frame with one person asks of a lifter: two slots and a window.
///
/// # Errors
/// If a call fails, or `model` is no lifter.
pub fn time_step(
    model: &ModelSpec,
    lifter: &mut dyn StreamingLifter,
    calls: usize,
) -> Result<Duration, EngineError> {
    let spec = model.lifter()?;
    let slot = lifter.slot_len();
    let (keypoints, fresh) = (vec![0.0; 2 * spec.features * JOINTS], [1.0, 0.0]);
    let (mut slots, context) = (vec![0.0; spec.frames * slot], vec![0.0; spec.context]);
    let mut joints = vec![0.0; 3 * JOINTS];
    gate::time(calls, || {
        lifter.encode(&keypoints, &fresh, &mut slots[..2 * slot])?;
        lifter.lift(&slots, &context, &mut joints)
    })
}

#[cfg(test)]
mod tests;
