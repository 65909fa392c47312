//! Where poses go.
//!
//! A [`Publisher`] sends what it is given; `runtime` gives each a thread and a ring of its own,
//! so that a stalled one delays nobody else. [`open`] makes one from a URI:
//!
//! | URI | what |
//! |---|---|
//! | `udp://host:port` | the datagrams of `docs/wire.md`; IPv6 in brackets; multicast by its address |
//! | `udp://…?ttl=1&interface=eth0&dscp=46` | hops, the network to send on (name or IPv4 address), priority |
//! | `udp://…?keypoints=yes` | the 2D keypoints, too (153 bytes a person): viewers want them, robots do not |
//! | `jsonl:-`, `jsonl:PATH` | the same content as JSON lines, with keypoints, to standard output or appended to a file |

mod jsonl;
mod numbering;
pub mod udp;

use std::io;
use std::sync::Arc;

use crate::fault::{Fault, Severity};
use crate::pose::PoseFrame;
use crate::time::{Clock, MonotonicClock};
use crate::wire::{ClockState, EngineId, PrecisionId, StatusMessage};

/// Sends poses somewhere.
pub trait Publisher: Send {
    /// Sends one frame's poses. The stamp of sending is taken inside, as late as possible.
    ///
    /// # Errors
    /// Skippable ones cost this frame only and heal by themselves.
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError>;

    /// Sends how the sender is, where the target can carry that. A status whose state is
    /// "degraded" marks the poses that follow as well.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        let _ = status;
        Ok(())
    }

    /// Writes what is still held back (footers, last packets). Called once, at the end.
    ///
    /// # Errors
    /// If that cannot be written.
    fn finish(&mut self) -> Result<(), PublishError> {
        Ok(())
    }

    /// Where it sends to, as in the configuration.
    fn describe(&self) -> &str;
}

/// What publishers need to know beside the poses.
#[derive(Clone)]
pub struct PublishSettings {
    /// What computes the joints.
    pub engine: EngineId,
    /// In which arithmetic.
    pub precision: PrecisionId,
    /// How this machine's realtime clock is disciplined, as far as is known.
    pub clock_state: ClockState,
    /// Gives the stamp of sending.
    pub clock: Arc<dyn Clock>,
}

impl Default for PublishSettings {
    fn default() -> Self {
        Self {
            engine: EngineId::default(),
            precision: PrecisionId::default(),
            clock_state: ClockState::default(),
            clock: Arc::new(MonotonicClock),
        }
    }
}

/// Makes a publisher from its URI. Each has a session and packet numbers of its own.
///
/// # Errors
/// [`PublishError::Unusable`] if the URI is not understood, a host cannot be found or a file not
/// be opened.
pub fn open(uri: &str, settings: &PublishSettings) -> Result<Box<dyn Publisher>, PublishError> {
    if uri.starts_with("udp:") {
        return Ok(Box::new(udp::UdpPublisher::open(uri, settings)?));
    }
    if let Some(path) = uri.strip_prefix("jsonl:") {
        return Ok(Box::new(jsonl::JsonLines::open(uri, path, settings)?));
    }
    Err(unusable(uri, "give udp://host:port, jsonl:- or jsonl:PATH"))
}

fn unusable(uri: &str, problem: impl Into<String>) -> PublishError {
    PublishError::Unusable { uri: uri.into(), problem: problem.into() }
}

/// Why poses were not sent.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The target can never work as written.
    #[error("publisher {uri}: {problem}")]
    Unusable {
        /// As it was asked for.
        uri: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// This frame, or a part of it, was not sent; the next may be. Making one does not allocate:
    /// an unplugged cable is no reason to.
    #[error("publisher {uri}: not sent: {cause}{}", hint(cause))]
    NotSent {
        /// As it was asked for.
        uri: Arc<str>,
        /// What the system said.
        cause: io::Error,
    },
}

/// What to look at when the system's own words do not say.
fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            " (no route: is the network up?)"
        }
        io::ErrorKind::WouldBlock => " (the network takes no more: its queue is full)",
        io::ErrorKind::PermissionDenied => " (a firewall rule on this machine forbids it)",
        io::ErrorKind::StorageFull => " (free some space; it goes on by itself)",
        _ => "",
    }
}

impl Fault for PublishError {
    fn severity(&self) -> Severity {
        match self {
            Self::Unusable { .. } => Severity::Fatal,
            Self::NotSent { .. } => Severity::Skip,
        }
    }
}
