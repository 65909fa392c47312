//! Where poses go.
//!
//! A [`Publisher`] sends what it is given; `runtime` gives each a thread and a ring of its own,
//! so that a stalled one delays nobody else. [`open`] makes one from a URI:
//!
//! | URI | what |
//! |---|---|
//! | `udp://host:port` | the datagrams of `docs/wire.md`; IPv6 in brackets; multicast by its address |
//! | `udp://…?ttl=1&interface=eth0&dscp=46` | hops, the network to send on (name or IPv4 address), priority |
//! | `udp://…?keypoints=yes` | the 2D keypoints, too (153 bytes a person): viewers want them, robots do not |
//! | `udp://…?key=FILE` | every datagram signed with that key (HMAC-SHA-256) |
//! | `serial:/dev/serial/by-id/…?baud=921600` | compact poses over a serial line, COBS-framed; `&format=full`, `&flow=hardware` |
//! | `json+udp://host:port` | the same content as JSON, one object a datagram |
//! | `mavlink:udp://host:port`, `mavlink:serial:/dev/…?baud=57600` | MAVLink 2 (`docs/mavlink.md`) |
//! | `vmc://host:port` | bone rotations for avatars, the Virtual Motion Capture protocol (`docs/osc.md`) |
//! | `osc://host:port` | joints as Open Sound Control messages (`docs/osc.md`) |
//! | `zenoh:`, `zenoh:tcp/host:7447` | the packets of `docs/wire.md` on Zenoh keys, in builds with the feature `zenoh` |
//! | `jsonl:-`, `jsonl:PATH` | the same content as JSON lines, with keypoints, to standard output or appended to a file |

mod json_udp;
mod jsonl;
pub mod key;
pub mod mavlink;
mod numbering;
mod osc;
mod query;
pub mod serial;
pub mod udp;
mod vmc;
mod zenoh;

use std::io;
use std::sync::Arc;

use crate::fault::{Fault, Severity};
use crate::geodetic::Geodetic;
use crate::pose::PoseFrame;
use crate::time::{Clock, MonotonicClock, Timestamp};
use crate::wire::{ClockState, EngineId, PrecisionId, StatusMessage};

/// Sends poses somewhere.
pub trait Publisher: Send {
    /// Sends one frame's poses. The stamp of sending is taken inside, as late as possible.
    ///
    /// # Errors
    /// Skippable ones cost this frame only and heal by themselves.
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError>;

    /// Sends how the sender is, where the target can carry that. A status whose state is
    /// "degraded" marks the poses that follow as well.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        let _ = status;
        Ok(())
    }

    /// Writes what is still held back (footers, last packets). Called once, at the end.
    ///
    /// # Errors
    /// If that cannot be written.
    fn finish(&mut self) -> Result<(), PublishError> {
        Ok(())
    }

    /// For a target that is slower than poses may come: when it takes the next. It is given no
    /// pose before, and then only the newest; those in between are counted as displaced. `None`:
    /// it takes every pose at once.
    fn busy_until(&self) -> Option<Timestamp> {
        None
    }

    /// Where it sends to, as in the configuration.
    fn describe(&self) -> &str;
}

/// What publishers need to know beside the poses.
#[derive(Clone)]
pub struct PublishSettings {
    /// What computes the joints.
    pub engine: EngineId,
    /// In which arithmetic.
    pub precision: PrecisionId,
    /// How this machine's realtime clock is disciplined; where that is unknown, each publisher
    /// finds out what it can.
    pub clock_state: ClockState,
    /// Gives the stamp of sending.
    pub clock: Arc<dyn Clock>,
    /// The direction in which things fall, in the camera frame, where it is known.
    pub gravity: Option<[f64; 3]>,
    /// Where on the earth the camera stands, where that is known.
    pub geodetic: Option<Geodetic>,
}

impl Default for PublishSettings {
    fn default() -> Self {
        Self {
            engine: EngineId::default(),
            precision: PrecisionId::default(),
            clock_state: ClockState::default(),
            clock: Arc::new(MonotonicClock),
            gravity: None,
            geodetic: None,
        }
    }
}

/// Makes a publisher from its URI. Each has a session and packet numbers of its own.
///
/// # Errors
/// [`PublishError::Unusable`] if the URI is not understood, a host cannot be found or a file not
/// be opened.
pub fn open(uri: &str, settings: &PublishSettings) -> Result<Box<dyn Publisher>, PublishError> {
    if uri.starts_with("udp:") {
        return Ok(Box::new(udp::UdpPublisher::open(uri, settings)?));
    }
    if uri.starts_with("serial:") {
        return Ok(Box::new(serial::SerialPublisher::open(uri, settings)?));
    }
    if uri.starts_with("json+udp:") {
        return Ok(Box::new(json_udp::JsonUdp::open(uri, settings)?));
    }
    if uri.starts_with("mavlink:") {
        return Ok(Box::new(mavlink::MavlinkPublisher::open(uri, settings)?));
    }
    if uri.starts_with("vmc:") {
        return Ok(Box::new(vmc::VmcPublisher::open(uri, settings)?));
    }
    if uri.starts_with("osc:") {
        return Ok(Box::new(osc::OscPublisher::open(uri, settings)?));
    }
    if uri.starts_with("zenoh:") {
        return zenoh::open(uri, settings);
    }
    if let Some(path) = uri.strip_prefix("jsonl:") {
        return Ok(Box::new(jsonl::JsonLines::open(uri, path, settings)?));
    }
    Err(unusable(
        uri,
        "give udp://host:port, serial:DEVICE, json+udp://host:port, mavlink:udp://host:port, \
         mavlink:serial:DEVICE, vmc://host:port, osc://host:port, zenoh:, jsonl:- or jsonl:PATH",
    ))
}

fn unusable(uri: &str, problem: impl Into<String>) -> PublishError {
    PublishError::Unusable { uri: uri.into(), problem: problem.into() }
}

/// Why poses were not sent.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The target can never work as written.
    #[error("publisher {uri}: {problem}")]
    Unusable {
        /// As it was asked for.
        uri: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// This frame, or a part of it, was not sent; the next may be. Making one does not allocate:
    /// an unplugged cable is no reason to.
    #[error("publisher {uri}: not sent: {cause}{}", hint(cause))]
    NotSent {
        /// As it was asked for.
        uri: Arc<str>,
        /// What the system said.
        cause: io::Error,
    },
}

impl PublishError {
    /// Nobody listens there, yet: nothing is wrong here.
    pub fn is_unheard(&self) -> bool {
        matches!(self, Self::NotSent { cause, .. } if cause.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// A stable name for the status, for programs.
    pub fn name(&self) -> &'static str {
        let Self::NotSent { cause, .. } = self else { return "target-unusable" };
        match cause.kind() {
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable => "target-unreachable",
            io::ErrorKind::ConnectionRefused => "target-refused",
            io::ErrorKind::WouldBlock => "target-full",
            io::ErrorKind::PermissionDenied => "target-forbidden",
            io::ErrorKind::StorageFull => "storage-full",
            io::ErrorKind::NotFound => "target-gone",
            _ => "target-failed",
        }
    }
}

/// What to look at when the system's own words do not say.
fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            " (no route: is the network up?)"
        }
        io::ErrorKind::ConnectionRefused => " (nobody listens on that port, yet)",
        io::ErrorKind::WouldBlock => " (the way there takes no more: its queue is full)",
        io::ErrorKind::NotFound => " (is it plugged in? it is opened again by itself)",
        io::ErrorKind::PermissionDenied => " (a firewall rule on this machine forbids it)",
        io::ErrorKind::StorageFull => " (free some space; it goes on by itself)",
        _ => "",
    }
}

impl Fault for PublishError {
    fn severity(&self) -> Severity {
        match self {
            Self::Unusable { .. } => Severity::Fatal,
            Self::NotSent { .. } => Severity::Skip,
        }
    }
}
