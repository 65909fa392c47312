//! `posewire listen`: what arrives on the wire, as text or JSON, and what was lost on the way.
//!
//! - [`input`] gives datagrams, or the frames of a serial line;
//! - [`Session`] counts, verifies, records and shows each;
//! - [`statistics`] is what is counted.

mod input;
mod record;
mod statistics;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Failure;
use crate::publish::key;
use crate::time::{Clock, MonotonicClock};
use crate::wire::auth::{AuthError, Key, ReplayWindow};
use crate::wire::json::{Line, ShortLine};
use crate::wire::{self, Arrival, Datagram, Message, Packet, ShortDatagram, ShortMessage};
use input::{Incoming, Input, Origin};
use record::Recording;
use statistics::{Moment, Statistics};

/// Receives and shows poses.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Listen {
    /// The address that the sender was given: udp://127.0.0.1:7777, udp://0.0.0.0:7777 for
    /// every network, a multicast group such as udp://239.1.2.3:7777?interface=eth0, or a
    /// line: serial:/dev/serial/by-id/NAME?baud=115200
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
    /// Show only what is signed with the key in this file (hexadecimal digits, mode 600)
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Keep everything as it came in, in a new pcap file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
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
    /// The key cannot be used.
    #[error("{0}")]
    Key(String),
    /// The recording cannot be begun, or broke off.
    #[error(
        "cannot record to {path}: give a file that does not exist yet, where there is room for it"
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
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
    let input = Input::open(&args.uri)?;
    let mut session = Session::new(args, BufWriter::new(io::stdout().lock()));
    let (to, key_of_uri) = match &input {
        Input::Udp { address, key, .. } => (Some(*address), key.as_deref()),
        Input::Serial(_) => (None, None),
    };
    session.guard = args
        .key_file
        .as_deref()
        .or(key_of_uri)
        .map(|path| key::read(path).map(|key| (key, ReplayWindow::default())))
        .transpose()
        .map_err(ListenError::Key)?;
    if let Some(path) = &args.record {
        session.recording = Some(Recording::create(path, to).map_err(|e| session.broken(e))?);
    }
    match session.run(input, &stop) {
        Err(ListenError::Output(e)) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// One run of the listener.
struct Session<'a, W: Write> {
    args: &'a Listen,
    out: W,
    statistics: Statistics,
    poses: u64,
    /// The key, and what was heard, if only signed messages count.
    guard: Option<(Key, ReplayWindow)>,
    recording: Option<Recording>,
    /// Why the recording broke off.
    broken: Option<ListenError>,
}

/// A received message with what is known about its way.
#[derive(Serialize)]
struct Received<L: Serialize> {
    #[serde(flatten)]
    line: L,
    from: Origin,
    out_of_order: bool,
    /// Microseconds of the sender's monotonic clock, where the clocks can be compared.
    received_us: Option<i64>,
}

impl<'a, W: Write> Session<'a, W> {
    fn new(args: &'a Listen, out: W) -> Self {
        Self {
            args,
            out,
            statistics: Statistics::default(),
            poses: 0,
            guard: None,
            recording: None,
            broken: None,
        }
    }

    fn run(&mut self, mut input: Input, stop: &AtomicBool) -> Result<(), ListenError> {
        let clock = MonotonicClock;
        let begin = Instant::now();
        let limit = self.args.seconds.and_then(|s| Duration::try_from_secs_f64(s.max(0.0)).ok());
        let mut next_second = Duration::from_secs(1);
        // Larger than any datagram of ours, so that foreign ones are seen whole and named.
        let mut buffer = [0; 65_536];
        while !stop.load(Ordering::Relaxed) && self.args.count.is_none_or(|n| self.poses < n) {
            let elapsed = begin.elapsed();
            if limit.is_some_and(|limit| elapsed >= limit) {
                break;
            }
            if elapsed >= next_second {
                next_second += Duration::from_secs(1);
                self.every_second();
            }
            let incoming = input.next(&mut buffer).map_err(|cause| ListenError::Socket {
                uri: self.args.uri.clone(),
                what: "receiving",
                cause,
            })?;
            let now = Moment {
                monotonic_us: clock.now().micros(),
                realtime_offset_us: clock.realtime_offset_nanos().div_euclid(1_000),
            };
            match incoming {
                Incoming::Nothing => {}
                Incoming::Broken(e) => self.refuse(Origin::Line, e.name(), &e),
                Incoming::Bytes(len, from) => {
                    self.record(&buffer[..len], from, now);
                    self.take(&buffer[..len], from, now).map_err(ListenError::Output)?;
                }
            }
        }
        self.end().map_err(ListenError::Output)?;
        self.keep(Recording::flush);
        self.broken.take().map_or(Ok(()), Err)
    }

    fn every_second(&mut self) {
        if self.args.stats {
            say(format_args!("{}", self.statistics.line()));
        }
        self.keep(Recording::flush);
    }

    fn broken(&self, cause: io::Error) -> ListenError {
        ListenError::Record { path: self.args.record.clone().unwrap_or_default(), cause }
    }

    fn record(&mut self, bytes: &[u8], from: Origin, now: Moment) {
        let unix_us = now.monotonic_us.saturating_add(now.realtime_offset_us);
        self.keep(|recording| recording.add(unix_us, from, bytes));
    }

    /// Does something to the recording; one that fails ends, and listening goes on.
    fn keep(&mut self, what: impl FnOnce(&mut Recording) -> io::Result<()>) {
        let Some(recording) = &mut self.recording else { return };
        if let Err(e) = what(recording) {
            self.recording = None;
            let broken = self.broken(e);
            say(format_args!("{} (it ends here, listening goes on)", crate::fault::Chain(&broken)));
            self.broken = Some(broken);
        }
    }

    /// Counts what is dropped; says so, the first time.
    fn refuse(&mut self, from: Origin, name: &'static str, why: &dyn std::error::Error) {
        if self.statistics.refuse(name) {
            let what = if from == Origin::Line { "a frame" } else { "a datagram" };
            say(format_args!("{what} from {from} is dropped: {why} (said once, counted always)"));
        }
    }

    /// Counts and shows one datagram or frame.
    fn take(&mut self, bytes: &[u8], from: Origin, now: Moment) -> io::Result<()> {
        let packet = match wire::decode_packet(bytes) {
            Ok(packet) => packet,
            Err(e) => {
                self.refuse(from, e.name(), &e);
                return Ok(());
            }
        };
        if let Some((key, window)) = &mut self.guard {
            let trusted = match &packet {
                Packet::Full(datagram) => {
                    key.verify(bytes).and_then(|()| window.admit(&datagram.header))
                }
                // Messages with a short header have no room for it.
                Packet::Short(_) => Err(AuthError::Unsigned),
            };
            if let Err(e) = trusted {
                self.refuse(from, e.name(), &e);
                return Ok(());
            }
        }
        let (arrival, number, is_pose) = match &packet {
            Packet::Full(Datagram { header, message }) => {
                let arrival = self.statistics.accept(header, message, from, now);
                (arrival, header.packet, matches!(message, Message::Pose(_)))
            }
            Packet::Short(short) => {
                let arrival = self.statistics.accept_short(short, from, now);
                let is_pose = matches!(short.message, ShortMessage::Pose(_));
                (arrival, u32::from(short.header.packet), is_pose)
            }
        };
        tell(arrival, number);
        if matches!(arrival, Arrival::Duplicate | Arrival::Stale) {
            return Ok(());
        }
        self.poses += u64::from(is_pose);
        if self.args.stats {
            return Ok(());
        }
        let out_of_order = arrival == Arrival::Late;
        match packet {
            Packet::Full(datagram) => self.show(&datagram, from, out_of_order, now)?,
            Packet::Short(short) => self.show_short(&short, from, out_of_order)?,
        }
        self.out.flush()
    }

    fn show(
        &mut self,
        datagram: &Datagram,
        from: Origin,
        out_of_order: bool,
        now: Moment,
    ) -> io::Result<()> {
        let Datagram { header, message } = datagram;
        let received_us = now.on_clock_of(header);
        match self.args.format {
            Format::Text => text::write(&mut self.out, message, received_us, self.args.verbose),
            Format::Json => {
                let line = Line { header, message };
                self.json(&Received { line, from, out_of_order, received_us })
            }
        }
    }

    fn show_short(
        &mut self,
        short: &ShortDatagram,
        from: Origin,
        out_of_order: bool,
    ) -> io::Result<()> {
        match self.args.format {
            Format::Text => text::write_short(&mut self.out, &short.message, self.args.verbose),
            Format::Json => {
                let line = ShortLine(short);
                self.json(&Received { line, from, out_of_order, received_us: None })
            }
        }
    }

    fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    fn end(&mut self) -> io::Result<()> {
        match self.args.format {
            Format::Text => say(format_args!("{}", self.statistics.summary().trim_end())),
            Format::Json => {
                let report = self.statistics.report();
                self.json(&report)?;
            }
        }
        self.out.flush()
    }
}

/// Says what is not as it should be about a message's place in the row.
fn tell(arrival: Arrival, n: u32) {
    match arrival {
        Arrival::Duplicate => say(format_args!("datagram {n} came again: not shown")),
        Arrival::Stale => say(format_args!("datagram {n} is far too late: not shown")),
        Arrival::Late => say(format_args!("datagram {n} comes late, out of order")),
        Arrival::Ahead { missing } => say(format_args!("{missing} missing before datagram {n}")),
        Arrival::InOrder => {}
    }
}

/// Says something beside the poses. Unlike `eprintln!` it survives a closed standard error.
fn say(words: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{words}");
}
