//! Against a server of our own that behaves as asked.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;

/// Answers each connection with the next of `answers`, given the request's head.
type Answer = Box<dyn FnOnce(&str, &mut TcpStream) + Send>;

struct Server {
    address: String,
    /// The heads of the requests that came.
    heads: Arc<Mutex<Vec<String>>>,
}

fn serve(answers: Vec<Answer>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let log = heads.clone();
    thread::spawn(move || {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap_or(0) == 0 {
                    break;
                }
            }
            log.lock().unwrap().push(head.to_lowercase());
            answer(&head, &mut stream);
        }
    });
    Server { address, heads }
}

fn say(stream: &mut TcpStream, head: &str, body: &[u8]) {
    let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes());
    let _ = stream.write_all(body);
}

const LIMITS: Limits = Limits { bytes: 1 << 20, silence: Duration::from_millis(400) };

fn content(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 % 251) as u8).collect()
}

fn whole(bytes: Vec<u8>) -> Answer {
    Box::new(move |_, s| {
        let head =
            format!("HTTP/1.1 200 OK\r\nETag: \"one\"\r\nContent-Length: {}\r\n", bytes.len());
        say(s, &head, &bytes);
    })
}

/// Promises all of `bytes` and sends the first `n`.
fn cut(bytes: Vec<u8>, n: usize) -> Answer {
    Box::new(move |_, s| {
        let head =
            format!("HTTP/1.1 200 OK\r\nETag: \"one\"\r\nContent-Length: {}\r\n", bytes.len());
        say(s, &head, &bytes[..n]);
    })
}

fn get(server: &Server, path: &Path) -> Result<Vec<u64>, DownloadError> {
    let mut told = Vec::new();
    fetch(&format!("{}/m.onnx", server.address), path, LIMITS, &mut |n, _| told.push(n))?;
    Ok(told)
}

#[test]
fn a_file_arrives_whole_and_leaves_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let server = serve(vec![whole(content(200_000))]);
    let told = get(&server, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content(200_000));
    assert_eq!((told.first(), told.last()), (Some(&0), Some(&200_000)));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_truncated_file_is_kept_and_resumed_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let bytes = content(150_000);
    let rest = bytes.clone();
    let server = serve(vec![
        cut(bytes.clone(), 100_000),
        Box::new(move |_, s| {
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 100000-149999/150000\r\nContent-Length: {}\r\n",
                50_000
            );
            say(s, &head, &rest[100_000..]);
        }),
    ]);
    let said = get(&server, &path).unwrap_err().to_string();
    assert!(said.contains("100000 bytes of 150000") && said.contains("goes on"), "{said}");
    assert!(!path.exists());
    get(&server, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let heads = server.heads.lock().unwrap();
    assert!(!heads[0].contains("range:"), "{}", heads[0]);
    assert!(
        heads[1].contains("range: bytes=100000-") && heads[1].contains("if-range: \"one\""),
        "{}",
        heads[1]
    );
}

#[test]
fn a_file_that_changed_meanwhile_is_fetched_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let newer: Vec<u8> = content(90_000).into_iter().rev().collect();
    let server = serve(vec![cut(content(150_000), 100_000), whole(newer.clone())]);
    get(&server, &path).unwrap_err();
    get(&server, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), newer);
}

#[test]
fn redirects_are_followed_and_what_is_not_there_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let target = serve(vec![whole(content(1000))]);
    let there = format!("{}/other", target.address);
    let server = serve(vec![
        Box::new(move |_, s| {
            say(
                s,
                &format!("HTTP/1.1 302 Found\r\nLocation: {there}\r\nContent-Length: 0\r\n"),
                b"",
            )
        }),
        Box::new(|_, s| say(s, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n", b"gone")),
        Box::new(|_, s| say(s, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n", b"")),
    ]);
    get(&server, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content(1000));
    let said = get(&server, &dir.path().join("n")).unwrap_err().to_string();
    assert!(said.contains("404") && said.contains("moved"), "{said}");
    let said = get(&server, &dir.path().join("n")).unwrap_err().to_string();
    assert!(said.contains("503"), "{said}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "an error page is no file");
}

#[test]
fn a_silent_server_and_no_server_are_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let server = serve(vec![Box::new(|_, s| {
        say(s, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n", &content(2000));
        // Keeps the connection open until the client is gone.
        let mut byte = [0];
        let _ = s.set_read_timeout(Some(Duration::from_secs(20)));
        let _ = s.read(&mut byte);
    })]);
    let said = get(&server, &path).unwrap_err().to_string();
    assert!(said.contains("2000 bytes of 5000"), "{said}");
    let gone = Server { address: "http://127.0.0.1:9".to_owned(), heads: Arc::default() };
    let said = get(&gone, &path).unwrap_err().to_string();
    assert!(said.contains("cannot be fetched"), "{said}");
}

#[test]
fn a_file_beyond_the_limit_is_refused_before_and_while_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let server = serve(vec![
        Box::new(|_, s| say(s, "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n", b"")),
        // Without a length, until the end of the connection.
        Box::new(|_, s| say(s, "HTTP/1.1 200 OK\r\n", &content(1_200_000))),
    ]);
    for _ in 0..2 {
        let said = get(&server, &path).unwrap_err().to_string();
        assert!(said.contains("larger than 1048576"), "{said}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
