//! MAVLink 2 signatures (<https://mavlink.io/en/guide/message_signing.html>): the first 48 bits of
//! SHA-256 over key, frame, link and time.

use std::fmt;

use sha2::{Digest, Sha256};

/// Bytes behind a frame: link, time, signature.
pub const SIGNATURE: usize = 13;

/// 2015-01-01 00:00 UTC, microseconds of Unix time: where signatures begin to count.
const EPOCH_US: i64 = 1_420_070_400_000_000;

/// The secret that all of a network's members share.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// From its bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

// The key must not come into a log by accident.
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// Signs the frames of one link.
#[derive(Debug)]
pub struct Signer {
    key: SecretKey,
    link: u8,
    last: u64,
}

impl Signer {
    /// For the link of this number.
    pub const fn new(key: SecretKey, link: u8) -> Self {
        Self { key, link, last: 0 }
    }

    /// The signature of `frame`, at `unix_us` or, as no time may be used twice, right behind the
    /// one before. A receiver refuses frames whose time lies behind what it has seen of this
    /// link: a clock that was set back is waited for here, but not over a restart.
    pub fn sign(&mut self, frame: &[u8], unix_us: i64) -> [u8; SIGNATURE] {
        let now = u64::try_from(unix_us.saturating_sub(EPOCH_US) / 10).unwrap_or(0);
        self.last = now.max(self.last + 1);
        let mut signature = [0; SIGNATURE];
        signature[0] = self.link;
        signature[1..7].copy_from_slice(&self.last.to_le_bytes()[..6]);
        let hash = Sha256::new()
            .chain_update(self.key.0)
            .chain_update(frame)
            .chain_update(&signature[..7])
            .finalize();
        signature[7..].copy_from_slice(&hash[..6]);
        signature
    }
}

/// Does Unix time make sense for signatures?
pub const fn clock_is_set(unix_us: i64) -> bool {
    unix_us > EPOCH_US
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(signature: [u8; SIGNATURE]) -> u64 {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&signature[1..7]);
        u64::from_le_bytes(bytes)
    }

    #[test]
    fn time_never_stands_still_and_never_steps_back() {
        let mut signer = Signer::new(SecretKey::new([7; 32]), 3);
        let at = EPOCH_US + 1_000_000;
        let times: Vec<_> =
            [at, at, at + 5, at - 900_000, at + 100].map(|t| time(signer.sign(b"x", t))).into();
        assert_eq!(times, [100_000, 100_001, 100_002, 100_003, 100_010]);
    }

    #[test]
    fn a_clock_that_was_never_set_still_gives_signatures() {
        let mut signer = Signer::new(SecretKey::new([7; 32]), 0);
        assert_eq!(time(signer.sign(b"x", 0)), 1);
        assert!(!clock_is_set(0));
        assert_eq!(time(signer.sign(b"x", i64::MIN)), 2);
    }

    #[test]
    fn key_frame_link_and_time_all_count() {
        let sign = |key, link, frame: &[u8], at| {
            Signer::new(SecretKey::new([key; 32]), link).sign(frame, EPOCH_US + at)
        };
        let one = sign(1, 0, b"frame", 100);
        for other in [
            sign(2, 0, b"frame", 100),
            sign(1, 1, b"frame", 100),
            sign(1, 0, b"frome", 100),
            sign(1, 0, b"frame", 110),
        ] {
            assert_ne!(one[7..], other[7..]);
        }
    }
}
