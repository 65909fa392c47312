//! Being built.
/// Being built.
pub struct ModelSpec;
/// Being built.
pub struct ModelKind;
