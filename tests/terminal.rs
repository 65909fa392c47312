//! The status line of `posewire run`: one line in place on a terminal, none anywhere else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "support/line.rs"]
mod line;
#[path = "support/program.rs"]
mod program;

use std::fs::File;
use std::time::{Duration, Instant};

use line::Pty;
use program::{command, said, test_models};
use rustix::termios::{Winsize, tcsetwinsize};

/// What makes a line be written over: to its beginning, and all of it cleared.
const AGAIN: &str = "\r\x1b[K";

fn demo(seconds: &str) -> std::process::Command {
    command(&[
        "run",
        "--source",
        "demo:",
        "--realtime",
        "--models",
        &test_models(),
        "--seconds",
        seconds,
    ])
}

/// What a terminal of so many columns is shown during a run of three seconds.
fn shown(columns: u16) -> String {
    let pty = Pty::open();
    let device = File::options().read(true).write(true).open(pty.path()).unwrap();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&device, size).unwrap();
    let mut child = demo("3").stderr(device).spawn().unwrap();
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        let n = pty.read_within(&mut buffer, Duration::from_millis(200));
        text.extend_from_slice(&buffer[..n]);
        if n == 0 && child.try_wait().unwrap().is_some() {
            break;
        }
        assert!(Instant::now() < limit, "it does not end");
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(text).unwrap()
}

#[test]
fn a_terminal_has_one_line_that_is_written_over_and_gone_at_the_end() {
    let text = shown(200);
    let states: Vec<&str> = text
        .split(AGAIN)
        .filter(|part| part.contains(" fps in, ") && part.contains("p50/p99"))
        .collect();
    // Twice a second, but calm: no more often.
    assert!((3..=8).contains(&states.len()), "{}: {text:?}", states.len());
    assert!(states.iter().all(|line| !line.contains('\n')), "{states:?}");
    // Nothing but whole lines of the log stands after the last one was cleared.
    let last = text.rsplit(" fps in, ").next().unwrap();
    let (_, after) = last.split_once(AGAIN).expect("the last line is cleared");
    assert!(after.split('\n').all(|l| l.trim().is_empty() || l.contains("info: ")), "{after:?}");
}

#[test]
fn a_narrow_terminal_is_not_wrapped() {
    let text = shown(40);
    let states: Vec<&str> = text.split(AGAIN).filter(|part| part.contains(" fps in, ")).collect();
    assert!(!states.is_empty(), "{text:?}");
    // The last column stays free: some terminals wrap when it is written to.
    assert!(states.iter().all(|line| line.chars().count() < 40), "{states:?}");
}

#[test]
fn a_log_that_goes_elsewhere_has_no_control_characters() {
    let output = demo("1").output().unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("info: ") && !text.contains('\r') && !text.contains('\x1b'), "{text:?}");
}
