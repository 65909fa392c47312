//! Where messages come in: a UDP socket, or a serial line.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::{ListenError, say};
use crate::publish::serial::port::{Port, SerialTarget};
use crate::publish::udp::{Interface, UdpTarget, interface_index};
use crate::wire::cobs::{FrameReader, FramingError};

/// Bytes of receive buffer asked of the kernel: a second of four cameras with four persons each.
const RECEIVE_BUFFER: usize = 1 << 20;
/// How often a silent input is left to look at the time.
const TICK: Duration = Duration::from_millis(100);
/// Waits between attempts to reopen a line that went away.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// Who sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An address.
    Udp(SocketAddr),
    /// Whoever is at the other end of the line.
    Line,
}

impl Origin {
    /// Is it the same machine?
    pub fn same_host(self, other: Self) -> bool {
        match (self, other) {
            (Self::Udp(a), Self::Udp(b)) => a.ip() == b.ip(),
            (Self::Line, Self::Line) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "{address}"),
            Self::Line => f.write_str("the line"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Udp(address) => address.serialize(serializer),
            Self::Line => serializer.serialize_str("line"),
        }
    }
}

/// What an input gave.
pub enum Incoming {
    /// So many bytes, in the caller's buffer: a datagram, or a line's frame.
    Bytes(usize, Origin),
    /// Bytes of a line that are no frame.
    Broken(FramingError),
    /// Nothing, for a tenth of a second at most.
    Nothing,
}

/// An open input.
pub enum Input {
    /// Datagrams.
    Udp {
        /// Bound, and a member of the group if there is one.
        socket: UdpSocket,
        /// What it is bound to.
        address: SocketAddr,
        /// The key file that the URI names.
        key: Option<PathBuf>,
    },
    /// Frames of a line.
    Serial(Box<Line>),
}

impl Input {
    /// Opens `uri`.
    pub fn open(uri: &str) -> Result<Self, ListenError> {
        if uri.starts_with("serial:") {
            return Line::open(uri).map(Box::new).map(Self::Serial);
        }
        let bad = |problem| ListenError::Uri { uri: uri.into(), problem };
        let target = UdpTarget::parse(uri).map_err(bad)?;
        let (socket, address) = (bind(uri, &target)?, target.address);
        Ok(Self::Udp { socket, address, key: target.key })
    }

    /// The next datagram or frame into `buffer`.
    pub fn next(&mut self, buffer: &mut [u8]) -> io::Result<Incoming> {
        match self {
            Self::Udp { socket, .. } => match socket.recv_from(buffer) {
                Ok((len, from)) => Ok(Incoming::Bytes(len, Origin::Udp(from))),
                Err(e) if retriable(&e) => Ok(Incoming::Nothing),
                Err(e) => Err(e),
            },
            Self::Serial(line) => Ok(line.next(buffer)),
        }
    }
}

fn retriable(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Binds to the address and joins its group if it is one.
fn bind(uri: &str, target: &UdpTarget) -> Result<UdpSocket, ListenError> {
    let bad = |problem| ListenError::Uri { uri: uri.into(), problem };
    let failed = |what| move |cause| ListenError::Socket { uri: uri.into(), what, cause };
    let address = target.address;
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))
        .map_err(failed("opening a socket"))?;
    if target.is_multicast() {
        // Several programs of one machine may listen to a group.
        socket.set_reuse_address(true).map_err(failed("sharing the port"))?;
    }
    // The kernel grants at most net.core.rmem_max; less only means more loss under load.
    if let Err(e) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
        log::debug!("the receive buffer stays small: {e}");
    }
    socket.bind(&address.into()).map_err(|cause| match cause.kind() {
        ErrorKind::AddrInUse => ListenError::PortInUse { uri: uri.into() },
        ErrorKind::AddrNotAvailable => bad(format!(
            "this machine does not have the address {}: listen on one of its own, or on 0.0.0.0 for all",
            address.ip()
        )),
        _ => failed("binding")(cause),
    })?;
    if target.is_multicast() {
        join(&socket, target).map_err(bad)?;
    }
    socket.set_read_timeout(Some(TICK)).map_err(failed("setting a time limit"))?;
    Ok(socket.into())
}

fn join(socket: &Socket, target: &UdpTarget) -> Result<(), String> {
    let index = match &target.interface {
        Some(Interface::Name(name)) => interface_index(name)?,
        _ => 0,
    };
    let joined = match (target.address.ip(), &target.interface) {
        (IpAddr::V4(group), Some(Interface::Address(own))) => {
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Address(*own))
        }
        (IpAddr::V4(group), Some(Interface::Name(_))) => {
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))
        }
        (IpAddr::V4(group), None) => socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED),
        (IpAddr::V6(group), _) => socket.join_multicast_v6(&group, index),
    };
    joined.map_err(|e| {
        format!(
            "joining the group {} failed ({e}): name the network with ?interface=",
            target.address.ip()
        )
    })
}

/// A serial line, opened again whenever it went away.
pub struct Line {
    uri: String,
    target: SerialTarget,
    port: Option<Port>,
    retry_at: Instant,
    backoff: Duration,
    frames: FrameReader,
    piece: [u8; 4_096],
    /// What of the piece has not been looked at.
    rest: std::ops::Range<usize>,
}

impl Line {
    fn open(uri: &str) -> Result<Self, ListenError> {
        let bad = |problem| ListenError::Uri { uri: uri.into(), problem };
        let target = SerialTarget::parse(uri).map_err(bad)?;
        let port = Port::open(&target).map_err(|e| bad(e.to_string()))?;
        if port.baud_differs_from(target.baud) {
            say(format_args!(
                "{uri}: {} baud were asked for, the device runs at {}",
                target.baud,
                port.baud()
            ));
        }
        Ok(Self {
            uri: uri.to_owned(),
            target,
            port: Some(port),
            retry_at: Instant::now(),
            backoff: BACKOFF.0,
            frames: FrameReader::new(),
            piece: [0; 4_096],
            rest: 0..0,
        })
    }

    fn next(&mut self, buffer: &mut [u8]) -> Incoming {
        loop {
            let mut unseen = self.piece.get(self.rest.clone()).unwrap_or_default();
            let found = self.frames.next(&mut unseen);
            self.rest.start = self.rest.end - unseen.len();
            match found {
                Some(Ok(frame)) => {
                    // The buffer is larger than any frame.
                    let len = frame.len().min(buffer.len());
                    buffer[..len].copy_from_slice(&frame[..len]);
                    return Incoming::Bytes(len, Origin::Line);
                }
                Some(Err(e)) => return Incoming::Broken(e),
                None => {}
            }
            match self.fill() {
                Ok(0) => return Incoming::Nothing,
                Ok(n) => self.rest = 0..n,
                Err(e) => {
                    say(format_args!("{}: the line is gone ({e}): waiting for it", self.uri));
                    self.port = None;
                    self.retry_at = Instant::now();
                    self.backoff = BACKOFF.0;
                    // What had begun will not end.
                    self.frames = FrameReader::new();
                }
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let Some(port) = &self.port else {
            self.reopen();
            return Ok(0);
        };
        if !port.has_input(TICK)? {
            return Ok(0);
        }
        port.read(&mut self.piece)
    }

    fn reopen(&mut self) {
        let wait = self.retry_at.saturating_duration_since(Instant::now());
        std::thread::sleep(wait.min(TICK));
        if wait > TICK {
            return;
        }
        match Port::open(&self.target) {
            Ok(port) => {
                say(format_args!("{}: the line is back", self.uri));
                self.port = Some(port);
            }
            Err(e) => {
                log::debug!("{}: {e}", self.uri);
                self.retry_at = Instant::now() + self.backoff;
                self.backoff = (2 * self.backoff).min(BACKOFF.1);
            }
        }
    }
}
