//! Entries into files that follow one another, within limits; and what happens when there is no
//! room for them.
//!
//! Whatever goes wrong, entries are taken and dropped, counted, and tried again with a new file
//! after a while: nobody else is held up, and it heals by itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::settings::{RecordError, RecordSettings};
use crate::fault::Severity;
use crate::recording::{About, Entry, FileWriter, WriteError};
use crate::time::Timestamp;
use crate::wire::FaultRecord;

/// Waits before trying again, seconds: the first and the longest.
const RETRY: (f64, f64) = (1.0, 10.0);

/// A file that is written to.
pub trait Out: Write + Seek + Send {
    /// Sees to it that what was written survives a power cut.
    ///
    /// # Errors
    /// If the system refuses.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file off after `length` bytes.
    ///
    /// # Errors
    /// If the system refuses.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Out for File {
    fn sync(&mut self) -> io::Result<()> {
        match self.sync_data() {
            // A pipe or a device, where it means nothing.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// Where files are made.
pub trait Store: Send {
    /// Makes a file that was not there.
    ///
    /// # Errors
    /// If the system refuses, or there is one.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Out>>;
}

/// The file system.
pub struct Files;

impl Store for Files {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Out>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(file))
    }
}

/// Counts what goes through.
pub(super) struct Tally {
    out: Box<dyn Out>,
    written: u64,
}

impl Tally {
    pub fn new(out: Box<dyn Out>) -> Self {
        Self { out, written: 0 }
    }

    pub fn sync(&mut self) -> io::Result<()> {
        self.out.sync()
    }
}

impl Write for Tally {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        // What `FileWriter::flush` promises to readers, we promise to the power supply.
        self.out.sync()
    }
}

impl Seek for Tally {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            // All that the writer asks for: where it is. Also of what cannot seek.
            SeekFrom::Current(0) => Ok(self.written),
            other => self.out.seek(other),
        }
    }
}

/// Names of files: `stem-000001.mcap`, numbered on from what is there.
pub(super) struct Names {
    directory: PathBuf,
    stem: String,
    extension: String,
}

impl Names {
    pub fn of(path: &Path) -> Result<Self, RecordError> {
        let wrong = |problem: &str| RecordError::Path {
            path: path.to_owned(),
            problem: problem.to_owned(),
        };
        let stem = path.file_stem().and_then(|s| s.to_str()).map(str::to_owned);
        let stem = stem.ok_or_else(|| wrong("give the name of a file, such as run.mcap"))?;
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("mcap").to_owned();
        if path.is_dir() {
            return Err(wrong("this is a directory: give a file in it, such as run.mcap"));
        }
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if !directory.is_dir() {
            return Err(wrong("its directory does not exist: make it first"));
        }
        Ok(Self { directory, stem, extension })
    }

    pub fn numbered(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{}-{number:06}.{}", self.stem, self.extension))
    }

    /// Numbers, sizes, ages and paths of those that are there, oldest first.
    pub fn present(&self) -> Vec<(u64, u64, Duration, PathBuf)> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let rest = path.file_name()?.to_str()?.strip_prefix(&self.stem)?;
                let rest = rest.strip_prefix('-')?.strip_suffix(&self.extension)?;
                let digits = rest.strip_suffix('.')?;
                let plain = digits.len() >= 6 && digits.bytes().all(|b| b.is_ascii_digit());
                let number = digits.parse().ok().filter(|_| plain)?;
                let stat = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
                let age =
                    stat.modified().ok().and_then(|t| SystemTime::now().duration_since(t).ok());
                Some((number, stat.len(), age.unwrap_or_default(), path))
            })
            .collect();
        found.sort_unstable();
        found
    }

    pub fn next_number(&self) -> u64 {
        self.present().last().map_or(1, |(n, ..)| n + 1)
    }
}

struct Current {
    writer: FileWriter<Tally>,
    path: PathBuf,
    began: Timestamp,
    /// Bytes that are safe.
    flushed: u64,
    /// Bytes that went in since, before compression.
    pending: u64,
    last_flush: Timestamp,
}

/// Writes entries into files.
pub struct Disk {
    names: Names,
    /// The name as given, for the first file, if there will be only one.
    plain: Option<PathBuf>,
    settings: RecordSettings,
    about: About,
    store: Box<dyn Store>,
    current: Option<Current>,
    fault: Option<FaultRecord>,
    retry_at: Timestamp,
    retry_seconds: f64,
    closed_bytes: u64,
    files: u64,
    lost: u64,
}

impl Disk {
    /// Opens the first file at `path`; a number goes before the extension where `path` is taken or
    /// there will be several files. Nothing that is there is ever overwritten.
    ///
    /// # Errors
    /// If the first file cannot be made.
    pub fn open(
        path: &Path,
        settings: &RecordSettings,
        about: About,
        store: Box<dyn Store>,
        now: Timestamp,
    ) -> Result<Self, RecordError> {
        let names = Names::of(path)?;
        let plain = (!settings.is_segmented() && !path.exists()).then(|| path.to_owned());
        let mut disk = Self {
            names,
            plain,
            settings: settings.clone(),
            about,
            store,
            current: None,
            fault: None,
            retry_at: now,
            retry_seconds: RETRY.0,
            closed_bytes: 0,
            files: 0,
            lost: 0,
        };
        match disk.begin(now) {
            Ok(()) => Ok(disk),
            // A full disk heals; a wrong path does not.
            Err(error) if error.is_full() => {
                disk.failed(&error, now);
                Ok(disk)
            }
            Err(WriteError::Io(source)) => {
                Err(RecordError::Create { path: path.to_owned(), source })
            }
            Err(error) => {
                Err(RecordError::Path { path: path.to_owned(), problem: error.to_string() })
            }
        }
    }

    /// For the log.
    pub fn describe(&self) -> String {
        match &self.current {
            Some(c) => format!("recording to {}", c.path.display()),
            None => format!("recording to {}, once there is room", self.names.stem),
        }
    }

    fn begin(&mut self, now: Timestamp) -> Result<(), WriteError> {
        let path = match self.plain.take() {
            Some(path) => path,
            None => self.names.numbered(self.names.next_number()),
        };
        let out = self.store.create(&path)?;
        let mut writer = match FileWriter::create(Tally::new(out), &self.about) {
            Ok(writer) => writer,
            Err(error) => {
                let _ = fs::remove_file(&path);
                return Err(error);
            }
        };
        self.files += 1;
        let _ = writer.flush();
        log::debug!("recording to {}", path.display());
        self.current =
            Some(Current { writer, path, began: now, flushed: 0, pending: 0, last_flush: now });
        Ok(())
    }

    /// Writes one entry, or drops and counts it while that is not possible.
    pub fn put(&mut self, entry: &Entry, now: Timestamp) {
        if self.current.is_none() {
            if now < self.retry_at {
                self.lost += 1;
                return;
            }
            if let Err(error) = self.begin(now) {
                self.lost += 1;
                self.failed(&error, now);
                return;
            }
        }
        let Some(current) = &mut self.current else { return };
        current.pending += entry.data.len() as u64;
        if let Err(error) = current.writer.put(entry) {
            self.lost += 1;
            self.failed(&error, now);
        }
    }

    /// Gives what was written to the disk when it is time, begins a new file when it is time, and
    /// keeps the limits.
    pub fn tick(&mut self, now: Timestamp) {
        let Some(current) = &mut self.current else { return };
        if now.secs_since(current.last_flush) < self.settings.flush_seconds {
            return;
        }
        current.last_flush = now;
        if current.pending > 0 {
            if let Err(error) = current.writer.flush() {
                return self.failed(&error, now);
            }
            current.pending = 0;
            current.flushed = written(&current.path).unwrap_or(current.flushed);
            if self.fault.take().is_some() {
                log::info!("recording again, to {}", current.path.display());
                self.retry_seconds = RETRY.0;
            }
        }
        let full = current.flushed >= self.settings.segment_bytes();
        let old = now.secs_since(current.began) >= self.settings.segment_seconds();
        if full || old {
            self.close(now);
        }
        self.keep_limits();
    }

    fn close(&mut self, now: Timestamp) {
        let Some(current) = self.current.take() else { return };
        let path = current.path;
        let closed = current.writer.finish().map(|mut tally| tally.sync());
        self.closed_bytes += written(&path).unwrap_or(0);
        match closed {
            Ok(Ok(())) => {}
            // All of it is there but the index, which a reader can do without.
            Ok(Err(error)) => self.failed(&WriteError::Io(error), now),
            Err(error) => self.failed(&error, now),
        }
    }

    fn failed(&mut self, error: &WriteError, now: Timestamp) {
        if let Some(current) = self.current.take() {
            let (path, flushed) = (current.path, current.flushed);
            let out = current.writer.abandon();
            if flushed == 0 {
                let _ = fs::remove_file(&path);
                self.files -= 1;
            } else {
                // Half a chunk is of no use to anybody.
                let _ = out.map(|mut tally| tally.out.cut(flushed));
                self.closed_bytes += flushed;
            }
        }
        let (name, remedy) = if error.is_full() {
            ("record-disk-full", "make room, or set max_bytes under [record]")
        } else {
            ("record-failed", "is the disk still there?")
        };
        let detail = format!("recording {}: {error}; {remedy}", self.names.stem);
        self.retry_at = now.offset_secs(self.retry_seconds);
        self.retry_seconds = (2.0 * self.retry_seconds).min(RETRY.1);
        match &mut self.fault {
            Some(fault) if fault.name.as_str() == name => {
                fault.count = fault.count.saturating_add(1);
            }
            _ => {
                log::warn!("{detail}; everything else goes on");
                let mut fault = FaultRecord::new(Severity::Restart, name, &detail);
                fault.since_us = now.micros();
                self.fault = Some(fault);
            }
        }
    }

    /// Deletes the oldest files beyond the limits; never the one that is being written.
    fn keep_limits(&self) {
        let (most, age) = (self.settings.max_bytes, self.settings.max_age_seconds);
        if most == 0 && age == 0.0 {
            return;
        }
        let current = self.current.as_ref().map(|c| c.path.as_path());
        let present = self.names.present();
        let mut total: u64 = present.iter().map(|(_, bytes, ..)| bytes).sum();
        for (_, bytes, since, path) in &present {
            let over = most > 0 && total > most;
            let old = age > 0.0 && since.as_secs_f64() > age;
            if Some(path.as_path()) == current || !(over || old) {
                continue;
            }
            match fs::remove_file(path) {
                Ok(()) => total -= bytes,
                Err(e) => log::warn!("recording {} cannot be deleted: {e}", path.display()),
            }
        }
    }

    /// What is wrong, if anything.
    pub fn fault(&self) -> Option<&FaultRecord> {
        self.fault.as_ref()
    }

    /// Closes the last file.
    pub fn finish(&mut self, now: Timestamp) {
        self.close(now);
        self.keep_limits();
    }

    /// Bytes on disk, files, and entries that were lost.
    pub fn counts(&self) -> (u64, u64, u64) {
        (self.closed_bytes, self.files, self.lost)
    }
}

fn written(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|m| m.len())
}
