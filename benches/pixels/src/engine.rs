//! As in posewire, without the engines.

#[path = "../../../src/engine/spec.rs"]
pub mod spec;

pub use spec::*;

#[derive(Debug, thiserror::Error)]
#[error("{model}: {problem}")]
pub enum EngineError {
    Model { model: String, problem: String },
}
