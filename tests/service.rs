//! The program as a service: what it tells systemd, what it answers, how it takes a new
//! configuration. systemd is stood in for by a socket; `tests/systemd/` has the real one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use posewire::config::Config;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const POSEWIRE: &str = env!("CARGO_BIN_EXE_posewire");
const PATIENCE: Duration = Duration::from_secs(120);

struct Service {
    folder: tempfile::TempDir,
    child: Child,
    notify: UnixDatagram,
    heard: Vec<String>,
}

impl Service {
    fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let notify = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        fs::write(folder.path().join("config.toml"), config).unwrap();
        let child = Command::new(POSEWIRE)
            .args(["run", "--config"])
            .arg(folder.path().join("config.toml"))
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .env("WATCHDOG_USEC", "60000000")
            .env_remove("WATCHDOG_PID")
            .env("RUNTIME_DIRECTORY", folder.path())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { folder, child, notify, heard: Vec::new() }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    /// Waits for a word to systemd that begins so.
    fn says(&mut self, begin: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.heard.iter().position(|w| w.starts_with(begin)) {
                return self.heard.remove(at);
            }
            let mut bytes = [0; 4096];
            match self.notify.recv(&mut bytes) {
                Ok(len) => self.heard.push(String::from_utf8_lossy(&bytes[..len]).into_owned()),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => panic!("{e}"),
            }
            assert!(
                Instant::now() < until,
                "{begin} was never said: {:?} {}",
                self.heard,
                self.log()
            );
        }
    }

    fn status(&self) -> serde_json::Value {
        let socket = self.folder.path().join("status.sock");
        let out = posewire(&["status", "--json", "--socket", socket.to_str().unwrap()]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    fn until(&self, what: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if what(&status) {
                return status;
            }
            assert!(Instant::now() < until, "it never happened: {status} {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn posewire(arguments: &[&str]) -> Output {
    Command::new(POSEWIRE).args(arguments).output().unwrap()
}

/// The drawn figure and the small stand-in models of `tests/data/models`.
const CONFIG: &str = concat!(
    "[source]\nuri = \"demo:\"\nrate = 5\nrealtime = true\n[smooth]\nbeta = 3.0\n[models]\ndir = \"",
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/models\"\n"
);

#[test]
fn a_service_says_that_it_is_ready_alive_reloading_and_stopping() {
    let mut service = Service::start(CONFIG);
    service.says("READY=1");
    service.says("WATCHDOG=1");
    let line = service.says("STATUS=running");
    assert!(line.contains("fps in"), "{line}");
    let status = service.until(|s| s["frames_out"].as_u64() > Some(3));
    assert_eq!(
        (status["state"].as_str(), status["cameras"][0]["state"].as_str()),
        (Some("running"), Some("open"))
    );

    fs::write(service.config(), CONFIG.replace("3.0", "9.0").replace("rate = 5", "rate = 6"))
        .unwrap();
    service.signal("HUP");
    service.says("RELOADING=1\nMONOTONIC_USEC=");
    service.says("READY=1");
    let reload = service.status()["reload"].as_str().unwrap().to_owned();
    assert!(reload.contains("[smooth] taken over"), "{reload}");
    assert!(reload.contains("[source] needs a new start"), "{reload}");

    fs::write(service.config(), CONFIG.replace("beta", "bate")).unwrap();
    service.signal("HUP");
    service.says("RELOADING=1");
    service.says("READY=1");
    let after = service.status();
    assert!(after["reload"].as_str().unwrap().contains("bate"), "{after}");
    let before = after["frames_out"].as_u64();
    service.until(|s| s["frames_out"].as_u64() > before);

    service.signal("TERM");
    service.says("STOPPING=1");
    assert!(service.child.wait().unwrap().success(), "{}", service.log());
    assert!(!service.folder.path().join("status.sock").exists());
}

#[test]
fn a_missing_camera_is_a_fault_with_a_name_and_the_service_is_ready_all_the_same() {
    let mut service = Service::start("[source]\nuri = \"v4l2:/dev/video-none\"\n");
    service.says("READY=1");
    service.says("STATUS=degraded");
    service.says("WATCHDOG=1");
    let status = service.until(|s| s["faults"][0]["count"].as_u64() > Some(1));
    assert_eq!(status["faults"][0]["name"].as_str(), Some("source-gone"), "{status}");
    assert!(status["faults"][0]["remedy"].as_str().unwrap().contains("plug"), "{status}");
    assert_eq!(status["cameras"][0]["state"].as_str(), Some("away"));
}

#[test]
fn whoever_asks_where_nothing_runs_is_told_so() {
    let out = posewire(&["status", "--socket", "/nowhere/status.sock"]);
    assert_eq!(out.status.code(), Some(70));
    assert!(String::from_utf8_lossy(&out.stderr).contains("/nowhere/status.sock"));
}

#[test]
fn a_check_finds_what_is_wrong_with_a_configuration_and_says_what_helps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    fs::write(&path, "[source]\nuri='demo:'\n[smooth]\nbeta=-1").unwrap();
    let out = posewire(&["check", "--json", "--config", path.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(78));
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let config = findings.iter().find(|f| f["subject"] == "config").unwrap();
    assert_eq!(config["level"], "error");
    assert!(config["found"].as_str().unwrap().contains("beta"), "{config}");
    for finding in findings {
        let bad = finding["level"] == "error" || finding["level"] == "warning";
        assert!(!bad || finding["remedy"].is_string(), "without a remedy: {finding}");
    }
}

#[test]
fn the_configuration_that_a_package_installs_can_be_run() {
    let plan =
        Config::from_file(&Path::new(ROOT).join("systemd/default.toml")).unwrap().check().unwrap();
    assert_eq!(plan.cameras[0].source, "v4l2:/dev/video0");
    assert_eq!(plan.publish, ["udp://127.0.0.1:7777"]);
    assert!(plan.degrade.enabled);
}

#[test]
fn completions_and_manual_pages_are_made_of_the_command_line() {
    for shell in ["bash", "zsh", "fish"] {
        let out = posewire(&["completions", shell]);
        assert!(
            out.status.success() && String::from_utf8_lossy(&out.stdout).contains("status-socket"),
            "{shell}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(posewire(&["man", folder.path().to_str().unwrap()]).status.success());
    let page = fs::read_to_string(folder.path().join("posewire-run.1")).unwrap();
    assert!(page.contains(".SH OPTIONS") && page.contains("status\\-socket"), "{page}");
}
