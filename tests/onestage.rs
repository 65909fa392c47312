//! One-stage models and MoveNet: imported, listed, and run on pictures with somebody at a known spot.
//!
//! The networks are `tests/data/onestage/*.onnx` (`make.py` there writes them): they have the
//! interfaces of the public ones and see a person where the picture is red.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::{Path, PathBuf};

use program::{CONFIG, ROOT, assert_one_error, posewire, succeeds, test_models};

const JOINTS: [&str; 3] = ["nose", "right_shoulder", "right_ankle"];
/// Their numbers.
const NUMBERS: [f64; 3] = [0.0, 6.0, 16.0];

/// A directory with copies of some networks.
fn copies(names: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        let file = format!("{name}.onnx");
        let from = Path::new(ROOT).join("tests/data/onestage").join(&file);
        fs::copy(from, dir.path().join(file)).unwrap();
    }
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Imports `name`.onnx of the directory.
fn import(dir: &Path, name: &str, family: &str, more: &[&str]) -> String {
    let file = dir.join(format!("{name}.onnx"));
    let args = ["models", "import", text(&file), "--as", family];
    succeeds(&[&args[..], more].concat()).0
}

/// Six frames of 640 by 480, grey, red in one rectangle if there is one: left, top, width, height.
fn film(dir: &Path, red: Option<[usize; 4]>) -> PathBuf {
    let mut bytes = b"YUV4MPEG2 W640 H480 F25:1 Ip A1:1 C444\n".to_vec();
    for _ in 0..6 {
        bytes.extend(b"FRAME\n");
        for (plain, bright) in [(60u8, 82u8), (128, 90), (128, 240)] {
            let mut plane = vec![plain; 640 * 480];
            if let Some([x, y, w, h]) = red {
                for row in plane.chunks_exact_mut(640).skip(y).take(h) {
                    row[x..x + w].fill(bright);
                }
            }
            bytes.extend(plane);
        }
    }
    let path = dir.join("film.y4m");
    fs::write(&path, bytes).unwrap();
    path
}

/// Runs the program over `film`; what the last frame's packet says, and the log.
fn run(film: &Path, models: &Path, more: &[&str]) -> (serde_json::Value, String) {
    let poses = film.with_extension("jsonl");
    let _ = fs::remove_file(&poses);
    let target = format!("jsonl:{}", poses.display());
    let args = ["run", "--source", text(film), "--models", text(models), "--publish", &target];
    let (_, log) = succeeds(&[&args[..], more].concat());
    let lines = fs::read_to_string(poses).unwrap();
    let mut said = lines.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let last = said.rfind(|v| v["type"] == "pose").unwrap_or_else(|| panic!("{lines}"));
    (last, log)
}

/// One person, keypoint k at `(x + step * (k - 8), y + step * (5 k - 40))`.
#[track_caller]
fn stands_at(pose: &serde_json::Value, (x, y): (f64, f64), step: f64, confidence: f64) {
    let persons = pose["persons"].as_array().unwrap();
    assert_eq!(persons.len(), 1, "{pose}");
    for (name, k) in JOINTS.into_iter().zip(NUMBERS) {
        let point = &persons[0]["keypoints"][name];
        let wanted = [x + step * (k - 8.0), y + step * (5.0 * k - 40.0), confidence];
        for (n, want) in wanted.into_iter().enumerate() {
            let have = point[n].as_f64().unwrap_or_else(|| panic!("{name}: {pose}"));
            assert!((have - want).abs() < 0.6, "{name}: {point} is not {wanted:?}");
        }
    }
}

#[test]
fn one_stage_models_are_imported_known_and_find_who_is_there() {
    for (name, family, step, size) in [
        ("yolo_pose", "yolo-pose", 2.0, &[][..]),
        ("yolo_pose_rows", "yolo-pose", 2.0, &[]),
        ("rtmo", "rtmo", 2.0, &[]),
        ("rtmo", "yolox-pose", 2.0, &[]),
        ("movenet_multi", "movenet", 1.25, &["--size", "256x192"]),
    ] {
        let dir = copies(&[name]);
        let dir = dir.path();
        let told = import(dir, name, family, size);
        assert!(told.contains("one-stage") && told.contains(&format!("{name}.toml")), "{told}");
        assert_eq!(told.contains("AGPL"), family == "yolo-pose", "{told}");
        let models = ["--models", text(dir)];
        let (listed, _) = succeeds(&[&["models", "list"], &models[..]].concat());
        assert!(listed.contains(&format!("{name}  one-stage  ")), "{listed}");
        let (known, _) = succeeds(&[&["models", "info", name], &models[..]].concat());
        assert!(known.contains("kind           one-stage"), "{known}");
        assert!(known.contains("commercial use no"), "{known}");
        let (verified, _) = succeeds(&[&["models", "verify", name], &models[..]].concat());
        assert!(verified.contains("ok"), "{verified}");

        let (pose, log) = run(&film(dir, Some([300, 200, 40, 60])), dir, &[]);
        assert!(log.contains(&format!("one-stage {name} (")), "{log}");
        let confidence = if family == "movenet" { 0.875 } else { 0.75 };
        stands_at(&pose, (320.0, 230.0), step, confidence);
        let score = pose["persons"][0]["score"].as_f64().unwrap();
        assert!((score - 0.875).abs() < 0.01, "{pose}");
        let (pose, _) = run(&film(dir, None), dir, &[]);
        assert_eq!(pose["persons"].as_array().unwrap().len(), 0, "{name}");
    }
}

#[test]
fn movenet_for_one_person_reads_the_crops_of_a_finder() {
    let dir = copies(&["movenet_single"]);
    let dir = dir.path();
    let told = import(dir, "movenet_single", "movenet", &["--licence", "Apache-2.0"]);
    assert!(told.contains("keypoints model") && told.contains("movenet_single.posewire"), "{told}");
    for ending in ["toml", "onnx"] {
        let file = format!("test-finder.{ending}");
        fs::copy(Path::new(&test_models()).join(&file), dir.join(&file)).unwrap();
    }
    let (pose, log) = run(&film(dir, Some([300, 200, 40, 60])), dir, &[]);
    assert!(log.contains("finder test-finder") && log.contains("movenet_single"), "{log}");
    let persons = pose["persons"].as_array().unwrap();
    assert_eq!(persons.len(), 1, "{pose}");
    // All on a steep line, with the eighth in the red spot's middle, whatever the crop.
    let point = |name: &str| {
        let p = &persons[0]["keypoints"][name];
        (p[0].as_f64().unwrap(), p[1].as_f64().unwrap())
    };
    let (x, y) = point("right_elbow");
    assert!((x - 319.5).abs() < 1.0 && (y - 229.5).abs() < 1.0, "{pose}");
    let ((a, b), (c, d)) = (point("nose"), point("right_ankle"));
    assert!(((c - a) * 8.4 - (d - b)).abs() < 2.0 && c > a + 20.0, "{pose}");
}

#[test]
fn what_does_not_fit_is_refused_with_what_to_do() {
    let dir = copies(&["yolo_pose", "rtmo", "rtmo_suppressed", "movenet_multi", "movenet_single"]);
    let dir = dir.path();
    let refused = |name: &str, more: &[&str], words: &[&str]| {
        let file = dir.join(format!("{name}.onnx"));
        let args = ["models", "import", text(&file)];
        assert_one_error(&posewire(&[&args[..], more].concat()), CONFIG, words);
        assert!(!dir.join(format!("{name}.toml")).exists());
        assert!(!dir.join(format!("{name}.posewire.onnx")).exists());
    };
    refused("yolo_pose", &["--as", "rtmo"], &["[1, N, 17, 3]", "[1, 56, 3]", "--as"]);
    refused("rtmo", &["--as", "yolo-pose"], &["[1, 56, N]", "\"dets\" [1, 3, 5]"]);
    refused("rtmo_suppressed", &["--as", "rtmo"], &["fixed size", "without its suppression"]);
    refused("movenet_multi", &["--as", "movenet"], &["--size"]);
    refused("movenet_single", &["--as", "heatmap"], &["heatmaps"]);
    refused("movenet_single", &["--as", "movenet", "--size", "256x256"], &["192 x 192"]);
}

#[test]
fn a_configuration_chooses_between_one_network_and_two() {
    let dir = copies(&["yolo_pose"]);
    let dir = dir.path();
    import(dir, "yolo_pose", "yolo-pose", &[]);
    for name in ["test-finder", "test-keypoints"] {
        for ending in ["toml", "onnx"] {
            let file = format!("{name}.{ending}");
            fs::copy(Path::new(&test_models()).join(&file), dir.join(&file)).unwrap();
        }
    }
    let film = film(dir, Some([300, 200, 40, 60]));
    let config = dir.join("posewire.conf");
    let with = |models: &str| {
        fs::write(&config, format!("[models]\n{models}\n")).unwrap();
        ["--config", text(&config)]
    };
    // Both are there: the two that were always taken, unless the one is named.
    let (_, log) = run(&film, dir, &[]);
    assert!(log.contains("finder test-finder"), "{log}");
    let (pose, log) = run(&film, dir, &with("one_stage = \"yolo_pose\""));
    assert!(log.contains("one-stage yolo_pose (320x320)"), "{log}");
    stands_at(&pose, (320.0, 230.0), 2.0, 0.75);

    let fails = |models: &str, words: &[&str]| {
        let more = with(models);
        let args = ["run", "--source", text(&film), "--models", text(dir)];
        assert_one_error(&posewire(&[&args[..], &more].concat()), CONFIG, words);
    };
    fails("one_stage = \"yolo\"", &["one-stage", "yolo_pose"]);
    fails("one_stage = \"test-finder\"", &["it is a finder model"]);
    fails("keypoints = \"yolo_pose\"", &["it is a one-stage model"]);
    fails("one_stage = \"yolo_pose\"\nfinder = \"test-finder\"", &["either it or them"]);
    fails("one_stage = \"yolo_pose\"\n[detector]\nflip = true", &["flip = false"]);
}

#[test]
fn a_manifest_that_contradicts_itself_or_its_network_names_the_key() {
    let dir = copies(&["yolo_pose"]);
    let dir = dir.path();
    import(dir, "yolo_pose", "yolo-pose", &[]);
    let manifest = dir.join("yolo_pose.toml");
    let good = fs::read_to_string(&manifest).unwrap();
    for (right, wrong, words) in [
        ("count = 3", "count = 4", &["output0", "[1, 56, 4]"][..]),
        ("count = 3", "count = 0", &["decoder.count"]),
        ("letterbox = \"centre\"\n", "", &["input.letterbox"]),
        ("skeleton = \"coco17\"\n", "", &["skeleton"]),
        ("type = \"yolo-pose\"", "type = \"heatmap\"", &["decoder.type", "multi-pose"]),
        ("nms_iou = 0.7", "nms_iou = 1.7", &["decoder.nms_iou"]),
        ("nms_iou = 0.7", "nms_iou = 0.7\nstride = 8", &["decoder.stride"]),
        ("skeleton =", "crop_scale = 1.25\nskeleton =", &["crop_scale"]),
        ("\"output0\"", "\"output1\"", &["output1"]),
    ] {
        let text_of = good.replacen(right, wrong, 1);
        assert_ne!(text_of, good, "{right}");
        fs::write(&manifest, text_of).unwrap();
        let args = ["models", "verify", "yolo_pose", "--models", text(dir)];
        assert_one_error(&posewire(&args), CONFIG, words);
    }
}
