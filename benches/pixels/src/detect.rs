//! As in posewire, without the detector.

#[path = "../../../src/detect/crop.rs"]
mod crop;
#[path = "../../../src/detect/preprocess/mod.rs"]
pub mod preprocess;

pub use crop::Crop;

#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    #[error("{0}")]
    Picture(String),
}
