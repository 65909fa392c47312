//! YUV4MPEG2: raw planes behind a text header (mjpegtools' `yuv4mpeg(5)`).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use super::{ClipFormat, Read, ReadError, Reader, Refusal};
use crate::decode::MAX_SIDE;
use crate::frame::{ColorSpace, ImageLayout, PixelFormat};

/// The longest header line that is read.
const MAX_LINE: u64 = 4096;

/// A Y4M file.
pub(super) struct Y4m {
    format: ClipFormat,
    input: BufReader<File>,
    layout: ImageLayout,
    /// Numerator and denominator of the frame rate.
    rate: Option<(u32, u32)>,
    /// Where the first frame begins.
    start: u64,
    index: u64,
}

/// What the first line says.
#[derive(Debug, PartialEq)]
struct Header {
    width: u32,
    height: u32,
    rate: Option<(u32, u32)>,
    pixels: PixelFormat,
    full_range: bool,
}

impl Header {
    /// Reads `YUV4MPEG2 W640 H480 F30:1 Ip A1:1 C420jpeg`.
    fn parse(line: &str) -> Result<Self, Refusal> {
        let bad = |problem: String| Err(Refusal::Unusable(format!("Y4M header: {problem}")));
        let mut words = line.split(' ');
        if words.next() != Some("YUV4MPEG2") {
            return bad("the file does not begin with YUV4MPEG2".into());
        }
        let (mut width, mut height, mut rate) = (None, None, None);
        // The format's own default is 4:2:0.
        let (mut pixels, mut full_range) = (PixelFormat::I420, false);
        for word in words.filter(|w| !w.is_empty()) {
            let (tag, value) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
            match tag {
                "W" => width = value.parse::<u32>().ok().filter(|&w| w > 0),
                "H" => height = value.parse::<u32>().ok().filter(|&h| h > 0),
                "F" => {
                    let Some((n, d)) = value.split_once(':') else {
                        return bad(format!("rate F{value} is not of the form F30:1"));
                    };
                    rate = match (n.parse(), d.parse()) {
                        // 0:0 says "unknown".
                        (Ok(0), Ok(0)) => None,
                        (Ok(n), Ok(d)) if n > 0 && d > 0 => Some((n, d)),
                        _ => return bad(format!("rate F{value} is not of the form F30:1")),
                    };
                }
                "C" => {
                    pixels = match value {
                        "420" | "420jpeg" | "420mpeg2" | "420paldv" => PixelFormat::I420,
                        "422" => PixelFormat::I422,
                        "444" => PixelFormat::I444,
                        "mono" => PixelFormat::Gray8,
                        _ => return Err(Refusal::NotOurs(format!("Y4M with C{value}"))),
                    }
                }
                "X" => full_range |= value == "COLORRANGE=FULL",
                // I (interlacing) and A (pixel aspect) change nothing for us.
                _ => {}
            }
        }
        let (Some(width), Some(height)) = (width, height) else {
            return bad("no width (W) or height (H) in it".into());
        };
        if width > MAX_SIDE || height > MAX_SIDE {
            return bad(format!("{width}x{height} is larger than {MAX_SIDE}x{MAX_SIDE}"));
        }
        Ok(Self { width, height, rate, pixels, full_range })
    }
}

impl Y4m {
    pub(super) fn open(path: &Path) -> Result<Self, Refusal> {
        let mut input = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        let header = match read_line(&mut input, &mut line)? {
            Line::Whole => Header::parse(&String::from_utf8_lossy(&line))?,
            _ if line.starts_with(b"YUV4MPEG2") => {
                return Err(Refusal::Unusable("Y4M header: it does not end".into()));
            }
            _ => return Err(Refusal::Unusable("the file does not begin with YUV4MPEG2".into())),
        };
        let color = ColorSpace { bt709: false, full_range: header.full_range };
        let size = (header.width, header.height);
        let format = ClipFormat {
            what: format!("Y4M {:?}", header.pixels),
            size: Some(size),
            rate: header.rate.map(|(n, d)| f64::from(n) / f64::from(d)),
            live: false,
        };
        let layout = ImageLayout::packed(size.0, size.1, header.pixels, color);
        let start = line.len() as u64 + 1;
        Ok(Self { format, input, layout, rate: header.rate, start, index: 0 })
    }
}

impl Reader for Y4m {
    fn format(&self) -> &ClipFormat {
        &self.format
    }

    fn read(&mut self, buffer: &mut Vec<u8>, _limit: Duration) -> Result<Read, ReadError> {
        let io = |e: io::Error| ReadError::io(&e);
        buffer.clear();
        match read_line(&mut self.input, buffer).map_err(io)? {
            Line::End if buffer.is_empty() => return Ok(Read::End),
            Line::Whole if buffer.starts_with(b"FRAME") => {}
            _ => {
                // Frames have no marks to look for within their pixels: what follows is lost.
                let _ = self.input.seek(SeekFrom::End(0));
                return Err(ReadError::Bad(
                    "no FRAME line where one was expected; the rest is lost".into(),
                ));
            }
        }
        let len = self.layout.byte_len();
        buffer.resize(len, 0);
        let mut filled = 0;
        while filled < len {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => {
                    let problem = format!("the file ends after {filled} of its {len} bytes");
                    return Err(ReadError::Bad(problem));
                }
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(io(e)),
            }
        }
        let time = self.rate.map(|(n, d)| {
            let nanos = i128::from(self.index) * 1_000_000_000 * i128::from(d) / i128::from(n);
            i64::try_from(nanos).unwrap_or(i64::MAX)
        });
        self.index += 1;
        Ok(Read::Picture { layout: self.layout.clone(), time })
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        self.index = 0;
        self.input.seek(SeekFrom::Start(self.start)).map_err(|e| ReadError::io(&e))?;
        Ok(())
    }
}

/// How a line ended.
enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads up to a line feed, which is left out.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    input.by_ref().take(MAX_LINE).read_until(b'\n', line)?;
    Ok(match line.last() {
        Some(b'\n') => {
            line.pop();
            Line::Whole
        }
        _ if line.len() as u64 == MAX_LINE => Line::TooLong,
        _ => Line::End,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(line: &str) -> Result<Header, String> {
        Header::parse(line).map_err(|r| match r {
            Refusal::Unusable(p) => p,
            Refusal::NotOurs(p) => format!("not ours: {p}"),
        })
    }

    #[test]
    fn a_header_is_read_whatever_the_order_of_its_tags() {
        let h = header("YUV4MPEG2 H480 C422 W640 Ip F30000:1001 A0:0 XCOLORRANGE=FULL").unwrap();
        assert_eq!((h.width, h.height, h.pixels), (640, 480, PixelFormat::I422));
        assert_eq!(h.rate, Some((30_000, 1001)));
        assert!(h.full_range);
        let plain = header("YUV4MPEG2 W2 H2 F0:0").unwrap();
        assert_eq!((plain.pixels, plain.rate), (PixelFormat::I420, None));
    }

    #[test]
    fn a_wrong_header_is_refused_with_its_reason() {
        for (line, reason) in [
            ("YUV4MPEG W2 H2", "does not begin"),
            ("YUV4MPEG2 W2", "no width"),
            ("YUV4MPEG2 W0 H2", "no width"),
            ("YUV4MPEG2 W-3 H2", "no width"),
            ("YUV4MPEG2 W99999 H2", "larger than"),
            ("YUV4MPEG2 W2 H2 F30", "rate F30"),
            ("YUV4MPEG2 W2 H2 F30:0", "rate F30:0"),
            ("YUV4MPEG2 W2 H2 F1:1 C420p10", "not ours: Y4M with C420p10"),
            ("YUV4MPEG2 W2 H2 F1:1 \u{fc}", ""),
        ] {
            match header(line) {
                Err(problem) => assert!(problem.contains(reason), "{line}: {problem}"),
                Ok(_) => assert!(reason.is_empty(), "{line} was taken"),
            }
        }
    }
}
