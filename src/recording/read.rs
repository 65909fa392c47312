//! Any bytes to entries, or to a named error: with bounded memory, and without a panic.
//!
//! A file is read from its start. Its end may be missing (a power cut, a kill), or a chunk in the
//! middle be damaged: whole chunks are read, damaged ones are skipped and counted.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mcap::records::{MessageHeader, Metadata, Record, op};
use mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};
use mcap::{Channel, McapError, Schema};

use super::{ABOUT, About, Entry, MAX_RECORD, Topic};

/// Why a file cannot be read (further).
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused.
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
    /// It does not begin as an MCAP file does.
    #[error("not an MCAP file")]
    NotMcap,
    /// What follows can be understood no more.
    #[error("damaged at byte {at}: {problem}")]
    Damaged {
        /// Where, about.
        at: u64,
        /// What.
        problem: String,
    },
}

/// A message as it is stored, whosever it is.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its channel.
    pub channel: Arc<Channel<'static>>,
    /// Its times and number.
    pub header: MessageHeader,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// What a file holds, piece by piece.
#[derive(Debug)]
pub enum Item {
    /// How the recording was made.
    About(About),
    /// Metadata of somebody else's.
    Metadata(Metadata),
    /// A message.
    Message(Stored),
    /// A chunk that cannot be read was skipped.
    Skipped(String),
    /// The file ends here, without its footer: it was cut off.
    Cut,
}

impl Stored {
    /// As an entry, if its topic is one of ours.
    pub fn entry(self) -> Option<Entry> {
        let topic = Topic::parse(&self.channel.topic)?;
        let (sequence, time) = (self.header.sequence, self.header.log_time);
        Some(Entry { topic, sequence, time, data: self.data })
    }
}

/// Reads a recording from its start to its end.
pub struct Reader<R> {
    input: R,
    records: LinearReader,
    schemas: BTreeMap<u16, Arc<Schema<'static>>>,
    channels: BTreeMap<u16, Arc<Channel<'static>>>,
    /// What a chunk held and has not been given out yet, in reverse.
    waiting: Vec<Item>,
    at: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Of a file's bytes.
    pub fn new(input: R) -> Self {
        let options = LinearReaderOptions::default()
            .with_emit_chunks(true)
            .with_record_length_limit(MAX_RECORD);
        Self {
            input,
            records: LinearReader::new_with_options(options),
            schemas: BTreeMap::new(),
            channels: BTreeMap::new(),
            waiting: Vec::new(),
            at: 0,
            ended: false,
        }
    }

    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// See [`ReadError`]. Nothing follows an error.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot be asked with ?")]
    pub fn next(&mut self) -> Result<Option<Item>, ReadError> {
        loop {
            if let Some(item) = self.waiting.pop() {
                return Ok(Some(item));
            }
            if self.ended {
                return Ok(None);
            }
            let read = self.record();
            if read.is_err() {
                self.ended = true;
            }
            if let Some(item) = read? {
                return Ok(Some(item));
            }
        }
    }

    /// Reads one record of the file.
    fn record(&mut self) -> Result<Option<Item>, ReadError> {
        let at = self.at;
        let damaged = |problem: &dyn std::fmt::Display| ReadError::Damaged {
            at,
            problem: problem.to_string(),
        };
        loop {
            let event = match self.records.next_event() {
                None => {
                    self.ended = true;
                    return Ok(None);
                }
                Some(Err(McapError::UnexpectedEof)) if self.at >= mcap::MAGIC.len() as u64 => {
                    self.ended = true;
                    return Ok(Some(Item::Cut));
                }
                Some(Err(McapError::UnexpectedEof | McapError::BadMagic)) => {
                    return Err(ReadError::NotMcap);
                }
                Some(Err(error)) => return Err(damaged(&error)),
                Some(Ok(event)) => event,
            };
            match event {
                LinearReadEvent::ReadRequest(wanted) => {
                    // A record that says to be large is not believed beforehand: memory grows
                    // with what is really there.
                    let wanted = wanted.clamp(1, 1 << 16);
                    let read = loop {
                        match self.input.read(self.records.insert(wanted)) {
                            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                            other => break other?,
                        }
                    };
                    self.records.notify_read(read);
                    self.at += read as u64;
                }
                LinearReadEvent::Record { opcode: op::CHUNK, data } => {
                    match chunk(data) {
                        Ok(records) => {
                            for record in records {
                                if let Some(item) = self.take(record) {
                                    self.waiting.push(item);
                                }
                            }
                            self.waiting.reverse();
                        }
                        Err(problem) => return Ok(Some(Item::Skipped(problem))),
                    }
                    return Ok(None);
                }
                LinearReadEvent::Record { opcode, data } => {
                    // Nothing of the summary is needed: it repeats what was there.
                    if opcode == op::FOOTER {
                        self.ended = true;
                        return Ok(None);
                    }
                    if !matches!(opcode, op::SCHEMA | op::CHANNEL | op::MESSAGE | op::METADATA) {
                        return Ok(None);
                    }
                    let record = guarded(|| Ok(mcap::parse_record(opcode, data)?.into_owned()));
                    return match record {
                        Ok(record) => Ok(self.take(record)),
                        Err(problem) => Ok(Some(Item::Skipped(problem))),
                    };
                }
            }
        }
    }

    fn take(&mut self, record: Record<'static>) -> Option<Item> {
        match record {
            Record::Schema { header, data } => {
                let (id, name, encoding) = (header.id, header.name, header.encoding);
                self.schemas.insert(id, Arc::new(Schema { id, name, encoding, data }));
                None
            }
            Record::Channel(c) => {
                let schema = self.schemas.get(&c.schema_id).cloned();
                let channel = Channel {
                    id: c.id,
                    topic: c.topic,
                    schema,
                    message_encoding: c.message_encoding,
                    metadata: c.metadata,
                };
                self.channels.insert(c.id, Arc::new(channel));
                None
            }
            Record::Message { header, data } => match self.channels.get(&header.channel_id) {
                Some(channel) => {
                    let (channel, data) = (channel.clone(), data.into_owned());
                    Some(Item::Message(Stored { channel, header, data }))
                }
                None => Some(Item::Skipped(format!(
                    "a message of the channel {}, which is not described",
                    header.channel_id
                ))),
            },
            Record::Metadata(m) if m.name == ABOUT => {
                Some(Item::About(About::from_map(&m.metadata)))
            }
            Record::Metadata(m) => Some(Item::Metadata(m)),
            _ => None,
        }
    }
}

/// What a chunk holds, if its CRC is right.
///
/// Read as a file of its own that holds nothing else: that reader keeps to a limit for every
/// length that it is told, which the library's `ChunkReader` does not.
fn chunk(data: &[u8]) -> Result<Vec<Record<'static>>, String> {
    guarded(|| {
        let options = LinearReaderOptions::default()
            .with_skip_start_magic(true)
            .with_skip_end_magic(true)
            .with_prevalidate_chunk_crcs(true)
            .with_record_length_limit(MAX_RECORD);
        let mut reader = LinearReader::new_with_options(options);
        let mut head = [op::CHUNK, 0, 0, 0, 0, 0, 0, 0, 0];
        head[1..].copy_from_slice(&(data.len() as u64).to_le_bytes());
        let mut input = head.chain(data);
        let mut records = Vec::new();
        while let Some(event) = reader.next_event() {
            match event? {
                LinearReadEvent::ReadRequest(wanted) => {
                    let read = input.read(reader.insert(wanted.clamp(1, 1 << 16)))?;
                    reader.notify_read(read);
                }
                LinearReadEvent::Record { opcode, data } => {
                    records.push(mcap::parse_record(opcode, data)?.into_owned());
                }
            }
        }
        Ok(records)
    })
}

/// The library's answer, its panics among its errors: the file may be anybody's.
fn guarded<T>(read: impl FnOnce() -> Result<T, McapError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(crate::fault::Chain(&error).to_string()),
        Err(panic) => Err(crate::fault::panic_words(&*panic).to_owned()),
    }
}
