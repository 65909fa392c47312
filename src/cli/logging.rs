//! Logs: one line per event on standard error.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use log::Level;

/// Is standard error the journal? systemd says which file it is in `JOURNAL_STREAM`; a child whose
/// standard error was led elsewhere has inherited the variable and not the journal.
pub(super) fn to_journal() -> bool {
    static IS: OnceLock<bool> = OnceLock::new();
    *IS.get_or_init(|| {
        let Ok(said) = std::env::var("JOURNAL_STREAM") else { return false };
        let Ok(is) = rustix::fs::fstat(std::io::stderr()) else { return false };
        said == format!("{}:{}", is.st_dev, is.st_ino)
    })
}

/// Starts logging: `RUST_LOG` chooses the level, `info` if it says nothing.
///
/// Into the journal each line begins with its priority, and the journal stamps it.
/// On a terminal the status line is cleared first, so that the two do not mix.
pub(super) fn start() {
    let journal = to_journal();
    let terminal = std::io::stderr().is_terminal();
    let filter = env_logger::Env::default().default_filter_or("info,tract=error");
    env_logger::Builder::from_env(filter)
        .format(move |out, record| {
            let (priority, word) = match record.level() {
                Level::Error => (3, "error"),
                Level::Warn => (4, "warning"),
                Level::Info => (6, "info"),
                Level::Debug => (7, "debug"),
                Level::Trace => (7, "trace"),
            };
            if journal {
                write!(out, "{}", Prioritised(priority, record.args()))
            } else if terminal {
                writeln!(out, "\r\x1b[K{word}: {}", record.args())
            } else {
                writeln!(out, "{word}: {}", record.args())
            }
        })
        .init();
}

/// Lines for the journal: it reads a priority at the beginning of each, so every line of a message
/// of several has one.
struct Prioritised<'a>(u8, &'a fmt::Arguments<'a>);

impl fmt::Display for Prioritised<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(priority, words) = self;
        match words.as_str() {
            Some(line) if !line.contains('\n') => writeln!(f, "<{priority}>{line}"),
            _ => {
                let words = words.to_string();
                words.lines().try_for_each(|line| writeln!(f, "<{priority}>{line}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_message_carries_its_priority() {
        let two = format!("{}", Prioritised(4, &format_args!("a{}", "\nb")));
        assert_eq!(two, "<4>a\n<4>b\n");
        assert_eq!(format!("{}", Prioritised(6, &format_args!("one"))), "<6>one\n");
    }
}
