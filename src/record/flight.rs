//! The flight recorder: the last seconds in memory, written when something happens.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::{Names, Store, Tally};
use super::settings::{FlightSettings, RecordError};
use crate::recording::{About, Entry, FileWriter, Subject, WriteError};
use crate::time::Timestamp;

/// What makes the flight recorder write.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// SIGUSR1.
    Signal,
    /// A fault of this name is new in the status.
    Fault(String),
    /// A stage failed for good.
    Failure,
    /// A pose took this long.
    Latency(Duration),
}

impl std::fmt::Display for Trigger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Signal => f.write_str("SIGUSR1"),
            Self::Fault(name) => write!(f, "fault {name}"),
            Self::Failure => f.write_str("failure"),
            Self::Latency(took) => write!(f, "latency {:.0} ms", took.as_secs_f64() * 1e3),
        }
    }
}

/// Keeps the newest entries.
///
/// Full (older than `seconds`, or more than `max_bytes`): the oldest fall out.
pub struct Flight {
    names: Names,
    settings: FlightSettings,
    about: About,
    store: Box<dyn Store>,
    kept: VecDeque<Entry>,
    bytes: usize,
    /// The newest calibration, which may have fallen out.
    calibration: Option<Entry>,
    /// When it last wrote.
    written: Option<Timestamp>,
    dumps: u64,
}

impl Flight {
    /// An empty one. Its files are made when it writes.
    ///
    /// # Errors
    /// If there is no such directory.
    pub fn open(
        path: &Path,
        settings: &FlightSettings,
        about: About,
        store: Box<dyn Store>,
    ) -> Result<Self, RecordError> {
        Ok(Self {
            names: Names::of(path)?,
            settings: settings.clone(),
            about,
            store,
            kept: VecDeque::new(),
            bytes: 0,
            calibration: None,
            written: None,
            dumps: 0,
        })
    }

    /// For the log.
    pub fn describe(&self) -> String {
        let FlightSettings { seconds, max_bytes, .. } = self.settings;
        let first = self.names.numbered(self.names.next_number());
        format!(
            "flight recorder: the last {seconds} s, at most {} MiB, to {} on SIGUSR1{}",
            max_bytes >> 20,
            first.display(),
            if self.settings.on_fault { " and on a fault" } else { "" },
        )
    }

    /// Keeps one entry.
    pub fn keep(&mut self, entry: Entry) {
        if entry.topic.subject == Subject::Calibration {
            self.calibration = Some(entry.clone());
        }
        let newest = entry.time;
        self.bytes += entry.size();
        self.kept.push_back(entry);
        let span = (self.settings.seconds * 1e9) as u64;
        while let Some(oldest) = self.kept.front() {
            let old = oldest.time.saturating_add(span) < newest;
            if !old && self.bytes <= self.settings.max_bytes as usize {
                break;
            }
            self.bytes -= oldest.size();
            self.kept.pop_front();
        }
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Files written so far.
    pub fn dumps(&self) -> u64 {
        self.dumps
    }

    /// Is this latency one to be written?
    pub fn is_slow(&self, took: Duration) -> bool {
        let limit = self.settings.latency_ms;
        limit > 0.0 && took.as_secs_f64() * 1e3 > limit
    }

    /// Writes what is kept, unless that was just done: whoever asks with a signal gets a file,
    /// everything else is written once in the time that it spans.
    pub fn trigger(&mut self, trigger: &Trigger, now: Timestamp) {
        let wanted = match trigger {
            Trigger::Signal => true,
            Trigger::Fault(_) | Trigger::Failure => self.settings.on_fault,
            Trigger::Latency(_) => true,
        };
        let recent = self.written.is_some_and(|t| now.secs_since(t) < self.settings.seconds);
        if !wanted || (recent && *trigger != Trigger::Signal) {
            return;
        }
        if self.kept.is_empty() {
            log::warn!("flight recorder ({trigger}): nothing to write yet");
            return;
        }
        self.written = Some(now);
        match self.write(trigger) {
            Ok(path) => {
                self.dumps += 1;
                log::warn!("flight recorder ({trigger}): written to {}", path.display());
            }
            Err(error) => log::error!("flight recorder ({trigger}): cannot be written: {error}"),
        }
        self.keep_limit();
    }

    fn write(&self, trigger: &Trigger) -> Result<PathBuf, WriteError> {
        let path = self.names.numbered(self.names.next_number());
        let out = self.store.create(&path)?;
        let reason = format!("flight recorder: {trigger}");
        let about = About { reason, ..self.about.clone() };
        let result = FileWriter::create(Tally::new(out), &about).and_then(|mut writer| {
            // First of all: what is needed to understand the rest.
            for entry in self.calibration.iter().chain(&self.kept) {
                writer.put(entry)?;
            }
            writer.finish().and_then(|mut tally| Ok(tally.sync()?))
        });
        if result.is_err() {
            let _ = fs::remove_file(&path);
        }
        result.map(|()| path)
    }

    fn keep_limit(&self) {
        if self.settings.max_files == 0 {
            return;
        }
        let present = self.names.present();
        let beyond = present.len().saturating_sub(self.settings.max_files);
        for (.., path) in present.iter().take(beyond) {
            if let Err(e) = fs::remove_file(path) {
                log::warn!("flight recorder: {} cannot be deleted: {e}", path.display());
            }
        }
    }
}
