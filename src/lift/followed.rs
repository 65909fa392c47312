//! Who is being followed: a past for each, from a stock that is made once.

use std::ops::{Index, IndexMut};

use arrayvec::ArrayVec;

use super::LiftError;
use crate::pose::{MAX_PERSONS, TrackId};

/// More persons than are published may be tracked while some of them are out of sight.
pub(super) const MAX_WINDOWS: usize = 2 * MAX_PERSONS;

/// Pasts by track.
pub(super) struct Followed<P> {
    people: ArrayVec<(TrackId, P), MAX_WINDOWS>,
    spare: Vec<P>,
}

impl<P> Followed<P> {
    /// Nobody yet.
    pub(super) fn new(make: impl FnMut() -> P) -> Self {
        let mut stock = Vec::with_capacity(MAX_WINDOWS);
        stock.resize_with(MAX_WINDOWS, make);
        Self { people: ArrayVec::new(), spare: stock }
    }

    /// Where the past of `track` is; a newcomer's is `cleared` first.
    ///
    /// # Errors
    /// If the stock is used up.
    pub(super) fn enter(
        &mut self,
        track: TrackId,
        cleared: impl FnOnce(&mut P),
    ) -> Result<usize, LiftError> {
        if let Some(index) = self.position(track) {
            return Ok(index);
        }
        let mut past = self.spare.pop().ok_or(LiftError::TooMany(track.0))?;
        cleared(&mut past);
        self.people.push((track, past));
        Ok(self.people.len() - 1)
    }

    /// Those of everybody, and those in stock.
    pub(super) fn for_each(&mut self, mut act: impl FnMut(&mut P)) {
        self.people.iter_mut().map(|(_, past)| past).chain(&mut self.spare).for_each(&mut act);
    }

    /// Where the past of `track` is. It holds until somebody is forgotten.
    pub(super) fn position(&self, track: TrackId) -> Option<usize> {
        self.people.iter().position(|(id, _)| *id == track)
    }

    /// Forgets everybody for whom `is_alive` is false.
    pub(super) fn retain(&mut self, is_alive: impl Fn(TrackId) -> bool) {
        let mut i = 0;
        while i < self.people.len() {
            if is_alive(self.people[i].0) {
                i += 1;
            } else {
                let (_, past) = self.people.swap_remove(i);
                self.spare.push(past);
            }
        }
    }
}

impl<P> Index<usize> for Followed<P> {
    type Output = P;

    fn index(&self, index: usize) -> &P {
        &self.people[index].1
    }
}

impl<P> IndexMut<usize> for Followed<P> {
    fn index_mut(&mut self, index: usize) -> &mut P {
        &mut self.people[index].1
    }
}
