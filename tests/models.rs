//! `posewire models`: files that come in from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use posewire::engine::spec::{hex, sha256};

fn models(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_posewire"))
        .arg("models")
        .args(args)
        .arg("--models")
        .arg(dir)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

#[track_caller]
fn fails(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().filter(|l| l.starts_with("error: ")).count(), 1, "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
}

#[track_caller]
fn works(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
}

/// A small network with RTMPose's interface (`tests/data/pull/make.py`).
const SIMCC: &[u8] = include_bytes!("data/pull/simcc.onnx");

fn archive(content: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in [("sdk/deploy.json", &b"{}"[..]), ("sdk/end2end.onnx", content)] {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Serves `files` one after the other, to one request each; of each only the first `n` bytes,
/// where one is given. Understands ranges.
fn serve(files: Vec<(Vec<u8>, Option<usize>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/rtmpose.zip", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (bytes, cut) in files {
            let Ok((stream, _)) = listener.accept() else { return };
            answer(stream, &bytes, cut);
        }
    });
    url
}

fn answer(mut stream: TcpStream, bytes: &[u8], cut: Option<usize>) {
    let mut from = 0;
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap();
        }
    }
    let (status, total) = (if from > 0 { "206 Partial Content" } else { "200 OK" }, bytes.len());
    let head = format!(
        "HTTP/1.1 {status}\r\nETag: \"a\"\r\nContent-Length: {}\r\nContent-Range: bytes \
         {from}-{}/{total}\r\nConnection: close\r\n\r\n",
        total - from,
        total - 1
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&bytes[from..cut.unwrap_or(total)]);
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_model_is_pulled_recorded_and_held_to_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let good = archive(SIMCC);
    let mut other = SIMCC.to_vec();
    // A longer name of the producer: another file, as good a network.
    other.extend([0x12, 1, b'x']);
    let half = good.len() / 2;
    let url = serve(vec![
        (good.clone(), Some(half)),
        (good.clone(), None),
        (archive(&other), None),
        (good, None),
    ]);
    let pull = ["pull", "rtmpose_t", "--accept-licence", "--url", &url];

    fails(
        &models(dir.path(), &["pull", "rtmpose_t", "--url", &url]),
        78,
        &["licence", "--accept-licence"],
    );
    fails(&models(dir.path(), &pull), 70, &["broke off", &format!("{half} bytes"), "goes on"]);
    let digest = hex(&sha256(SIMCC));
    works(&models(dir.path(), &pull), &["research only", "recorded", &digest]);
    assert_eq!(names(dir.path()), ["rtmpose_t.onnx", "rtmpose_t.toml"]);
    works(&models(dir.path(), &pull), &["there already"]);
    works(&models(dir.path(), &["verify", "rtmpose_t"]), &["rtmpose_t: ok"]);
    works(
        &models(dir.path(), &["info", "rtmpose_t"]),
        &[&digest, "simcc_x [1, 17, 384]", "commercial use no"],
    );

    std::fs::remove_file(dir.path().join("rtmpose_t.onnx")).unwrap();
    fails(&models(dir.path(), &pull), 78, &["another file", &digest, &hex(&sha256(&other))]);
    assert_eq!(names(dir.path()), ["rtmpose_t.toml"]);
    works(&models(dir.path(), &pull), &["as expected"]);

    std::fs::write(dir.path().join("rtmpose_t.onnx"), b"spoilt").unwrap();
    fails(&models(dir.path(), &pull), 78, &["SHA-256"]);
    fails(&models(dir.path(), &["verify"]), 78, &["SHA-256"]);
}

#[test]
fn what_is_not_the_model_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let url = serve(vec![(b"<html>sign in</html>".to_vec(), None), (archive(b"no network"), None)]);
    let pull = ["pull", "rtmpose_s", "--accept-licence", "--url", &url];
    fails(&models(dir.path(), &pull), 78, &["no ZIP archive"]);
    assert!(names(dir.path()).is_empty());
    fails(&models(dir.path(), &pull), 78, &["not an ONNX file"]);
    fails(&models(dir.path(), &["pull", "rtmpose_xxl"]), 78, &["rtmpose_t, rtmpose_s", "import"]);
}

#[test]
fn an_imported_file_gets_a_manifest_and_is_found_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.onnx");
    std::fs::write(&path, SIMCC).unwrap();
    let path = path.to_str().unwrap();
    fails(&models(dir.path(), &["import", path, "--as", "heatmap"]), 78, &["simcc_x", "--as"]);
    works(
        &models(dir.path(), &["import", path, "--as", "rtmpose", "--licence", "MIT"]),
        &["mine.toml", "keypoints"],
    );
    fails(&models(dir.path(), &["import", path, "--as", "rtmpose"]), 78, &["--force"]);
    works(
        &models(dir.path(), &["list"]),
        &["mine  keypoints  MIT (no commercial use)", "rtmpose_m"],
    );
    works(&models(dir.path(), &["verify", "mine"]), &["ok"]);
}
