//! Logs: one line per event on standard error.

use std::io::{IsTerminal, Write};

use log::Level;

/// Starts logging: `RUST_LOG` chooses the level, `info` if it says nothing.
///
/// Under systemd (`JOURNAL_STREAM`) each line begins with its priority, and the journal stamps it.
/// On a terminal the status line is cleared first, so that the two do not mix.
pub(super) fn start() {
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
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
                writeln!(out, "<{priority}>{}", record.args())
            } else if terminal {
                writeln!(out, "\r\x1b[K{word}: {}", record.args())
            } else {
                writeln!(out, "{word}: {}", record.args())
            }
        })
        .init();
}
