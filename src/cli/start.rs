//! From a checked plan to a running job: loads the networks and opens the targets.

use std::sync::Arc;

use super::Failure;
use crate::config::Plan;
use crate::detect::Detector;
use crate::detect::topdown::TopDown;
use crate::engine::catalog::Catalog;
use crate::engine::spec::hex;
use crate::engine::{self, Backend, ModelKind, Precision};
use crate::lift::{self, Mount};
use crate::pipeline::Pipeline;
use crate::publish::{self, PublishSettings, Publisher};
use crate::recording::{About, ModelNote};
use crate::time::{Clock, MonotonicClock};
use crate::track::Tracker;
use crate::wire::{EngineId, PoseOptions, PrecisionId};

/// What a plan needs, loaded.
pub(super) struct Prepared {
    pub(super) pipeline: Pipeline,
    pub(super) publishers: Vec<Box<dyn Publisher>>,
    pub(super) clock: Arc<dyn Clock>,
    /// What computes, and why.
    pub(super) backend: String,
    /// What recordings say of this run.
    pub(super) about: About,
    /// What computes, for packets.
    pub(super) options: PoseOptions,
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

/// A pipeline, and what it was made of.
struct Built {
    pipeline: Pipeline,
    catalog: Catalog,
    backend: &'static dyn Backend,
    why: String,
}

/// Loads the networks. `detector` makes the detector, given the models and the backend.
fn build(
    plan: &Plan,
    detector: impl FnOnce(&Catalog, &dyn Backend) -> Result<Box<dyn Detector>, Failure>,
    clock: Arc<dyn Clock>,
) -> Result<Built, Failure> {
    let (backend, why) = engine::choose(&plan.backend).map_err(|e| Failure::config(&e))?;
    let catalog = catalog(plan)?;
    let detector = detector(&catalog, backend)?;
    let model = catalog
        .pick(ModelKind::Lifter, plan.models.lifter.as_deref())
        .map_err(|e| Failure::config(&e))?;
    let lifter = lift::open(backend, &model, Precision::F32, &plan.lift, detector.skeleton())
        .map_err(|e| Failure::config(&e))?;
    let id =
        u32::from_be_bytes([model.sha256[0], model.sha256[1], model.sha256[2], model.sha256[3]]);
    let tracker = Tracker::new(plan.tracker);
    let pipeline = Pipeline::new(detector, tracker, lifter, plan.geometry, clock, id)
        .map_err(|e| Failure::config(&e))?;
    Ok(Built { pipeline, catalog, backend, why })
}

/// The pipeline of `plan` alone, for a run that goes on.
pub(super) fn pipeline(plan: &Plan, clock: Arc<dyn Clock>) -> Result<Pipeline, Failure> {
    let with = |catalog: &Catalog, backend: &dyn Backend| detector(plan, catalog, backend);
    Ok(build(plan, with, clock)?.pipeline)
}

/// Loads everything. `detector` makes the detector, given the models and the backend.
pub(super) fn prepare(
    plan: &Plan,
    detector: impl FnOnce(&Catalog, &dyn Backend) -> Result<Box<dyn Detector>, Failure>,
) -> Result<Prepared, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
    let Built { pipeline, catalog, backend, why } = build(plan, detector, clock.clone())?;
    let settings = PublishSettings {
        engine: EngineId::from_name(backend.name()),
        precision: PrecisionId::from_name("f32"),
        clock_state: plan.clock_state,
        clock: clock.clone(),
        gravity: plan.lift.mount.map(Mount::gravity),
        geodetic: plan.geodetic,
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
    let options = PoseOptions {
        engine: settings.engine,
        precision: settings.precision,
        ..PoseOptions::default()
    };
    let about = about(plan, &catalog, backend.name(), clock.as_ref());
    let backend = backend.name().to_owned();
    Ok(Prepared { pipeline, publishers, clock, backend, about, options })
}

/// What recordings say of a run of `plan`.
fn about(plan: &Plan, catalog: &Catalog, backend: &str, clock: &dyn Clock) -> About {
    let names = &plan.models;
    let wanted = [
        (ModelKind::Finder, &names.finder),
        (ModelKind::Keypoints, &names.keypoints),
        (ModelKind::Lifter, &names.lifter),
    ];
    let models = wanted
        .into_iter()
        .filter_map(|(kind, name)| {
            let model = catalog.pick(kind, name.as_deref()).ok()?;
            let sha256 = hex(&model.sha256);
            Some(ModelNote { kind: kind.to_string(), name: model.name, sha256 })
        })
        .collect();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let now = clock.now().nanos().saturating_add(clock.realtime_offset_nanos());
    About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config: plan.written.clone(),
        backend: backend.to_owned(),
        models,
        stand_in: None,
        host: host.trim().to_owned(),
        reason: "record".to_owned(),
        began: now.max(0) as u64,
    }
}
