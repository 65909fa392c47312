//! `posewire listen`: what arrives on the wire, as text or JSON, and what was lost on the way.

mod statistics;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, BufWriter, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::Failure;
use crate::publish::udp::{Interface, UdpTarget, interface_index};
use crate::time::{Clock, MonotonicClock};
use crate::wire::json::Line;
use crate::wire::{self, Arrival, Datagram, Message};
use statistics::{Moment, Statistics};

/// Bytes of receive buffer asked of the kernel: a second of four cameras with four persons each.
const RECEIVE_BUFFER: usize = 1 << 20;
/// How often a silent socket is left to look at the time.
const TICK: Duration = Duration::from_millis(100);

/// Receives and shows poses.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Listen {
    /// The address that the sender was given: udp://127.0.0.1:7777, udp://0.0.0.0:7777 for
    /// every network, or a multicast group such as udp://239.1.2.3:7777?interface=eth0
    #[arg(default_value = "udp://127.0.0.1:7777")]
    uri: String,
    /// What to write to standard output; everything else goes to standard error
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// End after so many pose messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Statistics every second instead of the poses
    #[arg(long)]
    stats: bool,
    /// All joints, not only head, hands and feet
    #[arg(short, long)]
    verbose: bool,
}

/// How poses are written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A line a person.
    Text,
    /// A line a message, with every field; the last line holds the statistics.
    Json,
}

/// Why listening is not possible.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    /// The URI cannot be used.
    #[error("cannot listen on {uri}: {problem}")]
    Uri {
        /// As it was given.
        uri: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The port belongs to somebody else.
    #[error(
        "cannot listen on {uri}: the port is taken: end the program that has it \
         (`ss -lunp` names it) or send to and listen on another"
    )]
    PortInUse {
        /// As it was given.
        uri: String,
    },
    /// The socket cannot be made or used.
    #[error("cannot listen on {uri}: {what} failed")]
    Socket {
        /// As it was given.
        uri: String,
        /// At which step.
        what: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// What was received cannot be written.
    #[error("cannot write what was received")]
    Output(#[source] io::Error),
}

/// Listens until the count, the time or a signal (SIGINT, SIGTERM) ends it, then writes the
/// statistics.
pub(super) fn listen(args: &Listen) -> Result<(), Failure> {
    receive(args).map_err(|e| Failure::config(&e))
}

/// A reader of standard output that goes away is a normal end.
fn receive(args: &Listen) -> Result<(), ListenError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, stop.clone()).map_err(|cause| ListenError::Socket {
            uri: args.uri.clone(),
            what: "catching signals",
            cause,
        })?;
    }
    let socket = bind(&args.uri)?;
    let out = BufWriter::new(io::stdout().lock());
    match Session::new(args, out).run(&socket, &stop) {
        Err(ListenError::Output(e)) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Binds to the address and joins its group if it is one.
fn bind(uri: &str) -> Result<UdpSocket, ListenError> {
    let bad = |problem| ListenError::Uri { uri: uri.into(), problem };
    let failed = |what| move |cause| ListenError::Socket { uri: uri.into(), what, cause };
    let target = UdpTarget::parse(uri).map_err(bad)?;
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
        join(&socket, &target).map_err(bad)?;
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

/// One run of the listener.
struct Session<'a, W: Write> {
    args: &'a Listen,
    out: W,
    statistics: Statistics,
    poses: u64,
}

/// A received message with what is known about its way.
#[derive(Serialize)]
struct Received<'a> {
    #[serde(flatten)]
    line: Line<'a>,
    from: SocketAddr,
    out_of_order: bool,
    /// Microseconds of the sender's monotonic clock, where the clocks can be compared.
    received_us: Option<i64>,
}

impl<'a, W: Write> Session<'a, W> {
    fn new(args: &'a Listen, out: W) -> Self {
        Self { args, out, statistics: Statistics::default(), poses: 0 }
    }

    fn run(&mut self, socket: &UdpSocket, stop: &AtomicBool) -> Result<(), ListenError> {
        let clock = MonotonicClock;
        let begin = Instant::now();
        let limit = self.args.seconds.and_then(|s| Duration::try_from_secs_f64(s.max(0.0)).ok());
        let mut next_statistics = Duration::from_secs(1);
        // Larger than any datagram of ours, so that foreign ones are seen whole and named.
        let mut buffer = [0; 65_536];
        while !stop.load(Ordering::Relaxed) && self.args.count.is_none_or(|n| self.poses < n) {
            let elapsed = begin.elapsed();
            if limit.is_some_and(|limit| elapsed >= limit) {
                break;
            }
            if self.args.stats && elapsed >= next_statistics {
                next_statistics += Duration::from_secs(1);
                say(format_args!("{}", self.statistics.line()));
            }
            let (len, from) = match socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(e) if retriable(&e) => continue,
                Err(cause) => {
                    let uri = self.args.uri.clone();
                    return Err(ListenError::Socket { uri, what: "receiving", cause });
                }
            };
            let now = Moment {
                monotonic_us: clock.now().micros(),
                realtime_offset_us: clock.realtime_offset_nanos().div_euclid(1_000),
            };
            self.take(&buffer[..len], from, now).map_err(ListenError::Output)?;
        }
        self.end().map_err(ListenError::Output)
    }

    /// Counts and shows one datagram.
    fn take(&mut self, bytes: &[u8], from: SocketAddr, now: Moment) -> io::Result<()> {
        let Datagram { header, message } = match wire::decode(bytes) {
            Ok(datagram) => datagram,
            Err(e) => {
                if self.statistics.refuse(e) {
                    say(format_args!(
                        "a datagram from {from} is dropped: {e} (said once, counted always)"
                    ));
                }
                return Ok(());
            }
        };
        let arrival = self.statistics.accept(&header, &message, from, now);
        let n = header.packet;
        match arrival {
            Arrival::Duplicate => say(format_args!("datagram {n} came again: not shown")),
            Arrival::Stale => say(format_args!("datagram {n} is far too late: not shown")),
            Arrival::Late => say(format_args!("datagram {n} comes late, out of order")),
            Arrival::Ahead { missing } => {
                say(format_args!("{missing} missing before datagram {n}"));
            }
            Arrival::InOrder => {}
        }
        if matches!(arrival, Arrival::Duplicate | Arrival::Stale) {
            return Ok(());
        }
        self.poses += u64::from(matches!(message, Message::Pose(_)));
        if self.args.stats {
            return Ok(());
        }
        let received_us = now.on_clock_of(&header);
        match self.args.format {
            Format::Text => text::write(&mut self.out, &message, received_us, self.args.verbose)?,
            Format::Json => {
                let line = Line { header: &header, message: &message };
                let out_of_order = arrival == Arrival::Late;
                let received = Received { line, from, out_of_order, received_us };
                serde_json::to_writer(&mut self.out, &received)?;
                self.out.write_all(b"\n")?;
            }
        }
        self.out.flush()
    }

    fn end(&mut self) -> io::Result<()> {
        match self.args.format {
            Format::Text => say(format_args!("{}", self.statistics.summary().trim_end())),
            Format::Json => {
                serde_json::to_writer(&mut self.out, &self.statistics.report())?;
                self.out.write_all(b"\n")?;
            }
        }
        self.out.flush()
    }
}

/// Says something beside the poses. Unlike `eprintln!` it survives a closed standard error.
fn say(words: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{words}");
}

fn retriable(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
