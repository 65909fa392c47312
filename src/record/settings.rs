//! `[record]` of the configuration.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What becomes of frames' pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Frames {
    /// JPEGs as they came, everything else encoded as JPEG.
    #[default]
    Jpeg,
    /// As they came, raw ones too: large, and a replay gives exactly what was computed.
    Exact,
    /// Poses only.
    None,
}

/// `[record]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordSettings {
    /// The file; `None`: nothing is recorded.
    pub file: Option<PathBuf>,
    /// What becomes of pixels.
    pub frames: Frames,
    /// Of JPEGs that are made here, 1 to 100.
    pub jpeg_quality: u8,
    /// A new file is begun after so many seconds; 0: never.
    pub segment_seconds: f64,
    /// A new file is begun after so many bytes; 0: never.
    pub segment_bytes: u64,
    /// The oldest files are deleted so that all together take no more; 0: no limit.
    pub max_bytes: u64,
    /// Files that were closed longer ago than this are deleted, seconds; 0: never.
    pub max_age_seconds: f64,
    /// What was recorded is on the disk after so many seconds.
    pub flush_seconds: f64,
    /// The most bytes of pixels that may wait for the recorder; frames beyond lose theirs.
    pub queue_bytes: u64,
    /// The flight recorder.
    pub flight: FlightSettings,
}

/// `[record.flight]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlightSettings {
    /// Its files are called so, with a number before the extension; `None`: no flight recorder.
    pub file: Option<PathBuf>,
    /// How much of the past it keeps.
    pub seconds: f64,
    /// The most memory that it takes.
    pub max_bytes: u64,
    /// Older files are deleted; 0: never.
    pub max_files: usize,
    /// Written when a new fault appears or a stage fails.
    pub on_fault: bool,
    /// Written when a pose took longer than this from exposure (dequeue, of a recording) to its
    /// joints, milliseconds; 0: never.
    pub latency_ms: f64,
}

impl Default for RecordSettings {
    fn default() -> Self {
        Self {
            file: None,
            frames: Frames::Jpeg,
            jpeg_quality: 90,
            segment_seconds: 0.0,
            segment_bytes: 0,
            max_bytes: 0,
            max_age_seconds: 0.0,
            flush_seconds: 0.5,
            queue_bytes: 64 << 20,
            flight: FlightSettings::default(),
        }
    }
}

impl Default for FlightSettings {
    fn default() -> Self {
        Self {
            file: None,
            seconds: 10.0,
            max_bytes: 64 << 20,
            max_files: 10,
            on_fault: true,
            latency_ms: 0.0,
        }
    }
}

/// A recorder that cannot work as asked for.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A value is out of its range.
    #[error("[record] {key} = {value}: {wanted}")]
    OutOfRange {
        /// Which.
        key: &'static str,
        /// As given.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// The path cannot be used.
    #[error("recording {path}: {problem}")]
    Path {
        /// As given.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The first file cannot be made.
    #[error("recording {path}: cannot be written: {source}")]
    Create {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl RecordSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// Names the first one that is out of its range.
    pub fn check(&self) -> Result<(), RecordError> {
        let seconds = |key, value: f64, least: f64, most: f64, wanted| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(RecordError::OutOfRange { key, value: value.to_string(), wanted })
        };
        let year = 366.0 * 86_400.0;
        let wanted = "must be 0 (never) to a year, in seconds";
        seconds("segment_seconds", self.segment_seconds, 0.0, year, wanted)?;
        seconds("max_age_seconds", self.max_age_seconds, 0.0, year, wanted)?;
        let wanted = "must be 0.05 to 1 second: that much is lost in a power cut";
        seconds("flush_seconds", self.flush_seconds, 0.05, 1.0, wanted)?;
        let flight = &self.flight;
        let wanted = "must be 0.1 to 3600 seconds";
        seconds("flight.seconds", flight.seconds, 0.1, 3600.0, wanted)?;
        let wanted = "must be 0 (never) to 60000 milliseconds";
        seconds("flight.latency_ms", flight.latency_ms, 0.0, 60_000.0, wanted)?;
        let number = |key, value: u64, least: u64, wanted| {
            if value >= least {
                return Ok(());
            }
            Err(RecordError::OutOfRange { key, value: value.to_string(), wanted })
        };
        let wanted = "must be from 1 (worst) to 100";
        number("jpeg_quality", self.jpeg_quality.into(), 1, wanted)?;
        number("jpeg_quality", 100 + u64::from(self.jpeg_quality <= 100), 101, wanted)?;
        let wanted = "must be at least 1048576 bytes";
        number("queue_bytes", self.queue_bytes, 1 << 20, wanted)?;
        number("flight.max_bytes", flight.max_bytes, 1 << 20, wanted)?;
        for (key, value) in [("max_bytes", self.max_bytes), ("segment_bytes", self.segment_bytes)] {
            if value != 0 {
                number(key, value, 1 << 20, "must be 0 (no limit) or at least 1048576 bytes")?;
            }
        }
        Ok(())
    }

    /// The size at which a new file is begun; files must be smaller than what is kept of them.
    pub(super) fn segment_bytes(&self) -> u64 {
        match (self.segment_bytes, self.max_bytes) {
            (0, 0) => u64::MAX,
            (0, most) => most / 8,
            (bytes, 0) => bytes,
            (bytes, most) => bytes.min(most / 2),
        }
    }

    /// The age at which a new file is begun.
    pub(super) fn segment_seconds(&self) -> f64 {
        match (self.segment_seconds, self.max_age_seconds) {
            (0.0, 0.0) => f64::INFINITY,
            (0.0, most) => most / 8.0,
            (seconds, _) => seconds,
        }
    }

    /// True if there will be several files.
    pub(super) fn is_segmented(&self) -> bool {
        self.segment_bytes() != u64::MAX || self.segment_seconds().is_finite()
    }
}
