//! Does a loaded network answer as the trained one does, and which of those that do is fastest?
//!
//! No engine is served unseen: fewer bits, other kernels and other libraries have each been seen
//! to compute wrong values without a word. A lifter is held against its golden windows, made
//! outside of posewire in `f32`; a network that sees pictures against the CPU's answers on the same
//! ones. A [`Budget`] says how far it may be; a NaN is never within.
//!
//! For 8 bits a window's answer may move by more than the mean error changes: errors of either
//! sign cancel over a test set. So [`Budget::int8`] asks two things: that the table of ranges
//! states an error on held-out motion that is within the limits, and that this engine is the
//! network for which it was measured, by its distance from `f32` on the golden windows.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::quantise::{self, Table};
use super::sampling::Sampling;
use super::{
    Backend, Engine, EngineError, ModelSpec, Precision, Signature, StreamingLifter, TensorMut,
    TensorRef,
};
use crate::skeleton::JOINTS;

/// How far an 8-bit lifter may change the mean error on held-out motion, mm.
pub const INT8_MEAN_MM: f64 = 0.5;
/// The same on the worst action, mm.
pub const INT8_WORST_ACTION_MM: f64 = 1.0;

/// How much larger an 8-bit lifter's acceleration error may be, per cent.
pub const INT8_ACCELERATION_PERCENT: f64 = 5.0;

/// How far answers may be from the trained network's, in millimetres or pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Mean distance of a joint or keypoint.
    pub mean: f64,
    /// Largest distance.
    pub worst: f64,
}

impl Budget {
    /// A lifter in floating point, millimetres.
    #[must_use]
    pub fn lifter(precision: Precision) -> Self {
        match precision {
            // Rounding stays under a hundredth of a millimetre; a wrong operator does not.
            Precision::F32 => Self { mean: 0.05, worst: 0.5 },
            Precision::F16 | Precision::I8 => Self { mean: 0.05, worst: 1.0 },
        }
    }

    /// Keypoints in the network's own pixels. Of two nearly equal peaks any rounding may choose the
    /// other (f16 moves one keypoint in 900 by 40 pixels), so only the mean is limited.
    #[must_use]
    pub fn keypoints(precision: Precision) -> Self {
        let mean = match precision {
            Precision::F32 => 0.05,
            Precision::F16 => 0.5,
            Precision::I8 => 1.5,
        };
        Self { mean, worst: f64::INFINITY }
    }

    /// A finder's boxes: the distances of two corners, in the network's own pixels. Boxes are
    /// hundreds of pixels wide, and crops are drawn with a margin around them.
    #[must_use]
    pub fn boxes(precision: Precision) -> Self {
        let Self { mean, worst } = Self::keypoints(precision);
        Self { mean: 2.0 * mean, worst }
    }

    /// A lifter in 8 bits, as `table` says what it should be, millimetres.
    ///
    /// # Errors
    /// If the table states no error, or one beyond the limits.
    pub fn int8(table: &Table) -> Result<Self, String> {
        let (Some(mean), Some(worst)) = (table.golden_mean_mm, table.golden_worst_mm) else {
            return Err("its table of ranges states no distance on the golden windows".to_owned());
        };
        let (Some(change), Some(action), Some(acceleration)) = (
            table.mpjpe_change_mm,
            table.worst_action_change_mm,
            table.acceleration_change_percent,
        ) else {
            return Err("its table of ranges states no error on held-out motion".to_owned());
        };
        let small = change <= INT8_MEAN_MM && action <= INT8_WORST_ACTION_MM;
        if !(small && acceleration <= INT8_ACCELERATION_PERCENT) {
            return Err(format!(
                "8 bits cost {change:.2} mm on held-out motion, {action:.2} mm on the worst action \
                 and {acceleration:.0} % of acceleration error; {INT8_MEAN_MM} mm, \
                 {INT8_WORST_ACTION_MM} mm and {INT8_ACCELERATION_PERCENT} % are allowed. Use f16"
            ));
        }
        // What is not quantised is f16 on one side and f32 on the other.
        Ok(Self { mean: 1.25 * mean + 0.05, worst: 1.5 * worst + 0.5 })
    }
}

/// How far a lifter may be: in 8 bits as its table of ranges says.
///
/// # Errors
/// If there is no such table, or it states no error within the limits.
pub fn budget(model: &ModelSpec, precision: Precision) -> Result<Budget, EngineError> {
    if precision != Precision::I8 {
        return Ok(Budget::lifter(precision));
    }
    let table = quantise::shipped(model)?.ok_or_else(|| {
        model.problem("it has no table of ranges: posewire calibrate int8".to_owned())
    })?;
    Budget::int8(&table).map_err(|e| model.problem(e))
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// How many windows or pictures were run.
    pub cases: usize,
    /// Mean distance, mm or pixels; NaN if any answer was.
    pub mean: f64,
    /// Largest distance, mm or pixels; NaN if any answer was.
    pub worst: f64,
    /// What was allowed.
    pub budget: Budget,
    /// "mm" or "px".
    pub unit: &'static str,
}

impl Verdict {
    /// Is it within its budget? Nothing measured is not within.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.cases > 0
            && self.mean.is_finite()
            && self.worst.is_finite()
            && self.mean <= self.budget.mean
            && self.worst <= self.budget.worst
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cases, mean, worst, budget, unit } = self;
        write!(
            f,
            "{mean:.3} {unit} from the trained network's answers in the mean and {worst:.3} {unit} \
             at most over {cases} cases; {:.3} and {:.3} {unit} are allowed",
            budget.mean, budget.worst
        )
    }
}

/// Distances, collected.
#[derive(Default)]
struct Distances {
    sum: f64,
    worst: f64,
    count: usize,
}

impl Distances {
    fn add(&mut self, distance: f64) {
        self.sum += distance;
        self.count += 1;
        // `f64::max` would drop a NaN.
        if distance.is_nan() || distance > self.worst {
            self.worst = if self.worst.is_nan() { f64::NAN } else { distance };
        }
    }

    fn verdict(&self, cases: usize, budget: Budget, unit: &'static str) -> Verdict {
        let cases = if self.count == 0 { 0 } else { cases };
        let mean = self.sum / self.count.max(1) as f64;
        Verdict { cases, mean, worst: self.worst, budget, unit }
    }
}

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

/// One window and its answer, `[T][17][3]`, `[C]` and `[17][3]`; other keys are for other tests.
#[derive(Deserialize)]
pub(super) struct Case {
    window: Vec<Vec<[f32; 3]>>,
    /// Slot 0's; models of the first version have none.
    #[serde(default)]
    pub(super) fresh: f32,
    pub(super) context: Vec<f32>,
    joints_virtual: Vec<[f32; 3]>,
}

impl Case {
    /// The window's keypoints, one slot behind the other.
    pub(super) fn keypoints(&self) -> Vec<f32> {
        self.window.iter().flatten().flatten().copied().collect()
    }
}

/// The golden windows of a lifter; `None` if its manifest names none.
///
/// # Errors
/// If the file cannot be used.
pub(super) fn golden(model: &ModelSpec) -> Result<Option<Vec<Case>>, EngineError> {
    let Some(bytes) = model.golden_bytes()? else { return Ok(None) };
    let golden: Golden = serde_json::from_slice(&bytes)
        .map_err(|e| model.problem(format!("its golden file cannot be read: {e}")))?;
    Ok(Some(golden.cases))
}

/// Loads a lifter, and says how it answers its golden windows; `None` if its manifest names none.
///
/// # Errors
/// If it cannot be loaded or run. A wrong answer is no error but a verdict.
pub fn load_lifter(
    backend: &dyn Backend,
    model: &ModelSpec,
    precision: Precision,
    persons: usize,
) -> Result<(Box<dyn StreamingLifter>, Option<Verdict>), EngineError> {
    let mut lifter = backend.load_lifter(model, precision, persons)?;
    // Asked afterwards: the precision may have been chosen while it was loaded.
    let budget = backend.budget(model, precision)?;
    let verdict = verify_lifter(model, lifter.as_mut(), budget)?;
    Ok((lifter, verdict))
}

/// Runs `model`'s golden windows through `network`. `None` if its manifest names none.
///
/// # Errors
/// If the golden file cannot be used, or running fails. A wrong answer is no error but a verdict.
pub fn verify_lifter(
    model: &ModelSpec,
    network: &mut dyn StreamingLifter,
    budget: Budget,
) -> Result<Option<Verdict>, EngineError> {
    let Some(cases) = golden(model)? else { return Ok(None) };
    let spec = model.lifter()?;
    let mut slots = vec![0.0; spec.frames * network.slot_len()];
    let mut joints = vec![0.0_f32; 3 * JOINTS];
    let mut distances = Distances::default();
    for (n, case) in cases.iter().enumerate() {
        let window = case.keypoints();
        let (given, wanted) = (case.window.len(), spec.frames);
        let answered = case.joints_virtual.len() == JOINTS;
        if given != wanted || window.len() != wanted * 3 * JOINTS || !answered {
            return Err(model.problem(format!(
                "golden case {n} has {given} slots where the manifest says {wanted}, or an answer \
                 of other joints; the golden file is another model's"
            )));
        }
        let mut fresh = vec![0.0; spec.frames];
        fresh[0] = case.fresh;
        network.encode(&window, &fresh, &mut slots)?;
        network.lift(&slots, &case.context, &mut joints)?;
        for (a, b) in joints.as_chunks::<3>().0.iter().zip(&case.joints_virtual) {
            let squares: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            distances.add(1e3 * squares.sqrt());
        }
    }
    Ok(Some(distances.verdict(cases.len(), budget, "mm")))
}

/// What the outputs of two networks for one picture are apart, appended: a distance in the
/// network's own pixels for each thing that the first one (the reference) is sure of. What is not
/// finite in the second is a NaN.
pub type Apart<'a> = &'a mut dyn FnMut(&[Vec<f32>], &[Vec<f32>], &mut Vec<f64>);

/// Two engines of one network that are shown the same pictures.
pub struct SideBySide<'a> {
    reference: &'a mut dyn Engine,
    candidate: &'a mut dyn Engine,
    apart: Apart<'a>,
    signature: Signature,
    wanted: Vec<Vec<f32>>,
    found: Vec<Vec<f32>>,
    measured: Vec<f64>,
    distances: Distances,
    pictures: usize,
}

impl<'a> SideBySide<'a> {
    /// `reference` computes on the CPU; `apart` reads how far the answers are from each other.
    ///
    /// # Errors
    /// If the networks are of other shapes, or see no pictures.
    pub fn new(
        reference: &'a mut dyn Engine,
        candidate: &'a mut dyn Engine,
        apart: Apart<'a>,
    ) -> Result<Self, EngineError> {
        let signature = reference.signature().clone();
        let failed = |problem: &str| EngineError::Run {
            model: "a candidate for pictures".to_owned(),
            problem: problem.to_owned(),
        };
        if *candidate.signature() != signature {
            return Err(failed("its tensors are not those of the network on the CPU"));
        }
        if signature.inputs.len() != 1 {
            return Err(failed("it has not one input"));
        }
        let len = |(_, shape): &(String, Vec<usize>)| shape.iter().product();
        let wanted: Vec<_> =
            signature.outputs.iter().map(|output| vec![0.0; len(output)]).collect();
        Ok(Self {
            reference,
            candidate,
            apart,
            found: wanted.clone(),
            wanted,
            signature,
            measured: Vec::new(),
            distances: Distances::default(),
            pictures: 0,
        })
    }

    /// Shows a picture to both: `tensor` (`[1, C, H, W]`) to the reference, and to a candidate that
    /// does not make its input of the picture by `sampling`, as it will when it serves.
    ///
    /// # Errors
    /// If running fails.
    pub fn show(
        &mut self,
        tensor: &[f32],
        sampling: Option<&Sampling<'_>>,
    ) -> Result<(), EngineError> {
        let signature = &self.signature;
        let input = [TensorRef { shape: &signature.inputs[0].1, data: tensor }];
        self.reference.run(&input, &mut tensors(signature, &mut self.wanted))?;
        let mut found = tensors(signature, &mut self.found);
        let sampled = match sampling {
            Some(sampling) => self.candidate.run_sampled(sampling, &mut found)?,
            None => false,
        };
        if !sampled {
            self.candidate.run(&input, &mut found)?;
        }
        drop(found);
        self.measured.clear();
        (self.apart)(&self.wanted, &self.found, &mut self.measured);
        self.measured.iter().for_each(|distance| self.distances.add(*distance));
        self.pictures += 1;
        Ok(())
    }

    /// How far the answers were from each other, and how far they may be.
    #[must_use]
    pub fn verdict(&self, budget: Budget) -> Verdict {
        self.distances.verdict(self.pictures, budget, "px")
    }
}

fn tensors<'a>(signature: &'a Signature, values: &'a mut [Vec<f32>]) -> Vec<TensorMut<'a>> {
    let shapes = signature.outputs.iter().map(|(_, shape)| shape);
    shapes.zip(values).map(|(shape, data)| TensorMut { shape, data }).collect()
}

/// The median time of `calls` calls, after a tenth of them to warm up.
///
/// # Errors
/// Those of `call`.
pub fn time<E>(calls: usize, mut call: impl FnMut() -> Result<(), E>) -> Result<Duration, E> {
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls.div_ceil(10) {
        call()?;
    }
    for _ in 0..calls.max(1) {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// A network that could be served.
#[derive(Clone, Debug)]
pub struct Candidate<T> {
    /// What it is, to whoever chooses.
    pub what: T,
    /// How it answered.
    pub verdict: Verdict,
    /// How long one call takes, in the median.
    pub median: Duration,
}

/// The fastest of those that passed: fewer bits are not assumed to be faster. Of two equally fast
/// ones, the first.
pub fn fastest<T>(candidates: impl IntoIterator<Item = Candidate<T>>) -> Option<Candidate<T>> {
    candidates.into_iter().filter(|c| c.verdict.passed()).min_by_key(|c| c.median)
}

#[cfg(test)]
mod tests;
