//! The live page: what the sensor sees and says, for a browser on the bench, and for monitoring.
//!
//! ```text
//! perception ──preview (only while somebody watches)──▶ Previewer ─┐
//! perception ──ring, as to any target──▶ Feed ──────────────────────┴▶ Board ◀── Server ◀── browsers
//! ```
//!
//! [`Board`] holds the newest of everything: a pose, a picture, a status. Nothing queues up in it,
//! so a viewer that reads slowly skips, and neither memory nor the pipeline notices it. [`Server`]
//! is one thread and one `poll` for all connections; what it knows of HTTP is a request line and
//! headers ([`request`]), and what it serves is the page (`page/`), its events, and `/metrics`,
//! `/healthz` and `/api/status`. Everything is read-only. `docs/view.md` has the interfaces.

mod access;
mod board;
mod connection;
mod feed;
mod metrics;
mod page;
mod preview;
pub mod request;
mod respond;
mod server;
mod settings;

#[cfg(test)]
mod tests;

pub use access::Access;
pub use board::Board;
pub use feed::{About, AboutCamera, AboutLens, Feed};
pub use preview::{Due, Previewer};
pub use server::Server;
pub use settings::{ViewError, ViewSettings};

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::stats::Stats;

/// The most cameras that the page shows.
pub const MAX_CAMERAS: usize = 8;

/// The three ends of a live page, each for a thread of its own.
pub struct View {
    /// Takes poses and status.
    pub feed: Feed,
    /// Takes pictures.
    pub previewer: Previewer,
    /// Answers browsers.
    pub server: Server,
}

impl View {
    /// Binds `address`; serves nothing before [`Server::run`].
    ///
    /// # Errors
    /// If the address cannot be used, or needs a token that is not there.
    pub fn open(
        address: SocketAddr,
        token_file: Option<&Path>,
        about: About,
        stats: Arc<Stats>,
    ) -> Result<Self, ViewError> {
        let board = Arc::new(Board::new().map_err(ViewError::System)?);
        let server = Server::bind(address, token_file, board.clone(), stats.clone())?;
        let feed = Feed::new(board.clone(), about, stats);
        Ok(Self { feed, previewer: Previewer::new(board), server })
    }
}
