//! Who sent it: a keyed signature in the trailer, and what a reader does against replays.
//!
//! HMAC-SHA-256 (RFC 2104), cut to its first 128 bits, over the message and the trailer's own
//! beginning. It proves that the sender had the key and that no bit was changed; it hides nothing.

use std::collections::VecDeque;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{Arrival, Header, MAX_TRAILER, Sequencer, header};

/// Bytes of the trailer.
pub const TRAILER: usize = 20;
const _: () = assert!(TRAILER <= MAX_TRAILER);
/// The least that a key has.
pub const LEAST_KEY: usize = 32;

const KIND: u8 = 1;
const ID: usize = 3;
const TAG: usize = 16;
/// Sessions that are remembered at once: several senders may share a key.
const SESSIONS: usize = 64;

/// A secret that sender and reader share.
#[derive(Clone)]
pub struct Key {
    mac: Hmac<Sha256>,
    id: [u8; ID],
}

// The key itself must not come into a log by accident.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id())
    }
}

impl Key {
    /// From its bytes, at least [`LEAST_KEY`] of them.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn new(secret: &[u8]) -> Result<Self, String> {
        if secret.len() < LEAST_KEY {
            return Err(format!(
                "the key has {} bytes: at least {LEAST_KEY} are needed",
                secret.len()
            ));
        }
        let mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|e| e.to_string())?;
        // The name of the key: says nothing about it that helps to guess it.
        let name = Sha256::new().chain_update(b"posewire key id").chain_update(secret).finalize();
        Ok(Self { mac, id: [name[0], name[1], name[2]] })
    }

    /// From hexadecimal digits, as `openssl rand -hex 32` writes them.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn from_hex(text: &str) -> Result<Self, String> {
        let digits = text.trim().as_bytes();
        let wrong = "the key must be one line of hexadecimal digits, two for each byte \
                     (`openssl rand -hex 32` makes one)";
        let value = |digit: u8| char::from(digit).to_digit(16).ok_or(wrong);
        let (pairs, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(wrong.to_owned());
        }
        let secret = pairs
            .iter()
            .map(|&[high, low]| Ok((value(high)? << 4 | value(low)?) as u8))
            .collect::<Result<Vec<_>, &str>>()?;
        Self::new(&secret)
    }

    /// Six hexadecimal digits by which keys are told apart; no secret.
    pub fn id(&self) -> String {
        self.id.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn tag(&self, message: &[u8], beginning: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(message);
        mac.update(beginning);
        mac
    }

    /// Appends the trailer behind the `len` bytes of a message and returns the datagram's
    /// length; `None` if the buffer is too short.
    pub fn sign(&self, buffer: &mut [u8], len: usize) -> Option<usize> {
        let (message, rest) = buffer.split_at_mut_checked(len)?;
        let trailer: &mut [u8; TRAILER] = rest.first_chunk_mut()?;
        let (beginning, tag) = trailer.split_at_mut(TRAILER - TAG);
        beginning[0] = KIND;
        beginning[1..].copy_from_slice(&self.id);
        let made = self.tag(message, beginning).finalize().into_bytes();
        tag.copy_from_slice(&made[..TAG]);
        Some(len + TRAILER)
    }

    /// Checks the trailer of a datagram that [`decode`](super::decode) has accepted.
    ///
    /// # Errors
    /// Names why it is not to be trusted.
    pub fn verify(&self, datagram: &[u8]) -> Result<(), AuthError> {
        let stated = datagram
            .get(header::LENGTH_AT..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |l| usize::from(u16::from_le_bytes(*l)));
        let (message, trailer) = datagram.split_at_checked(stated).ok_or(AuthError::Unsigned)?;
        let Some((trailer, _)) = trailer.split_first_chunk::<TRAILER>() else {
            return Err(AuthError::Unsigned);
        };
        let (beginning, tag) = trailer.split_at(TRAILER - TAG);
        if beginning[0] != KIND {
            return Err(AuthError::Unsigned);
        }
        if beginning[1..] != self.id {
            return Err(AuthError::OtherKey);
        }
        // In constant time: how many bytes were right is not to be learnt from how long it took.
        self.tag(message, beginning).verify_truncated_left(tag).map_err(|_| AuthError::Forged)
    }
}

/// Why a datagram is not to be trusted. It is dropped, and counted by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AuthError {
    /// It has no signature.
    #[error("it is not signed: give its sender the key, too (`key=FILE`)")]
    Unsigned,
    /// It was signed with another key.
    #[error("it was signed with another key: compare the two key files")]
    OtherKey,
    /// The signature is not of this content.
    #[error("its signature is wrong: somebody without the key has made or changed it")]
    Forged,
    /// It was here before, or is too old to say.
    #[error("it is a repetition of an earlier one")]
    Replayed,
    /// Its session began before one that is already known: recorded, and played again.
    #[error(
        "its session is older than one that was heard already: a recording that is played again, \
         or the sender's clock was set back"
    )]
    OldSession,
}

impl AuthError {
    /// A short name for statistics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::OtherKey => "other-key",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::OldSession => "old-session",
        }
    }
}

/// Remembers what was heard, so that signed datagrams cannot be played again.
///
/// Within a session each packet number is accepted once, and none that is 1,024 or more behind
/// the newest. A new session is accepted only if its first datagram was sent later, by its own
/// Unix time, than everything accepted before: so a recorded session stays out once a later one
/// was heard. What a reader that has heard nothing yet accepts first may be a recording; where
/// both clocks are disciplined, compare [`Header::sent_us`] with the present.
#[derive(Default)]
pub struct ReplayWindow {
    sessions: VecDeque<(u64, Sequencer)>,
    /// Unix time of sending of the latest that was accepted, microseconds.
    latest_us: Option<i64>,
}

impl ReplayWindow {
    /// Takes note of a datagram whose signature is right.
    ///
    /// # Errors
    /// If it was here before or belongs to a session from before.
    pub fn admit(&mut self, header: &Header) -> Result<(), AuthError> {
        let sent = header.sent_us.saturating_add(header.realtime_offset_us);
        let known = self.sessions.iter().position(|(session, _)| *session == header.session);
        match known {
            Some(index) => match self.sessions[index].1.observe(header.packet) {
                Arrival::Duplicate | Arrival::Stale => return Err(AuthError::Replayed),
                Arrival::InOrder | Arrival::Ahead { .. } | Arrival::Late => {}
            },
            None if self.latest_us.is_some_and(|latest| sent <= latest) => {
                return Err(AuthError::OldSession);
            }
            None => {
                if self.sessions.len() == SESSIONS {
                    self.sessions.pop_front();
                }
                let mut sequencer = Sequencer::default();
                sequencer.observe(header.packet);
                self.sessions.push_back((header.session, sequencer));
            }
        }
        self.latest_us = Some(self.latest_us.map_or(sent, |latest| latest.max(sent)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{datagrams, frame, header};
    use super::super::{MAX_MESSAGE, PoseOptions, decode};
    use super::*;

    fn key() -> Key {
        Key::new(&[7; 32]).unwrap()
    }

    fn signed() -> Vec<u8> {
        let mut datagram = datagrams(&frame(1), &PoseOptions::default()).remove(0);
        let len = datagram.len();
        datagram.resize(len + TRAILER, 0);
        assert_eq!(key().sign(&mut datagram, len), Some(len + TRAILER));
        datagram
    }

    /// RFC 4231, test case 2 has a key of four bytes; case 6 one of 131, whose tag is checked here
    /// over message and trailer by another way of computing it.
    #[test]
    fn the_tag_is_the_beginning_of_hmac_sha_256() {
        let secret = [0xAA; 131];
        let mut buffer =
            *b"Test Using Larger Than Block-Size Key - Hash Key First--------------------";
        let message = buffer.len() - TRAILER;
        let key = Key::new(&secret).unwrap();
        key.sign(&mut buffer, message).unwrap();
        // RFC 2104 by hand.
        let block = Sha256::digest(secret);
        let pad = |with: u8| {
            let mut pad = [with; 64];
            pad.iter_mut().zip(&block).for_each(|(p, k)| *p ^= k);
            pad
        };
        let inner =
            Sha256::new().chain_update(pad(0x36)).chain_update(&buffer[..message + 4]).finalize();
        let outer = Sha256::new().chain_update(pad(0x5C)).chain_update(inner).finalize();
        assert_eq!(buffer[message + 4..], outer[..16]);
    }

    #[test]
    fn a_signed_datagram_is_read_as_ever_and_every_changed_bit_is_seen() {
        let datagram = signed();
        assert!(decode(&datagram).is_ok());
        assert_eq!(key().verify(&datagram), Ok(()));
        for at in 0..datagram.len() * 8 {
            let mut changed = datagram.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(key().verify(&changed).is_err(), "bit {at}");
        }
    }

    #[test]
    fn each_failure_has_its_name() {
        let datagram = signed();
        let message = datagram.len() - TRAILER;
        assert_eq!(key().verify(&datagram[..message]), Err(AuthError::Unsigned));
        assert_eq!(key().verify(&datagram[..message + 19]), Err(AuthError::Unsigned));
        assert_eq!(key().verify(b""), Err(AuthError::Unsigned));
        let other = Key::new(&[8; 32]).unwrap();
        assert_eq!(other.verify(&datagram), Err(AuthError::OtherKey));
        let mut forged = datagram.clone();
        forged[60] ^= 1;
        assert_eq!(key().verify(&forged), Err(AuthError::Forged));
    }

    #[test]
    fn the_largest_message_has_room_for_it() {
        let mut buffer = [0; MAX_MESSAGE + MAX_TRAILER];
        assert_eq!(key().sign(&mut buffer, MAX_MESSAGE), Some(MAX_MESSAGE + TRAILER));
        assert_eq!(key().sign(&mut [0; 30], 20), None);
        assert_eq!(key().sign(&mut [0; 30], 40), None);
    }

    #[test]
    fn keys_are_read_from_hexadecimal_digits_and_never_shown() {
        let text = "07".repeat(32) + "\n";
        let same = Key::from_hex(&text).unwrap();
        assert_eq!(same.verify(&signed()), Ok(()));
        assert_eq!(format!("{same:?}"), format!("Key({})", key().id()));
        for (text, words) in [
            ("0707", "at least 32"),
            ("0".repeat(65).as_str(), "two for each byte"),
            (&"xy".repeat(40), "hexadecimal"),
        ] {
            let problem = Key::from_hex(text).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }

    fn at(session: u64, packet: u32, unix_us: i64) -> Header {
        Header { session, packet, sent_us: unix_us - 50, realtime_offset_us: 50, ..header() }
    }

    #[test]
    fn each_number_is_admitted_once_and_late_ones_within_the_window() {
        let mut window = ReplayWindow::default();
        for packet in [5, 6, 9, 7] {
            assert_eq!(window.admit(&at(1, packet, 100)), Ok(()));
        }
        for packet in [5, 6, 7, 9] {
            assert_eq!(window.admit(&at(1, packet, 100)), Err(AuthError::Replayed));
        }
        assert_eq!(window.admit(&at(1, 9 + 1_024, 200)), Ok(()));
        assert_eq!(window.admit(&at(1, 8, 100)), Err(AuthError::Replayed));
    }

    #[test]
    fn a_recorded_session_stays_out_once_a_later_one_was_heard() {
        let mut window = ReplayWindow::default();
        assert_eq!(window.admit(&at(1, 0, 1_000)), Ok(()));
        assert_eq!(window.admit(&at(2, 0, 2_000)), Ok(()));
        // The first sender runs on, with what it has not sent yet.
        assert_eq!(window.admit(&at(1, 1, 2_100)), Ok(()));
        assert_eq!(window.admit(&at(3, 0, 1_500)), Err(AuthError::OldSession));
        assert_eq!(window.admit(&at(3, 0, 2_100)), Err(AuthError::OldSession));
        assert_eq!(window.admit(&at(3, 0, 2_101)), Ok(()));
    }

    #[test]
    fn a_forgotten_session_does_not_come_back() {
        let mut window = ReplayWindow::default();
        for n in 0..=SESSIONS as u64 {
            assert_eq!(window.admit(&at(n, 0, n as i64)), Ok(()));
        }
        assert_eq!(window.admit(&at(0, 1, 1)), Err(AuthError::OldSession));
    }
}
