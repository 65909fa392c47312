//! A camera's thread: open, read, hand on; reopen what was lost.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::perception::warn_rarely;
use super::watchdog::Watchdog;
use super::{Event, OpenSource, Shared, TURN};
use crate::capture::{CaptureError, FrameSource, Next, Recovery};
use crate::fault::{Chain, Exit, Fault, RateLimit, Severity};
use crate::frame::Frame;
use crate::handoff::Put;
use crate::stats::add;

/// A live source that is silent for this long is reported, where silence is no reason to reopen.
const SILENCE: Duration = Duration::from_secs(2);

/// A source that stays away is spoken of again after so long, or when the reason changes.
const REMIND: Duration = Duration::from_secs(60);

/// What the thread keeps from one opening of its source to the next.
struct Keeper {
    camera: usize,
    recovery: Recovery,
    backoff: Duration,
    watchdog: Watchdog,
    limit: RateLimit,
    /// What was last said of the source's absence, and when.
    said: Option<(String, Instant)>,
}

/// Runs source number `camera` until it ends or the run is to stop.
pub(super) fn capture(shared: &Shared, camera: usize, mut open: OpenSource, recovery: Recovery) {
    let mut keeper = Keeper {
        camera,
        recovery,
        backoff: recovery.first,
        watchdog: Watchdog::default(),
        limit: RateLimit::default(),
        said: None,
    };
    let mut first = true;
    while !shared.stop.is_raised() {
        let error = match open() {
            Ok(mut source) => {
                keeper.said = None;
                shared.opened(camera, source.describe());
                match keeper.read(shared, source.as_mut()) {
                    Some(error) => error,
                    None => return,
                }
            }
            Err(error) => error,
        };
        // What cannot work stops the run at its start. Later it is a device on its way back: its
        // node is there before udev has given it to our group, its formats before its driver.
        if error.severity() == Severity::Fatal && first {
            return shared.fail(Chain(&error).to_string(), Exit::Config);
        }
        first = false;
        keeper.wait(shared, &error);
    }
}

impl Keeper {
    /// Tells of a loss and waits before the next attempt.
    fn wait(&mut self, shared: &Shared, error: &CaptureError) {
        let words = Chain(error).to_string();
        shared.source_is(self.camera, Err(error));
        add(&shared.stats.counters.source_restarts, 1);
        let silent = |(said, when): &(String, Instant)| *said == words && when.elapsed() < REMIND;
        if !self.said.as_ref().is_some_and(silent) {
            log::warn!("{words}; trying again within {:?}", self.recovery.most);
            let _ = shared.events.send(Event::SourceLost(self.camera, words.clone()));
            self.said = Some((words, Instant::now()));
        }
        let until = Instant::now() + self.backoff;
        while Instant::now() < until && !shared.stop.is_raised() {
            thread::sleep(TURN.min(until.saturating_duration_since(Instant::now())));
        }
        self.backoff = (2 * self.backoff).min(self.recovery.most);
    }

    /// Reads frames until the end (`None`) or an error that is more than a lost frame.
    fn read(&mut self, shared: &Shared, source: &mut dyn FrameSource) -> Option<CaptureError> {
        let live = source.describe().live;
        let rate = source.describe().rate.filter(|_| self.recovery.watched);
        let counters = &shared.stats.counters;
        let mut expected: Option<u64> = None;
        let mut last_frame = Instant::now();
        let mut silent = false;
        self.watchdog.opened(rate, last_frame);
        while !shared.stop.is_raised() {
            match source.next(TURN.min(self.watchdog.look_again())) {
                Ok(Next::Frame(frame)) => {
                    add(&counters.frames_in, 1);
                    let gap = expected.map_or(0, |e| frame.sequence.saturating_sub(e));
                    add(&counters.frames_missed, gap);
                    expected = Some(frame.sequence.saturating_add(1));
                    self.backoff = self.recovery.first;
                    last_frame = Instant::now();
                    self.watchdog.frame(last_frame);
                    if std::mem::take(&mut silent) {
                        log::info!("frames are coming again");
                    }
                    if !hand_on(shared, self.camera, frame, live) {
                        return None;
                    }
                }
                Ok(Next::Idle) => {
                    // Whose buffers are all held by others gives nothing, and is well.
                    if source.starved() {
                        self.watchdog.excused(Instant::now());
                    }
                    if let Some(silence) = self.watchdog.frozen(Instant::now()) {
                        return Some(CaptureError::Gone {
                            uri: source.describe().summary.clone(),
                            problem: format!("frozen: no frame for {} ms", silence.as_millis()),
                        });
                    }
                    if live && !silent && last_frame.elapsed() > SILENCE {
                        silent = true;
                        let summary = &source.describe().summary;
                        log::warn!("no frame for {} s from {summary}", SILENCE.as_secs());
                    }
                }
                Ok(Next::End) => {
                    let _ = shared.events.send(Event::SourceEnded(self.camera));
                    return None;
                }
                Err(error) if error.severity() == Severity::Skip => {
                    add(&counters.frames_bad, 1);
                    if let CaptureError::BadFrame { sequence, .. } = &error {
                        // Counted as bad, so its number is not missing.
                        expected = Some(sequence.saturating_add(1).max(expected.unwrap_or(0)));
                    }
                    // A damaged picture is a sign of life.
                    self.watchdog.excused(Instant::now());
                    warn_rarely(&mut self.limit, shared.clock.now(), &error);
                }
                Err(error) => return Some(error),
            }
        }
        None
    }
}

/// Gives a frame to perception; false if perception is gone or the run is to stop.
fn hand_on(shared: &Shared, camera: usize, frame: Frame, live: bool) -> bool {
    if live {
        let put = shared.frames.put(camera, frame);
        if put == Put::Displaced {
            add(&shared.stats.counters.frames_displaced, 1);
        }
        return put != Put::Closed;
    }
    let mut frame = frame;
    loop {
        match shared.frames.put_when_empty(camera, frame, TURN) {
            Ok(put) => return put != Put::Closed,
            Err(back) if !shared.stop.is_raised() => frame = back,
            Err(_) => return false,
        }
    }
}

impl Shared {
    /// Notes that source number `camera` is open.
    fn opened(&self, camera: usize, info: &crate::capture::SourceInfo) {
        if let Some(state) = self.cameras.get(camera) {
            state.live.store(info.live, Ordering::Relaxed);
        }
        self.source_is(camera, Ok(()));
        let _ = self.events.send(Event::SourceOpened(camera, info.clone()));
    }
}
