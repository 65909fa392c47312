//! Engines that answer without computing, so that what is left is our own work.

use std::sync::Arc;

use posewire::detect::{DetectorSettings, TopDown};
use posewire::engine::{
    Backend, Catalog, Engine, EngineError, ModelKind, ModelSpec, Precision, Signature, TensorMut,
    TensorRef,
};
use posewire::lift::{LiftSettings, Lifter};
use posewire::pipeline::{Geometry, Pipeline};
use posewire::time::{Clock, MonotonicClock};
use posewire::track::{TrackSettings, Tracker};

/// A backend of such engines: people stand side by side across the picture.
#[derive(Clone, Copy)]
pub struct Canned {
    /// How many the finder finds, at most 4.
    pub persons: usize,
    /// Heatmap cells by which their keypoints lie to the right of the crop's middle. With 0 people
    /// stay where they are; with more their crops wander off, and they come and go all the time.
    pub drift: usize,
}

impl Backend for Canned {
    fn name(&self) -> &'static str {
        "canned"
    }

    fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn load(
        &self,
        model: &ModelSpec,
        _precision: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        let pairs = |tensors: Vec<posewire::engine::spec::TensorSpec>| {
            tensors.into_iter().map(|t| (t.name, t.shape)).collect()
        };
        let signature =
            Signature { inputs: pairs(model.inputs(batch)), outputs: pairs(model.outputs(batch)) };
        Ok(Box::new(CannedEngine { canned: *self, kind: model.kind(), signature }))
    }
}

struct CannedEngine {
    canned: Canned,
    kind: ModelKind,
    signature: Signature,
}

impl Engine for CannedEngine {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(
        &mut self,
        _inputs: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        let Canned { persons, drift } = self.canned;
        let mut finest = true;
        for output in outputs {
            output.data.fill(0.0);
            match (self.kind, output.shape) {
                // Scores: logits below any threshold, and on the finest level a cell for each
                // person above it, half-way down a picture of 16:9.
                (ModelKind::Finder, &[1, 1, rows, columns]) => {
                    output.data.fill(-9.0);
                    for n in 0..if finest { persons } else { 0 } {
                        let column = (2 * n + 1) * columns / (2 * persons);
                        output.data[rows * 9 / 32 * columns + column] = 5.0;
                    }
                    finest = false;
                }
                // Distances to the left, top, right and bottom: somebody who stands.
                (ModelKind::Finder, _) => {
                    let cells = output.data.len() / 4;
                    for (side, distance) in [20.0, 55.0, 20.0, 55.0].into_iter().enumerate() {
                        output.data[side * cells..][..cells].fill(distance);
                    }
                }
                // Spread so that the next crop, drawn about them, is as large as this one.
                (ModelKind::Keypoints, &[1, joints, rows, columns]) => {
                    for j in 0..joints {
                        let r = rows / 2 - 22 + 44 * j / (joints - 1);
                        let c = columns / 2 - 3 + j % 7 + drift;
                        let row = (j * rows + r) * columns;
                        output.data[row + c] = 0.9;
                        output.data[row + c - 1] = 0.6;
                        output.data[row + c + 1] = 0.6;
                    }
                }
                // Centre, size, score and keypoints of one candidate a column, in an input of 320.
                (ModelKind::OneStage, &[1, 56, n]) => {
                    for person in 0..persons {
                        let x = (320 * (2 * person + 1) / (2 * persons)) as f32;
                        let body = [x, 160.0, 40.0, 150.0, 0.9];
                        let joint = |k: usize| [x + (k % 7) as f32, 90.0 + 8.0 * k as f32, 0.8];
                        let points = (0..17).flat_map(joint);
                        for (row, v) in body.into_iter().chain(points).enumerate() {
                            output.data[row * n + person] = v;
                        }
                    }
                }
                _ => {
                    for (i, v) in output.data.iter_mut().enumerate() {
                        *v = (i % 13) as f32 * 0.05;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A directory with the manifests of a finder and a keypoint network. Their weights are never
/// read: no real backend loads them.
fn catalog() -> (tempfile::TempDir, Catalog) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["rtmdet_nano_HW140701", "tinypose_256_192"] {
        let from = format!("{}/models/known/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(from, dir.path().join(format!("{name}.toml"))).unwrap();
    }
    let catalog = Catalog::with_dir(dir.path()).unwrap();
    (dir, catalog)
}

/// The whole pipeline on canned engines.
pub fn pipeline(canned: Canned, settings: DetectorSettings) -> Pipeline {
    pipeline_on(&canned, settings)
}

/// The same on a backend that gives such engines.
pub fn pipeline_on(backend: &dyn Backend, settings: DetectorSettings) -> Pipeline {
    let (_dir, catalog) = catalog();
    let pick = |kind| catalog.pick(kind, None).unwrap();
    let (finder, keypoints) = (pick(ModelKind::Finder), pick(ModelKind::Keypoints));
    let detector = TopDown::new(backend, &finder, &keypoints, Precision::F32, settings).unwrap();
    // A lifter that does not compute cannot reproduce its golden windows.
    let mut model = pick(ModelKind::Lifter);
    model.golden = None;
    let lifter = Lifter::new(backend, &model, Precision::F32, &LiftSettings::default()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
    let tracker = Tracker::new(TrackSettings::default());
    Pipeline::new(Box::new(detector), tracker, lifter, Geometry::AssumedFov(65.0), clock, 1)
        .unwrap()
}
