//! JPEG pictures one after the other in a file, and the search for where each ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::path::Path;
use std::time::Duration;

use super::{ClipFormat, Read, ReadError, Reader, Refusal};
use crate::decode::JpegHeader;
use crate::frame::{ImageLayout, PixelFormat};

/// The most bytes that a picture may have: what never ends is no picture.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// A raw Motion-JPEG file.
pub(super) struct Mjpeg {
    format: ClipFormat,
    stream: JpegStream<BufReader<File>>,
}

impl Mjpeg {
    pub(super) fn open(path: &Path) -> Result<Self, Refusal> {
        let mut stream = JpegStream::new(BufReader::with_capacity(1 << 18, File::open(path)?));
        let mut first = Vec::new();
        let size = match stream.next(&mut first)? {
            Found::End => {
                return Err(Refusal::Unusable(
                    "no JPEG picture in it: a .mjpeg file holds JPEGs one after the other".into(),
                ));
            }
            Found::Whole => jpeg_layout(&first).ok().map(|l| (l.width, l.height)),
            Found::Cut(_) => None,
        };
        stream.rewind()?;
        let what = "raw Motion-JPEG".into();
        Ok(Self { format: ClipFormat { what, size, ..ClipFormat::default() }, stream })
    }
}

impl Reader for Mjpeg {
    fn format(&self) -> &ClipFormat {
        &self.format
    }

    fn read(&mut self, buffer: &mut Vec<u8>, _limit: Duration) -> Result<Read, ReadError> {
        match self.stream.next(buffer).map_err(|e| ReadError::io(&e))? {
            Found::End => Ok(Read::End),
            Found::Cut(why) => Err(ReadError::Bad(why.into())),
            Found::Whole => Ok(Read::Picture { layout: jpeg_layout(buffer)?, time: None }),
        }
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        self.stream.rewind().map_err(|e| ReadError::io(&e))
    }
}

/// The layout of a compressed frame, from its header.
pub(super) fn jpeg_layout(bytes: &[u8]) -> Result<ImageLayout, ReadError> {
    let header = JpegHeader::parse(bytes).map_err(|e| ReadError::Bad(e.to_string()))?;
    let (width, height) = (header.width, header.height);
    Ok(ImageLayout::compressed(width, height, PixelFormat::Jpeg, bytes.len()))
}

/// What [`JpegStream::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A picture from its start marker to its end marker.
    Whole,
    /// The start of a picture only, and why.
    Cut(&'static str),
    /// Nothing more.
    End,
}

/// Finds the borders of JPEGs by walking their segments: a JPEG within a JPEG (the thumbnail of
/// a camera's picture) is skipped with its segment.
pub(super) struct JpegStream<R> {
    input: R,
    /// The start marker of the next picture has been read already.
    started: bool,
    /// A 0xff was taken from the input that is still to be read.
    unread_ff: bool,
}

impl<R: BufRead + Seek> JpegStream<R> {
    /// Goes back to the first picture.
    fn rewind(&mut self) -> io::Result<()> {
        self.started = false;
        self.unread_ff = false;
        self.input.rewind()
    }
}

impl<R: BufRead> JpegStream<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, started: false, unread_ff: false }
    }

    /// Puts the next picture into `out`. Bytes between pictures are skipped.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> io::Result<Found> {
        out.clear();
        if !std::mem::take(&mut self.started) && !self.find_start()? {
            return Ok(Found::End);
        }
        out.extend_from_slice(&[0xff, 0xd8]);
        loop {
            // Here stands a marker, or the picture is damaged.
            let code = match self.marker(out)? {
                Some(code) => code,
                None => return Ok(Found::Cut("it ends within its header")),
            };
            match code {
                0xd9 => return Ok(Found::Whole),
                0xd8 => {
                    self.started = true;
                    return Ok(Found::Cut("another picture begins within it"));
                }
                0x00 => return Ok(Found::Cut("a segment does not begin with a marker")),
                0x01 | 0xd0..=0xd7 => continue,
                _ => {}
            }
            let (Some(high), Some(low)) = (self.byte()?, self.byte()?) else {
                return Ok(Found::Cut("it ends within its header"));
            };
            out.extend_from_slice(&[high, low]);
            let body = usize::from(u16::from_be_bytes([high, low])).saturating_sub(2);
            if !self.copy(body, out)? {
                return Ok(Found::Cut("it ends within its header"));
            }
            if code == 0xda && !self.coded_bits(out)? {
                return Ok(Found::Cut("it ends before its end marker"));
            }
            if out.len() > MAX_BYTES {
                return Ok(Found::Cut("it is longer than 64 MiB"));
            }
        }
    }

    /// Skips to behind the next start marker.
    fn find_start(&mut self) -> io::Result<bool> {
        let mut last = 0;
        while let Some(byte) = self.byte()? {
            if last == 0xff && byte == 0xd8 {
                return Ok(true);
            }
            last = byte;
        }
        Ok(false)
    }

    /// Reads a marker's code; 0 if no marker stands here.
    fn marker(&mut self, out: &mut Vec<u8>) -> io::Result<Option<u8>> {
        match self.byte()? {
            Some(0xff) => {}
            Some(_) => return Ok(Some(0)),
            None => return Ok(None),
        }
        out.push(0xff);
        loop {
            match self.byte()? {
                // Any number of fill bytes; they need not be kept.
                Some(0xff) => {}
                Some(code) => {
                    out.push(code);
                    return Ok(Some(code));
                }
                None => return Ok(None),
            }
        }
    }

    /// Copies coded bits up to the next marker that is not part of them, which stays in the
    /// input. False if there is none.
    fn coded_bits(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        while out.len() <= MAX_BYTES {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                return Ok(false);
            }
            let until = chunk.iter().position(|&b| b == 0xff).unwrap_or(chunk.len());
            match chunk.get(until + 1) {
                // Within the chunk: is it part of the coded bits?
                Some(0x00 | 0xd0..=0xd7) => {
                    out.extend_from_slice(&chunk[..until + 2]);
                    self.input.consume(until + 2);
                }
                // A fill byte: the next 0xff is looked at in its turn.
                Some(0xff) => {
                    out.extend_from_slice(&chunk[..until]);
                    self.input.consume(until + 1);
                }
                Some(_) => {
                    out.extend_from_slice(&chunk[..until]);
                    self.input.consume(until);
                    return Ok(true);
                }
                None if until == chunk.len() => {
                    out.extend_from_slice(chunk);
                    self.input.consume(until);
                }
                // The 0xff is the chunk's last byte: look across the border.
                None => {
                    out.extend_from_slice(&chunk[..until]);
                    self.input.consume(until + 1);
                    match self.input.fill_buf()?.first() {
                        Some(&part @ (0x00 | 0xd0..=0xd7)) => {
                            out.extend_from_slice(&[0xff, part]);
                            self.input.consume(1);
                        }
                        Some(0xff) => {}
                        Some(_) => {
                            self.unread_ff = true;
                            return Ok(true);
                        }
                        None => return Ok(false),
                    }
                }
            }
        }
        Ok(false)
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        if std::mem::take(&mut self.unread_ff) {
            return Ok(Some(0xff));
        }
        let byte = self.input.fill_buf()?.first().copied();
        self.input.consume(usize::from(byte.is_some()));
        Ok(byte)
    }

    /// Copies `len` bytes; false if there are fewer.
    fn copy(&mut self, mut len: usize, out: &mut Vec<u8>) -> io::Result<bool> {
        while len > 0 {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                return Ok(false);
            }
            let n = chunk.len().min(len);
            out.extend_from_slice(&chunk[..n]);
            self.input.consume(n);
            len -= n;
        }
        Ok(true)
    }
}
