//! What the listener counts: losses by session, refusals by name, latencies by stage.

use std::fmt::Write;

use serde::Serialize;

use super::input::Origin;
use crate::wire::{
    Arrival, Assembler, ClockState, CompactPose, Header, Message, PoseMessage, Sequencer,
    ShortDatagram, ShortMessage, Tally,
};

/// Latencies are kept for the newest so many messages.
const SAMPLES: usize = 1 << 16;

/// Clocks of two machines that were never started together differ by far more than this; those
/// of one machine differ by the noise of reading them.
const SAME_MACHINE_US: u64 = 10_000;

/// The stages between which time is measured.
const STAGES: [&str; 9] = [
    "captured-dequeued",
    "dequeued-decoded",
    "decoded-detected",
    "detected-lifted",
    "lifted-sent",
    "sent-received",
    "captured-received",
    "dequeued-received",
    "describes-sent",
];
const DESCRIBES_SENT: usize = 8;

/// When a datagram was received.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Microseconds of this machine's monotonic clock.
    pub monotonic_us: i64,
    /// Microseconds from there to Unix time.
    pub realtime_offset_us: i64,
}

impl Moment {
    /// The moment on the sender's monotonic clock, if the clocks can be compared: it is this
    /// machine, or both follow a common time.
    pub fn on_clock_of(self, header: &Header) -> Option<i64> {
        let ahead = self.realtime_offset_us.checked_sub(header.realtime_offset_us)?;
        if ahead.unsigned_abs() < SAME_MACHINE_US {
            return Some(self.monotonic_us);
        }
        matches!(header.clock, ClockState::Ntp | ClockState::Ptp)
            .then(|| self.monotonic_us.checked_add(ahead))
            .flatten()
    }
}

/// One session of a sender.
struct Stream {
    session: u64,
    /// Of the session only the lowest byte is known so far.
    session_is_short: bool,
    /// Numbers are counted by their lower 16 bits.
    short_numbers: bool,
    origin: Origin,
    sequencer: Sequencer,
    assemblers: Vec<(u8, Assembler)>,
    jitter: Jitter,
    first_us: i64,
    last_us: i64,
}

impl Stream {
    fn observe(&mut self, packet: u32) -> Arrival {
        if self.short_numbers {
            self.sequencer.observe_short(packet as u16)
        } else {
            self.sequencer.observe(packet)
        }
    }
}

/// How unevenly messages arrive: the smoothed difference between their distances when sent and
/// when received (RFC 3550, section 6.4.1). The two clocks need not agree.
#[derive(Default)]
struct Jitter {
    previous: Option<(u32, i64)>,
    micros: f64,
}

impl Jitter {
    /// `sent_us`: the lower 32 bits of the sender's microseconds.
    fn add(&mut self, sent_us: u32, received_us: i64) {
        if let Some((sent, received)) = self.previous.replace((sent_us, received_us)) {
            let sent_apart = f64::from(sent_us.wrapping_sub(sent) as i32);
            let received_apart = received_us.saturating_sub(received) as f64;
            self.micros += ((received_apart - sent_apart).abs() - self.micros) / 16.0;
        }
    }
}

/// The newest samples of one latency, microseconds.
#[derive(Default)]
struct Latency {
    samples: Vec<i64>,
    next: usize,
}

impl Latency {
    fn add(&mut self, micros: i64) {
        if self.samples.len() < SAMPLES {
            self.samples.push(micros);
        } else {
            self.samples[self.next] = micros;
            self.next = (self.next + 1) % SAMPLES;
        }
    }

    fn percentiles(&self) -> Option<Percentiles> {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        // The nearest rank.
        let at = |share: f64| sorted[((last as f64 * share).round() as usize).min(last)];
        let (p50_us, p90_us, p99_us, max_us) = (at(0.5), at(0.9), at(0.99), sorted[last]);
        Some(Percentiles { p50_us, p90_us, p99_us, max_us })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Percentiles {
    p50_us: i64,
    p90_us: i64,
    p99_us: i64,
    max_us: i64,
}

/// Everything that is counted.
#[derive(Default)]
pub struct Statistics {
    streams: Vec<Stream>,
    refused: Vec<(&'static str, u64)>,
    poses: u64,
    persons: u64,
    statuses: u64,
    unknown: u64,
    frames: u64,
    uncompared: u64,
    latencies: [Latency; STAGES.len()],
}

/// The statistics as the last JSON line.
#[derive(Serialize)]
pub struct Report {
    r#type: &'static str,
    datagrams: u64,
    lost: u64,
    reordered: u64,
    duplicates: u64,
    stale: u64,
    jitter_us: f64,
    refused: serde_json::Map<String, serde_json::Value>,
    sessions: usize,
    restarts: usize,
    pose_messages: u64,
    status_messages: u64,
    unknown_messages: u64,
    frames: u64,
    incomplete_frames: u64,
    persons: u64,
    uncompared_clocks: u64,
    latency: serde_json::Map<String, serde_json::Value>,
}

impl Statistics {
    /// Counts something that is dropped, by name; true if its like was never seen before.
    pub fn refuse(&mut self, name: &'static str) -> bool {
        match self.refused.iter_mut().find(|(n, _)| *n == name) {
            Some((_, count)) => {
                *count += 1;
                false
            }
            None => {
                self.refused.push((name, 1));
                true
            }
        }
    }

    /// The stream that `is_it` finds, or a new one.
    fn stream(
        &mut self,
        origin: Origin,
        us: i64,
        is_it: impl Fn(&Stream) -> bool,
        session: u64,
        session_is_short: bool,
    ) -> &mut Stream {
        let index = self.streams.iter().position(is_it).unwrap_or_else(|| {
            if self.streams.iter().any(|s| s.origin.same_host(origin)) {
                super::say(format_args!(
                    "{origin} begins a new session: restarted, or a second sender there"
                ));
            }
            self.streams.push(Stream {
                session,
                session_is_short,
                short_numbers: session_is_short || origin == Origin::Line,
                origin,
                sequencer: Sequencer::default(),
                assemblers: Vec::new(),
                jitter: Jitter::default(),
                first_us: us,
                last_us: us,
            });
            self.streams.len() - 1
        });
        let stream = &mut self.streams[index];
        stream.last_us = us;
        stream
    }

    /// Counts a message.
    pub fn accept(
        &mut self,
        header: &Header,
        message: &Message,
        origin: Origin,
        now: Moment,
    ) -> Arrival {
        let session = header.session;
        let is_it = |s: &Stream| {
            s.session == session
                || (s.session_is_short && s.origin.same_host(origin) && s.session == session & 0xFF)
        };
        let stream = self.stream(origin, now.monotonic_us, is_it, session, false);
        (stream.session, stream.session_is_short) = (session, false);
        let arrival = stream.observe(header.packet);
        if matches!(arrival, Arrival::Duplicate | Arrival::Stale) {
            return arrival;
        }
        if arrival != Arrival::Late {
            stream.jitter.add(header.sent_us as u32, now.monotonic_us);
        }
        match message {
            Message::Pose(pose) => {
                let camera = stream.assemblers.iter().position(|(c, _)| *c == pose.camera);
                let camera = camera.unwrap_or_else(|| {
                    stream.assemblers.push((pose.camera, Assembler::default()));
                    stream.assemblers.len() - 1
                });
                let whole = stream.assemblers[camera].1.add(header, pose.clone());
                self.frames += u64::from(whole.is_some());
                self.poses += 1;
                self.persons += pose.persons.iter().filter(|p| !p.revision).count() as u64;
                self.time(header, pose, now);
            }
            Message::Status(_) => self.statuses += 1,
            Message::Unknown { .. } => self.unknown += 1,
        }
        arrival
    }

    /// Counts a message with a short header.
    pub fn accept_short(&mut self, short: &ShortDatagram, origin: Origin, now: Moment) -> Arrival {
        let session = u64::from(short.header.session);
        let is_it = |s: &Stream| s.origin.same_host(origin) && s.session & 0xFF == session;
        let stream = self.stream(origin, now.monotonic_us, is_it, session, true);
        let arrival = stream.observe(u32::from(short.header.packet));
        if matches!(arrival, Arrival::Duplicate | Arrival::Stale) {
            return arrival;
        }
        let ShortMessage::Pose(pose) = &short.message else {
            self.unknown += 1;
            return arrival;
        };
        if let Some(sent_us) = sent_us(pose).filter(|_| arrival != Arrival::Late) {
            stream.jitter.add(sent_us, now.monotonic_us);
        }
        self.poses += 1;
        self.persons += u64::from(pose.person.is_some());
        // Persons come in their order, each in a message of its own.
        self.frames += u64::from(pose.person_index + 1 >= pose.persons_in_frame);
        if let Some(age) = pose.age_us() {
            self.latencies[DESCRIBES_SENT].add(i64::from(age));
        }
        arrival
    }

    fn time(&mut self, header: &Header, pose: &PoseMessage, now: Moment) {
        let after = |d: Option<u32>| pose.dequeued_us.checked_add(i64::from(d?));
        let captured = (!pose.media_time).then_some(pose.captured_us);
        let dequeued = Some(pose.dequeued_us);
        let (decoded, detected) = (after(pose.decoded_us), after(pose.detected_us));
        let lifted = after(pose.lifted_us);
        let sent = Some(header.sent_us);
        let received = now.on_clock_of(header);
        self.uncompared += u64::from(received.is_none());
        let spans = [
            (captured, dequeued),
            (dequeued, decoded),
            (decoded, detected),
            (detected, lifted),
            (lifted, sent),
            (sent, received),
            (captured, received),
            (dequeued, received),
        ];
        for (latency, (from, to)) in self.latencies.iter_mut().zip(spans) {
            if let (Some(from), Some(to)) = (from, to) {
                latency.add(to.saturating_sub(from));
            }
        }
        for person in pose.persons.iter().filter(|p| !pose.media_time && p.joints.is_some()) {
            self.latencies[DESCRIBES_SENT].add(header.sent_us.saturating_sub(person.describes_us));
        }
    }

    fn total(&self) -> Tally {
        let mut total = Tally::default();
        for tally in self.streams.iter().map(|s| s.sequencer.tally()) {
            total.received += tally.received;
            total.lost += tally.lost;
            total.reordered += tally.reordered;
            total.duplicates += tally.duplicates;
            total.stale += tally.stale;
        }
        total
    }

    /// Sessions that began at an address after another session from there had ended.
    fn restarts(&self) -> usize {
        let follows = |later: &Stream| {
            self.streams.iter().any(|s| {
                s.session != later.session
                    && s.origin.same_host(later.origin)
                    && s.last_us < later.first_us
            })
        };
        self.streams.iter().filter(|s| follows(s)).count()
    }

    /// The largest of any session, microseconds.
    fn jitter_us(&self) -> f64 {
        self.streams.iter().map(|s| s.jitter.micros).fold(0.0, f64::max)
    }

    fn incomplete(&self) -> u64 {
        self.streams.iter().flat_map(|s| &s.assemblers).map(|(_, a)| a.incomplete()).sum()
    }

    /// One line, so far.
    pub fn line(&self) -> String {
        let t = self.total();
        let latency = [6, 7].iter().find_map(|&i| {
            let p = self.latencies[i].percentiles()?;
            let (p50, p99) = (p.p50_us as f64 / 1e3, p.p99_us as f64 / 1e3);
            Some(format!("  {} p50 {p50:.1} ms p99 {p99:.1} ms", STAGES[i]))
        });
        let refused: u64 = self.refused.iter().map(|(_, n)| n).sum();
        format!(
            "{} datagrams  {} frames  {} lost  {} reordered  {} duplicates  {refused} refused  jitter {:.2} ms{}",
            t.received,
            self.frames,
            t.lost,
            t.reordered,
            t.duplicates,
            self.jitter_us() / 1e3,
            latency.unwrap_or_default(),
        )
    }

    /// Everything, for people.
    pub fn summary(&self) -> String {
        if self.streams.is_empty() && self.refused.is_empty() {
            return "nothing was received: is the sender running, and is this the address it sends to?\n"
                .into();
        }
        let mut s = self.line();
        s.push('\n');
        // Writing to a string cannot fail.
        let _ = writeln!(
            s,
            "sessions {} (restarts {})  incomplete frames {}  persons {}  status messages {}  unknown messages {}",
            self.streams.len(),
            self.restarts(),
            self.incomplete(),
            self.persons,
            self.statuses,
            self.unknown,
        );
        for (name, count) in &self.refused {
            let _ = writeln!(s, "refused: {name} {count}");
        }
        if self.uncompared > 0 {
            let _ = writeln!(
                s,
                "no latency to here for {} messages: the sender is another machine and its clock follows no NTP or PTP",
                self.uncompared
            );
        }
        let timed: Vec<_> = self
            .latencies
            .iter()
            .zip(STAGES)
            .filter_map(|(l, n)| Some((n, l.percentiles()?)))
            .collect();
        if !timed.is_empty() {
            let _ = writeln!(s, "{:<20}{:>10}{:>10}{:>10}{:>10}", "ms", "p50", "p90", "p99", "max");
        }
        for (name, p) in timed {
            let ms = [p.p50_us, p.p90_us, p.p99_us, p.max_us].map(|us| us as f64 / 1e3);
            let [a, b, c, d] = ms;
            let _ = writeln!(s, "{name:<20}{a:>10.3}{b:>10.3}{c:>10.3}{d:>10.3}");
        }
        s
    }

    /// Everything, for programs.
    pub fn report(&self) -> Report {
        let t = self.total();
        let latency = self.latencies.iter().zip(STAGES).filter_map(|(l, name)| {
            Some((name.to_owned(), serde_json::to_value(l.percentiles()?).ok()?))
        });
        Report {
            r#type: "statistics",
            datagrams: t.received,
            lost: t.lost,
            reordered: t.reordered,
            duplicates: t.duplicates,
            stale: t.stale,
            jitter_us: self.jitter_us().round(),
            refused: self.refused.iter().map(|&(n, c)| (n.to_owned(), c.into())).collect(),
            sessions: self.streams.len(),
            restarts: self.restarts(),
            pose_messages: self.poses,
            status_messages: self.statuses,
            unknown_messages: self.unknown,
            frames: self.frames,
            incomplete_frames: self.incomplete(),
            persons: self.persons,
            uncompared_clocks: self.uncompared,
            latency: latency.collect(),
        }
    }
}

/// The lower 32 bits of the microsecond at which a compact pose was sent.
fn sent_us(pose: &CompactPose) -> Option<u32> {
    Some(pose.person?.describes_us.wrapping_add(pose.age_us()?))
}
