//! Datagrams to one address, unicast or multicast.
//!
//! Sending never waits, and no error ends it. A unicast socket is connected, which is how the
//! system tells that a host refuses (ECONNREFUSED: nobody listens on the port, yet); that is
//! counted, and the datagram that met the news is sent all the same. After any other error (no
//! route, the address went away) the socket is made anew, so that a network that comes up late,
//! or comes back with another address, needs nothing from us.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::numbering::Numbering;
use super::{PublishError, PublishSettings, Publisher, key, unusable};
use crate::pose::PoseFrame;
use crate::time::{Clock, Timestamp};
use crate::wire::auth::Key;
use crate::wire::{
    EncodeError, MAX_MESSAGE, MAX_TRAILER, Message, PoseMessage, PoseOptions, Split, State,
    StatusMessage, encode,
};

/// A `udp://` URI, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpTarget {
    /// Host and port. Of a name with several addresses the first IPv4 one, so that sender and
    /// listener mean the same by `localhost`.
    pub address: SocketAddr,
    /// Hops that a datagram may take; the system's own number if not given (1 for multicast).
    pub ttl: Option<u8>,
    /// Which network to use.
    pub interface: Option<Interface>,
    /// Priority class, 0..=63 (RFC 2474).
    pub dscp: Option<u8>,
    /// Send the 2D keypoints, too.
    pub keypoints: bool,
    /// Sign with the key in this file.
    pub key: Option<PathBuf>,
}

/// A network of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interface {
    /// By this machine's address in it.
    Address(Ipv4Addr),
    /// By its name, such as `eth0`.
    Name(String),
}

impl UdpTarget {
    /// Understands `udp://host:port?ttl=…&interface=…&dscp=…&keypoints=…&key=…`; asks the
    /// resolver if the host is a name.
    ///
    /// # Errors
    /// What is wrong and what to write instead.
    pub fn parse(uri: &str) -> Result<Self, String> {
        const FORM: &str = "write udp://host:port, with an IPv6 address in brackets";
        let rest = uri.strip_prefix("udp://").ok_or_else(|| format!("no udp:// URI: {FORM}"))?;
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => return Err(format!("the port is missing: {FORM}")),
        };
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inner) => inner,
            None if host.contains(':') => return Err(format!("the address is unclear: {FORM}")),
            None => host,
        };
        let port: u16 = match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("{port:?} is no port: give a number from 1 to 65535")),
        };
        if host.is_empty() {
            return Err(format!("the host is missing: {FORM}"));
        }
        let mut target = Self {
            address: resolve(host, port)?,
            ttl: None,
            interface: None,
            dscp: None,
            keypoints: false,
            key: None,
        };
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            target.set(pair)?;
        }
        target.scope()?;
        Ok(target)
    }

    fn set(&mut self, pair: &str) -> Result<(), String> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "ttl" => {
                let ttl = value.parse().ok().filter(|&t: &u8| t > 0);
                self.ttl = Some(ttl.ok_or("ttl must be a number from 1 to 255")?);
            }
            "dscp" => {
                let dscp = value.parse().ok().filter(|&d: &u8| d < 64);
                self.dscp = Some(dscp.ok_or("dscp must be a number from 0 to 63")?);
            }
            "keypoints" => {
                self.keypoints = match value {
                    "yes" => true,
                    "no" => false,
                    _ => return Err("keypoints must be yes or no".into()),
                }
            }
            "key" if !value.is_empty() => self.key = Some(value.into()),
            "key" => return Err("key must be the path of a key file".into()),
            "interface" if !value.is_empty() => {
                self.interface = Some(match value.parse() {
                    Ok(address) => Interface::Address(address),
                    Err(_) => Interface::Name(value.into()),
                });
            }
            "interface" => return Err("interface must be a name or an IPv4 address".into()),
            _ => {
                return Err(format!(
                    "{key:?} is not known: use keypoints, key, ttl, interface or dscp"
                ));
            }
        }
        Ok(())
    }

    /// A link-local IPv6 address means nothing without its network.
    fn scope(&mut self) -> Result<(), String> {
        let SocketAddr::V6(address) = &mut self.address else { return Ok(()) };
        match &self.interface {
            Some(Interface::Name(name)) => address.set_scope_id(interface_index(name)?),
            Some(Interface::Address(_)) => {
                return Err("for IPv6 give the interface by its name, such as eth0".into());
            }
            None => {}
        }
        Ok(())
    }

    /// True for a multicast address.
    pub fn is_multicast(&self) -> bool {
        self.address.ip().is_multicast()
    }

    /// True for the one broadcast address that is known by itself. That of a network looks like
    /// any other; nobody refuses there, and being connected does no harm.
    fn is_broadcast(&self) -> bool {
        matches!(self.address.ip(), IpAddr::V4(ip) if ip.is_broadcast())
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let remedy =
        "check the name, or give the address itself, which also works while no name server does";
    let found: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(|e| format!("the host {host:?} cannot be found ({e}): {remedy}"))?
        .collect();
    let first = found.iter().find(|a| a.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| format!("the host {host:?} has no address: {remedy}"))
}

/// The kernel's number of the network named `name`.
///
/// # Errors
/// If there is no such network.
pub fn interface_index(name: &str) -> Result<u32, String> {
    let no = || format!("there is no network interface {name:?} here: `ip link` lists them");
    // The name becomes a part of a path: keep it from walking through the file system.
    if name.contains('/') || name.starts_with('.') {
        return Err(no());
    }
    let text =
        std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).map_err(|_| no())?;
    text.trim().parse().map_err(|_| no())
}

/// A socket that failed is made anew at most this often.
const RENEW_EVERY: Duration = Duration::from_millis(250);

/// Sends the datagrams of `docs/wire.md`.
pub struct UdpPublisher {
    uri: Arc<str>,
    way: Way,
    numbering: Numbering,
    options: PoseOptions,
    key: Option<Key>,
    buffer: [u8; MAX_MESSAGE + MAX_TRAILER],
    last_status: Option<StatusMessage>,
}

/// A socket to one target, and what becomes of it: what every publisher over UDP sends through.
pub(super) struct Way {
    target: UdpTarget,
    address: SockAddr,
    socket: Socket,
    /// The system tells on it that the host refuses.
    connected: bool,
    renewed: Timestamp,
    clock: Arc<dyn Clock>,
}

impl Way {
    /// Opens the socket; sends nothing yet. `uri` is for the error.
    pub fn open(target: UdpTarget, clock: Arc<dyn Clock>, uri: &str) -> Result<Self, PublishError> {
        let socket = socket_for(&target).map_err(|(what, e)| {
            let problem =
                format!("{what} failed ({e}): check the address and the query of the URI");
            unusable(uri, problem)
        })?;
        Ok(Self {
            address: target.address.into(),
            target,
            socket,
            connected: false,
            renewed: clock.now(),
            clock,
        })
    }

    /// How long a datagram may be that one packet of Ethernet carries.
    pub fn packet(&self) -> usize {
        if self.target.address.is_ipv4() { 1_472 } else { 1_452 }
    }

    /// Sends one datagram, without waiting.
    pub fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let connectable = !self.target.is_multicast() && !self.target.is_broadcast();
        if !self.connected && connectable {
            self.socket.connect(&self.address)?;
            self.connected = true;
        }
        let sent = self.write(datagram);
        match sent.as_ref().map_err(io::Error::kind) {
            Ok(()) | Err(io::ErrorKind::WouldBlock) => {}
            Err(io::ErrorKind::ConnectionRefused) => {
                // The news is of an earlier datagram; this one was not sent because of it.
                self.write(datagram)?;
            }
            Err(_) => self.renew(),
        }
        sent
    }

    fn write(&self, datagram: &[u8]) -> io::Result<()> {
        if self.connected {
            self.socket.send(datagram).map(drop)
        } else {
            self.socket.send_to(datagram, &self.address).map(drop)
        }
    }

    /// A socket keeps the address that this machine had when it was connected: another one finds
    /// the way that there is now.
    fn renew(&mut self) {
        let now = self.clock.now();
        if now.since(self.renewed) < RENEW_EVERY {
            return;
        }
        self.renewed = now;
        match socket_for(&self.target) {
            Ok(socket) => {
                self.socket = socket;
                self.connected = false;
            }
            // Its interface may be gone: the old one stays until there is a better.
            Err((what, e)) => log::debug!("{what} failed: {e}"),
        }
    }
}

impl UdpPublisher {
    /// Opens the socket; sends nothing yet.
    ///
    /// # Errors
    /// [`PublishError::Unusable`] if the URI cannot be used on this machine.
    pub fn open(uri: &str, settings: &PublishSettings) -> Result<Self, PublishError> {
        let target = UdpTarget::parse(uri).map_err(|problem| unusable(uri, problem))?;
        let key = target.key.as_deref().map(key::read).transpose();
        let key = key.map_err(|problem| unusable(uri, problem))?;
        if let Some(key) = &key {
            log::info!("publisher {uri}: signed with key {}", key.id());
        }
        Ok(Self {
            uri: uri.into(),
            numbering: Numbering::new(settings),
            options: PoseOptions {
                keypoints: target.keypoints,
                degraded: false,
                engine: settings.engine,
                precision: settings.precision,
            },
            way: Way::open(target, settings.clock.clone(), uri)?,
            key,
            buffer: [0; MAX_MESSAGE + MAX_TRAILER],
            last_status: None,
        })
    }

    fn not_sent(&self, cause: io::Error) -> PublishError {
        PublishError::NotSent { uri: self.uri.clone(), cause }
    }

    /// Sends the message in the first `len` bytes of the buffer.
    fn send(&mut self, len: usize) -> io::Result<()> {
        let signed = match &self.key {
            // There is room: the buffer has a trailer's behind the longest message.
            Some(key) => key.sign(&mut self.buffer, len).unwrap_or(len),
            None => len,
        };
        self.way.send(&self.buffer[..signed])
    }

    fn send_status(&mut self, status: StatusMessage) -> Result<(), PublishError> {
        let message = Message::Status(status);
        let sent = encode(&self.numbering.next(), &message, &mut self.buffer)
            .map_err(unencodable)
            .and_then(|len| self.send(len));
        if let Message::Status(status) = message {
            self.last_status = Some(status);
        }
        sent.map_err(|e| self.not_sent(e))
    }
}

fn unencodable(e: EncodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

fn socket_for(target: &UdpTarget) -> Result<Socket, (&'static str, io::Error)> {
    let address = target.address;
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))
        .map_err(|e| ("opening a socket", e))?;
    socket.set_nonblocking(true).map_err(|e| ("making the socket non-blocking", e))?;
    if address.is_ipv4() {
        // Only a broadcast address needs it; the kernel knows which addresses are.
        socket.set_broadcast(true).map_err(|e| ("allowing broadcast", e))?;
    }
    if let Some(ttl) = target.ttl {
        let ttl = u32::from(ttl);
        match (address.is_ipv4(), target.is_multicast()) {
            (true, true) => socket.set_multicast_ttl_v4(ttl),
            (true, false) => socket.set_ttl_v4(ttl),
            (false, true) => socket.set_multicast_hops_v6(ttl),
            (false, false) => socket.set_unicast_hops_v6(ttl),
        }
        .map_err(|e| ("setting ttl", e))?;
    }
    if let Some(dscp) = target.dscp {
        let class = u32::from(dscp) << 2;
        if address.is_ipv4() { socket.set_tos_v4(class) } else { socket.set_tclass_v6(class) }
            .map_err(|e| ("setting dscp", e))?;
    }
    match &target.interface {
        Some(Interface::Name(name)) => {
            socket.bind_device(Some(name.as_bytes())).map_err(|e| ("using the interface", e))?;
        }
        Some(Interface::Address(ip)) => {
            socket.set_multicast_if_v4(ip).map_err(|e| ("using the interface", e))?;
        }
        None => {}
    }
    Ok(socket)
}

impl Publisher for UdpPublisher {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        let message = PoseMessage::from_frame(frame, &self.options);
        let mut parts = Split::new(&message);
        let mut first_failure = None;
        for _ in 0..parts.parts() {
            let Some(room) = self.buffer.first_chunk_mut() else { break };
            let sent = match parts.next(&self.numbering.next(), room).map(|d| d.map(<[u8]>::len)) {
                Ok(Some(len)) => self.send(len),
                Ok(None) => break,
                Err(e) => return Err(self.not_sent(unencodable(e))),
            };
            // The other parts are worth sending: each stands by itself.
            first_failure = first_failure.or(sent.err());
        }
        first_failure.map_or(Ok(()), |e| Err(self.not_sent(e)))
    }

    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        self.options.degraded = matches!(status.state, State::Degraded | State::Failed);
        self.send_status(status.clone())
    }

    fn finish(&mut self) -> Result<(), PublishError> {
        let Some(status) = self.last_status.take() else { return Ok(()) };
        self.send_status(StatusMessage { state: State::Stopping, ..status })
    }

    fn describe(&self) -> &str {
        &self.uri
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::Duration;

    use arrayvec::ArrayVec;

    use crate::fault::{Fault, Severity};
    use crate::pose::{Keypoint, Keypoints2d, Person, Pose3d, StageStamps, TrackId};
    use crate::skeleton::JOINTS;
    use crate::time::Timestamp;
    use crate::wire::{Assembler, Datagram, Sequencer, decode};

    fn frame(persons: u32) -> PoseFrame {
        let person = |n| Person {
            track: TrackId(n),
            keypoints: Keypoints2d { points: [Keypoint::default(); JOINTS], score: 0.9 },
            predicted: false,
            pose: Some(Pose3d {
                joints: [[0.1, 0.2, 0.3]; JOINTS],
                confidence: [0.5; JOINTS],
                root: None,
                root_covariance: None,
                plausibility: None,
                describes: Timestamp::from_secs_f64(1.0),
                lookahead_nanos: 0,
            }),
            revision: None,
        };
        PoseFrame {
            camera: 0,
            sequence: 1,
            captured: Timestamp::from_secs_f64(1.0),
            media_time: false,
            stamps: StageStamps::default(),
            image_size: (640, 480),
            persons: (1..=persons).map(person).collect::<ArrayVec<_, 16>>(),
            model: 1,
            computed: None,
        }
    }

    fn listener(address: &str) -> UdpSocket {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    fn receive(socket: &UdpSocket) -> Datagram {
        let mut buffer = [0; 2_000];
        let len = socket.recv(&mut buffer).unwrap();
        decode(&buffer[..len]).unwrap()
    }

    fn open(uri: &str) -> Box<dyn Publisher> {
        super::super::open(uri, &PublishSettings::default()).unwrap()
    }

    #[test]
    fn sixteen_persons_arrive_whole_over_loopback_for_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(address) else {
                println!("skipped: this machine has no {address}");
                continue;
            };
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut publisher = open(&format!("udp://{}", socket.local_addr().unwrap()));
            let mut sequencer = Sequencer::default();
            for _ in 0..3 {
                publisher.publish(&frame(16)).unwrap();
                let mut assembler = Assembler::default();
                let mut whole = None;
                for _ in 0..4 {
                    let Datagram { header, message } = receive(&socket);
                    sequencer.observe(header.packet);
                    let Message::Pose(part) = message else { panic!("{message:?}") };
                    whole = assembler.add(&header, part);
                }
                assert_eq!(whole.unwrap().persons.len(), 16);
            }
            let tally = sequencer.tally();
            assert_eq!((tally.received, tally.lost, tally.reordered), (12, 0, 0));
        }
    }

    #[test]
    fn a_frame_without_persons_is_still_sent() {
        let socket = listener("127.0.0.1:0");
        let mut publisher = open(&format!("udp://{}", socket.local_addr().unwrap()));
        publisher.publish(&frame(0)).unwrap();
        let Message::Pose(pose) = receive(&socket).message else { panic!() };
        assert!(pose.persons.is_empty());
    }

    #[test]
    fn a_port_where_nobody_listens_is_counted_by_name_and_works_once_somebody_does() {
        let address = listener("127.0.0.1:0").local_addr().unwrap();
        let mut publisher = open(&format!("udp://{address}"));
        // On loopback a refusal is back before the call returns: from the second datagram on each
        // brings the news of the one before.
        let mut refused = 0;
        for _ in 0..10 {
            match publisher.publish(&frame(1)) {
                Ok(()) => {}
                Err(e) => {
                    assert_eq!((e.severity(), e.name()), (Severity::Skip, "target-refused"));
                    assert!(e.to_string().contains("nobody listens"), "{e}");
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 9);
        let socket = listener(&address.to_string());
        // The news of the tenth comes with the eleventh, which is sent all the same.
        assert!(publisher.publish(&frame(1)).is_err());
        assert_eq!(receive(&socket).header.packet, 10, "what nobody received keeps its number");
        publisher.publish(&frame(1)).unwrap();
        assert_eq!(receive(&socket).header.packet, 11);
    }

    #[test]
    fn a_signed_target_sends_what_the_key_verifies_and_what_any_reader_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "5a".repeat(32)).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        let socket = listener("127.0.0.1:0");
        let address = socket.local_addr().unwrap();
        let mut publisher = open(&format!("udp://{address}?key={}", path.display()));
        let status = StatusMessage::default();
        publisher.status(&status).unwrap();
        publisher.publish(&frame(16)).unwrap();
        let key = key::read(&path).unwrap();
        let mut buffer = [0; 2_000];
        for _ in 0..5 {
            let len = socket.recv(&mut buffer).unwrap();
            assert!(len <= 1_472);
            assert_eq!(key.verify(&buffer[..len]), Ok(()));
            decode(&buffer[..len]).unwrap();
        }
    }

    #[test]
    fn the_stamp_of_sending_is_taken_on_sending_and_the_session_is_the_publishers_own() {
        let socket = listener("127.0.0.1:0");
        let uri = format!("udp://{}", socket.local_addr().unwrap());
        let clock = Arc::new(crate::time::ManualClock::default());
        let settings = PublishSettings { clock: clock.clone(), ..Default::default() };
        let mut a = UdpPublisher::open(&uri, &settings).unwrap();
        clock.set(Timestamp::from_secs_f64(4.5));
        a.publish(&frame(1)).unwrap();
        let first = receive(&socket).header;
        assert_eq!(first.sent_us, 4_500_000);
        let mut b = UdpPublisher::open(&uri, &settings).unwrap();
        b.publish(&frame(1)).unwrap();
        let other = receive(&socket).header;
        assert_ne!(first.session, other.session);
        assert_eq!((first.packet, other.packet), (0, 0));
    }

    #[test]
    fn a_degraded_status_marks_the_poses_that_follow_and_the_end_says_stopping() {
        let socket = listener("127.0.0.1:0");
        let mut publisher = open(&format!("udp://{}", socket.local_addr().unwrap()));
        let status = StatusMessage { state: State::Degraded, frames_in: 9, ..Default::default() };
        publisher.status(&status).unwrap();
        publisher.publish(&frame(1)).unwrap();
        publisher.finish().unwrap();
        assert_eq!(receive(&socket).message, Message::Status(status.clone()));
        let Message::Pose(pose) = receive(&socket).message else { panic!() };
        assert!(pose.degraded);
        let stopping = StatusMessage { state: State::Stopping, ..status };
        assert_eq!(receive(&socket).message, Message::Status(stopping));
    }

    #[test]
    fn multicast_stays_within_its_hops_and_reaches_a_member_of_the_group() {
        let socket = listener("0.0.0.0:0");
        let group = Ipv4Addr::new(239, 255, 77, 7);
        if socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).is_err() {
            println!("skipped: no multicast on loopback here");
            return;
        }
        let port = socket.local_addr().unwrap().port();
        let uri = format!("udp://{group}:{port}?ttl=3&interface=127.0.0.1&dscp=46");
        let mut publisher = UdpPublisher::open(&uri, &PublishSettings::default()).unwrap();
        assert_eq!(publisher.way.socket.multicast_ttl_v4().unwrap(), 3);
        publisher.publish(&frame(1)).unwrap();
        assert!(matches!(receive(&socket).message, Message::Pose(_)));
    }

    #[test]
    fn hops_and_priority_are_set_for_both_families_and_both_kinds_of_targets() {
        let open = |uri| UdpPublisher::open(uri, &PublishSettings::default()).unwrap().way.socket;
        let unicast = open("udp://127.0.0.1:9?ttl=7&dscp=46");
        assert_eq!((unicast.ttl_v4().unwrap(), unicast.tos_v4().unwrap()), (7, 46 << 2));
        let group = open("udp://239.1.1.1:9?ttl=7&dscp=10");
        assert_eq!((group.multicast_ttl_v4().unwrap(), group.tos_v4().unwrap()), (7, 10 << 2));
        let unicast = open("udp://[::1]:9?ttl=7&dscp=46");
        assert_eq!((unicast.unicast_hops_v6().unwrap(), unicast.tclass_v6().unwrap()), (7, 184));
        let group = open("udp://[ff02::1]:9?ttl=7&dscp=1");
        assert_eq!((group.multicast_hops_v6().unwrap(), group.tclass_v6().unwrap()), (7, 4));
    }

    #[test]
    fn a_target_without_a_route_is_skippable_and_not_fatal() {
        // 240.0.0.0/4 is reserved: Linux refuses to route it (EINVAL or ENETUNREACH).
        let mut publisher = open("udp://255.255.255.254:9");
        match publisher.publish(&frame(1)) {
            Err(e) => assert_eq!(e.severity(), Severity::Skip),
            Ok(()) => println!("skipped: this machine routes even reserved addresses"),
        }
    }

    #[test]
    fn each_unusable_uri_says_what_to_write_instead() {
        for (uri, words) in [
            ("tcp://127.0.0.1:1", "udp://host:port"),
            ("udp:127.0.0.1:1", "udp://host:port"),
            ("udp://127.0.0.1", "port is missing"),
            ("udp://[::1]", "port is missing"),
            ("udp://127.0.0.1:0", "1 to 65535"),
            ("udp://127.0.0.1:70000", "1 to 65535"),
            ("udp://127.0.0.1:x", "1 to 65535"),
            ("udp://::1:7777", "brackets"),
            ("udp://:7777", "host is missing"),
            ("udp://no-such-host.invalid:7777", "give the address itself"),
            ("udp://127.0.0.1:1?ttl=0", "1 to 255"),
            ("udp://127.0.0.1:1?dscp=64", "0 to 63"),
            ("udp://127.0.0.1:1?colour=red", "ttl, interface or dscp"),
            ("udp://127.0.0.1:1?key=", "path of a key file"),
            ("udp://127.0.0.1:1?key=/no/such/key", "cannot be read"),
            ("udp://127.0.0.1:1?keypoints=1", "yes or no"),
            ("udp://127.0.0.1:1?interface=", "name or an IPv4 address"),
            ("udp://239.1.1.1:1?interface=nosuch0", "interface"),
            ("udp://[ff02::1]:1?interface=nosuch0", "ip link"),
            ("udp://[ff02::1]:1?interface=10.0.0.1", "by its name"),
            ("serial:ttyUSB0", "/dev/serial/by-id"),
            ("serial:/dev/ttyUSB0?baud=fast", "from 300"),
            ("serial:/dev/ttyUSB0?flow=software", "none or hardware"),
            ("serial:/dev/ttyUSB0?format=json", "compact or full"),
            ("serial:/dev/ttyUSB0?keypoints=yes", "format=full"),
            ("serial:/dev/ttyUSB0?parity=even", "baud, flow, format"),
            ("serial:/dev/null", "no serial device"),
            ("jsonl:", "jsonl:PATH"),
            ("jsonl:/no/such/directory/x", "cannot be opened"),
        ] {
            let Err(e) = super::super::open(uri, &PublishSettings::default()) else {
                panic!("{uri} was accepted");
            };
            assert_eq!(e.severity(), Severity::Fatal);
            let said = e.to_string();
            assert!(said.contains(words) && said.contains(uri), "{said}");
        }
    }

    #[test]
    fn a_uri_with_everything_is_understood() {
        let target =
            UdpTarget::parse("udp://239.1.2.3:7777/?ttl=4&interface=eth0&dscp=46").unwrap();
        assert!(target.is_multicast());
        assert_eq!((target.ttl, target.dscp), (Some(4), Some(46)));
        assert_eq!(target.interface, Some(Interface::Name("eth0".into())));
        let v6 = UdpTarget::parse("udp://[2001:db8::7]:7777").unwrap();
        assert_eq!(v6.address, "[2001:db8::7]:7777".parse().unwrap());
        assert!(UdpTarget::parse("udp://localhost:7777").unwrap().address.ip().is_loopback());
    }
}
