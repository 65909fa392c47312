//! Lifters slot by slot on any backend: from two graphs, or from the one of the whole window.

use super::spec::{LifterSpec, Normalisation};
use super::{Engine, EngineError, ModelSpec, StreamingLifter, TensorMut, TensorRef};
use crate::skeleton::JOINTS;

/// Values of a slot's keypoints.
const POINTS: usize = 3 * JOINTS;
/// A slot as a network is given it: x, y and confidence of each keypoint, and how fresh it is.
pub(crate) const FEATURES: usize = POINTS + 1;

/// Lays slots' keypoints and freshness side by side: rows of [`FEATURES`] values.
pub(crate) fn pack(keypoints: &[f32], fresh: &[f32], slots: &mut [f32]) {
    let given = keypoints.chunks_exact(POINTS).zip(fresh);
    for (slot, (points, fresh)) in slots.chunks_exact_mut(FEATURES).zip(given) {
        slot[..POINTS].copy_from_slice(points);
        slot[POINTS] = *fresh;
    }
}

/// Do the lengths of what [`StreamingLifter::encode`] is given fit each other? `slot`: values kept of
/// each.
///
/// # Errors
/// If not.
pub(super) fn check_slots(
    model: &str,
    slot: usize,
    keypoints: &[f32],
    fresh: &[f32],
    slots: &[f32],
) -> Result<(), EngineError> {
    let (n, k, s) = (fresh.len(), keypoints.len(), slots.len());
    if k == n * POINTS && s == n * slot {
        return Ok(());
    }
    let problem = format!("{k} and {s} values are not {n} slots");
    Err(EngineError::Run { model: model.to_owned(), problem })
}

/// Do the lengths of what [`StreamingLifter::lift`] is given fit each other? `window`: values of a
/// window's slots, and of its context. The number of windows.
///
/// # Errors
/// If not.
pub(super) fn check_windows(
    model: &str,
    window: [usize; 2],
    slots: &[f32],
    context: &[f32],
    joints: &[f32],
) -> Result<usize, EngineError> {
    let n = context.len() / window[1];
    let (s, j) = (slots.len(), joints.len());
    if context.len() == n * window[1] && s == n * window[0] && j == n * POINTS {
        return Ok(n);
    }
    let problem = format!("{s} and {j} values are not {n} windows");
    Err(EngineError::Run { model: model.to_owned(), problem })
}

/// An engine that computes one thing at a time, or several.
struct Batched {
    one: Box<dyn Engine>,
    /// At this batch size; only where several are likely.
    many: Option<(usize, Box<dyn Engine>)>,
}

impl Batched {
    fn new(
        load: &impl Fn(&ModelSpec, usize) -> Result<Box<dyn Engine>, EngineError>,
        model: &ModelSpec,
        several: usize,
    ) -> Result<Self, EngineError> {
        let many = (several > 1).then(|| Ok((several, load(model, several)?))).transpose()?;
        Ok(Self { one: load(model, 1)?, many })
    }

    /// Runs rows of `inputs` (each with its values a row and its shape without the batch size)
    /// in as few calls as there are.
    fn run<const I: usize>(
        &mut self,
        inputs: [(&[f32], &[usize]); I],
        output: (&mut [f32], &[usize]),
    ) -> Result<(), EngineError> {
        let size = |shape: &[usize]| shape.iter().product::<usize>();
        let rows = output.0.len() / size(output.1);
        let mut done = 0;
        while done < rows {
            let (n, engine) = match &mut self.many {
                Some((n, engine)) if rows - done >= *n => (*n, engine),
                _ => (1, &mut self.one),
            };
            // At most four sizes behind the batch.
            let mut shapes = [[n; 5]; I];
            for (shape, (_, tail)) in shapes.iter_mut().zip(&inputs) {
                shape[1..=tail.len()].copy_from_slice(tail);
            }
            let tensors: [TensorRef<'_>; I] = std::array::from_fn(|i| {
                let (data, tail) = inputs[i];
                let row = size(tail);
                let shape = &shapes[i][..=tail.len()];
                TensorRef { shape, data: &data[done * row..][..n * row] }
            });
            let mut shape = [n; 5];
            shape[1..=output.1.len()].copy_from_slice(output.1);
            let row = size(output.1);
            let result = TensorMut {
                shape: &shape[..=output.1.len()],
                data: &mut output.0[done * row..][..n * row],
            };
            engine.run(&tensors, &mut [result])?;
            done += n;
        }
        Ok(())
    }
}

/// Loads `model` for slot by slot evaluation; `load` loads one graph at a batch size.
///
/// # Errors
/// Those of `load`, and if the model is no lifter.
pub fn load(
    load: impl Fn(&ModelSpec, usize) -> Result<Box<dyn Engine>, EngineError>,
    model: &ModelSpec,
    persons: usize,
) -> Result<Box<dyn StreamingLifter>, EngineError> {
    let spec = model.lifter()?.clone();
    match model.streaming_parts()? {
        Some((frame, window)) => Ok(Box::new(TwoGraphs {
            slot: spec.streaming.as_ref().map_or(0, |s| s.slot),
            frame: Batched::new(&load, &frame, 1)?,
            window: Batched::new(&load, &window, persons)?,
            spec,
        })),
        None => Ok(Box::new(OneGraph {
            engine: Batched::new(&load, model, persons)?,
            window: Vec::new(),
            fresh: Vec::new(),
            spec,
        })),
    }
}

/// A per-frame and a per-window graph.
struct TwoGraphs {
    spec: LifterSpec,
    slot: usize,
    frame: Batched,
    window: Batched,
}

impl StreamingLifter for TwoGraphs {
    fn slot_len(&self) -> usize {
        self.slot
    }

    fn encode(
        &mut self,
        keypoints: &[f32],
        fresh: &[f32],
        slots: &mut [f32],
    ) -> Result<(), EngineError> {
        self.frame.run([(keypoints, &[JOINTS, 3]), (fresh, &[1])], (slots, &[self.slot]))
    }

    fn lift(
        &mut self,
        slots: &[f32],
        context: &[f32],
        joints: &mut [f32],
    ) -> Result<(), EngineError> {
        let window = [self.spec.frames, self.slot];
        self.window.run([(slots, &window), (context, &[self.spec.context])], (joints, &[JOINTS, 3]))
    }

    fn describe(&self) -> String {
        "per-frame and per-window graphs".to_owned()
    }
}

/// The whole-window graph: nothing is kept of a slot but its keypoints and freshness.
struct OneGraph {
    spec: LifterSpec,
    engine: Batched,
    window: Vec<f32>,
    fresh: Vec<f32>,
}

impl StreamingLifter for OneGraph {
    fn slot_len(&self) -> usize {
        FEATURES
    }

    fn encode(
        &mut self,
        keypoints: &[f32],
        fresh: &[f32],
        slots: &mut [f32],
    ) -> Result<(), EngineError> {
        pack(keypoints, fresh, slots);
        Ok(())
    }

    fn lift(
        &mut self,
        slots: &[f32],
        context: &[f32],
        joints: &mut [f32],
    ) -> Result<(), EngineError> {
        let frames = self.spec.frames;
        self.window.clear();
        self.fresh.clear();
        for (i, slot) in slots.chunks_exact(FEATURES).enumerate() {
            self.window.extend_from_slice(&slot[..POINTS]);
            if i % frames == 0 {
                self.fresh.push(slot[POINTS]);
            }
        }
        let window: (&[f32], &[usize]) = (&self.window, &[frames, JOINTS, 3]);
        let fresh: (&[f32], &[usize]) = (&self.fresh, &[1]);
        let context: (&[f32], &[usize]) = (context, &[self.spec.context]);
        let output: (&mut [f32], &[usize]) = (joints, &[JOINTS, 3]);
        match (self.spec.normalisation, self.spec.context) {
            (Normalisation::AnchoredVirtualCamera, _) => {
                self.engine.run([window, fresh, context], output)
            }
            (_, 0) => self.engine.run([window], output),
            _ => self.engine.run([window, context], output),
        }
    }

    fn describe(&self) -> String {
        "whole-window graph".to_owned()
    }
}
