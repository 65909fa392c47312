//! How the networks stand, for the status, the log and the networks themselves.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use crate::engine::EngineError;
use crate::pose::Computed;

/// What goes wrong with the later backend, for the status.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// A stable name: `gpu-hung`, `gpu-failed`, `gpu-refused`.
    pub name: &'static str,
    /// Words for people.
    pub words: String,
    /// It has computed and does not any more: poses come more slowly than they did.
    pub lost: bool,
    /// Since when.
    pub since: Instant,
    /// How many networks it has happened to.
    pub count: u32,
}

impl Trouble {
    fn new(name: &'static str, lost: bool, words: String) -> Self {
        Self { name, words, lost, since: Instant::now(), count: 1 }
    }
}

/// How a network stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its second engine is being built, or will be.
    Ordered,
    /// The second one computes.
    Exchanged,
    /// It stays with the first one.
    Stays,
}

/// One network of a pipeline.
pub(super) struct Seat {
    pub(super) model: String,
    /// What the first engine is.
    first: Computed,
    /// The backend of the second one.
    later: &'static str,
    /// What that is, once it has been loaded: its precision may be chosen while it is.
    pub(super) second: OnceLock<Computed>,
    standing: Mutex<Standing>,
    /// Goes with its pipeline: the next one begins anew.
    trouble: Mutex<Option<Trouble>>,
}

/// What networks, builder and status share.
#[derive(Default)]
pub(super) struct Board {
    seats: Mutex<Vec<Weak<Seat>>>,
    /// The later backend hangs: of no use any more, whatever pipelines come.
    hung: AtomicBool,
    hang: Mutex<Option<Trouble>>,
    changes: AtomicU64,
}

impl Seat {
    /// What the second engine is, or the first one.
    pub(super) fn by(&self, second: bool) -> Computed {
        self.second.get().copied().filter(|_| second).unwrap_or(self.first)
    }
}

impl Board {
    /// A new network, computed by `first` until `later` can.
    pub(super) fn seat(&self, model: &str, first: Computed, later: &'static str) -> Arc<Seat> {
        let seat = Arc::new(Seat {
            model: model.to_owned(),
            first,
            later,
            second: OnceLock::new(),
            standing: Mutex::new(Standing::Ordered),
            trouble: Mutex::default(),
        });
        let mut seats = lock(&self.seats);
        seats.retain(|seat| seat.strong_count() > 0);
        seats.push(Arc::downgrade(&seat));
        seat
    }

    /// How often something changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn is_hung(&self) -> bool {
        self.hung.load(Ordering::Acquire)
    }

    pub(super) fn note(&self, seat: &Seat, standing: Standing) {
        *lock(&seat.standing) = standing;
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The second engine computes from here on.
    pub(super) fn exchanged(&self, seat: &Seat) {
        log::info!("{}: {} from here on, not {}", seat.model, seat.by(true), seat.first.backend);
        self.note(seat, Standing::Exchanged);
    }

    /// It will not have a second engine.
    pub(super) fn refused(&self, seat: &Seat, error: &EngineError) {
        let before = seat.first.backend;
        log::warn!("{error}; {before} goes on computing it");
        *lock(&seat.trouble) = Some(Trouble::new("gpu-refused", false, error.to_string()));
        self.note(seat, Standing::Stays);
    }

    /// The second engine has failed: the first one computes again.
    pub(super) fn lost(&self, seat: &Seat, error: &EngineError) {
        let before = seat.first.backend;
        let words = format!("{error}; {before} computes it again");
        log::error!("{words}");
        if matches!(error, EngineError::Hung { .. }) {
            *lock(&self.hang) = Some(Trouble::new("gpu-hung", true, words));
            self.hung.store(true, Ordering::Release);
        } else {
            *lock(&seat.trouble) = Some(Trouble::new("gpu-failed", true, words));
        }
        self.note(seat, Standing::Stays);
    }

    pub(super) fn troubles(&self) -> Vec<Trouble> {
        let mut troubles: Vec<Trouble> = lock(&self.hang).iter().cloned().collect();
        for seat in lock(&self.seats).iter().filter_map(Weak::upgrade) {
            let Some(trouble) = lock(&seat.trouble).clone() else { continue };
            match troubles.iter_mut().find(|t| t.name == trouble.name) {
                Some(first) => {
                    first.count = first.count.saturating_add(1);
                    first.since = first.since.min(trouble.since);
                }
                None => troubles.push(trouble),
            }
        }
        troubles
    }

    pub(super) fn describe(&self, now: &str) -> String {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for seat in lock(&self.seats).iter().filter_map(Weak::upgrade) {
            let standing = *lock(&seat.standing);
            let by = seat.by(standing == Standing::Exchanged);
            let by = match standing {
                Standing::Ordered => format!("{by} ({} is built)", seat.later),
                Standing::Exchanged | Standing::Stays => by.to_string(),
            };
            match groups.iter_mut().find(|(name, _)| *name == by) {
                // Each camera has networks of its own.
                Some((_, models)) if models.contains(&seat.model) => {}
                Some((_, models)) => models.push(seat.model.clone()),
                None => groups.push((by, vec![seat.model.clone()])),
            }
        }
        match groups.as_slice() {
            [] => now.to_owned(),
            [(by, _)] => by.clone(),
            several => {
                let group =
                    |(by, models): &(String, Vec<String>)| format!("{by}: {}", models.join(", "));
                several.iter().map(group).collect::<Vec<_>>().join("; ")
            }
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
