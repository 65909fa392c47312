//! `posewire eval` on files whose errors are known in closed form, and `posewire models import`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "support/data.rs"]
mod outside;
#[path = "support/program.rs"]
mod program;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use program::{CONFIG, ROOT, assert_one_error, command, posewire, said};

fn data(file: &str) -> String {
    format!("{ROOT}/tests/data/eval/{file}")
}

/// The person of `tests/data/eval/make.py`: metres, flat.
const POSE: [[f64; 2]; 17] = [
    [0.0, 0.0],
    [-0.13, 0.0],
    [-0.14, 0.44],
    [-0.15, 0.88],
    [0.13, 0.0],
    [0.15, 0.44],
    [0.18, 0.87],
    [0.0, -0.24],
    [0.01, -0.48],
    [0.01, -0.6],
    [0.01, -0.72],
    [0.17, -0.45],
    [0.4, -0.36],
    [0.62, -0.3],
    [-0.15, -0.45],
    [-0.28, -0.2],
    [-0.33, 0.05],
];

#[track_caller]
fn near(value: &Value, key: &str, wanted: f64, tolerance: f64) {
    let found = value[key].as_f64().unwrap_or_else(|| panic!("no {key} in {value}"));
    assert!(
        (found - wanted).abs() <= tolerance,
        "{key} of {}: {found}, not {wanted}",
        value["name"]
    );
}

/// What must come out of make.py's files: each number by hand.
fn check_closed_form(run: &Value) {
    let actions = run["actions"].as_array().unwrap();
    let action = |name: &str| {
        let found = actions.iter().find(|a| a["name"] == name);
        found.unwrap_or_else(|| panic!("no action {name}"))
    };
    assert_eq!(actions.len(), 7, "\"Exact 1\" and \"Exact 2\" are one action");
    // Pixels are f32: that is 0.06 µm here, and 8 times 50³ of it in the jitter.
    let mm = 1e-3;
    let mean_length = POSE.iter().map(|[x, y]| 1000.0 * x.hypot(*y)).sum::<f64>() / 17.0;

    let exact = action("Exact");
    assert_eq!(exact["frames"], 40);
    for key in ["mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm_per_frame", "bone_deviation_mm"] {
        near(exact, key, 0.0, mm);
    }
    near(exact, "pck150_percent", 100.0, 1e-9);
    // No error is below 0: 30 of the 31 thresholds.
    near(exact, "auc_percent", 100.0 * 30.0 / 31.0, 1e-9);

    // One joint of 17, 34 mm beside where it should be, at rest.
    let offset = action("Offset");
    near(offset, "mpjpe_mm", 2.0, mm);
    near(offset, "mpjve_mm_per_frame", 0.0, mm);
    near(offset, "auc_percent", 100.0 * (15.0 * 30.0 + 24.0) / (16.0 * 31.0), 1e-6);

    // Half the size: half of every distance from the pelvis; nothing once the scale is forgiven.
    let half = action("Half");
    near(half, "mpjpe_mm", mean_length / 2.0, mm);
    near(half, "n_mpjpe_mm", 0.0, mm);
    near(half, "p_mpjpe_mm", 0.0, mm);

    // 8.5 mm further in each of 20 frames: 0, 8.5, ... 161.5 mm, the last two beyond 150.
    let drift = action("Drift");
    near(drift, "mpjpe_mm", 8.5 * 9.5 / 17.0, mm);
    near(drift, "mpjve_mm_per_frame", 0.5, mm);
    near(drift, "mpjve_mm_per_s", 25.0, 50.0 * mm);
    near(drift, "accel_error_mm_per_frame2", 0.0, mm);
    near(drift, "pck150_percent", 100.0 * 318.0 / 320.0, 1e-9);

    // 17 mm to the left and to the right by turns: differences of 34, 68 and 136 mm.
    let swing = action("Swing");
    near(swing, "mpjpe_mm", 1.0, mm);
    near(swing, "mpjve_mm_per_frame", 2.0, mm);
    near(swing, "accel_error_mm_per_frame2", 4.0, mm);
    near(swing, "accel_error_m_per_s2", 10.0, 0.01);
    near(swing, "jitter_m_per_s3", 0.136 / 17.0 * 50f64.powi(3), 0.5);
    near(swing, "truth_jitter_m_per_s3", 0.0, 0.5);

    // Everything but the pelvis 160 mm too low.
    let far = action("Far");
    near(far, "mpjpe_mm", 160.0 * 16.0 / 17.0, mm);
    near(far, "pck150_percent", 0.0, 1e-9);
    near(far, "auc_percent", 0.0, 1e-9);

    // Turned by 30 degrees: each joint by the chord.
    let turned = action("Turned");
    near(turned, "mpjpe_mm", 2.0 * 15f64.to_radians().sin() * mean_length, mm);
    near(turned, "p_mpjpe_mm", 0.0, mm);

    // 8 sequences of 20 frames.
    let sum = 2.0
        + mean_length / 2.0
        + 4.75
        + 1.0
        + 160.0 * 16.0 / 17.0
        + 2.0 * 15f64.to_radians().sin() * mean_length;
    assert_eq!((run["sequences"].as_u64(), run["frames"].as_u64()), (Some(8), Some(160)));
    near(&run["overall"], "mpjpe_mm", sum / 8.0, mm);
    near(run, "mpjpe_mean_over_actions_mm", sum / 7.0, mm);
    // The knee: 34, its length / 2, 8.5 * 9.5, 17, 160, the chord of its length.
    let knee = 1000.0 * 0.15f64.hypot(0.44);
    let chord = 2.0 * 15f64.to_radians().sin() * knee;
    let joint = &run["joints"][5];
    assert_eq!(joint["name"], "left_knee");
    near(joint, "mean_mm", (34.0 + knee / 2.0 + 80.75 + 17.0 + 160.0 + chord) / 8.0, mm);
}

fn closed_form(more: &[&str]) -> (Value, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let (seen, models) = (data("data_2d_closed_form.npz"), data("models"));
    let mut args = vec!["eval", &seen, "--models", &models, "--lifter", "echo", "--no-smoothing"];
    args.extend_from_slice(more);
    args.extend_from_slice(&["--json", json.to_str().unwrap()]);
    let output = posewire(&args);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    (report, String::from_utf8_lossy(&output.stdout).into_owned(), dir)
}

#[test]
fn errors_that_are_known_in_closed_form_are_found_streamed_windowed_and_flipped() {
    let truth = data("data_3d_closed_form.npz");
    for mode in ["streamed", "windows"] {
        let (report, text, _dir) =
            closed_form(&[&truth, "--camera-frame", "1000x1000", "--mode", mode, "--flip", "both"]);
        let runs = report["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 2);
        for (run, flip) in runs.iter().zip([false, true]) {
            assert_eq!((&run["flip"], &run["mode"]), (&Value::Bool(flip), &Value::from(mode)));
            assert_eq!((&run["backend"], &run["precision"]), (&"tract".into(), &"f32".into()));
            check_closed_form(run);
        }
        assert!(text.contains("flip augmentation") && text.contains("150.59"), "{text}");
    }
}

#[test]
fn joints_in_the_world_are_seen_by_the_stated_camera_and_drawn() {
    let (truth, cameras) = (data("data_3d_world.npz"), data("cameras.toml"));
    let dir = tempfile::tempdir().unwrap();
    let plot = dir.path().join("errors.svg");
    let plot = plot.to_str().unwrap();
    let (report, _, _dir) = closed_form(&[&truth, "--cameras", &cameras, "--plot", plot]);
    check_closed_form(&report["runs"][0]);
    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    // A bar for each joint and action, and the background.
    assert_eq!(svg.matches("<rect").count(), 17 + 7 + 1);

    let (report, _, _dir) = closed_form(&[
        &truth,
        "--cameras",
        &cameras,
        "--subjects",
        "S11",
        "--actions",
        "Far,Swing",
    ]);
    assert_eq!(report["runs"][0]["sequences"], 2);
}

#[test]
fn what_cannot_be_evaluated_is_said_with_the_remedy() {
    let (seen, truth, models) =
        (data("data_2d_closed_form.npz"), data("data_3d_closed_form.npz"), data("models"));
    let echo = ["--models", &models, "--lifter", "echo"];
    let eval = |args: &[&str]| posewire(&[&["eval"], args].concat());
    assert_one_error(
        &eval(&[&[&*seen, &truth], &echo[..]].concat()),
        CONFIG,
        &["--cameras", "--camera-frame"],
    );
    let size = ["--camera-frame", "1000x1000"];
    assert_one_error(&eval(&[&[&*seen], &echo[..], &size].concat()), CONFIG, &["positions_3d"]);
    // The embedded lifter wants COCO keypoints.
    assert_one_error(
        &eval(&[&[&*seen, &truth], &size[..]].concat()),
        CONFIG,
        &["coco17", "h36m17"],
    );
    let nobody = ["--subjects", "S1"];
    assert_one_error(
        &eval(&[&[&*seen, &truth], &echo[..], &size, &nobody].concat()),
        CONFIG,
        &["--subjects"],
    );
    let half = ["--precision", "f16"];
    assert_one_error(
        &eval(&[&[&*seen, &truth], &echo[..], &size, &half].concat()),
        CONFIG,
        &["f16", "tract"],
    );
    let manifest = data("cameras.toml");
    assert_one_error(&eval(&[&manifest]), CONFIG, &["cameras.toml", ".npz"]);
}

#[test]
fn the_embedded_lifter_is_measured_on_held_out_motion() {
    let Some(mocap) = outside::data("mocap/mocap_50hz.npz.xz") else { return };
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let (mocap, json) = (mocap.to_str().unwrap(), json.to_str().unwrap());
    let output =
        posewire(&["eval", mocap, "--every", "40", "--frames", "100", "--gravity", "--json", json]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let overall = &report["runs"][0]["overall"];
    assert!(overall["frames"].as_u64().unwrap() > 500, "{overall}");
    let mpjpe = overall["mpjpe_mm"].as_f64().unwrap();
    assert!((20.0..150.0).contains(&mpjpe), "{mpjpe} mm on clean keypoints");
    assert!(overall["p_mpjpe_mm"].as_f64().unwrap() < mpjpe);
}

fn import(checkpoint: &str, models: &Path, python: &str) -> Command {
    let models = models.to_str().unwrap();
    command(&["models", "import", "--pstmo", checkpoint, "--models", models, "--python", python])
}

#[test]
fn an_import_without_python_or_without_torch_says_what_to_install() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = dir.path().join("in_the_wild.pth");
    std::fs::write(&checkpoint, b"?").unwrap();
    let checkpoint = checkpoint.to_str().unwrap();
    let models = dir.path().join("models");
    let output = import(checkpoint, &models, "no-such-python").output().unwrap();
    assert_one_error(&output, CONFIG, &["no-such-python", "torch", "--python"]);

    // A Python whose torch is not there.
    std::fs::write(dir.path().join("torch.py"), "raise ImportError('No module named torch')\n")
        .unwrap();
    let mut without = import(checkpoint, &models, "python3");
    let output = without.env("PYTHONPATH", dir.path()).output().unwrap();
    assert_one_error(&output, CONFIG, &["No module named", "pip install torch onnx numpy"]);
    // Nothing is left of either.
    assert_eq!(std::fs::read_dir(&models).unwrap().count(), 0);

    let output = posewire(&["models", "import", "--pstmo", checkpoint]);
    assert_one_error(&output, CONFIG, &["--models DIR"]);
    let output = import("gone.pth", &models, "python3").output().unwrap();
    assert_one_error(&output, CONFIG, &["gone.pth"]);
}

#[test]
fn an_imported_checkpoint_is_listed_and_lifts() {
    let needed = Command::new("python3").args(["-c", "import torch, onnx"]).output();
    if !needed.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: there is no python3 with torch and onnx");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = dir.path().join("tiny_in_the_wild.pth");
    let make = "import sys, torch; sys.path.insert(0, sys.argv[1]); import reference_pstmo as r; \
                torch.save(r.random_state(r.Variant(27, 16, 32, 32, 4, [3, 3, 3]), 2), sys.argv[2])";
    let lifter = format!("{ROOT}/models/train/lifter");
    let made = Command::new("python3")
        .args(["-B", "-c", make, &lifter])
        .arg(&checkpoint)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let models = dir.path().join("models");
    let output = import(checkpoint.to_str().unwrap(), &models, "python3").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(text.contains("27 frames") && text.contains("coco17 in"), "{text}");

    let models_dir = models.to_str().unwrap();
    let output = posewire(&["models", "--models", models_dir]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("tiny_in_the_wild  lifter") && text.contains("no commercial use"),
        "{text}"
    );

    // Beside detectors it is run like any other lifter.
    for name in
        ["test-finder.toml", "test-finder.onnx", "test-keypoints.toml", "test-keypoints.onnx"]
    {
        let from = format!("{ROOT}/tests/data/models/{name}");
        std::fs::copy(from, models.join(name)).unwrap();
    }
    let poses = dir.path().join("poses.jsonl");
    let target = format!("jsonl:{}", poses.display());
    let output = posewire(&[
        "run",
        "--source",
        "demo:1",
        "--models",
        models_dir,
        "--publish",
        &target,
        "--seconds",
        "1",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = std::fs::read_to_string(&poses).unwrap();
    assert!(
        text.contains("\"joints\":{"),
        "no pose in: {}",
        text.chars().take(400).collect::<String>()
    );
}
