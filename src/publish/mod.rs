//! Where poses go.
//!
//! A [`Publisher`] sends what it is given; `runtime` gives each a thread and a ring of its own,
//! so that a stalled one delays nobody else. [`open`] makes one from a URI.

use crate::fault::{Fault, Severity};
use crate::pose::PoseFrame;

/// Sends poses somewhere.
pub trait Publisher: Send {
    /// Sends one frame's poses. `now` stamps are taken inside, as late as possible.
    ///
    /// # Errors
    /// Skippable ones cost this frame only and heal by themselves.
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError>;

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
    /// This frame was not sent; the next may be.
    #[error("publisher {uri}: not sent: {problem}")]
    NotSent {
        /// As it was asked for.
        uri: String,
        /// What was seen.
        problem: String,
    },
}

impl Fault for PublishError {
    fn severity(&self) -> Severity {
        match self {
            Self::Unusable { .. } => Severity::Fatal,
            Self::NotSent { .. } => Severity::Skip,
        }
    }
}
