//! Entries into a file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Seek, Write};

use mcap::records::{MessageHeader, Metadata};
use mcap::{Compression, McapError, WriteOptions, Writer};

use super::descriptors::file_descriptor_set;
use super::{ABOUT, About, Entry, PROFILE, Subject, Topic};

/// A chunk is closed when it holds more than this, uncompressed.
const CHUNK: u64 = 4 << 20;

/// Why an entry could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The system refused; what was flushed before can still be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file's format does not allow it.
    #[error("MCAP: {0}")]
    Format(McapError),
}

impl WriteError {
    /// True if the file system is full.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self, Self::Io(e) if matches!(e.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }
}

impl From<McapError> for WriteError {
    fn from(error: McapError) -> Self {
        match error {
            McapError::Io(error) => Self::Io(error),
            other => Self::Format(other),
        }
    }
}

/// A recording that is being written: chunks compressed with zstd, each with its CRC.
///
/// Every chunk is kept in memory until it is whole and then written at once, so that an
/// interruption costs no more than what was not yet flushed.
pub struct FileWriter<W: Write + Seek> {
    writer: Option<Writer<W>>,
    channels: BTreeMap<Topic, u16>,
    /// Names of channels that are not ours, as [`recover`](super::recover()) copies them.
    foreign: BTreeMap<u16, u16>,
    schemas: Vec<u8>,
    written: bool,
}

impl<W: Write + Seek> FileWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn create(out: W, about: &About) -> Result<Self, WriteError> {
        let mut this = Self::bare(out)?;
        if let Some(writer) = &mut this.writer {
            let metadata = Metadata { name: ABOUT.to_owned(), metadata: about.to_map() };
            writer.write_metadata(&metadata)?;
        }
        Ok(this)
    }

    /// A file that does not say how it was made.
    pub(super) fn bare(out: W) -> Result<Self, WriteError> {
        let writer = WriteOptions::new()
            .profile(PROFILE)
            .library(concat!("posewire ", env!("CARGO_PKG_VERSION")))
            .compression(Some(Compression::Zstd))
            // Pictures are compressed already; the rest shrinks well at any level.
            .compression_level(1)
            // 0: on this thread.
            .compression_threads(0)
            .chunk_size(Some(CHUNK))
            .disable_seeking(true)
            .create(out)?;
        Ok(Self {
            writer: Some(writer),
            channels: BTreeMap::new(),
            foreign: BTreeMap::new(),
            schemas: file_descriptor_set(),
            written: false,
        })
    }

    /// Writes one message, into memory at first.
    ///
    /// # Errors
    /// If a chunk became full and the system refuses it. The file is then of no more use.
    pub fn put(&mut self, entry: &Entry) -> Result<(), WriteError> {
        let channel = match self.channels.get(&entry.topic) {
            Some(&channel) => channel,
            None => self.open(entry.topic)?,
        };
        let header = MessageHeader {
            channel_id: channel,
            sequence: entry.sequence,
            log_time: entry.time,
            publish_time: entry.time,
        };
        self.written = true;
        Ok(self.inner()?.write_to_known_channel(&header, &entry.data)?)
    }

    fn inner(&mut self) -> Result<&mut Writer<W>, WriteError> {
        self.writer.as_mut().ok_or(WriteError::Format(McapError::AttemptedWriteAfterFailure))
    }

    fn open(&mut self, topic: Topic) -> Result<u16, WriteError> {
        let (name, encoding, messages) = topic.subject.encoding();
        let data: Cow<'_, [u8]> = match encoding {
            "protobuf" => Cow::Owned(self.schemas.clone()),
            "jsonschema" => Cow::Borrowed(json_schema(topic.subject)),
            _ => Cow::Borrowed(&[]),
        };
        let writer = self.inner()?;
        let schema = if name.is_empty() { 0 } else { writer.add_schema(name, encoding, &data)? };
        let channel = writer.add_channel(schema, &topic.to_string(), messages, &BTreeMap::new())?;
        self.channels.insert(topic, channel);
        Ok(channel)
    }

    /// Copies a metadata record.
    pub(super) fn metadata(&mut self, metadata: &Metadata) -> Result<(), WriteError> {
        Ok(self.inner()?.write_metadata(metadata)?)
    }

    /// Copies a message of any channel, known by its number in the other file.
    pub(super) fn copy(
        &mut self,
        channel: &mcap::Channel<'_>,
        header: &MessageHeader,
        data: &[u8],
    ) -> Result<(), WriteError> {
        let id = match self.foreign.get(&channel.id) {
            Some(&id) => id,
            None => {
                let writer = self.inner()?;
                let schema = match &channel.schema {
                    Some(s) => writer.add_schema(&s.name, &s.encoding, &s.data)?,
                    None => 0,
                };
                let (encoding, metadata) = (&channel.message_encoding, &channel.metadata);
                let id = writer.add_channel(schema, &channel.topic, encoding, metadata)?;
                self.foreign.insert(channel.id, id);
                id
            }
        };
        let header = MessageHeader { channel_id: id, ..*header };
        self.written = true;
        Ok(self.inner()?.write_to_known_channel(&header, data)?)
    }

    /// Closes the chunk and gives it to the system: a reader of the file sees all of it. Whether
    /// it survives a power cut is for the caller to see to (`sync_data`).
    ///
    /// # Errors
    /// If the system refuses. The file is then of no more use.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        if !std::mem::take(&mut self.written) {
            return Ok(());
        }
        Ok(self.inner()?.flush()?)
    }

    /// Writes the index and the footer, and gives back what was written to.
    ///
    /// # Errors
    /// If the system refuses; all that was flushed can still be read.
    pub fn finish(mut self) -> Result<W, WriteError> {
        let Some(mut writer) = self.writer.take() else {
            return Err(WriteError::Format(McapError::AttemptedWriteAfterFailure));
        };
        match writer.finish() {
            Ok(_) => Ok(writer.into_inner()),
            Err(error) => {
                // Otherwise its drop would try again.
                drop(writer.into_inner());
                Err(error.into())
            }
        }
    }

    /// Gives back what was written to, without an index: after a failure.
    pub fn abandon(mut self) -> Option<W> {
        self.writer.take().map(Writer::into_inner)
    }
}

/// What our JSON messages hold, for viewers.
const fn json_schema(subject: Subject) -> &'static [u8] {
    match subject {
        Subject::Frame => {
            br#"{"title":"posewire.Frame","type":"object","properties":{"camera":{"type":"integer"},"sequence":{"type":"integer"},"captured_ns":{"type":"integer"},"media":{"type":"boolean"},"dequeued_ns":{"type":"integer"},"width":{"type":"integer"},"height":{"type":"integer"},"format":{"type":"string"},"bt709":{"type":"boolean"},"full_range":{"type":"boolean"},"picture":{"type":"string"}}}"#
        }
        _ => {
            br#"{"title":"posewire.Status","type":"object","properties":{"state":{"type":"string"},"uptime_s":{"type":"integer"},"fps_in":{"type":"number"},"fps_out":{"type":"number"},"frames_in":{"type":"integer"},"frames_out":{"type":"integer"},"frames_displaced":{"type":"integer"},"frames_missed":{"type":"integer"},"frames_bad":{"type":"integer"},"faults":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"severity":{"type":"string"},"count":{"type":"integer"},"detail":{"type":"string"}}}}}}"#
        }
    }
}
