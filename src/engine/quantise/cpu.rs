//! Backends on the CPU that stand in the stack like any other: one keeps what networks are fed, to
//! calibrate by; one computes what the 8-bit network would.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Table, simulated};
use crate::engine::gate::Budget;
use crate::engine::spec::{Asset, Task, hex, sha256};
use crate::engine::tract::Tract;
use crate::engine::{
    Backend, Engine, EngineError, ModelSpec, Precision, Signature, StreamingLifter, TensorMut,
    TensorRef, streaming,
};

/// What networks were fed: for each call and row the inputs, in the manifest's order.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    every: usize,
    most: usize,
    seen: usize,
    samples: Vec<Vec<Vec<f32>>>,
}

impl Samples {
    /// Keeps every `every`th, `most` of them.
    #[must_use]
    pub fn new(every: usize, most: usize) -> Self {
        let kept = Kept { every: every.max(1), most, ..Kept::default() };
        Self { kept: Arc::new(Mutex::new(kept)) }
    }

    fn offer(&self, make: impl FnOnce() -> Vec<Vec<f32>>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.seen += 1;
        if kept.seen.is_multiple_of(kept.every) && kept.samples.len() < kept.most {
            kept.samples.push(make());
        }
    }

    /// Has it all that it keeps?
    #[must_use]
    pub fn full(&self) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.samples.len() >= kept.most
    }

    /// What was kept.
    #[must_use]
    pub fn take(&self) -> Vec<Vec<Vec<f32>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut kept.samples)
    }
}

/// tract, with an eye on what it is fed.
#[derive(Debug)]
pub struct Collecting(pub Samples);

impl Backend for Collecting {
    fn name(&self) -> &'static str {
        "tract, watched"
    }

    fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn load(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        let inner = Tract.load(model, precision, batch)?;
        Ok(Box::new(CollectingEngine { inner, samples: self.0.clone() }))
    }

    /// The whole-window graph, whose inputs say everything.
    fn load_lifter(
        &self,
        model: &ModelSpec,
        precision: Precision,
        _persons: usize,
    ) -> Result<Box<dyn StreamingLifter>, EngineError> {
        let whole = whole(model)?;
        streaming::load(|part, batch| self.load(part, precision, batch), &whole, 1)
    }
}

/// `model` without its streaming graphs.
fn whole(model: &ModelSpec) -> Result<ModelSpec, EngineError> {
    let mut lifter = model.lifter()?.clone();
    lifter.streaming = None;
    Ok(ModelSpec { task: Task::Lifter(lifter), ..model.clone() })
}

struct CollectingEngine {
    inner: Box<dyn Engine>,
    samples: Samples,
}

impl Engine for CollectingEngine {
    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn run(
        &mut self,
        inputs: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        self.samples.offer(|| inputs.iter().map(|i| i.data.to_vec()).collect());
        self.inner.run(inputs, outputs)
    }
}

/// What the 8-bit network of a table computes, by tract. Slower than `f32`: for measurements.
#[derive(Debug)]
pub struct Simulated(pub Table);

impl Simulated {
    /// `model` with the simulated network as its file.
    ///
    /// # Errors
    /// If the table is of another file, or the file cannot be converted.
    pub fn convert(&self, model: &ModelSpec) -> Result<ModelSpec, EngineError> {
        if self.0.sha256 != hex(&model.sha256) {
            return Err(model.problem(format!(
                "the table of ranges is of {}, of another file; calibrate this one",
                self.0.model
            )));
        }
        let bytes = simulated(&model.bytes()?, &self.0).map_err(|e| model.problem(e))?;
        let sha256 = sha256(&bytes);
        Ok(ModelSpec { weights: Asset::Made(bytes.into()), sha256, ..model.clone() })
    }
}

impl Backend for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// It is what measures how far 8 bits are off.
    fn budget(&self, _: &ModelSpec, _: Precision) -> Result<Budget, EngineError> {
        Ok(Budget { mean: f64::INFINITY, worst: f64::INFINITY })
    }

    fn load(
        &self,
        model: &ModelSpec,
        _precision: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        Tract.load(&self.convert(model)?, Precision::F32, batch)
    }

    fn load_lifter(
        &self,
        model: &ModelSpec,
        _precision: Precision,
        _persons: usize,
    ) -> Result<Box<dyn StreamingLifter>, EngineError> {
        let converted = whole(&self.convert(model)?)?;
        streaming::load(|part, batch| Tract.load(part, Precision::F32, batch), &converted, 1)
    }
}
