//! The program as its user has it. Include it with `#[path]`: an example has no program.
#![allow(dead_code, reason = "each test uses some of it")]

use std::process::{Command, Output, Stdio};

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Exit code of what cannot work as configured, as `docs/architecture.md` promises it.
pub const CONFIG: i32 = 78;

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posewire"));
    command.args(args).env_remove("JOURNAL_STREAM").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

pub fn posewire(args: &[&str]) -> Output {
    command(args).output().expect("the program starts")
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What it prints and what it says.
#[track_caller]
pub fn succeeds(args: &[&str]) -> (String, String) {
    let output = posewire(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
    (String::from_utf8_lossy(&output.stdout).into_owned(), said(&output))
}

/// One clear error: the given exit code, exactly one line of it, with all of `words`.
#[track_caller]
pub fn assert_one_error(output: &Output, code: i32, words: &[&str]) {
    let text = said(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.lines().filter(|l| l.starts_with("error: ")).count(), 1, "{text}");
    assert!(!text.contains("panicked"), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

/// The stand-in models that see one person (`tests/data/models/make.py`).
pub fn test_models() -> String {
    format!("{ROOT}/tests/data/models")
}
