//! From a checked plan to a running job: loads the networks and opens the targets.

use std::sync::{Arc, OnceLock};

use super::{Failure, scenes};
use crate::config::{CameraPlan, Plan};
use crate::detect::{Detector, OneStage, TopDown};
use crate::engine::catalog::{Catalog, DetectorModels};
use crate::engine::exchange::{Exchange, Verified};
use crate::engine::ladder::Ladder;
use crate::engine::spec::hex;
use crate::engine::tensorrt::{self, TensorRt};
use crate::engine::tract::Tract;
use crate::engine::{self, Backend, ModelKind, Precision};
use crate::geodetic::Geodetic;
use crate::handoff::Stop;
use crate::lift::{self, Mount};
use crate::pipeline::Pipeline;
use crate::publish::{self, PublishSettings};
use crate::recording::{About, ModelNote};
use crate::runtime::Target;
use crate::time::{Clock, MonotonicClock};
use crate::track::Tracker;
use crate::wire::{EngineId, PoseOptions, PrecisionId};

/// The backend that may be another one after a while.
const AUTO: &str = "auto";
static TRACT: Tract = Tract;

/// What a plan needs, loaded.
pub(super) struct Prepared {
    /// One of each camera.
    pub(super) pipelines: Vec<Pipeline>,
    pub(super) targets: Vec<Target>,
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

/// What networks change over to while they run: where `auto` is asked for and TensorRT may be here.
/// Nothing of NVIDIA's is opened before the first order is carried out.
pub(super) fn exchange(plan: &Plan) -> Option<Exchange> {
    if plan.backend != AUTO || !tensorrt::may_be_here() {
        return None;
    }
    let stop = Stop::new();
    let later = TensorRt { beside: Some(stop.clone()) };
    let later: Box<dyn Backend + Send + Sync> = match plan.fastest_precision {
        true => Box::new(Ladder::new(later, &TRACT, scenes::judge())),
        false => Box::new(later),
    };
    Some(Exchange::new(&TRACT, later, scenes::judge(), stop))
}

/// TensorRT in whatever precision is the fastest.
fn ladder() -> &'static dyn Backend {
    static LADDER: OnceLock<Ladder<TensorRt>> = OnceLock::new();
    LADDER.get_or_init(|| Ladder::new(TensorRt::default(), &TRACT, scenes::judge()))
}

/// `plan` as it is on this machine: of `auto` the precision is what the GPU computes in, and where
/// there is none the CPU computes in its own.
pub(super) fn settled(mut plan: Plan, exchange: Option<&Exchange>) -> Plan {
    if plan.backend == AUTO && exchange.is_none() && plan.precision != Precision::F32 {
        let asked = plan.precision.name();
        log::info!("{asked} is for the GPU, and there is none to use: the CPU computes in f32");
        plan.precision = Precision::F32;
    }
    plan
}

/// The detector that a plan asks for. On a GPU its networks are held against the CPU's answers.
pub(super) fn detector(
    plan: &Plan,
    catalog: &Catalog,
    backend: &dyn Backend,
) -> Result<Box<dyn Detector>, Failure> {
    let models = catalog.detector(plan.models.detector()).map_err(|e| Failure::start(&e))?;
    let settings = plan.detector.clone();
    let judge = scenes::judge();
    let verified = Verified { backend, reference: &TRACT, judge: &judge };
    // The CPU is what the others are held against.
    let backend = if backend.name() == TRACT.name() { backend } else { &verified };
    let detector: Result<Box<dyn Detector>, _> = match &models {
        DetectorModels::TopDown { finder, keypoints } => {
            TopDown::new(backend, finder, keypoints, plan.precision, settings)
                .map(|detector| Box::new(detector) as _)
        }
        DetectorModels::OneStage(model) => OneStage::new(backend, model, plan.precision, settings)
            .map(|detector| Box::new(detector) as _),
    };
    detector.map_err(|e| Failure::start(&e))
}

/// The pipelines of a plan, one for each camera, and what they were made of.
struct Built {
    pipelines: Vec<Pipeline>,
    catalog: Catalog,
    backend: &'static dyn Backend,
    /// The lifter's.
    precision: Precision,
    why: String,
}

/// Loads the networks. `detector` makes a detector for each camera, given the models and the
/// backend.
fn build(
    plan: &Plan,
    exchange: Option<&Exchange>,
    mut detector: impl FnMut(&Catalog, &dyn Backend) -> Result<Box<dyn Detector>, Failure>,
    clock: &Arc<dyn Clock>,
) -> Result<Built, Failure> {
    let (mut chosen, why) = engine::choose(&plan.backend).map_err(|e| Failure::start(&e))?;
    if plan.fastest_precision && chosen.name() != TRACT.name() {
        chosen = ladder();
    }
    let (backend, why): (&dyn Backend, String) = match exchange {
        Some(exchange) => {
            (exchange, "the CPU; TensorRT, once its engines are built and found right".to_owned())
        }
        None => (chosen, why),
    };
    let catalog = catalog(plan)?;
    let model = catalog
        .pick(ModelKind::Lifter, plan.models.lifter.as_deref())
        .map_err(|e| Failure::start(&e))?;
    let id =
        u32::from_be_bytes([model.sha256[0], model.sha256[1], model.sha256[2], model.sha256[3]]);
    // Each camera has networks of its own: they keep what they know of the people in view.
    let mut pipelines = Vec::with_capacity(plan.cameras.len());
    for camera in &plan.cameras {
        let detector = detector(&catalog, backend)?;
        let lifter = lift::open(backend, &model, plan.precision, &camera.lift, detector.skeleton())
            .map_err(|e| Failure::start(&e))?;
        let tracker = Tracker::new(plan.tracker);
        let pipeline = Pipeline::new(detector, tracker, lifter, camera.geometry, clock.clone(), id)
            .map_err(|e| Failure::config(&e))?;
        pipelines.push(pipeline);
    }
    // What it begins with: with an exchange, the CPU's.
    let precision = match exchange {
        Some(_) => Precision::F32,
        None => chosen.precision(&model, plan.precision),
    };
    Ok(Built { pipelines, catalog, backend: chosen, precision, why })
}

/// The pipelines of `plan` alone, for a run that goes on.
pub(super) fn pipelines(
    plan: &Plan,
    exchange: Option<&Exchange>,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Pipeline>, Failure> {
    let with = |catalog: &Catalog, backend: &dyn Backend| detector(plan, catalog, backend);
    Ok(build(plan, exchange, with, clock)?.pipelines)
}

/// Loads everything. `detector` makes a detector for each camera, given the models and the backend.
pub(super) fn prepare(
    plan: &Plan,
    detector: impl FnMut(&Catalog, &dyn Backend) -> Result<Box<dyn Detector>, Failure>,
) -> Result<Prepared, Failure> {
    prepare_to_change(plan, None, detector)
}

/// The same for a run that may change over to other engines under way.
pub(super) fn prepare_to_change(
    plan: &Plan,
    exchange: Option<&Exchange>,
    detector: impl FnMut(&Catalog, &dyn Backend) -> Result<Box<dyn Detector>, Failure>,
) -> Result<Prepared, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
    let Built { pipelines, catalog, backend, precision, why } =
        build(plan, exchange, detector, &clock)?;
    let settings = PublishSettings {
        engine: EngineId::from_name(backend.name()),
        precision: PrecisionId::from_name(precision.name()),
        clock_state: plan.clock_state,
        clock: clock.clone(),
        ..PublishSettings::default()
    };
    let targets = targets(plan, &settings)?;
    if let Some(pipeline) = pipelines.first() {
        log::info!("models: {}", pipeline.describe());
    }
    log::info!("backend: {why}");
    for target in &targets {
        let of = target.source.and_then(|n| plan.cameras.get(n));
        let of = of.map_or(String::new(), |camera| format!(" (of {} only)", camera.name));
        log::info!("publishing to {}{of}", target.publisher.describe());
    }
    let options = PoseOptions {
        engine: settings.engine,
        precision: settings.precision,
        ..PoseOptions::default()
    };
    let about = about(plan, &catalog, backend.name(), clock.as_ref());
    let backend = backend.name().to_owned();
    Ok(Prepared { pipelines, targets, clock, backend, about, options })
}

/// The targets of all cameras, then those of each.
fn targets(plan: &Plan, settings: &PublishSettings) -> Result<Vec<Target>, Failure> {
    let of = |camera: &CameraPlan| (camera.lift.mount.map(Mount::gravity), camera.geodetic);
    type Place = (Option<[f64; 3]>, Option<Geodetic>);
    let open = |uri: &str, source, (gravity, geodetic): Place| -> Result<Target, Failure> {
        let settings = PublishSettings { gravity, geodetic, ..settings.clone() };
        let publisher = publish::open(uri, &settings).map_err(|e| Failure::config(&e))?;
        Ok(Target { publisher, source })
    };
    // Where cameras are held differently, a target of all knows no common direction of falling.
    let mut places = plan.cameras.iter().map(of);
    let common = places.next().filter(|first| places.all(|other| other == *first));
    let common = common.unwrap_or_default();
    let mut targets = Vec::new();
    for uri in &plan.publish {
        targets.push(open(uri, None, common)?);
    }
    for (number, camera) in plan.cameras.iter().enumerate() {
        for uri in &camera.publish {
            targets.push(open(uri, Some(number), of(camera))?);
        }
    }
    Ok(targets)
}

/// What recordings say of a run of `plan`.
fn about(plan: &Plan, catalog: &Catalog, backend: &str, clock: &dyn Clock) -> About {
    let names = &plan.models;
    let detector = catalog.detector(names.detector()).ok();
    let lifter = catalog.pick(ModelKind::Lifter, names.lifter.as_deref()).ok();
    let models = detector
        .iter()
        .flat_map(DetectorModels::all)
        .chain(&lifter)
        .map(|model| ModelNote {
            kind: model.kind().to_string(),
            name: model.name.clone(),
            sha256: hex(&model.sha256),
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
