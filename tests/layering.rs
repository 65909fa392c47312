//! The house's walls: a room may use only what lies below it (`docs/architecture.md`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// From top to bottom. Rooms of one row do not know each other.
const ROWS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["runtime", "service", "config"],
    &["pipeline", "eval", "bench"],
    &["capture", "detect", "track", "lift", "publish", "record", "export", "view"],
    &["recording", "encode", "canvas"],
    &["calibration", "engine", "wire", "decode", "download", "figure"],
    &["frame"],
    &["pose"],
    &["camera", "degrade", "fault", "geodetic", "metrics", "rotations"],
    &["skeleton", "time", "handoff", "memory", "orientation", "plot", "stats", "thermal"],
];

/// The only file and the only folder that may contain `unsafe` code.
const UNSAFE: &[&str] = &["capture/v4l2/sys.rs", "engine/tensorrt/sys/"];

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&room))
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// (path relative to src, text without comments) of every source file.
fn house() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src, &mut paths);
    assert!(paths.len() > 20, "the sources were not found");
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code: Vec<_> =
                text.lines().map(|l| l.split("//").next().unwrap_or_default()).collect();
            let name = path.strip_prefix(&src).unwrap().to_string_lossy().into_owned();
            (name, code.join("\n"))
        })
        .collect()
}

/// Every room that is named after `crate::`, also within `crate::{a, b::c}`.
fn rooms_used(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for part in code.split("crate::").skip(1) {
        let names = match part.strip_prefix('{') {
            Some(group) => {
                let mut depth = 1;
                let end = group
                    .char_indices()
                    .find(|(_, c)| {
                        depth += i32::from(*c == '{') - i32::from(*c == '}');
                        depth == 0
                    })
                    .map_or(group.len(), |(i, _)| i);
                let mut flat = String::new();
                let mut depth = 0;
                for c in group[..end].chars() {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    if depth == 0 && c != '}' {
                        flat.push(c);
                    }
                }
                flat.split(',').map(|s| s.trim().to_owned()).collect()
            }
            None => vec![part.to_owned()],
        };
        for name in names {
            let word: String =
                name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !word.is_empty() {
                rooms.push(word);
            }
        }
    }
    rooms
}

#[test]
fn dependencies_point_strictly_downward() {
    let mut wrong = Vec::new();
    for (name, code) in house() {
        let room = name.split(['/', '.']).next().unwrap().to_owned();
        if room == "lib" {
            continue;
        }
        let Some(own) = row(&room) else {
            wrong.push(format!("{name}: the room {room} has no row in tests/layering.rs"));
            continue;
        };
        for used in rooms_used(&code) {
            match row(&used) {
                _ if used == room => {}
                Some(below) if below > own => {}
                Some(_) => wrong.push(format!("{name} uses {used}, which is not below it")),
                None => wrong.push(format!("{name} uses crate::{used}, which is no room")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn threads_are_spawned_in_the_runtime_only() {
    for (name, code) in house() {
        let product = code.split("#[cfg(test)]").next().unwrap_or_default();
        let is_test = name.ends_with("tests.rs");
        let spawns = product.contains("thread::spawn") || product.contains("thread::Builder");
        assert!(
            !spawns || is_test || name == "runtime.rs" || name.starts_with("runtime/"),
            "{name} spawns a thread"
        );
    }
}

#[test]
fn unsafe_code_lives_in_its_two_places_only() {
    for (name, code) in house() {
        let found = code
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .any(|word| word == "unsafe" || word == "allow_unsafe");
        let allowed = UNSAFE.iter().any(|place| name.starts_with(place));
        assert!(!found || allowed, "{name} contains unsafe code");
    }
}

#[test]
fn the_check_itself_sees_grouped_and_nested_uses() {
    let code = "use crate::{pose::{Person, TrackId}, time};\nlet x = crate::wire::encode();";
    assert_eq!(rooms_used(code), ["pose", "time", "wire"]);
}
