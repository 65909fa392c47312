//! What is to be run, what is heard of it, and how it ends.

use std::sync::Arc;

use super::Upkeep;
use crate::capture::{CaptureError, FrameSource, Recovery, SourceInfo};
use crate::fault::Exit;
use crate::handoff::Request;
use crate::pipeline::Pipeline;
use crate::publish::Publisher;
use crate::record::Recorder;
use crate::time::Clock;
use crate::view::View;

/// Opens the source; called again whenever it was lost.
pub type OpenSource = Box<dyn FnMut() -> Result<Box<dyn FrameSource>, CaptureError> + Send>;

/// One camera, recording or stream, and what happens to its frames.
pub struct Source {
    /// Where frames come from.
    pub open: OpenSource,
    /// What is done when it is lost.
    pub recovery: Recovery,
    /// What happens to them.
    pub pipeline: Pipeline,
}

/// Where poses go.
pub struct Target {
    /// Sends them.
    pub publisher: Box<dyn Publisher>,
    /// Of which source only, counted in the order of [`Job::sources`]; `None`: of all.
    pub source: Option<usize>,
}

impl From<Box<dyn Publisher>> for Target {
    fn from(publisher: Box<dyn Publisher>) -> Self {
        Self { publisher, source: None }
    }
}

/// What is to be run.
pub struct Job {
    /// Where frames come from; at least one.
    pub sources: Vec<Source>,
    /// Where poses go.
    pub targets: Vec<Target>,
    /// What is seen and said, into files.
    pub recorder: Option<Recorder>,
    /// The live page.
    pub view: Option<View>,
    /// Asks the flight recorder to write; a signal handler raises it.
    pub dump: Request,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// How it is kept running for weeks.
    pub upkeep: Upkeep,
}

/// Something that an operator should know of.
#[derive(Debug, Clone)]
pub enum Event {
    /// The source of this number is open.
    SourceOpened(usize, SourceInfo),
    /// The source of this number went away or is not there yet; it is being reopened.
    SourceLost(usize, String),
    /// The recording of this number is over.
    SourceEnded(usize),
    /// A stage cannot go on, with how the process should end.
    Failed(String, Exit),
    /// A publisher has finished.
    PublisherDone,
    /// Perception has drained and ended.
    PerceptionDone,
}

/// How a run ended, other than well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A stage failed for good.
    #[error("{message}")]
    Failed {
        /// What, and what to do.
        message: String,
        /// How the process should end.
        exit: Exit,
    },
    /// The system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl RunError {
    /// How the process should end.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Failed { exit, .. } => *exit,
            Self::Thread(_) => Exit::Internal,
        }
    }
}
