//! What came in, as it came in, in a file that `tcpdump` and Wireshark open: the classic pcap
//! format, version 2.4, little-endian, with microseconds of Unix time.
//!
//! Datagrams are wrapped into the IP and UDP headers that they came with, as far as those are
//! known (link type 101, `RAW`: sender and port, and the address that was listened on). Frames of a
//! line are kept without their stuffing (link type 147, `USER0`).

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::input::Origin;

const MAGIC: u32 = 0xA1B2_C3D4;
const RAW_IP: u32 = 101;
const USER_0: u32 = 147;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;

/// An open recording.
pub struct Recording {
    out: BufWriter<Box<dyn Write>>,
    /// What datagrams were sent to; `None` for a line.
    to: Option<SocketAddr>,
}

impl Recording {
    /// Begins a file, which must not exist yet. `to` is the address that is listened on.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: &Path, to: Option<SocketAddr>) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Self::new(Box::new(file), to)
    }

    fn new(out: Box<dyn Write>, to: Option<SocketAddr>) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 16, out);
        let link = if to.is_some() { RAW_IP } else { USER_0 };
        for field in [MAGIC, 2 | 4 << 16, 0, 0, u32::from(u16::MAX), link] {
            out.write_all(&field.to_le_bytes())?;
        }
        Ok(Self { out, to })
    }

    /// Appends what was received at `unix_us`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, unix_us: i64, origin: Origin, bytes: &[u8]) -> io::Result<()> {
        let mut headers = [0; 40 + UDP_HEADER];
        let headers = match (origin, self.to) {
            (Origin::Udp(from), Some(to)) => wrap(from, to, bytes, &mut headers),
            _ => &[],
        };
        let len = (headers.len() + bytes.len()) as u32;
        // 32 bits of seconds last until 2106.
        let seconds = unix_us.div_euclid(1_000_000) as u32;
        let micros = unix_us.rem_euclid(1_000_000) as u32;
        for field in [seconds, micros, len, len] {
            self.out.write_all(&field.to_le_bytes())?;
        }
        self.out.write_all(headers)?;
        self.out.write_all(bytes)
    }

    /// Gives what is written so far to the system.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// IP and UDP headers for `payload` (RFC 791, 8200, 768).
fn wrap<'a>(
    from: SocketAddr,
    to: SocketAddr,
    payload: &[u8],
    into: &'a mut [u8; 40 + UDP_HEADER],
) -> &'a [u8] {
    let udp_len = (UDP_HEADER + payload.len()) as u16;
    let mut udp = [0; UDP_HEADER];
    udp[0..2].copy_from_slice(&from.port().to_be_bytes());
    udp[2..4].copy_from_slice(&to.port().to_be_bytes());
    udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
    let ip_len = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), to) => {
            let to = if let IpAddr::V4(to) = to { to } else { std::net::Ipv4Addr::UNSPECIFIED };
            into[0] = 0x45;
            into[2..4].copy_from_slice(&(20 + udp_len).to_be_bytes());
            (into[8], into[9]) = (64, UDP);
            into[12..16].copy_from_slice(&from.octets());
            into[16..20].copy_from_slice(&to.octets());
            let sum = checksum(&[&into[..20]]);
            into[10..12].copy_from_slice(&sum.to_be_bytes());
            // A sum of 0 is "none" under IPv4.
            20
        }
        (IpAddr::V6(from), to) => {
            let to = if let IpAddr::V6(to) = to { to } else { std::net::Ipv6Addr::UNSPECIFIED };
            into[0] = 0x60;
            into[4..6].copy_from_slice(&udp_len.to_be_bytes());
            (into[6], into[7]) = (UDP, 64);
            into[8..24].copy_from_slice(&from.octets());
            into[24..40].copy_from_slice(&to.octets());
            let [high, low] = udp_len.to_be_bytes();
            let pseudo = [0, 0, high, low, 0, 0, 0, UDP];
            let sum = checksum(&[&into[8..40], &pseudo, &udp, payload]);
            udp[6..8].copy_from_slice(&if sum == 0 { 0xFFFF } else { sum }.to_be_bytes());
            40
        }
    };
    into[ip_len..ip_len + UDP_HEADER].copy_from_slice(&udp);
    &into[..ip_len + UDP_HEADER]
}

/// RFC 1071 over parts of even lengths, but for the last.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn recorded(to: Option<&str>, rows: &[(i64, Origin, &[u8])]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pcap");
        let to = to.map(|a| a.parse().unwrap());
        let mut recording = Recording::create(&path, to).unwrap();
        assert!(Recording::create(&path, to).is_err(), "nothing is overwritten");
        for &(at, origin, bytes) in rows {
            recording.add(at, origin, bytes).unwrap();
        }
        recording.flush().unwrap();
        fs::read(&path).unwrap()
    }

    fn udp(address: &str) -> Origin {
        Origin::Udp(address.parse().unwrap())
    }

    #[test]
    fn datagrams_are_kept_with_their_addresses_and_times() {
        let row = (1_700_000_000_123_456, udp("10.0.0.7:4000"), &b"PWIR"[..]);
        let file = recorded(Some("10.0.0.1:7777"), &[row, row]);
        assert_eq!((u32_at(&file, 0), u32_at(&file, 20)), (MAGIC, 101));
        assert_eq!((u32_at(&file, 24), u32_at(&file, 28)), (1_700_000_000, 123_456));
        assert_eq!((u32_at(&file, 32), u32_at(&file, 36)), (32, 32));
        let packet = &file[40..72];
        assert_eq!((packet[0], packet[9]), (0x45, 17));
        assert_eq!(packet[12..20], [10, 0, 0, 7, 10, 0, 0, 1]);
        // A header with its own sum adds up to nothing.
        assert_eq!(checksum(&[&packet[..20]]), 0);
        assert_eq!(
            packet[20..26],
            [4000u16.to_be_bytes(), 7777u16.to_be_bytes(), [0, 12]].concat()
        );
        assert_eq!(&packet[28..], b"PWIR");
        assert_eq!(file.len(), 24 + 2 * (16 + 32));
    }

    #[test]
    fn datagrams_of_ip_version_6_have_the_sum_that_they_must_have() {
        let file = recorded(Some("[::1]:7777"), &[(5, udp("[2001:db8::7]:4000"), b"odd")]);
        let packet = &file[40..];
        assert_eq!((packet[0], packet[6], packet.len()), (0x60, 17, 51));
        let pseudo = [0, 0, 0, 11, 0, 0, 0, 17];
        assert_eq!(checksum(&[&packet[8..40], &pseudo, &packet[40..]]), 0);
    }

    #[test]
    fn frames_of_a_line_are_kept_as_they_are() {
        let file = recorded(None, &[(-1, Origin::Line, b"frame")]);
        assert_eq!(u32_at(&file, 20), 147);
        assert_eq!(u32_at(&file, 28), 999_999);
        assert_eq!(&file[40..], b"frame");
    }
}
