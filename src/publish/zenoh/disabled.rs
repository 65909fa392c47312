//! Without Zenoh.

use crate::publish::{PublishError, PublishSettings, Publisher, unusable};

/// Says that this build has no Zenoh.
///
/// # Errors
/// Always.
pub fn open(uri: &str, _settings: &PublishSettings) -> Result<Box<dyn Publisher>, PublishError> {
    let problem = "this build has no Zenoh: cargo build --release --features zenoh";
    Err(unusable(uri, problem))
}
