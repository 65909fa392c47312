//! Packets through Zenoh: the program publishes in a process of its own, this one is router and
//! reader. `cargo test --features zenoh --test zenoh`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use posewire::wire::{Message, State, decode};
use zenoh::{Config, Session, Wait};

fn open(mode: &str, kind: &str, endpoint: &str) -> Session {
    let mut config = Config::default();
    config.insert_json5("mode", &format!("{mode:?}")).unwrap();
    config.insert_json5("scouting/multicast/enabled", "false").unwrap();
    for list in ["connect/endpoints", "listen/endpoints"] {
        let mine = list.starts_with(kind);
        let value = if mine { format!("[{endpoint:?}]") } else { "[]".into() };
        config.insert_json5(list, &value).unwrap();
    }
    zenoh::open(config).wait().unwrap()
}

#[test]
fn poses_and_statuses_come_through_a_router_to_another_process() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("tcp/127.0.0.1:{port}");
    // Before there is a router: the publisher finds it when it comes.
    let mut program = Command::new(env!("CARGO_BIN_EXE_posewire"))
        .args(["demo", "--stand-in", "--seconds", "8", "--publish"])
        .arg(format!("zenoh:{endpoint}?host=bench"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _router = open("router", "listen", &endpoint);
    let reader = open("client", "connect", &endpoint);
    let heard = reader.declare_subscriber("posewire/bench/*/*").wait().unwrap();
    let (mut poses, mut states) = (0, Vec::new());
    let limit = Instant::now() + Duration::from_secs(60);
    while Instant::now() < limit && states.last() != Some(&State::Stopping) {
        let Ok(Some(sample)) = heard.recv_timeout(Duration::from_millis(200)) else { continue };
        let message = decode(&sample.payload().to_bytes()).unwrap().message;
        match (sample.key_expr().as_str(), message) {
            ("posewire/bench/0/pose", Message::Pose(pose)) => {
                poses += usize::from(pose.persons.iter().any(|p| p.joints.is_some()));
            }
            ("posewire/bench/0/status", Message::Status(status)) => states.push(status.state),
            (key, message) => panic!("{key}: {message:?}"),
        }
    }
    assert!(program.wait().unwrap().success());
    assert!(poses > 20, "{poses} poses");
    assert!(states.contains(&State::Running), "{states:?}");
    assert_eq!(states.last(), Some(&State::Stopping));
}
