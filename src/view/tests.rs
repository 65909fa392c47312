//! The page over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::*;
use crate::pose::Computed;
use crate::time::MonotonicClock;
use crate::wire::{PoseOptions, State, StatusMessage, samples};

struct Running {
    address: SocketAddr,
    feed: Feed,
    board: Arc<Board>,
    server: Option<JoinHandle<()>>,
}

impl Running {
    fn new() -> Self {
        Self::with(None)
    }

    fn with(token_file: Option<&Path>) -> Self {
        let about = About {
            cameras: vec![AboutCamera {
                name: String::new(),
                source: "demo:".into(),
                gravity: None,
                lens: AboutLens { calibrated_at: None, fov_degrees: 65.0, focal_deviation: 0.15 },
                pitch_degrees: None,
            }],
            models: vec![("lifter".into(), "some".into())],
            options: PoseOptions::default(),
            clock: Arc::new(MonotonicClock),
        };
        let View { feed, previewer, server } =
            View::open(([127, 0, 0, 1], 0).into(), token_file, about, Arc::new(Stats::default()))
                .unwrap();
        let (address, board) = (server.address(), previewer.board().clone());
        let server = Some(std::thread::spawn(move || server.run()));
        Self { address, feed, board, server }
    }

    fn ask(&self, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    /// Status line and headers, and body, of a whole answer.
    fn get(&self, head: &str) -> (String, String) {
        let mut text = String::new();
        self.ask(head).read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn follow(&self) -> TcpStream {
        let stream = self.ask("GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let before = Instant::now();
        while self.board.watchers() == 0 {
            assert!(before.elapsed() < Duration::from_secs(10), "nobody follows");
            std::thread::sleep(Duration::from_millis(5));
        }
        stream
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.feed.finish();
        if let Some(server) = self.server.take() {
            server.join().unwrap();
        }
    }
}

/// Reads until `wanted` has come; gives everything so far.
fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(wanted) {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "{wanted} never came: {text}");
        text += &String::from_utf8_lossy(&buffer[..n]);
    }
    text
}

#[test]
fn the_page_and_what_programs_ask_for_are_served() {
    let mut running = Running::new();
    let get = |path: &str| running.get(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    for (path, kind, word) in [
        ("/", "text/html", "<title>posewire</title>"),
        ("/app.js", "text/javascript", "EventSource"),
        ("/style.css", "text/css", "light-dark"),
        ("/icon.svg", "image/svg+xml", "<svg"),
        ("/api/status", "application/json", "\"starting\""),
        ("/healthz", "application/json", "\"starting\""),
        ("/metrics", "text/plain", "posewire_frames_in_total 0"),
    ] {
        let (head, body) = get(path);
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{path}: {head}");
        assert!(head.contains(&format!("Content-Type: {kind}")), "{path}: {head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{path}: {head}");
        assert!(head.contains("Content-Security-Policy: default-src 'none'"), "{path}");
        assert!(body.contains(word), "{path}: {body}");
    }
    assert!(get("/etc/passwd").0.starts_with("HTTP/1.1 404"));
    assert!(get("/../Cargo.toml").0.starts_with("HTTP/1.1 404"));
    let (head, body) = running.get("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{head} {body}");
    let (head, _) = running.get("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 405") && head.contains("Allow: GET, HEAD"), "{head}");
    let (head, _) = running.get("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 421"), "{head}");
    let failed = StatusMessage { state: State::Failed, ..StatusMessage::default() };
    running.feed.status(&failed);
    let (head, body) = running.get("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 503") && body.contains("failed"), "{head} {body}");
}

#[test]
fn what_computes_is_told_as_it_changes() {
    let mut running = Running::new();
    let mut frame = samples::frame(1);
    for (backend, precision) in [("tract", "f32"), ("tensorrt", "f16"), ("tract", "f32")] {
        frame.computed = Some(Computed { backend, precision });
        running.feed.publish(&frame);
        running.feed.status(&StatusMessage::default());
        let get = |path| running.get(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).1;
        let status: serde_json::Value = serde_json::from_str(&get("/api/status")).unwrap();
        assert_eq!(status["about"]["backend"], backend);
        assert_eq!(status["about"]["precision"], precision);
        let info = format!("backend=\"{backend}\",precision=\"{precision}\"");
        assert!(get("/metrics").contains(&info), "{}", get("/metrics"));
    }
}

#[test]
fn a_viewer_gets_poses_as_the_wire_says_them_and_hears_of_the_end() {
    let mut running = Running::new();
    let mut stream = running.follow();
    let head = read_until(&mut stream, "event: status\n");
    assert!(head.contains("text/event-stream") && head.contains("nosniff"), "{head}");
    let frame = samples::frame(3);
    running.feed.publish(&frame);
    let text = read_until(&mut stream, "event: pose\n") + &read_until(&mut stream, "\n\n");
    let data = text.lines().rev().find_map(|l| l.strip_prefix("data: ")).unwrap();
    let value: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(value["sequence"], frame.sequence);
    assert_eq!(value["persons"].as_array().unwrap().len(), 3);
    assert!(value["persons"][0]["joints"]["left_knee"][2].is_f64());
    running.feed.finish();
    read_until(&mut stream, "\"stopping\"");
    // Then the server ends, and with it the connection.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

#[test]
fn without_a_viewer_no_pose_is_made_into_text() {
    let mut running = Running::new();
    running.feed.publish(&samples::frame(1));
    let mut stream = running.follow();
    running.feed.status(&StatusMessage::default());
    let text = read_until(&mut stream, "event: status\n");
    assert!(!text.contains("event: pose"), "{text}");
}

#[test]
fn a_viewer_that_does_not_read_costs_one_of_each_event_and_skips_to_the_newest() {
    let mut running = Running::new();
    let mut slow = running.follow();
    let mut frame = samples::frame(16);
    // Far more than the system's buffers on both sides hold.
    for sequence in 0..3_000 {
        frame.sequence = sequence;
        running.feed.publish(&frame);
    }
    let last = "\"sequence\":2999,";
    let text = read_until(&mut slow, last);
    let poses = text.matches("event: pose\n").count();
    assert!(poses < 2_000, "{poses} of 3,000 were held for it");
    let numbers: Vec<u64> = text
        .match_indices("\"sequence\":")
        .map(|(at, word)| {
            let digits = text[at + word.len()..].chars().take_while(char::is_ascii_digit);
            digits.collect::<String>().parse().unwrap()
        })
        .collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "in order, none twice");
}

#[test]
fn a_token_is_asked_for_and_moves_into_a_cookie() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let running = Running::with(Some(&path));
    let get = |path: &str, more: &str| {
        running.get(&format!("GET {path} HTTP/1.1\r\nHost: bench\r\n{more}\r\n")).0
    };
    for path in ["/", "/metrics", "/healthz", "/api/events", "/app.js"] {
        assert!(get(path, "").starts_with("HTTP/1.1 401"), "{path}");
        let wrong = get(path, "Authorization: Bearer 0123456789abcdee\r\n");
        assert!(wrong.starts_with("HTTP/1.1 401"), "{path}");
    }
    assert!(get("/metrics", "Authorization: Bearer 0123456789abcdef\r\n").contains("200 OK"));
    let moved = get("/?token=0123456789abcdef", "");
    assert!(moved.starts_with("HTTP/1.1 303") && moved.contains("Location: /\r\n"), "{moved}");
    assert!(moved.contains("HttpOnly; SameSite=Strict"), "{moved}");
    assert!(get("/", "Cookie: posewire=0123456789abcdef\r\n").contains("200 OK"));
}

#[test]
fn an_address_that_others_can_reach_is_not_served_without_a_token() {
    // The tests' standard error may be a terminal, on which a token would be shown.
    let board = Arc::new(Board::new().unwrap());
    let missing = Some(Path::new("/no/such/file"));
    let error = Server::bind(([0, 0, 0, 0], 0).into(), missing, board, Arc::default());
    let error = error.err().unwrap().to_string();
    assert!(error.contains("/no/such/file"), "{error}");
}

#[test]
fn visitors_beyond_the_limit_are_told_to_come_again() {
    let running = Running::new();
    let idle: Vec<_> = (0..128).map(|_| TcpStream::connect(running.address).unwrap()).collect();
    let before = Instant::now();
    loop {
        let mut text = String::new();
        let mut stream = running.ask("");
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let _ = stream.read_to_string(&mut text);
        if text.starts_with("HTTP/1.1 503") {
            break;
        }
        assert!(before.elapsed() < Duration::from_secs(10), "never told: {text}");
    }
    // Who never asks is let go after five seconds, and others get in again.
    drop(idle);
    let before = Instant::now();
    loop {
        let mut text = String::new();
        let mut stream = running.ask("GET /healthz HTTP/1.1\r\n\r\n");
        let _ = stream.read_to_string(&mut text);
        if text.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(before.elapsed() < Duration::from_secs(10), "never let in: {text}");
    }
}
