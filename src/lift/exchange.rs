//! Another engine for a lifter that is at work.

use super::{Lifter, SLOTS_AT_ONCE, WINDOWS_AT_ONCE};
use crate::pose::Computed;

impl Lifter {
    /// Lets another engine compute from here on, if one is waiting
    /// ([`StreamingLifter::exchange`](crate::engine::StreamingLifter::exchange)). True if it does.
    ///
    /// Nothing that is known of people changes: their windows hold what was seen of them, and
    /// from that every slot is encoded anew, in the new engine's form, when they are next lifted.
    pub fn exchange(&mut self) -> bool {
        if !self.network.exchange() {
            return false;
        }
        let (slot_len, frames) = (self.network.slot_len(), self.spec.frames);
        self.slot_len = slot_len;
        self.staging.targets.clear();
        self.staging.slots.resize(SLOTS_AT_ONCE * slot_len, 0.0);
        self.evaluation.slots.resize(WINDOWS_AT_ONCE * frames * slot_len, 0.0);
        self.followed.for_each(|past| {
            past.cache.values.resize(frames * slot_len, 0.0);
            past.cache.stale = true;
        });
        log::debug!("lifter {}: {}", self.name, self.network.describe());
        true
    }

    /// What computes it at the moment, where that may change.
    pub fn computed(&self) -> Option<Computed> {
        self.network.computed()
    }
}
