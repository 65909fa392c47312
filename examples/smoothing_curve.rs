//! Jitter against lag and error, for smoothing settings: `cargo run --release --example
//! smoothing_curve -- [--models DIR] [NAME]`. The table is in `docs/lifting.md`.
//!
//! The demo's figure walks, turns, waves and squats; its keypoints get the noise of a detector
//! (`detect::truth`), so the truth is known. For each setting:
//! - MPJPE, mm; and the velocity's error, mm a frame of 1/30 s;
//! - jitter: mean absolute third difference of a joint, m/s³, with the truth's own beside it;
//! - lag, ms: the delay at which the joints' path fits the truth's best.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an example may stop with a panic")]

use std::path::PathBuf;

use arrayvec::ArrayVec;
use posewire::detect::truth::TruthDetector;
use posewire::engine::tract::Tract;
use posewire::engine::{Catalog, ModelKind, Precision};
use posewire::figure::Figure;
use posewire::figure::truth::{FRAME_RATE, camera, moment};
use posewire::lift::smooth::SmoothSettings;
use posewire::lift::{LiftSettings, Lifter, LifterSettings, Mount, SubjectSettings};
use posewire::pose::TrackId;
use posewire::skeleton::JOINTS;

type Joints = [[f64; 3]; JOINTS];

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    let catalog = match arguments.next_if(|a| a == "--models") {
        Some(_) => {
            let dir = arguments.next().expect("--models DIR");
            Catalog::with_dir(&PathBuf::from(dir)).unwrap()
        }
        None => Catalog::embedded().unwrap(),
    };
    let model = catalog.pick(ModelKind::Lifter, arguments.next().as_deref()).unwrap();
    println!("lifter {}", model.name);
    println!("| smoothing | bones | MPJPE mm | velocity mm/frame | jitter m/s3 (truth) | lag ms |");
    println!("|---|---|---|---|---|---|");
    for steady_bones in [false, true] {
        row(&model, None, steady_bones);
    }
    for (min_cutoff_hz, beta) in
        [(0.5, 1.0), (1.0, 1.5), (1.5, 2.0), (2.0, 3.0), (3.0, 3.0), (4.0, 6.0), (6.0, 10.0)]
    {
        row(&model, Some((min_cutoff_hz, beta)), true);
    }
}

fn row(model: &posewire::engine::ModelSpec, filter: Option<(f64, f64)>, steady_bones: bool) {
    let (min_cutoff_hz, beta) = filter.unwrap_or((1.0, 1.0));
    let settings = LiftSettings {
        mount: Some(Mount { pitch_degrees: 0.0, roll_degrees: 0.0 }),
        smooth: SmoothSettings { enabled: filter.is_some(), min_cutoff_hz, beta },
        subject: SubjectSettings { height_m: Some(Figure::default().body.height) },
        lifter: LifterSettings { steady_bones, ..LifterSettings::default() },
        ..LiftSettings::default()
    };
    let mut lifter = Lifter::new(&Tract, model, Precision::F32, &settings).unwrap();
    let figure = Figure::default();
    let mut detector = TruthDetector::new(FRAME_RATE, 2022);
    let camera = camera();
    let (mut poses, mut truths, mut lifted) = (Vec::new(), Vec::new(), ArrayVec::new());
    for n in 0..1_800 {
        let at = moment(n, FRAME_RATE);
        if let Some(keypoints) = detector.keypoints(n) {
            lifter.observe(TrackId(1), at, &keypoints, &camera).unwrap();
        }
        lifter.lift(&[TrackId(1)], &mut lifted).unwrap();
        if let Some(pose) = lifted[0].pose {
            poses.push(pose.joints.map(|j| j.map(f64::from)));
            truths.push(n);
        }
    }
    let truth = |n: u64, late_ms: f64| -> Joints {
        figure.at(moment(n, FRAME_RATE).offset_secs(-late_ms * 1e-3)).root_relative()
    };
    let error = |late_ms: f64| {
        let each = poses.iter().zip(&truths).map(|(p, n)| apart(p, &truth(*n, late_ms)));
        each.sum::<f64>() / poses.len() as f64
    };
    let lag = (-10..40).map(|i| f64::from(i) * 5.0).min_by(|a, b| error(*a).total_cmp(&error(*b)));
    let exact: Vec<Joints> = truths.iter().map(|n| truth(*n, 0.0)).collect();
    let (moved, true_moves) = (differences(&poses), differences(&exact));
    let velocity = moved.iter().zip(&true_moves).map(|(a, b)| apart(a, b)).sum::<f64>();
    let jitter = |poses: &[Joints]| {
        let third = differences(&differences(&differences(poses)));
        let still = [[0.0; 3]; JOINTS];
        third.iter().map(|j| apart(j, &still)).sum::<f64>() / third.len() as f64
            * FRAME_RATE.powi(3)
    };
    let name = filter.map_or("off".to_owned(), |(f, b)| format!("{f} Hz, beta {b}"));
    println!(
        "| {name} | {} | {:.1} | {:.1} | {:.0} ({:.0}) | {:.0} |",
        if steady_bones { "steadied" } else { "as lifted" },
        1e3 * error(0.0),
        1e3 * velocity / moved.len() as f64,
        jitter(&poses),
        jitter(&exact),
        lag.unwrap_or_default(),
    );
}

/// Mean distance of the joints.
fn apart(a: &Joints, b: &Joints) -> f64 {
    let each =
        a.iter().zip(b).map(|(p, q)| (0..3).map(|k| (p[k] - q[k]).powi(2)).sum::<f64>().sqrt());
    each.sum::<f64>() / JOINTS as f64
}

fn differences(poses: &[Joints]) -> Vec<Joints> {
    let change = |a: &Joints, b: &Joints| -> Joints {
        std::array::from_fn(|j| std::array::from_fn(|k| b[j][k] - a[j][k]))
    };
    poses.windows(2).map(|w| change(&w[0], &w[1])).collect()
}
