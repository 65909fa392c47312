//! Messages on a line of bytes: consistent overhead byte stuffing (Cheshire and Baker, 1999).
//!
//! A frame is a message's bytes with every zero taken out, and one zero behind it. So a reader
//! that joins in the middle, or sees damage, is back in step at the next zero.

use super::{MAX_MESSAGE, MAX_TRAILER};

/// The most bytes that a frame holds when its stuffing is taken out.
pub const MAX_FRAME: usize = MAX_MESSAGE + MAX_TRAILER;

/// Bytes on the line for `len` bytes of message, at most: one in 254, one more, and the zero.
pub const fn framed_len(len: usize) -> usize {
    len + len / 254 + 2
}

/// Writes the frame of `message` to the start of `out` and returns its length; `None` if `out`
/// is shorter than [`framed_len`].
pub fn encode(message: &[u8], out: &mut [u8]) -> Option<usize> {
    if out.len() < framed_len(message.len()) {
        return None;
    }
    // Where the count of the present group goes, and where the next byte goes.
    let (mut count_at, mut at) = (0, 1);
    for &byte in message {
        if byte != 0 {
            out[at] = byte;
            at += 1;
        }
        if byte == 0 || at - count_at == 255 {
            out[count_at] = (at - count_at) as u8;
            count_at = at;
            at += 1;
        }
    }
    out[count_at] = (at - count_at) as u8;
    out[at] = 0;
    Some(at + 1)
}

/// Why bytes between two zeros are not a frame. The reader is in step again behind the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FramingError {
    /// A zero came before the frame's own counts were over: bytes were lost, or the reader joined
    /// in the middle.
    #[error("a frame was cut short on the line")]
    Torn,
    /// More bytes than any message has came without a zero: another baud rate, or another
    /// protocol.
    #[error(
        "more than {MAX_FRAME} bytes came without an end of frame: is the baud rate the sender's?"
    )]
    Overlong,
}

impl FramingError {
    /// A short name for statistics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Torn => "torn-frame",
            Self::Overlong => "overlong-frame",
        }
    }
}

/// Takes frames out of a stream of bytes, however it is cut into pieces. It does no input and
/// does not allocate: the caller brings the bytes, in pieces of any size.
///
/// ```
/// # use posewire::wire::cobs::FrameReader;
/// let mut reader = FrameReader::new();
/// let mut piece: &[u8] = &[0x03, 0x11, 0x22, 0x00, 0x02];
/// assert_eq!(reader.next(&mut piece), Some(Ok(&[0x11, 0x22][..])));
/// assert_eq!(reader.next(&mut piece), None); // the piece is used up
/// ```
pub struct FrameReader {
    frame: [u8; MAX_FRAME],
    len: usize,
    /// Bytes until the next count; 0 before a frame's first count.
    left: u8,
    /// The group before the next count stood for a zero behind it.
    zero_due: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a frame.
    Between,
    /// In a frame.
    Within,
    /// In something that is given up: until the next zero.
    Lost,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameReader {
    /// A reader at the beginning of a stream.
    pub const fn new() -> Self {
        Self { frame: [0; MAX_FRAME], len: 0, left: 0, zero_due: false, state: State::Between }
    }

    /// Takes bytes from the front of `piece` until a frame is whole or something is wrong; `None`
    /// when the piece is used up. Zeros between frames are no frames.
    pub fn next(&mut self, piece: &mut &[u8]) -> Option<Result<&[u8], FramingError>> {
        while let Some((&byte, rest)) = piece.split_first() {
            *piece = rest;
            let said = match (self.state, byte) {
                (State::Between, 0) => None,
                (State::Lost, 0) => {
                    self.state = State::Between;
                    None
                }
                (State::Within, 0) => {
                    self.state = State::Between;
                    Some(if self.left == 0 { Ok(()) } else { Err(FramingError::Torn) })
                }
                (State::Lost, _) => None,
                (State::Between, count) => {
                    self.state = State::Within;
                    (self.len, self.left, self.zero_due) = (0, count - 1, count != 255);
                    None
                }
                (State::Within, byte) => self.within(byte),
            };
            match said {
                Some(Ok(())) => return Some(Ok(&self.frame[..self.len])),
                Some(Err(e)) => return Some(Err(e)),
                None => {}
            }
        }
        None
    }

    /// A byte that is not zero, in a frame.
    fn within(&mut self, byte: u8) -> Option<Result<(), FramingError>> {
        let stored = if self.left > 0 {
            self.left -= 1;
            self.store(byte)
        } else {
            let zero_due = std::mem::replace(&mut self.zero_due, byte != 255);
            self.left = byte - 1;
            !zero_due || self.store(0)
        };
        if stored {
            return None;
        }
        self.state = State::Lost;
        Some(Err(FramingError::Overlong))
    }

    fn store(&mut self, byte: u8) -> bool {
        let Some(place) = self.frame.get_mut(self.len) else { return false };
        *place = byte;
        self.len += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut out = vec![0xAA; framed_len(message.len())];
        let len = encode(message, &mut out).unwrap();
        out.truncate(len);
        out
    }

    /// All frames and errors of a stream that comes in pieces of `size` bytes.
    fn read(stream: &[u8], size: usize) -> Vec<Result<Vec<u8>, FramingError>> {
        let mut reader = FrameReader::new();
        let mut all = Vec::new();
        for mut piece in stream.chunks(size) {
            while let Some(frame) = reader.next(&mut piece) {
                all.push(frame.map(<[u8]>::to_vec));
            }
        }
        all
    }

    /// The examples of the paper and of the protocol's usual descriptions.
    #[test]
    fn the_known_examples_are_made_and_read() {
        let long: Vec<u8> = (1..=254).collect();
        let mut long_framed = vec![0xFF];
        long_framed.extend(&long);
        for (message, line) in [
            (&b""[..], &[1, 0][..]),
            (&[0], &[1, 1, 0]),
            (&[0, 0], &[1, 1, 1, 0]),
            (&[0x11, 0x22, 0, 0x33], &[3, 0x11, 0x22, 2, 0x33, 0]),
            (&[0x11, 0, 0, 0], &[2, 0x11, 1, 1, 1, 0]),
        ] {
            assert_eq!(framed(message), line);
            assert_eq!(read(line, 1), [Ok(message.to_vec())]);
        }
        // 254 bytes without a zero: a final empty group may be left out or not. Both are read.
        assert_eq!(read(&[&long_framed[..], &[0]].concat(), 7), [Ok(long.clone())]);
        assert_eq!(read(&[&long_framed[..], &[1, 0]].concat(), 7), [Ok(long.clone())]);
        assert_eq!(framed(&long), [&long_framed[..], &[1, 0]].concat());
    }

    #[test]
    fn a_buffer_that_is_too_small_gives_nothing() {
        assert_eq!(encode(&[1, 2, 3], &mut [0; 4]), None);
    }

    #[test]
    fn noise_without_an_end_is_named_once_and_the_next_frame_is_read() {
        let mut stream = vec![0x55; 10_000];
        stream.push(0);
        stream.extend(framed(b"hello"));
        assert_eq!(read(&stream, 64), [Err(FramingError::Overlong), Ok(b"hello".to_vec())]);
    }

    proptest! {
        #[test]
        fn any_messages_come_back_however_the_line_is_cut(
            messages in prop::collection::vec(
                prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..=600), 0..6),
            size in 1usize..400,
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                let line = framed(message);
                prop_assert!(line.len() <= framed_len(message.len()));
                prop_assert!(!line[..line.len() - 1].contains(&0));
                stream.extend(line);
            }
            let expected: Vec<_> = messages.into_iter().map(Ok).collect();
            prop_assert_eq!(read(&stream, size), expected);
        }

        #[test]
        fn any_bytes_are_frames_or_named_errors_and_two_zeros_bring_it_back(
            noise in prop::collection::vec(any::<u8>(), 0..3_000),
            size in 1usize..400,
            message in prop::collection::vec(any::<u8>(), 0..=MAX_FRAME),
        ) {
            let mut stream = noise;
            stream.push(0);
            stream.extend(framed(&message));
            let all = read(&stream, size);
            prop_assert_eq!(all.last(), Some(&Ok(message)));
        }

        #[test]
        fn the_beginning_of_a_frame_is_never_taken_for_the_whole(
            message in prop::collection::vec(any::<u8>(), 1..600),
            cut in any::<prop::sample::Index>(),
        ) {
            // What is left of a frame whose end the line lost, and the next one.
            let line = framed(&message);
            let cut = cut.index(line.len() - 1);
            let mut stream = line[..cut].to_vec();
            stream.extend(framed(b"next"));
            for frame in read(&stream, 50).into_iter().flatten() {
                prop_assert_ne!(frame, message.clone());
            }
        }
    }
}
