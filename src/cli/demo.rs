//! `posewire demo`: the whole way with nothing attached, against a person whose pose is known.

use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;

use super::Failure;
use super::recorder::RecordArgs;
use super::run::execute;
use super::start;
use super::view::ViewArgs;
use crate::capture::demo::DemoSource;
use crate::config::{
    CameraConfig, Config, EngineConfig, ModelsConfig, PublishConfig, SourceConfig,
};
use crate::degrade::DegradeSettings;
use crate::detect::Detector;
use crate::detect::truth::TruthDetector;
use crate::figure::Figure;
use crate::figure::truth::{FRAME_RATE, moment};
use crate::lift::{LifterSettings, Mount, SubjectSettings};
use crate::metrics::{mpjpe, p_mpjpe};
use crate::pose::{Pose3d, PoseFrame};
use crate::publish::{PublishError, Publisher};
use crate::runtime::Target;
use crate::skeleton::{JOINTS, Skeleton, h36m};
use crate::time::Timestamp;

/// The seed of the stand-in detector's noise: the demo is the same every time.
const SEED: u64 = 2022;

#[derive(Args)]
pub(super) struct Demo {
    /// Where poses go as well
    #[arg(short, long, value_name = "URI", default_value = "udp://127.0.0.1:7777")]
    publish: Vec<String>,
    /// How long
    #[arg(long, value_name = "S", default_value_t = 20.0)]
    seconds: f64,
    /// As fast as possible instead of 30 frames per second
    #[arg(long)]
    fast: bool,
    /// Let the figure's own keypoints with detector-like noise stand in for the detector
    #[arg(long)]
    stand_in: bool,
    /// Directory of models that go before the embedded ones
    #[arg(short, long, value_name = "DIR")]
    models: Option<std::path::PathBuf>,
    /// Name of the lifter, instead of the usual one
    #[arg(long, value_name = "NAME")]
    lifter: Option<String>,
    /// Milliseconds of future that each pose waits for: 0, or another number that the lifter
    /// serves
    #[arg(long, value_name = "MS")]
    lookahead: Option<f64>,
    /// Publish every pose a second time, with so many milliseconds of future
    #[arg(long, value_name = "MS")]
    refine: Option<f64>,
    /// What computes: auto, tract (CPU) or tensorrt (GPU)
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    record: RecordArgs,
}

pub(super) fn demo(args: &Demo) -> Result<(), Failure> {
    let mut config = Config {
        source: SourceConfig {
            uri: Some("demo:".to_owned()),
            realtime: !args.fast,
            ..SourceConfig::default()
        },
        camera: CameraConfig {
            intrinsics: Some(DemoSource::intrinsics()),
            // It stands level, and its user knows.
            mount: Some(Mount { pitch_degrees: 0.0, roll_degrees: 0.0 }),
            ..CameraConfig::default()
        },
        models: ModelsConfig {
            dir: args.models.clone(),
            lifter: args.lifter.clone(),
            ..ModelsConfig::default()
        },
        lift: LifterSettings {
            lookahead_ms: args.lookahead,
            refine_ms: args.refine,
            ..LifterSettings::default()
        },
        // Its user knows that, too.
        subject: SubjectSettings { height_m: Some(Figure::default().body.height) },
        // Its numbers are to be those of the whole.
        degrade: DegradeSettings { enabled: false, ..DegradeSettings::default() },
        engine: EngineConfig { backend: args.backend.clone(), ..EngineConfig::default() },
        publish: args.publish.iter().map(|uri| PublishConfig { uri: uri.clone() }).collect(),
        ..Config::default()
    };
    // There is something to see, unless it is not wanted.
    config.view.listen = Some(([127, 0, 0, 1], 8080).into());
    args.view.apply(&mut config);
    args.record.apply(&mut config);
    let mut plan = config.check().map_err(|e| Failure::config(&e))?;
    plan.view_may_move = args.view.is_silent();
    let exchange = start::exchange(&plan);
    let plan = start::settled(plan, exchange.as_ref());
    let mut stand_in = None;
    let mut prepared = start::prepare_to_change(&plan, exchange.as_ref(), |catalog, backend| {
        if !args.stand_in {
            return start::detector(&plan, catalog, backend);
        }
        log::warn!(
            "detector: as asked, the figure's own keypoints with detector-like noise stand in"
        );
        stand_in = Some(SEED);
        let detector: Box<dyn Detector> = Box::new(TruthDetector::new(FRAME_RATE, SEED));
        Ok(detector)
    })?;
    prepared.about.stand_in = stand_in;
    let errors = Arc::new(Mutex::new(Errors::default()));
    let meter = TruthMeter { figure: Figure::default(), errors: errors.clone() };
    prepared.targets.push(Target { publisher: Box::new(meter), source: None });
    log::info!("watch the poses with: posewire listen {}", args.publish.join(" "));
    execute(&plan, prepared, exchange, Some(args.seconds), None)?;
    let errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
    errors.tell();
    Ok(())
}

/// What has been measured against the truth.
#[derive(Default)]
struct Errors {
    frames: u64,
    /// Metres, one a root; and how many lie within the region that should hold 95 in 100.
    root: Vec<f64>,
    root_depth: Vec<f64>,
    root_within: u64,
    /// Revisions, metres.
    revised: Vec<f64>,
    /// Metres, one a pose.
    mpjpe: Vec<f64>,
    p_mpjpe: Vec<f64>,
    joint_sums: [f64; JOINTS],
}

impl Errors {
    /// `truth`: where the pelvis is, camera frame.
    fn add_root(&mut self, pose: &Pose3d, truth: [f64; 3]) {
        let (Some(root), Some(covariance)) = (pose.root, pose.root_covariance) else { return };
        let off: [f64; 3] = std::array::from_fn(|k| f64::from(root[k]) - truth[k]);
        self.root.push(off.iter().map(|v| v * v).sum::<f64>().sqrt());
        self.root_depth.push(off[2].abs());
        let within = mahalanobis2(off, covariance.map(f64::from)).is_some_and(|d| d <= CHI2_95);
        self.root_within += u64::from(within);
    }

    fn add(&mut self, pose: &Pose3d, truth: &[[f64; 3]; JOINTS]) {
        let predicted = pose.joints.map(|j| j.map(f64::from));
        let (Some(error), Some(aligned)) =
            (mpjpe(&predicted, truth, h36m::PELVIS), p_mpjpe(&predicted, truth))
        else {
            return;
        };
        self.mpjpe.push(error);
        self.p_mpjpe.push(aligned);
        for (sum, (p, t)) in self.joint_sums.iter_mut().zip(predicted.iter().zip(truth)) {
            *sum += (0..3).map(|k| (p[k] - t[k]).powi(2)).sum::<f64>().sqrt();
        }
    }

    /// Prints the result on standard output.
    fn tell(&self) {
        let n = self.mpjpe.len();
        if n == 0 {
            println!("no pose was found in {} frames", self.frames);
            return;
        }
        let mm = |v: &[f64]| 1e3 * v.iter().sum::<f64>() / v.len() as f64;
        let mut sorted = self.mpjpe.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        println!(
            "error against the true pose over {n} of {} frames (root-relative, millimetres):",
            self.frames
        );
        println!(
            "  MPJPE mean {:.1}, median {:.1}, 95th percentile {:.1}; P-MPJPE mean {:.1}",
            mm(&self.mpjpe),
            1e3 * sorted[n / 2],
            1e3 * sorted[(n * 95 / 100).min(n - 1)],
            mm(&self.p_mpjpe),
        );
        if !self.root.is_empty() {
            println!(
                "  root: mean error {:.0}, of it along the depth {:.0}, in {} poses; {:.0} % within \
                 their 95 % region",
                mm(&self.root),
                mm(&self.root_depth),
                self.root.len(),
                1e2 * self.root_within as f64 / self.root.len() as f64,
            );
        }
        if !self.revised.is_empty() {
            println!("  revised: MPJPE mean {:.1} over {}", mm(&self.revised), self.revised.len());
        }
        let names = Skeleton::Human36m17.joint_names();
        let joints: Vec<String> = names
            .iter()
            .zip(self.joint_sums)
            .skip(1)
            .map(|(name, sum)| format!("{name} {:.0}", 1e3 * sum / n as f64))
            .collect();
        println!("  by joint: {}", joints.join(", "));
    }
}

/// 95 in 100 of three normal deviates have a smaller sum of squares.
const CHI2_95: f64 = 7.815;

/// Squared length of `off` in deviations of the covariance xx, xy, xz, yy, yz, zz: by Cramer's
/// rule. `None` for what is no covariance.
fn mahalanobis2(off: [f64; 3], [xx, xy, xz, yy, yz, zz]: [f64; 6]) -> Option<f64> {
    let (a, b, c) = (yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy);
    let (d, e, f) = (xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy);
    let determinant = xx * a + xy * b + xz * c;
    let [x, y, z] = off;
    let sum = a * x * x + d * y * y + f * z * z + 2.0 * (b * x * y + c * x * z + e * y * z);
    (determinant > 0.0).then(|| sum / determinant)
}

/// Compares poses with the figure's: a publisher like any other.
struct TruthMeter {
    figure: Figure,
    errors: Arc<Mutex<Errors>>,
}

impl Publisher for TruthMeter {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.frames += 1;
        // There is one figure; a second track would be a mistake of the tracker's or the
        // detector's, and is not a better pose.
        let now = moment(frame.sequence, FRAME_RATE);
        // The figure as of the moment that a pose describes.
        let truth = |pose: &Pose3d| {
            let ago = frame.captured.nanos() - pose.describes.nanos();
            self.figure.at(Timestamp::from_nanos(now.nanos() - ago))
        };
        if let Some(pose) = frame.persons.iter().find_map(|p| p.pose) {
            let truth = truth(&pose);
            errors.add(&pose, &truth.root_relative());
            errors.add_root(&pose, truth.joints[h36m::PELVIS]);
        }
        if let Some(revision) = frame.persons.iter().find_map(|p| p.revision) {
            let joints = revision.joints.map(|j| j.map(f64::from));
            let truth = truth(&revision).root_relative();
            errors.revised.extend(mpjpe(&joints, &truth, h36m::PELVIS));
        }
        Ok(())
    }

    fn describe(&self) -> &str {
        "the comparison with the true pose"
    }
}
