//! The rooms of posewire that the pixel paths are in: the same files.
#![allow(dead_code, missing_docs)]

#[path = "../../../src/decode/mod.rs"]
pub mod decode;
#[path = "../../../src/fault.rs"]
pub mod fault;
#[path = "../../../src/frame.rs"]
pub mod frame;
#[path = "../../../src/handoff/mod.rs"]
pub mod handoff;
#[path = "../../../src/pose.rs"]
pub mod pose;
#[path = "../../../src/skeleton.rs"]
pub mod skeleton;
#[path = "../../../src/time.rs"]
pub mod time;

/// As in posewire, without the engines.
pub mod engine {
    #[path = "../../../../src/engine/spec.rs"]
    pub mod spec;

    pub use spec::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{model}: {problem}")]
    pub enum EngineError {
        Model { model: String, problem: String },
    }
}

/// As in posewire, without the detector.
pub mod detect {
    #[path = "../../../../src/detect/crop.rs"]
    mod crop;
    #[path = "../../../../src/detect/preprocess/mod.rs"]
    pub mod preprocess;

    pub use crop::Crop;

    #[derive(Debug, thiserror::Error)]
    pub enum DetectError {
        #[error("{0}")]
        Picture(String),
    }
}
