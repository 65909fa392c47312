//! What a JPEG says about itself before its first coded bit.

use super::{DecodeError, MAX_SIDE};

/// The part of a JPEG's header that is needed before decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JpegHeader {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// 1 for grey, 3 for colour, 4 for CMYK.
    pub components: u8,
    /// True if Huffman tables come before the first scan; Motion-JPEG may leave them out.
    pub has_huffman_tables: bool,
    /// Where the marker of the first scan begins, in bytes.
    pub scan: usize,
}

impl JpegHeader {
    /// Walks the segments of `bytes` up to the first scan (ITU-T T.81, annex B). Reads no pixels.
    ///
    /// # Errors
    /// If it is no JPEG, is cut short, has no frame header, or has a side of more than
    /// [`MAX_SIDE`] pixels.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        if !bytes.starts_with(&[0xff, 0xd8]) {
            return Err(DecodeError::Corrupt("it does not begin as a JPEG does".into()));
        }
        let mut at = 2;
        let mut has_huffman_tables = false;
        let mut frame = None;
        loop {
            if *bytes.get(at).ok_or(DecodeError::Truncated)? != 0xff {
                return Err(DecodeError::Corrupt(format!("no marker at byte {at}")));
            }
            // Any number of fill bytes may precede a marker's code.
            let mut code_at = at + 1;
            while bytes.get(code_at) == Some(&0xff) {
                code_at += 1;
            }
            let code = *bytes.get(code_at).ok_or(DecodeError::Truncated)?;
            let segment = match code {
                // Standing alone: TEM, RSTn.
                0x01 | 0xd0..=0xd7 => &[][..],
                0xd8 | 0xd9 | 0x00 => {
                    return Err(DecodeError::Corrupt(format!(
                        "marker {code:#04x} at byte {at}, where a header was expected"
                    )));
                }
                _ => {
                    let len = match bytes.get(code_at + 1..code_at + 3) {
                        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
                        _ => return Err(DecodeError::Truncated),
                    };
                    if len < 2 {
                        return Err(DecodeError::Corrupt(format!("segment of {len} bytes")));
                    }
                    bytes.get(code_at + 3..code_at + 1 + len).ok_or(DecodeError::Truncated)?
                }
            };
            match code {
                0xc4 => has_huffman_tables = true,
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                    frame = Some(frame_header(segment)?);
                }
                0xda => {
                    let (width, height, components) =
                        frame.ok_or_else(|| DecodeError::Corrupt("no frame header".into()))?;
                    return Ok(Self { width, height, components, has_huffman_tables, scan: at });
                }
                _ => {}
            }
            at = match code {
                0x01 | 0xd0..=0xd7 => code_at + 1,
                _ => code_at + 3 + segment.len(),
            };
        }
    }
}

/// Width, height and components of a frame header's body (T.81, B.2.2).
fn frame_header(body: &[u8]) -> Result<(u32, u32, u8), DecodeError> {
    let &[_precision, h1, h0, w1, w0, components, ..] = body else {
        return Err(DecodeError::Truncated);
    };
    let width = u32::from(u16::from_be_bytes([w1, w0]));
    let height = u32::from(u16::from_be_bytes([h1, h0]));
    if width == 0 || height == 0 {
        return Err(DecodeError::Corrupt(format!("a size of {width}x{height}")));
    }
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(DecodeError::TooLarge { width, height });
    }
    Ok((width, height, components))
}
