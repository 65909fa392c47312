//! Any text is a configuration that can be run, or an error that says why not: never a panic.
//!
//! The twin of `fuzz/fuzz_targets/config.rs` for where there is no time to instrument all of
//! posewire's dependencies: changes of the shipped configurations, from a seed.
//! `POSEWIRE_SOAK_SECONDS=600 cargo test --test config_any_text` goes on for so long.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use posewire::config::Config;

/// What stands in a configuration, and what does not but looks like it.
const WORDS: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    "\"",
    "'",
    "'''",
    "\"\"\"",
    "\\u{1F600}",
    "\\",
    "\n",
    ".",
    ",",
    "#",
    "nan",
    "inf",
    "-inf",
    "1e309",
    "-0.0",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999",
    "true",
    "false",
    "1979-05-27T07:32:00Z",
    "0x7f",
    "0b2",
    "1_000",
    "é",
    "\u{0}",
    "\u{feff}",
    "[source]",
    "[camera]",
    "[[publish]]",
    "[models]",
    "[engine]",
    "uri",
    "rate",
    "intrinsics",
    "mount.pitch_degrees",
    "demo:",
    "udp://127.0.0.1:7777?ttl=1",
    "serial:/dev/ttyUSB0?baud=921600",
    "jsonl:-",
];

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit.max(1)
    }

    /// A place between two characters.
    fn place(&mut self, text: &str) -> usize {
        let mut at = self.below(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    fn change(&mut self, text: &mut String, seeds: &[String]) {
        let (a, b) = (self.place(text), self.place(text));
        let (from, to) = (a.min(b), a.max(b));
        match self.below(6) {
            0 => text.insert_str(from, WORDS[self.below(WORDS.len())]),
            1 => {
                let end = text[from..].char_indices().nth(20).map_or(to, |(n, _)| to.min(from + n));
                text.replace_range(from..end, "");
            }
            2 => {
                let piece = text[from..to].to_owned();
                let at = self.place(text);
                text.insert_str(at, &piece);
            }
            3 => {
                let other = &seeds[self.below(seeds.len())];
                let (c, d) = (self.place(other), self.place(other));
                text.insert_str(from, &other[c.min(d)..c.max(d)]);
            }
            4 => {
                let any = char::from_u32(self.below(0x11_0000) as u32).unwrap_or('?');
                text.insert(from, any);
            }
            _ => {
                // One line's value becomes something else.
                let word = WORDS[self.below(WORDS.len())];
                if let Some(equals) = text[from..].find('=') {
                    let begin = from + equals + 1;
                    let end = text[begin..].find('\n').map_or(text.len(), |n| begin + n);
                    text.replace_range(begin..end, word);
                }
            }
        }
        // Long texts only cost time.
        if text.len() > 20_000 {
            let mut end = 10_000;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
        }
    }
}

#[test]
fn any_text_is_a_configuration_or_an_error_in_words() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = vec![std::fs::read_to_string(root.join("docs/example.toml")).unwrap()];
    for file in std::fs::read_dir(root.join("fuzz/corpus/config")).unwrap().flatten() {
        seeds.push(String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned());
    }
    let shipped = seeds.len();
    let soak = std::env::var("POSEWIRE_SOAK_SECONDS").ok().and_then(|s| s.parse().ok());
    let until = soak.map(|s| Instant::now() + Duration::from_secs(s));
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let mut problems = BTreeSet::new();
    let (mut runs, mut accepted) = (0_u64, 0_u64);
    // Texts that a new kind of error came from are gone on with.
    while until.map_or(runs < 3_000, |until| Instant::now() < until) {
        // Half of them from what is shipped, the others from what broke in a new way.
        let known = if random.below(2) == 0 { shipped } else { seeds.len() };
        let mut text = seeds[random.below(known)].clone();
        for _ in 0..=random.below(4) {
            random.change(&mut text, &seeds);
        }
        let problem = match Config::from_toml(&text) {
            Ok(config) => match config.check() {
                Ok(_) => {
                    accepted += 1;
                    None
                }
                Err(e) => Some(e.to_string()),
            },
            Err(problem) => Some(problem),
        };
        if let Some(problem) = problem {
            assert!(!problem.trim().is_empty());
            let kind: String =
                problem.chars().filter(|c| c.is_alphabetic() || *c == ' ').take(40).collect();
            if problems.insert(kind) && seeds.len() < 400 {
                seeds.push(text);
            }
        }
        runs += 1;
    }
    println!("{runs} texts, {accepted} accepted, {} kinds of errors", problems.len());
    assert!(accepted > runs / 200 && problems.len() > 30, "{accepted} {}", problems.len());
}
