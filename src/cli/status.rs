//! How it goes: one calm line on a terminal, a log line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::logging;
use crate::engine::exchange::Exchange;
use crate::runtime::Event;
use crate::stats::{Counts, Histogram, Snapshot, StageTimes, Stats};

/// How often the line on a terminal is rewritten.
const LINE_EVERY: Duration = Duration::from_millis(500);
/// How often a log line is written without a terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// The same into the journal, which is kept for weeks; `posewire status` tells of the present.
const JOURNAL_EVERY: Duration = Duration::from_secs(600);

/// What computes, which may change under way.
#[derive(Clone)]
pub(super) struct Computing {
    /// Where it does not.
    pub(super) fixed: String,
    pub(super) exchange: Option<Exchange>,
}

impl Computing {
    /// At the moment.
    pub(super) fn words(&self) -> String {
        self.exchange.as_ref().map_or_else(|| self.fixed.clone(), Exchange::describe)
    }
}

/// Watches a run and tells how it goes.
pub(super) struct Status {
    stats: Arc<Stats>,
    backend: Computing,
    on_terminal: bool,
    begun: Instant,
    last: Instant,
    before: Sample,
    /// What each source is called, and what is wrong with it.
    sources: Vec<(String, Option<String>)>,
    line_shown: bool,
}

/// What intervals are measured between.
#[derive(Default)]
pub(super) struct Sample {
    pub(super) counts: Counts,
    pub(super) stages: [Snapshot; STAGES],
}

const STAGES: usize = StageTimes::COUNT;
pub(super) const NAMES: [&str; STAGES] =
    ["wait", "decode", "detect", "lift", "publish", "capture-to-packet"];

impl Sample {
    pub(super) fn of(stats: &Stats) -> Self {
        let stages = stats.stages.in_order().map(Histogram::snapshot);
        Self { counts: stats.counters.read(), stages }
    }
}

impl Status {
    /// Tells of `stats`; `backend` is what computes, and why.
    /// `names` are what the sources are called, where there are several.
    pub(super) fn new(stats: Arc<Stats>, backend: Computing, names: Vec<String>) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let now = Instant::now();
        Self {
            before: Sample::of(&stats),
            stats,
            backend,
            on_terminal,
            begun: now,
            last: now,
            sources: names.into_iter().map(|name| (name, None)).collect(),
            line_shown: false,
        }
    }

    /// To be called often, with each event of the run.
    pub(super) fn watch(&mut self, event: Option<&Event>) {
        match event {
            Some(Event::SourceOpened(n, info)) => {
                self.fault_is(*n, None);
                log::info!("{}: {}", self.name(*n), info.summary);
            }
            Some(Event::SourceLost(n, words)) => self.fault_is(*n, Some(words.clone())),
            Some(Event::SourceEnded(n)) => log::info!("{}: the recording is over", self.name(*n)),
            Some(Event::Failed(..) | Event::PublisherDone | Event::PerceptionDone) | None => {}
        }
        let every = match (self.on_terminal, logging::to_journal()) {
            (true, _) => LINE_EVERY,
            (false, true) => JOURNAL_EVERY,
            (false, false) => LOG_EVERY,
        };
        let elapsed = self.last.elapsed();
        if elapsed < every {
            return;
        }
        let now = Sample::of(&self.stats);
        let line = self.line(&now, elapsed);
        self.before = now;
        self.last = Instant::now();
        if self.on_terminal {
            let mut err = std::io::stderr().lock();
            let line = fitted(&line, columns());
            // A status line that cannot be written is not worth a word.
            let _ = write!(err, "\r\x1b[K{line}");
            let _ = err.flush();
            self.line_shown = true;
        } else {
            log::info!("{line}");
        }
    }

    fn name(&self, source: usize) -> &str {
        match self.sources.get(source) {
            Some((name, _)) if !name.is_empty() => name,
            _ => "source",
        }
    }

    fn fault_is(&mut self, source: usize, fault: Option<String>) {
        if let Some((_, now)) = self.sources.get_mut(source) {
            *now = fault;
        }
    }

    fn line(&self, now: &Sample, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64().max(1e-3);
        let (a, b) = (&self.before.counts, &now.counts);
        let per_second = |new: u64, old: u64| (new - old) as f64 / seconds;
        let frames = b.frames_out - a.frames_out;
        let persons = (b.persons - a.persons) as f64 / frames.max(1) as f64;
        let mut line = format!(
            "{:.1} fps in, {:.1} out, {persons:.1} persons",
            per_second(b.frames_in, a.frames_in),
            per_second(b.frames_out, a.frames_out),
        );
        for stage in [1, 2, 3, 5] {
            let interval = now.stages[stage].since(&self.before.stages[stage]);
            if let (Some(p50), Some(p99)) = (interval.quantile(0.5), interval.quantile(0.99)) {
                line += &format!(", {} {}/{}", NAMES[stage], millis(p50), millis(p99));
            }
        }
        line += " ms p50/p99";
        let dropped = b.frames_displaced + b.frames_missed + b.frames_bad + b.publish_displaced;
        if dropped > 0 {
            line += &format!(", dropped {dropped}");
        }
        line += &format!(", {}", self.backend.words());
        for fault in self.sources.iter().filter_map(|(_, fault)| fault.as_ref()) {
            line += &format!("; FAULT {fault}");
        }
        line
    }

    /// The last words, over the whole run.
    pub(super) fn finish(&mut self) {
        if std::mem::take(&mut self.line_shown) {
            let mut err = std::io::stderr().lock();
            let _ = write!(err, "\r\x1b[K");
            let _ = err.flush();
        }
        let all = Sample::of(&self.stats);
        let c = &all.counts;
        let seconds = self.begun.elapsed().as_secs_f64();
        log::info!(
            "{} frames in, {} out in {seconds:.1} s ({:.1} fps), {} persons in all",
            c.frames_in,
            c.frames_out,
            c.frames_out as f64 / seconds.max(1e-3),
            c.persons,
        );
        log::info!(
            "lost: {} displaced by newer frames, {} missed by the source, {} bad; \
             poses: {} sent, {} refused, {} fell out of a queue",
            c.frames_displaced,
            c.frames_missed,
            c.frames_bad,
            c.published,
            c.publish_failed,
            c.publish_displaced,
        );
        let times: Vec<String> = NAMES
            .iter()
            .zip(&all.stages)
            .filter_map(|(name, s)| {
                let (p50, p99) = (s.quantile(0.5)?, s.quantile(0.99)?);
                Some(format!("{name} {}/{}", millis(p50), millis(p99)))
            })
            .collect();
        if !times.is_empty() {
            log::info!("ms p50/p99 (bucketed, at most 12.5 % high): {}", times.join(", "));
        }
    }
}

/// How many columns the terminal has, where it tells.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
    // Serial consoles know no size: 0.
    Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
}

/// What of a line fits: one that is wrapped cannot be written over. The last column stays free,
/// because some terminals wrap as soon as it is written to.
fn fitted(line: &str, columns: Option<usize>) -> String {
    match columns {
        Some(columns) if line.chars().count() >= columns => {
            let kept: String = line.chars().take(columns.saturating_sub(2)).collect();
            kept + "\u{2026}"
        }
        _ => line.to_owned(),
    }
}

/// Milliseconds with three significant digits or so.
fn millis(d: Duration) -> String {
    let ms = d.as_secs_f64() * 1e3;
    let digits = if ms < 0.1 {
        3
    } else if ms < 10.0 {
        2
    } else {
        1
    };
    format!("{ms:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_the_terminal_ends_and_its_cut_is_shown() {
        assert_eq!(fitted("12345", Some(6)), "12345");
        assert_eq!(fitted("12345", Some(5)), "123\u{2026}");
        assert_eq!(fitted("12345", None), "12345");
        assert_eq!(fitted("12345", Some(1)), "\u{2026}");
    }
}
