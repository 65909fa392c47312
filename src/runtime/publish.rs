//! A publisher's thread: what its ring holds, out; and what is said of a target that fails.
//!
//! A target may fail at camera rate for days. So the log tells of a change only: that it fails, or
//! fails otherwise; that it works again; and at the end how often it failed. Where nobody listens
//! yet, nothing is wrong: that is told as information.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::health::Living;
use super::upkeep::Told;
use super::{PUBLISH, Shared, TURN};
use crate::fault::{Chain, Exit, Fault, RateLimit, Severity};
use crate::handoff::{Ring, Taken};
use crate::pose::PoseFrame;
use crate::publish::{PublishError, Publisher};
use crate::stats::add;
use crate::time::Timestamp;
use crate::wire::FaultRecord;

/// A target that failed is called well again after so long without a failure.
const HEALED_AFTER: Duration = Duration::from_secs(5);

/// What is wrong with a target, if anything, and when it was last seen.
pub(super) type Trouble = Option<(FaultRecord, Timestamp)>;

/// A publisher's thread.
pub(super) fn publish(shared: &Shared, index: usize, mut publisher: Box<dyn Publisher>) {
    let Some(ring) = shared.rings.get(index) else { return };
    let stats = &shared.stats;
    let mut account = Account { index, ..Account::default() };
    let mut told = Told::default();
    let living = Living(shared.health.stage(&format!("{PUBLISH}{index}"), false));
    loop {
        living.0.turn();
        let sent = if let Some(status) = told.due(shared) {
            publisher.status(&status)
        } else {
            match next_poses(shared, ring, publisher.as_ref()) {
                Taken::Value(poses) => publisher.publish(&poses).map(|()| {
                    let now = shared.clock.now();
                    stats.stages.publish.record(now.since(poses.stamps.lifted));
                    stats.stages.total.record(now.since(poses.begin()));
                    add(&stats.counters.published, 1);
                }),
                Taken::TimedOut => continue,
                Taken::Closed => break,
            }
        };
        match sent {
            Ok(()) => account.sent(shared, publisher.as_ref()),
            Err(error) if error.severity() == Severity::Fatal => {
                return shared.fail(Chain(&error).to_string(), Exit::Config);
            }
            Err(error) => account.failed(shared, publisher.as_ref(), &error),
        }
    }
    match publisher.finish() {
        Ok(()) => account.sent(shared, publisher.as_ref()),
        Err(error) => account.failed(shared, publisher.as_ref(), &error),
    }
    account.close(publisher.as_ref());
}

/// The next poses for a publisher: every one, or, for one whose line is slower, the newest at the
/// moment that it takes more.
fn next_poses(
    shared: &Shared,
    ring: &Ring<PoseFrame>,
    publisher: &dyn Publisher,
) -> Taken<PoseFrame> {
    let Some(until) = publisher.busy_until() else { return ring.take(TURN) };
    let wait = until.since(shared.clock.now());
    if !wait.is_zero() {
        thread::sleep(wait.min(TURN));
        if wait > TURN {
            return Taken::TimedOut;
        }
    }
    let mut newest = ring.take(TURN);
    if matches!(newest, Taken::Value(_)) {
        while let Taken::Value(newer) = ring.take(Duration::ZERO) {
            add(&shared.stats.counters.publish_displaced, 1);
            newest = Taken::Value(newer);
        }
    }
    newest
}

/// How often a target took something and how often not, over the whole run.
#[derive(Default)]
struct Account {
    index: usize,
    sent: u64,
    failed: u64,
    /// Nothing was wrong but that nobody listened.
    only_unheard: bool,
    /// The log has not heard yet what is wrong now: of troubles that come by turns it hears only
    /// now and then.
    news: bool,
    limit: RateLimit,
}

impl Account {
    fn sent(&mut self, shared: &Shared, publisher: &dyn Publisher) {
        self.sent += 1;
        if let Some(fault) = shared.target_works(self.index) {
            self.news = false;
            let (who, n) = (publisher.describe(), fault.count);
            log::info!("publisher {who}: all is well again, after {n} failures ({})", fault.name);
        }
    }

    fn failed(&mut self, shared: &Shared, publisher: &dyn Publisher, error: &PublishError) {
        let unheard = error.is_unheard();
        self.only_unheard = unheard && (self.only_unheard || self.failed == 0);
        self.failed += 1;
        add(&shared.stats.counters.publish_failed, 1);
        self.news |= shared.target_failed(self.index, error);
        if self.news && self.limit.pass(shared.clock.now()).is_some() {
            self.news = false;
            if unheard {
                let who = publisher.describe();
                log::info!(
                    "publisher {who}: nobody listens there yet; poses go there all the same"
                );
            } else {
                log::warn!("{}", Chain(error));
            }
        }
    }

    /// The last words.
    fn close(&self, publisher: &dyn Publisher) {
        if self.failed == 0 {
            return;
        }
        let (who, failed, all) = (publisher.describe(), self.failed, self.sent + self.failed);
        let what = if self.only_unheard { "met nobody who listened" } else { "could not be sent" };
        log::info!("publisher {who}: {failed} of {all} frames and statuses {what}");
    }
}

impl Shared {
    /// Notes that a target failed once more; true if that is news.
    fn target_failed(&self, index: usize, error: &PublishError) -> bool {
        let Some(target) = self.targets.get(index) else { return false };
        let now = self.clock.now();
        let mut target = target.lock().unwrap_or_else(PoisonError::into_inner);
        match target.as_mut() {
            Some((fault, last)) if fault.name.as_str() == error.name() => {
                fault.count = fault.count.saturating_add(1);
                *last = now;
                false
            }
            _ => {
                let words = Chain(error).to_string();
                let mut fault = FaultRecord::new(error.severity(), error.name(), &words);
                fault.since_us = now.micros();
                *target = Some((fault, now));
                self.changes.fetch_add(1, Ordering::Release);
                true
            }
        }
    }

    /// Notes that a target took something: after a while without failures it is well again. What
    /// was wrong, if that is news.
    fn target_works(&self, index: usize) -> Option<FaultRecord> {
        let mut target = self.targets.get(index)?.lock().unwrap_or_else(PoisonError::into_inner);
        let healed = |(_, last): &mut (FaultRecord, Timestamp)| {
            self.clock.now().since(*last) >= HEALED_AFTER
        };
        let (fault, _) = target.take_if(healed)?;
        self.changes.fetch_add(1, Ordering::Release);
        Some(fault)
    }
}
