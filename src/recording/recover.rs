//! What can be read of a file into a whole one.

use std::io::{Read, Seek, Write};

use mcap::records::Metadata;

use super::{ABOUT, FileWriter, Item, ReadError, Reader, WriteError};

/// What a recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Messages that were copied.
    pub messages: u64,
    /// Chunks or records that could not be read.
    pub skipped: u64,
    /// The file ended without its footer.
    pub cut: bool,
    /// Where reading stopped for good before the end, and why.
    pub stopped: Option<String>,
    /// Time of the first and of the last message, nanoseconds.
    pub span: Option<(u64, u64)>,
}

/// Why a recovery failed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The old file cannot be read at all.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The new file cannot be written.
    #[error("cannot write: {0}")]
    Write(#[from] WriteError),
}

/// Copies what can be read of `from`, whoever wrote it, into `to`, with index and footer.
///
/// # Errors
/// If `from` is no MCAP file at all, or `to` cannot be written.
pub fn recover<W: Write + Seek>(from: impl Read, to: W) -> Result<(Recovered, W), RecoverError> {
    let mut reader = Reader::new(from);
    let mut found = Recovered::default();
    let mut writer = FileWriter::bare(to)?;
    loop {
        match reader.next() {
            Ok(Some(Item::About(about))) => {
                let metadata = about.to_map();
                writer.metadata(&Metadata { name: ABOUT.to_owned(), metadata })?;
            }
            Ok(Some(Item::Metadata(metadata))) => writer.metadata(&metadata)?,
            Ok(Some(Item::Message(m))) => {
                writer.copy(&m.channel, &m.header, &m.data)?;
                found.messages += 1;
                let time = m.header.log_time;
                let (first, last) = found.span.unwrap_or((time, time));
                found.span = Some((first.min(time), last.max(time)));
            }
            Ok(Some(Item::Skipped(_))) => found.skipped += 1,
            Ok(Some(Item::Cut)) => found.cut = true,
            Ok(None) => break,
            Err(ReadError::Damaged { at, problem }) => {
                found.stopped = Some(format!("at byte {at}: {problem}"));
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let to = writer.finish()?;
    Ok((found, to))
}
