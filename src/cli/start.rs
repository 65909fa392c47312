//! From a checked plan to a running job: loads the networks and opens the targets.

use std::sync::Arc;

use super::Failure;
use crate::config::Plan;
use crate::detect::Detector;
use crate::detect::topdown::TopDown;
use crate::engine::catalog::Catalog;
use crate::engine::{self, Backend, ModelKind, Precision};
use crate::lift;
use crate::pipeline::Pipeline;
use crate::publish::{self, PublishSettings, Publisher};
use crate::time::{Clock, MonotonicClock};
use crate::track::Tracker;
use crate::wire::{EngineId, PrecisionId};

/// What a plan needs, loaded.
pub(super) struct Prepared {
    pub(super) pipeline: Pipeline,
    pub(super) publishers: Vec<Box<dyn Publisher>>,
    pub(super) clock: Arc<dyn Clock>,
    /// What computes, and why.
    pub(super) backend: String,
}

/// The models of a plan.
pub(super) fn catalog(plan: &Plan) -> Result<Catalog, Failure> {
    match &plan.models.dir {
        Some(dir) => Catalog::with_dir(dir).map_err(|e| Failure::config(&e)),
        None => Catalog::embedded().map_err(|e| Failure::config(&e)),
    }
}

/// The detector that a plan asks for.
pub(super) fn detector(
    plan: &Plan,
    catalog: &Catalog,
    backend: &dyn Backend,
) -> Result<Box<dyn Detector>, Failure> {
    let pick = |kind, name: &Option<String>| {
        catalog.pick(kind, name.as_deref()).map_err(|e| Failure::config(&e))
    };
    let finder = pick(ModelKind::Finder, &plan.models.finder)?;
    let keypoints = pick(ModelKind::Keypoints, &plan.models.keypoints)?;
    let settings = plan.detector.clone();
    let detector = TopDown::new(backend, &finder, &keypoints, Precision::F32, settings)
        .map_err(|e| Failure::config(&e))?;
    Ok(Box::new(detector))
}

/// Loads everything. `detector` makes the detector, given the models and the backend.
pub(super) fn prepare(
    plan: &Plan,
    detector: impl FnOnce(&Catalog, &dyn Backend) -> Result<Box<dyn Detector>, Failure>,
) -> Result<Prepared, Failure> {
    let (backend, why) = engine::choose(&plan.backend).map_err(|e| Failure::config(&e))?;
    let catalog = catalog(plan)?;
    let detector = detector(&catalog, backend)?;
    let model = catalog
        .pick(ModelKind::Lifter, plan.models.lifter.as_deref())
        .map_err(|e| Failure::config(&e))?;
    let lifter = lift::open(backend, &model, Precision::F32, &plan.lift, detector.skeleton())
        .map_err(|e| Failure::config(&e))?;
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
    let id =
        u32::from_be_bytes([model.sha256[0], model.sha256[1], model.sha256[2], model.sha256[3]]);
    let tracker = Tracker::new(plan.tracker);
    let pipeline = Pipeline::new(detector, tracker, lifter, plan.geometry, clock.clone(), id)
        .map_err(|e| Failure::config(&e))?;
    let settings = PublishSettings {
        engine: EngineId::from_name(backend.name()),
        precision: PrecisionId::from_name("f32"),
        clock_state: plan.clock_state,
        clock: clock.clone(),
    };
    let publishers = plan
        .publish
        .iter()
        .map(|uri| publish::open(uri, &settings).map_err(|e| Failure::config(&e)))
        .collect::<Result<Vec<_>, _>>()?;
    log::info!("models: {}", pipeline.describe());
    log::info!("backend: {why}");
    for publisher in &publishers {
        log::info!("publishing to {}", publisher.describe());
    }
    Ok(Prepared { pipeline, publishers, clock, backend: backend.name().to_owned() })
}
