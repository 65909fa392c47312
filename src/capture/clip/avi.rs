//! RIFF AVI and OpenDML AVI with Motion-JPEG video.
//!
//! The file is walked chunk by chunk and no index is read, so that a recording whose writer died
//! (no index, sizes of zero) plays up to where it ends. Sources: Microsoft's "AVI RIFF File
//! Reference" and OpenDML AVI File Format Extensions 1.02.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use super::mjpeg::{MAX_BYTES, jpeg_layout};
use super::{ClipFormat, Read, ReadError, Reader, Refusal};

/// Headers that are larger than this are not headers.
const MAX_HEADER: u32 = 1 << 16;

/// An AVI file.
pub(super) struct Avi {
    format: ClipFormat,
    chunks: Chunks,
    /// `00dc` for the first stream: the two digits of our chunks' names.
    digits: [u8; 2],
    /// Rate and scale: `rate / scale` frames per second.
    rate: Option<(u32, u32)>,
    /// Where the first chunk of the movie begins.
    start: u64,
    index: u64,
}

/// What a stream's headers say.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    is_video: bool,
    rate: u32,
    scale: u32,
    compression: [u8; 4],
    width: u32,
    height: u32,
}

impl Avi {
    pub(super) fn open(path: &Path) -> Result<Self, Refusal> {
        let mut chunks = Chunks { input: BufReader::with_capacity(1 << 18, File::open(path)?) };
        match chunks.next()? {
            Some(Chunk::List { kind: [b'A', b'V', b'I', b' '] }) => {}
            _ => return Err(Refusal::Unusable("the file does not begin as an AVI does".into())),
        }
        let mut streams: Vec<Stream> = Vec::new();
        let mut body = Vec::new();
        loop {
            match chunks.next()? {
                None => return Err(Refusal::Unusable("the AVI ends within its header".into())),
                Some(Chunk::List { kind }) if kind == *b"strl" => streams.push(Stream::default()),
                Some(Chunk::List { kind }) if kind == *b"movi" => break,
                Some(Chunk::List { .. }) => {}
                Some(Chunk::Data { id, len }) => match (&id, streams.last_mut()) {
                    (b"strh", Some(stream)) if len <= MAX_HEADER => {
                        chunks.body(len, &mut body)?;
                        stream.is_video = body.starts_with(b"vids");
                        stream.scale = le32(&body, 20);
                        stream.rate = le32(&body, 24);
                    }
                    (b"strf", Some(stream)) if stream.is_video && len <= MAX_HEADER => {
                        chunks.body(len, &mut body)?;
                        stream.width = le32(&body, 4);
                        // Negative for pictures from top to bottom.
                        stream.height = (le32(&body, 8) as i32).unsigned_abs();
                        stream.compression = le32(&body, 16).to_le_bytes();
                    }
                    _ => chunks.skip(len)?,
                },
            }
        }
        let Some(number) = streams.iter().position(|s| s.is_video) else {
            return Err(Refusal::Unusable("the AVI has no video stream".into()));
        };
        let stream = streams[number];
        let coding = String::from_utf8_lossy(&stream.compression).into_owned();
        if !["MJPG", "JPEG"].contains(&coding.to_ascii_uppercase().as_str()) {
            return Err(Refusal::NotOurs(format!(
                "AVI with {:?} video",
                coding.escape_debug().to_string()
            )));
        }
        let rate = (stream.rate > 0 && stream.scale > 0).then_some((stream.rate, stream.scale));
        let format = ClipFormat {
            what: "Motion-JPEG in AVI".into(),
            size: (stream.width > 0 && stream.height > 0).then_some((stream.width, stream.height)),
            rate: rate.map(|(r, s)| f64::from(r) / f64::from(s)),
            live: false,
        };
        let digits = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        let start = chunks.input.stream_position()?;
        let height = stream.height;
        let mut avi = Self { format, chunks, digits, rate, start, index: 0 };

        // Some capture cards write each field of an interlaced picture as a JPEG of half the
        // height, both in one chunk.
        if let Ok(Read::Picture { layout, .. }) = avi.read(&mut body, Duration::ZERO)
            && height >= 2 * layout.height
        {
            return Err(Refusal::NotOurs("AVI with interlaced Motion-JPEG".into()));
        }
        avi.chunks.input.seek(SeekFrom::Start(start))?;
        avi.index = 0;
        Ok(avi)
    }
}

impl Reader for Avi {
    fn format(&self) -> &ClipFormat {
        &self.format
    }

    fn read(&mut self, buffer: &mut Vec<u8>, _limit: Duration) -> Result<Read, ReadError> {
        let io = |e: io::Error| ReadError::io(&e);
        loop {
            let (id, len) = match self.chunks.next().map_err(io)? {
                None => return Ok(Read::End),
                // `rec ` lists and the further `RIFF AVIX` parts of OpenDML: just go on inside.
                Some(Chunk::List { .. }) => continue,
                Some(Chunk::Data { id, len }) => (id, len),
            };
            if !id.iter().all(|b| (0x20..0x7f).contains(b)) {
                let found = self.chunks.find(self.digits).map_err(io)?;
                let after = if found { "the next one was found" } else { "the rest is lost" };
                return Err(ReadError::Bad(format!("damaged chunk header; {after}")));
            }
            // `00dc` compressed, `00db` uncompressed by name, but written by some for either.
            if id[..2] != self.digits || !matches!(&id[2..], b"dc" | b"db") {
                self.chunks.skip(len).map_err(io)?;
                continue;
            }
            let index = self.index;
            self.index += 1;
            // An empty chunk stands for "as the frame before": it has a time and no picture.
            if len == 0 {
                continue;
            }
            if len as usize > MAX_BYTES {
                self.chunks.skip(len).map_err(io)?;
                return Err(ReadError::Bad(format!("a picture of {len} bytes")));
            }
            if !self.chunks.body(len, buffer).map_err(io)? {
                return Err(ReadError::Bad("the file ends within the picture".into()));
            }
            let layout = jpeg_layout(buffer)?;
            let time = self.rate.map(|(rate, scale)| {
                let nanos =
                    i128::from(index) * 1_000_000_000 * i128::from(scale) / i128::from(rate);
                i64::try_from(nanos).unwrap_or(i64::MAX)
            });
            return Ok(Read::Picture { layout, time });
        }
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        self.index = 0;
        self.chunks.input.seek(SeekFrom::Start(self.start)).map_err(|e| ReadError::io(&e))?;
        Ok(())
    }
}

/// A chunk's header. The contents of lists follow as chunks of their own.
enum Chunk {
    List { kind: [u8; 4] },
    Data { id: [u8; 4], len: u32 },
}

/// A RIFF file as a flat row of chunks.
struct Chunks {
    input: BufReader<File>,
}

impl Chunks {
    /// The next header; `None` where the file ends, even within a header.
    fn next(&mut self) -> io::Result<Option<Chunk>> {
        let (Some(id), Some(len)) = (self.word()?, self.word()?) else { return Ok(None) };
        if &id == b"RIFF" || &id == b"LIST" {
            return Ok(self.word()?.map(|kind| Chunk::List { kind }));
        }
        Ok(Some(Chunk::Data { id, len: u32::from_le_bytes(len) }))
    }

    fn word(&mut self) -> io::Result<Option<[u8; 4]>> {
        let mut word = [0; 4];
        match self.input.read_exact(&mut word) {
            Ok(()) => Ok(Some(word)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads a chunk's body and its padding; false if the file ends within.
    fn body(&mut self, len: u32, out: &mut Vec<u8>) -> io::Result<bool> {
        out.clear();
        let read = (&mut self.input).take(u64::from(len)).read_to_end(out)?;
        self.input.seek_relative(i64::from(len & 1))?;
        Ok(read == len as usize)
    }

    fn skip(&mut self, len: u32) -> io::Result<()> {
        self.input.seek_relative(i64::from(len) + i64::from(len & 1))
    }

    /// Goes to the next chunk named `##dc` or `##db`; false if there is none.
    fn find(&mut self, digits: [u8; 2]) -> io::Result<bool> {
        let mut last = [0u8; 4];
        loop {
            let chunk = io::BufRead::fill_buf(&mut self.input)?;
            if chunk.is_empty() {
                return Ok(false);
            }
            let mut used = 0;
            let found = chunk.iter().any(|&byte| {
                last = [last[1], last[2], last[3], byte];
                used += 1;
                last[..2] == digits && matches!(&last[2..], b"dc" | b"db")
            });
            io::BufRead::consume(&mut self.input, used);
            if found {
                self.input.seek_relative(-4)?;
                return Ok(true);
            }
        }
    }
}

/// The little-endian number at byte `at`; 0 where the header is too short.
fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}
