//! From a plan to its recorder.

use std::sync::Arc;

use clap::Args;

use super::Failure;
use crate::config::{ASSUMED_FOV_DEGREES, Config, Plan};
use crate::pipeline::Geometry;
use crate::record::{Frames, Lens, Recorder};
use crate::recording::About;
use crate::time::Clock;
use crate::wire::PoseOptions;

/// The options of `run` and `demo` that record.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct RecordArgs {
    /// Record frames and poses to this file (MCAP); what is there is never overwritten
    #[arg(long, value_name = "FILE")]
    record: Option<std::path::PathBuf>,
    /// Record raw frames as they are instead of as JPEG: a replay then gives exactly what was sent
    #[arg(long, requires = "record")]
    record_exact: bool,
}

impl RecordArgs {
    pub(super) fn apply(&self, config: &mut Config) {
        let record = &mut config.record;
        record.file = self.record.clone().or(record.file.take());
        if self.record_exact {
            record.frames = Frames::Exact;
        }
    }
}

/// The recorder of `plan`, if it asks for one.
pub(super) fn open(
    plan: &Plan,
    about: About,
    options: PoseOptions,
    clock: Arc<dyn Clock>,
) -> Result<Option<Recorder>, Failure> {
    let mut lenses = plan.cameras.iter().map(|camera| match camera.geometry {
        Geometry::Calibrated(intrinsics) => Lens::Calibrated(intrinsics),
        Geometry::AssumedFov(degrees) => Lens::Fov(degrees),
    });
    let lens = lenses.next().unwrap_or(Lens::Fov(ASSUMED_FOV_DEGREES));
    let mut recorder = Recorder::open(&plan.record, about, lens, options, clock)
        .map_err(|e| Failure::config(&e))?;
    if let Some(recorder) = &mut recorder {
        recorder.clock_is(plan.clock_state);
        for (camera, lens) in (1..).zip(lenses) {
            recorder.lens_is(camera, lens);
        }
        log::info!("{}", recorder.describe());
    }
    Ok(recorder)
}
