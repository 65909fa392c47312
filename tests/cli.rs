//! The program as its user meets it: what it says, and with what code it ends, when it is given
//! something that cannot work.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use posewire::engine::spec::{hex, sha256};

use program::{CONFIG, ROOT, assert_one_error, posewire, said, test_models};

/// A directory with the embedded lifter's files and the stand-ins, to be spoilt.
struct Models(tempfile::TempDir);

impl Models {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (from, names) in [
            ("tests/data/models", &["test-finder.toml", "test-finder.onnx"][..]),
            ("tests/data/models", &["test-keypoints.toml", "test-keypoints.onnx"]),
            (
                "models",
                &[
                    "pstmo_s_27_live.toml",
                    "pstmo_s_27_live.onnx",
                    "pstmo_s_27_live.frame.onnx",
                    "pstmo_s_27_live.window.onnx",
                ],
            ),
        ] {
            for name in names {
                fs::copy(Path::new(ROOT).join(from).join(name), dir.path().join(name)).unwrap();
            }
        }
        let this = Self(dir);
        // The golden file is not needed here, and the manifest may not name what is not there.
        let manifest = this.read("pstmo_s_27_live.toml");
        let kept: Vec<_> = manifest.lines().filter(|l| !l.starts_with("golden")).collect();
        this.write("pstmo_s_27_live.toml", &kept.join("\n"));
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn replace(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{from:?} is not in {name}");
        self.write(name, &text.replace(from, to));
    }

    fn run(&self) -> Output {
        let dir = self.0.path().to_str().unwrap();
        posewire(&["run", "--source", "demo:1", "--models", dir, "--seconds", "0.5"])
    }
}

/// A file of that name with that content, in a directory that goes with it.
fn file(name: &str, content: impl AsRef<[u8]>) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

/// A Y4M clip of grey frames.
fn y4m(frames: usize) -> Vec<u8> {
    let mut clip = b"YUV4MPEG2 W64 H64 F30:1 Ip A1:1 Cmono\n".to_vec();
    for i in 0..frames {
        clip.extend_from_slice(b"FRAME\n");
        clip.extend(std::iter::repeat_n(i as u8, 64 * 64));
    }
    clip
}

fn run_source(source: &str) -> Output {
    posewire(&["run", "--source", source, "--models", &test_models()])
}

#[test]
fn a_clip_becomes_poses_and_the_program_ends_well() {
    let (_dir, clip) = file("clip.y4m", y4m(40));
    let out = tempfile::tempdir().unwrap();
    let poses = out.path().join("poses.jsonl");
    let target = format!("jsonl:{}", poses.display());
    let output =
        posewire(&["run", "--source", &clip, "--models", &test_models(), "--publish", &target]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = fs::read_to_string(&poses).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.iter().filter(|l| l["type"] == "pose").count(), 40);
    // Strangers are not published before they were seen twice.
    let with_joints = lines
        .iter()
        .filter(|l| l["persons"][0]["joints"].as_object().is_some_and(|joints| joints.len() == 17));
    assert!(with_joints.count() >= 38, "{}", said(&output));
}

#[test]
fn a_missing_configuration_file_is_named() {
    let output = posewire(&["run", "--config", "/nonexistent/posewire.toml"]);
    assert_one_error(&output, CONFIG, &["/nonexistent/posewire.toml", "No such file"]);
}

#[test]
fn an_unknown_key_in_the_configuration_is_named_with_its_file_and_what_there_is() {
    let (_dir, config) = file("a.toml", "[source]\nurl = \"demo:\"\n");
    let output = posewire(&["run", "--config", &config]);
    assert_one_error(&output, CONFIG, &["a.toml", "url", "uri"]);
}

#[test]
fn a_wrong_type_in_the_configuration_is_named_with_its_key() {
    let (_dir, config) = file("a.toml", "[source]\nuri = \"demo:\"\nrate = \"fast\"\n");
    let output = posewire(&["run", "--config", &config]);
    assert_one_error(&output, CONFIG, &["source.rate", "fast"]);
}

#[test]
fn the_example_configuration_is_accepted_by_the_program() {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/example.toml")).unwrap();
    posewire::config::Config::from_toml(&text).unwrap().check().unwrap();
}

#[test]
fn without_a_source_the_error_says_how_to_give_one() {
    assert_one_error(&posewire(&["run"]), CONFIG, &["--source"]);
}

#[test]
fn a_model_directory_that_is_not_there_is_named() {
    let output = posewire(&["run", "--source", "demo:", "--models", "/nonexistent/models"]);
    assert_one_error(&output, CONFIG, &["/nonexistent/models"]);
}

#[test]
fn a_manifest_without_its_model_is_refused() {
    let models = Models::new();
    fs::remove_file(models.path("test-finder.onnx")).unwrap();
    assert_one_error(&models.run(), CONFIG, &["test-finder.onnx"]);
}

#[test]
fn a_model_that_is_not_the_one_of_its_manifest_is_refused() {
    let models = Models::new();
    let mut bytes = fs::read(models.path("test-keypoints.onnx")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(models.path("test-keypoints.onnx"), bytes).unwrap();
    assert_one_error(&models.run(), CONFIG, &["test-keypoints", "SHA-256"]);
}

#[test]
fn a_truncated_model_is_refused_even_if_its_manifest_was_made_for_it() {
    let models = Models::new();
    let whole = fs::read(models.path("pstmo_s_27_live.onnx")).unwrap();
    let half = &whole[..whole.len() / 2];
    fs::write(models.path("pstmo_s_27_live.onnx"), half).unwrap();
    models.replace("pstmo_s_27_live.toml", &hex(&sha256(&whole)), &hex(&sha256(half)));
    assert_one_error(&models.run(), CONFIG, &["pstmo_s_27_live", "truncated"]);
}

#[test]
fn a_model_of_another_shape_than_its_manifest_says_is_refused() {
    let models = Models::new();
    models.replace("pstmo_s_27_live.toml", "window = [27, 17, 3]", "window = [28, 17, 3]");
    assert_one_error(&models.run(), CONFIG, &["pstmo_s_27_live", "27", "28"]);
}

#[test]
fn a_lifter_that_wants_another_skeleton_than_the_detector_gives_is_refused() {
    let models = Models::new();
    models.replace("pstmo_s_27_live.toml", "skeleton = \"coco17\"", "skeleton = \"h36m17\"");
    assert_one_error(&models.run(), CONFIG, &["coco17", "h36m17"]);
}

#[test]
fn an_unknown_key_in_a_manifest_is_named() {
    let models = Models::new();
    models.replace("test-finder.toml", "nms_iou", "nms_threshold");
    assert_one_error(&models.run(), CONFIG, &["test-finder.toml", "nms_threshold"]);
}

#[test]
fn without_models_the_embedded_detector_runs() {
    let output = posewire(&["run", "--source", "demo:", "--seconds", "1"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for word in ["posewire-finder", "posewire-keypoints", "pstmo_s_27_live"] {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

#[test]
fn a_source_that_is_not_there_is_named() {
    assert_one_error(&run_source("/nonexistent/clip.mp4"), CONFIG, &["/nonexistent/clip.mp4"]);
}

#[test]
fn an_empty_clip_and_one_without_frames_are_refused() {
    for (name, content) in [("empty.y4m", Vec::new()), ("headers.y4m", y4m(0))] {
        let (_dir, clip) = file(name, content);
        assert_one_error(&run_source(&clip), CONFIG, &[name]);
    }
    let empty = tempfile::tempdir().unwrap();
    assert_one_error(&run_source(empty.path().to_str().unwrap()), CONFIG, &[".jpg", "directory"]);
}

#[test]
fn a_corrupt_picture_among_good_ones_costs_one_frame_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let good = fs::read_dir(Path::new(ROOT).join("tests/data/jpeg"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "jpg"))
        .find(|p| p.to_string_lossy().contains("420"))
        .expect("a good picture is among the test data");
    let bytes = fs::read(good).unwrap();
    for i in 0..5 {
        // Cut in the middle of the coded pixels.
        let content = if i == 2 { &bytes[..bytes.len() * 3 / 4] } else { &bytes[..] };
        fs::write(dir.path().join(format!("{i}.jpg")), content).unwrap();
    }
    let output = run_source(dir.path().to_str().unwrap());
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("4 out"), "{text}");
    assert!(text.contains("1 bad"), "{text}");
    assert!(text.contains("0 missed"), "a frame is not lost twice: {text}");
    assert!(text.lines().any(|l| l.starts_with("warning: ") && l.contains("frame 2")), "{text}");
}

#[test]
fn a_target_without_a_port_of_an_unknown_kind_or_of_an_unknown_host_is_refused() {
    for (target, word) in [
        ("udp://127.0.0.1", "port"),
        ("carrier-pigeon://roof", "udp://"),
        ("udp://no-such-host.invalid:7777", "no-such-host.invalid"),
    ] {
        let output = posewire(&[
            "run",
            "--source",
            "demo:",
            "--models",
            &test_models(),
            "--publish",
            target,
        ]);
        assert_one_error(&output, CONFIG, &[target, word]);
    }
}

#[test]
fn a_target_that_nobody_listens_on_does_not_stop_the_run() {
    // A port that was free a moment ago.
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (_dir, clip) = file("clip.y4m", y4m(20));
    let target = format!("udp://127.0.0.1:{port}");
    let output =
        posewire(&["run", "--source", &clip, "--models", &test_models(), "--publish", &target]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("20 out"), "{}", said(&output));
}

#[test]
fn listening_on_a_port_that_is_in_use_is_refused_with_the_port() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("udp://{}", taken.local_addr().unwrap());
    let output = posewire(&["listen", &uri, "--seconds", "1"]);
    let port = taken.local_addr().unwrap().port().to_string();
    assert_one_error(&output, CONFIG, &[&port, "taken"]);
}

#[test]
fn a_backend_that_is_asked_for_by_name_and_is_not_there_is_refused() {
    for (name, word) in [("tensorrt", "tract"), ("abacus", "tract")] {
        let output = posewire(&["demo", "--backend", name, "--seconds", "1"]);
        assert_one_error(&output, CONFIG, &[name, word]);
    }
}

#[test]
fn the_demo_publishes_poses_and_prints_its_true_error() {
    let target = "jsonl:/dev/null";
    let output = posewire(&["demo", "--fast", "--stand-in", "--seconds", "3", "--publish", target]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let mpjpe: f64 = printed
        .split("MPJPE mean ")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no error in {printed}"));
    // A figure that is not lifted at all errs by its own size, some 500 mm; a perfect lifter by 0.
    assert!((5.0..200.0).contains(&mpjpe), "{printed}");
}

#[test]
fn a_target_where_nobody_listens_is_told_once_and_summed_up_calmly() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = format!("udp://{}", socket.local_addr().unwrap());
    drop(socket);
    let output = posewire(&["demo", "--stand-in", "--seconds", "7", "--publish", &target]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!text.contains("error:"), "{text}");
    let loud = |l: &&str| l.starts_with("warning: ") && l.contains(&target);
    assert_eq!(text.lines().find(loud), None, "{text}");
    let publisher = format!("info: publisher {target}: ");
    let about: Vec<_> = text.lines().filter_map(|l| l.strip_prefix(&publisher)).collect();
    let [once, end] = &about[..] else { panic!("{text}") };
    assert!(once.contains("nobody listens there yet"), "{text}");
    assert!(end.contains("met nobody who listened"), "{text}");
}

#[test]
fn an_interrupt_drains_and_ends_well() {
    let child = Command::new(env!("CARGO_BIN_EXE_posewire"))
        .args(["demo", "--stand-in", "--seconds", "0", "--publish", "jsonl:/dev/null"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    // Twice, as `timeout` does it: to the process and to its group.
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-INT", &pid, &pid]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("frames in"), "the summary is printed: {}", said(&output));
}

/// The numbers of the cameras whose poses a JSON-lines file has.
fn cameras_in(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    lines.filter(|l| l["type"] == "pose").map(|l| l["camera"].as_u64().unwrap()).collect()
}

#[test]
fn several_cameras_have_their_own_targets_and_those_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    fs::write(at("a.y4m"), y4m(30)).unwrap();
    fs::write(at("b.y4m"), y4m(20)).unwrap();
    let config = format!(
        "[[cameras]]\nname = 'door'\nsource = {{ uri = '{}' }}\n\
         publish = [{{ uri = 'jsonl:{}' }}]\n\
         [[cameras]]\nsource = {{ uri = '{}' }}\ncamera = {{ fov_degrees = 90 }}\n\
         [models]\ndir = '{}'\n[[publish]]\nuri = 'jsonl:{}'\n",
        at("a.y4m"),
        at("door"),
        at("b.y4m"),
        test_models(),
        at("all"),
    );
    fs::write(at("config.toml"), config).unwrap();
    let output = posewire(&["run", "--config", &at("config.toml")]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("door: "), "{}", said(&output));
    assert_eq!(cameras_in(&dir.path().join("door")), [0; 30]);
    let all = cameras_in(&dir.path().join("all"));
    assert_eq!(all.iter().filter(|camera| **camera == 0).count(), 30);
    assert_eq!(all.iter().filter(|camera| **camera == 1).count(), 20);

    // The same by options only.
    let target = format!("jsonl:{}", at("options"));
    let output = posewire(&[
        "run",
        "--source",
        &at("a.y4m"),
        "--source",
        &at("b.y4m"),
        "--models",
        &test_models(),
        "--publish",
        &target,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(cameras_in(&dir.path().join("options")).len(), 50);
}

#[test]
fn devices_lists_what_there_is_also_where_there_is_nothing() {
    let output = posewire(&["devices", "--format", "json", "--all"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let devices: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for device in devices.as_array().expect("an array") {
        assert!(!device["uris"].as_array().unwrap().is_empty(), "{device}");
    }
    let text = posewire(&["devices"]);
    assert_eq!(text.status.code(), Some(0));
    assert!(!text.stdout.is_empty());
}

#[test]
fn a_self_test_without_a_gpu_says_that_nothing_was_tested() {
    if Path::new("/dev/nvidia0").exists() {
        eprintln!("skipped: there is a GPU");
        return;
    }
    let output = posewire(&["check", "--self-test"]);
    let words = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(78), "{words}");
    let line = words.lines().find(|l| l.contains("self-test")).expect("a finding of its own");
    assert!(line.starts_with("ERROR") && line.contains("not run"), "{words}");
    assert!(!words.contains("clock"), "nothing else of the machine is looked at: {words}");
}
