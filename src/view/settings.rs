//! `[view]`: where the page is served, and to whom.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Severity};

/// `[view]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ViewSettings {
    /// Address and port; none: no page. Addresses other than loopback need a token.
    pub listen: Option<SocketAddr>,
    /// A file whose first line is the token. Without it, and where one is needed, a token is made
    /// for this run and shown once, if standard error is a terminal.
    pub token_file: Option<PathBuf>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Somebody else has the port, or the address is not this machine's.
    #[error("view {address}: cannot be served there: {source}{}", hint(source))]
    Bind {
        /// As asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("view: token file {path}: {problem}")]
    Token {
        /// Which file.
        path: PathBuf,
        /// Why, and what to do.
        problem: String,
    },
    /// Others can reach the address, and nothing keeps them out.
    #[error(
        "view {0}: an address that others can reach needs a token: put one of 16 or more letters and \
         digits into a file that only posewire can read, and name it with token_file under [view] \
         (on a terminal, one is made and shown)"
    )]
    NoToken(SocketAddr),
    /// The system refused something small.
    #[error("view: {0}")]
    System(#[source] io::Error),
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => " (another program has that port: choose another)",
        io::ErrorKind::AddrNotAvailable => " (this machine does not have that address)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 are not for everybody)",
        _ => "",
    }
}

impl Fault for ViewError {
    fn severity(&self) -> Severity {
        Severity::Fatal
    }
}
