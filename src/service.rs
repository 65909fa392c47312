//! The process's side of running: signals.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::fault::Exit;
use crate::handoff::Stop;

/// A [`Stop`] that SIGINT and SIGTERM raise. A second signal ends the process at once: whoever
/// presses Ctrl-C twice does not want to wait for the last packet.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn stop_on_signals() -> io::Result<Stop> {
    let stop = Stop::new();
    for signal in [SIGINT, SIGTERM] {
        // Handlers run in the order of registration: the first signal finds the flag down.
        flag::register_conditional_shutdown(signal, i32::from(Exit::Internal.code()), stop.flag())?;
        flag::register(signal, stop.flag())?;
    }
    Ok(stop)
}
