//! Is everything alive? What the process's supervisor (systemd) and whoever asks are told.
//!
//! Every stage's thread has a [`Beat`] that it moves each time it has gone round its loop, at
//! least ten times a second when all is well, whether there was work or not. A stage that hangs
//! (in a driver, in a network, in a deadlock) does not come round, and its age grows.
//!
//! What is wrong but known keeps nobody from going round: a thread that waits for a camera that is
//! away comes round, and the fault has a name in the status.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::OpenSource;
use crate::capture::{CaptureError, FrameSource, Next, SourceInfo};
use crate::fault::{Fault, Severity};
use crate::wire::StatusMessage;

/// A source that is away is asked for again after ten seconds at most, and opening one (a stream
/// of the network) may take twenty.
const AWAY: Duration = Duration::from_secs(60);

/// The stages of a run, and how they are.
pub struct Health {
    begun: Instant,
    stages: Mutex<Vec<Arc<Beat>>>,
    status: Mutex<Option<StatusMessage>>,
}

/// One stage's sign of life.
pub struct Beat {
    name: String,
    vital: bool,
    begun: Instant,
    /// Milliseconds after `begun` of the last time round.
    last: AtomicU64,
    /// It waits for a device that is away, and has said so.
    away: AtomicBool,
    ended: AtomicBool,
}

/// A stage that has not come round for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Which.
    pub stage: String,
    /// For how long.
    pub since: Duration,
    /// Nothing works without it; otherwise it is one target of several, or the recorder.
    pub vital: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self { begun: Instant::now(), stages: Mutex::default(), status: Mutex::default() }
    }
}

impl Health {
    /// A new stage, just come round.
    pub(super) fn stage(&self, name: &str, vital: bool) -> Arc<Beat> {
        let beat = Arc::new(Beat {
            name: name.to_owned(),
            vital,
            begun: self.begun,
            last: AtomicU64::new(0),
            away: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        beat.turn();
        lock(&self.stages).push(beat.clone());
        beat
    }

    pub(super) fn set_status(&self, status: StatusMessage) {
        *lock(&self.status) = Some(status);
    }

    /// How the run is, as its targets were told; `None` before it began.
    pub fn status(&self) -> Option<StatusMessage> {
        lock(&self.status).clone()
    }

    /// Stages that have not come round within `limit`.
    pub fn stuck(&self, limit: Duration) -> Vec<Stuck> {
        self.stuck_at(self.begun.elapsed(), limit)
    }

    fn stuck_at(&self, now: Duration, limit: Duration) -> Vec<Stuck> {
        let stages = lock(&self.stages);
        let silent = stages.iter().filter_map(|beat| {
            let last = Duration::from_millis(beat.last.load(Ordering::Relaxed));
            let since = now.saturating_sub(last);
            let limit = if beat.away.load(Ordering::Relaxed) { limit.max(AWAY) } else { limit };
            let stuck = since > limit && !beat.ended.load(Ordering::Relaxed);
            stuck.then(|| Stuck { stage: beat.name.clone(), since, vital: beat.vital })
        });
        silent.collect()
    }

    /// May the supervisor be told that all is alive? Yes, unless a vital stage is stuck, or every
    /// target is: one stuck target among others is a fault with a name, and a new start would not
    /// make a stalled disk faster.
    ///
    /// # Errors
    /// The stage that keeps it from being so.
    pub fn alive(&self, limit: Duration) -> Result<(), Stuck> {
        let stuck = self.stuck(limit);
        let others = lock(&self.stages)
            .iter()
            .filter(|beat| !beat.vital && !beat.ended.load(Ordering::Relaxed))
            .count();
        let all_others = others > 0 && stuck.iter().filter(|s| !s.vital).count() == others;
        stuck.into_iter().find(|s| s.vital || all_others).map_or(Ok(()), Err)
    }
}

impl Beat {
    /// The stage has come round.
    pub(super) fn turn(&self) {
        let millis = self.begun.elapsed().as_millis() as u64;
        self.last.store(millis, Ordering::Relaxed);
    }
}

/// The same source, with a beat moved at each of its calls.
pub(super) fn watched(mut open: OpenSource, beat: Arc<Beat>) -> OpenSource {
    // Goes with the closure, when the capture thread ends.
    let living = Living(beat);
    Box::new(move || {
        let beat = &living.0;
        // Opening may take long without being stuck.
        beat.away.store(true, Ordering::Relaxed);
        beat.turn();
        let inner = open()?;
        beat.away.store(false, Ordering::Relaxed);
        beat.turn();
        Ok(Box::new(Watched { inner, beat: beat.clone() }))
    })
}

struct Watched {
    inner: Box<dyn FrameSource>,
    beat: Arc<Beat>,
}

impl FrameSource for Watched {
    fn describe(&self) -> &SourceInfo {
        self.inner.describe()
    }

    fn next(&mut self, limit: Duration) -> Result<Next, CaptureError> {
        let next = self.inner.next(limit);
        if next.as_ref().is_err_and(|e| e.severity() != Severity::Skip) {
            self.beat.away.store(true, Ordering::Relaxed);
        }
        self.beat.turn();
        next
    }
}

/// A stage that is over, whatever way, is not stuck.
pub(super) struct Living(pub(super) Arc<Beat>);

impl Drop for Living {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn at(beat: &Beat, seconds: u64) {
        beat.last.store(seconds * 1_000, Ordering::Relaxed);
    }

    #[test]
    fn a_stage_that_does_not_come_round_is_named_with_its_age() {
        let health = Health::default();
        let (capture, perception) = (health.stage("capture", true), health.stage("perceive", true));
        at(&capture, 100);
        at(&perception, 92);
        let stuck = health.stuck_at(Duration::from_secs(100), LIMIT);
        assert_eq!(stuck.len(), 1);
        assert_eq!((stuck[0].stage.as_str(), stuck[0].since.as_secs()), ("perceive", 8));
    }

    #[test]
    fn a_source_that_is_away_may_take_longer_than_one_that_hangs() {
        let health = Health::default();
        let beat = health.stage("capture", true);
        let gone = || CaptureError::Gone { uri: "x".into(), problem: "unplugged".into() };
        let mut open = watched(Box::new(move || Err(gone())), beat.clone());
        assert!(open().is_err());
        at(&beat, 70);
        assert_eq!(health.stuck_at(Duration::from_secs(100), LIMIT), []);
        assert_eq!(health.stuck_at(Duration::from_secs(131), LIMIT).len(), 1, "not for ever");
    }

    #[test]
    fn a_stage_that_is_over_is_not_stuck() {
        let health = Health::default();
        let living = Living(health.stage("capture", true));
        drop(living);
        assert_eq!(health.stuck_at(Duration::from_secs(100), LIMIT), []);
    }

    #[test]
    fn one_stuck_target_of_two_is_no_reason_to_start_anew_but_both_are() {
        let begun = Instant::now().checked_sub(Duration::from_secs(100)).unwrap();
        let health = Health { begun, ..Health::default() };
        let targets = [health.stage("publish-0", false), health.stage("publish-1", false)];
        at(&targets[0], 10);
        assert_eq!(health.stuck(LIMIT).len(), 1);
        assert!(health.alive(LIMIT).is_ok());
        at(&targets[1], 10);
        assert!(health.alive(LIMIT).is_err());
        let capture = health.stage("capture", true);
        targets.iter().for_each(|t| t.turn());
        assert!(health.alive(LIMIT).is_ok());
        at(&capture, 10);
        assert_eq!(health.alive(LIMIT).unwrap_err().stage, "capture");
    }
}
