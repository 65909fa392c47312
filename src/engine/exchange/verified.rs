//! Networks that see pictures, held against another backend's answers before they serve.

use crate::engine::gate::{Budget, Verdict};
use crate::engine::{Backend, Engine, EngineError, ModelSpec, Precision, StreamingLifter};

/// How far the second engine's answers are from the first one's, which is the reference, with
/// what is allowed in that precision. It has the pictures.
pub type Judge = Box<
    dyn Fn(&ModelSpec, Precision, &mut dyn Engine, &mut dyn Engine) -> Result<Verdict, EngineError>
        + Send
        + Sync,
>;

/// A backend whose finders and keypoint networks are refused if they answer otherwise than the
/// reference's. Lifters are held against their golden windows by whoever loads them.
pub struct Verified<'a> {
    /// What is held against the reference.
    pub backend: &'a dyn Backend,
    /// Loads the same network in `f32`, and is believed.
    pub reference: &'a dyn Backend,
    /// Compares.
    pub judge: &'a Judge,
}

/// Why a network is not served.
pub(super) fn refusal(model: &ModelSpec, backend: &str, verdict: &Verdict) -> EngineError {
    if verdict.cases == 0 {
        return model.problem(format!(
            "it sees nobody in the pictures that {backend} is held against the reference with: \
             nothing tells whether it is computed rightly; use backend = \"tract\""
        ));
    }
    model.problem(format!(
        "{backend} computes it wrongly: it is {verdict}; choose another backend or precision"
    ))
}

impl Verified<'_> {
    /// Loads a network that sees pictures, and says how it answered.
    ///
    /// # Errors
    /// If it cannot be loaded or run. A wrong answer is no error but a verdict.
    pub fn load_with_verdict(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
    ) -> Result<(Box<dyn Engine>, Verdict), EngineError> {
        let mut engine = self.backend.load(model, precision, batch)?;
        // Asked afterwards: it may have been chosen while it was loaded.
        let computed = self.backend.precision(model, precision);
        let mut reference = self.reference.load(model, Precision::F32, batch)?;
        let verdict = (self.judge)(model, computed, reference.as_mut(), engine.as_mut())?;
        log::debug!("{}: {verdict}", model.name);
        Ok((engine, verdict))
    }
}

impl Backend for Verified<'_> {
    fn name(&self) -> &'static str {
        self.backend.name()
    }

    fn check(&self) -> Result<(), EngineError> {
        self.backend.check()
    }

    fn load(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        if !model.kind().sees_pictures() {
            return self.backend.load(model, precision, batch);
        }
        let (engine, verdict) = self.load_with_verdict(model, precision, batch)?;
        if !verdict.passed() {
            return Err(refusal(model, self.name(), &verdict));
        }
        Ok(engine)
    }

    fn precision(&self, model: &ModelSpec, asked: Precision) -> Precision {
        self.backend.precision(model, asked)
    }

    fn budget(&self, model: &ModelSpec, precision: Precision) -> Result<Budget, EngineError> {
        self.backend.budget(model, precision)
    }

    fn load_lifter(
        &self,
        model: &ModelSpec,
        precision: Precision,
        persons: usize,
    ) -> Result<Box<dyn StreamingLifter>, EngineError> {
        self.backend.load_lifter(model, precision, persons)
    }
}
