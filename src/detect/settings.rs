//! What a user may say about detection.

use serde::{Deserialize, Serialize};

use super::DetectError;
use crate::pose::MAX_PERSONS;

/// How persons are found and followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorSettings {
    /// At most this many persons are followed, 1..=16; each costs one run of the keypoint network
    /// per frame.
    pub max_persons: usize,
    /// With somebody followed, the finder runs every this many frames.
    pub search_every: u32,
    /// With nobody followed, the finder runs when this many seconds have passed since it last
    /// did: an empty room need not be searched at the camera's full rate.
    pub search_idle_seconds: f64,
    /// A person whose mean keypoint confidence is below this is not reported and not followed;
    /// by default what the keypoint model's manifest says.
    pub score_threshold: Option<f32>,
    /// Two poses more alike than this (object keypoint similarity, 0..1) are one person.
    pub duplicate_similarity: f32,
    /// Boxes smaller than this along their longer side, in pixels, are left alone: too small to
    /// see keypoints in.
    pub min_person_pixels: f32,
    /// Every crop is looked at a second time in a mirror, and the mean of both answers is taken:
    /// more exact, for twice the keypoint network's time.
    pub flip: bool,
    /// Newcomers are looked at a second time in a mirror, and are nobody if the mean of both
    /// answers is below the threshold: fewer things are taken for persons, and nobody who is
    /// followed costs more.
    pub flip_newcomers: bool,
}

impl Default for DetectorSettings {
    fn default() -> Self {
        Self {
            max_persons: 4,
            search_every: 15,
            search_idle_seconds: 0.1,
            score_threshold: None,
            duplicate_similarity: 0.7,
            min_person_pixels: 24.0,
            flip: false,
            flip_newcomers: true,
        }
    }
}

impl DetectorSettings {
    /// # Errors
    /// Names the setting that is out of range, and what it may be.
    pub(super) fn check(&self) -> Result<(), DetectError> {
        let wrong = |what: &str| Err(DetectError::Settings(what.to_owned()));
        if !(1..=MAX_PERSONS).contains(&self.max_persons) {
            return wrong("max_persons must be 1 to 16");
        }
        if self.search_every == 0 {
            return wrong("search_every must be 1 or more frames");
        }
        if !(0.0..=60.0).contains(&self.search_idle_seconds) {
            return wrong("search_idle_seconds must be 0 to 60");
        }
        if self.score_threshold.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
            return wrong("score_threshold must be 0 to 1");
        }
        if !(0.0..=1.0).contains(&self.duplicate_similarity) {
            return wrong("duplicate_similarity must be 0 to 1");
        }
        if !(1.0..=4096.0).contains(&self.min_person_pixels) {
            return wrong("min_person_pixels must be 1 to 4096");
        }
        Ok(())
    }
}
