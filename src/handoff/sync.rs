//! The synchronisation primitives, from the standard library or, under `--cfg loom`, from the
//! model checker. `tests/loom` compiles this folder a second time with the latter.

#[cfg(not(loom))]
pub(super) use std::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

#[cfg(loom)]
pub(super) use loom::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

use std::time::{Duration, Instant};

/// Locks even if a thread panicked while holding the lock: every critical section in this folder
/// is a move of one value, complete or not begun, so the state behind a poisoned lock is sound,
/// and a panic elsewhere must not spread through the queues.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

/// Waits once for `condvar`, at most until `deadline`; false if the time is up.
#[cfg(not(loom))]
pub(super) fn wait_until<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Instant,
) -> (MutexGuard<'a, T>, bool) {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return (guard, false);
    }
    match condvar.wait_timeout(guard, left) {
        Ok((guard, _)) => (guard, true),
        Err(poisoned) => (poisoned.into_inner().0, true),
    }
}

/// The model has no time: it waits for the wake-up, so that a lost one shows as a deadlock.
#[cfg(loom)]
pub(super) fn wait_until<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    _deadline: Instant,
) -> (MutexGuard<'a, T>, bool) {
    match condvar.wait(guard) {
        Ok(guard) => (guard, true),
        Err(poisoned) => (poisoned.into_inner(), true),
    }
}

/// The end of a wait of `limit` from now.
pub(super) fn deadline(limit: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(limit).unwrap_or_else(|| now + Duration::from_secs(86_400))
}
