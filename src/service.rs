//! The process's side of running: signals, the word to systemd, the socket that tells how it goes.

mod notify;
mod remedy;
mod snapshot;
mod socket;

pub use notify::{Notifier, Watchdog};
pub use remedy::remedy;
pub use snapshot::{CameraNow, FaultNow, Latency, Snapshot};
pub use socket::{StatusSocket, ask, default_sockets};

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

use crate::fault::Exit;
use crate::handoff::{Request, Stop};

/// What SIGINT and SIGTERM do.
///
/// The first asks everything to stop. Another one ends the process at once, because whoever
/// presses Ctrl-C twice does not want to wait for the last packet; but only once stopping has
/// visibly begun ([`stopping_has_begun`](Self::stopping_has_begun)): `timeout` and some shells
/// send one wish twice, to the process and to its group.
pub struct Signals {
    stop: Stop,
    impatient: Stop,
    dump: Request,
    reload: Request,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// If they cannot be installed.
    pub fn install() -> io::Result<Self> {
        let (stop, impatient, dump) = (Stop::new(), Stop::new(), Request::default());
        let reload = Request::default();
        // Always: its default is to end the process.
        flag::register(SIGUSR1, dump.flag())?;
        for signal in [SIGINT, SIGTERM] {
            let code = i32::from(Exit::Internal.code());
            flag::register_conditional_shutdown(signal, code, impatient.flag())?;
            flag::register(signal, stop.flag())?;
        }
        Ok(Self { stop, impatient, dump, reload })
    }

    /// Raised by the first signal.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Raised by SIGUSR1: the flight recorder is to write.
    pub fn dump(&self) -> &Request {
        &self.dump
    }

    /// SIGHUP asks for the configuration to be read again. Without this call it ends the process,
    /// as it does whatever runs on a terminal that is closed.
    ///
    /// # Errors
    /// If the handler cannot be installed.
    pub fn reload_on_hangup(&self) -> io::Result<&Request> {
        flag::register(SIGHUP, self.reload.flag())?;
        Ok(&self.reload)
    }

    /// From now on, a further signal ends the process at once.
    pub fn stopping_has_begun(&self) {
        self.impatient.raise();
    }
}
