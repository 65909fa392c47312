//! How a recording was made: what a replay needs, and what whoever finds the file asks first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A network that was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelNote {
    /// What for: finder, keypoints, lifter.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// SHA-256 of its weights, hexadecimal.
    pub sha256: String,
}

/// The file's metadata record [`ABOUT`](super::ABOUT).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Version of the program that recorded.
    pub version: String,
    /// What was asked for, as TOML: a configuration file of this program.
    pub config: String,
    /// What computed.
    pub backend: String,
    /// The networks.
    pub models: Vec<ModelNote>,
    /// Seed of the demo's stand-in detector, where there was one instead of networks.
    pub stand_in: Option<u64>,
    /// Name of the machine.
    pub host: String,
    /// Why this file was written: `record`, or a flight recorder's trigger.
    pub reason: String,
    /// When, nanoseconds of Unix time.
    pub began: u64,
}

impl About {
    pub(super) fn to_map(&self) -> BTreeMap<String, String> {
        // A list of three strings each always serialises.
        let models = serde_json::to_string(&self.models).unwrap_or_default();
        let mut map = BTreeMap::from(
            [
                ("version", self.version.clone()),
                ("config", self.config.clone()),
                ("backend", self.backend.clone()),
                ("models", models),
                ("host", self.host.clone()),
                ("reason", self.reason.clone()),
                ("began", self.began.to_string()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        if let Some(seed) = self.stand_in {
            map.insert("stand_in".to_owned(), seed.to_string());
        }
        map
    }

    /// Whatever of it can be understood: a newer version may say more.
    pub(super) fn from_map(map: &BTreeMap<String, String>) -> Self {
        let text = |key: &str| map.get(key).cloned().unwrap_or_default();
        Self {
            version: text("version"),
            config: text("config"),
            backend: text("backend"),
            models: serde_json::from_str(&text("models")).unwrap_or_default(),
            stand_in: map.get("stand_in").and_then(|s| s.parse().ok()),
            host: text("host"),
            reason: text("reason"),
            began: text("began").parse().unwrap_or(0),
        }
    }
}
