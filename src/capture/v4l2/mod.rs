//! placeholder
use super::*;
use std::path::Path;
pub struct Camera;
impl Camera {
    pub(super) fn open(
        uri: &str,
        _p: &Path,
        _q: &str,
        _o: &SourceOptions,
    ) -> Result<Self, CaptureError> {
        Err(CaptureError::Unusable { uri: uri.into(), problem: "not yet".into() })
    }
}
impl FrameSource for Camera {
    fn describe(&self) -> &SourceInfo {
        unreachable!()
    }
    fn next(&mut self, _: Duration) -> Result<Next, CaptureError> {
        unreachable!()
    }
}
