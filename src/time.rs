//! Time stamps and clocks.
//!
//! Everything in posewire that says *when* is a [`Timestamp`]. Code that must know the present
//! asks a [`Clock`], so that tests can run days of frames in seconds.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Nanoseconds on some timeline: `CLOCK_MONOTONIC` for live sources and for every stage stamp,
/// the recording's own clock for the frames of a file (see `frame::Timebase`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The origin of its timeline.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From seconds; saturates at the ends of the range.
    pub fn from_secs_f64(seconds: f64) -> Self {
        Self((seconds * 1e9) as i64)
    }

    /// Nanoseconds since the origin.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Whole microseconds since the origin, as the wire carries them.
    pub const fn micros(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Seconds since the origin.
    pub fn secs_f64(self) -> f64 {
        self.0 as f64 * 1e-9
    }

    /// Signed seconds from `earlier` to `self`.
    pub fn secs_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 * 1e-9
    }

    /// The duration from `earlier`, or zero if `earlier` is in fact later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    /// Shifted by signed seconds.
    pub fn offset_secs(self, seconds: f64) -> Self {
        Self(self.0.saturating_add((seconds * 1e9).round() as i64))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(rhs.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(rhs.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} s", self.secs_f64())
    }
}

/// Where the present comes from.
pub trait Clock: Send + Sync {
    /// The present, on the monotonic timeline.
    fn now(&self) -> Timestamp;

    /// Nanoseconds to add to a monotonic stamp to get Unix time, sampled now.
    fn realtime_offset_nanos(&self) -> i64;
}

/// The kernel's `CLOCK_MONOTONIC`: the clock that V4L2 stamps its buffers with.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock;

fn kernel_nanos(clock: rustix::time::ClockId) -> i64 {
    let t = rustix::time::clock_gettime(clock);
    t.tv_sec.saturating_mul(1_000_000_000).saturating_add(t.tv_nsec)
}

impl Clock for MonotonicClock {
    fn now(&self) -> Timestamp {
        Timestamp(kernel_nanos(rustix::time::ClockId::Monotonic))
    }

    fn realtime_offset_nanos(&self) -> i64 {
        // The monotonic clock is read on both sides of the realtime clock and the middle taken,
        // so that a preemption between the reads costs half of its length at most.
        let before = kernel_nanos(rustix::time::ClockId::Monotonic);
        let real = kernel_nanos(rustix::time::ClockId::Realtime);
        let after = kernel_nanos(rustix::time::ClockId::Monotonic);
        real - (before + (after - before) / 2)
    }
}

/// A clock that a test moves by hand.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Moves the clock to `t`.
    pub fn set(&self, t: Timestamp) {
        self.0.store(t.nanos(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }

    fn realtime_offset_nanos(&self) -> i64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_steps_back() {
        let clock = MonotonicClock;
        let mut last = clock.now();
        for _ in 0..1_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn differences_saturate_instead_of_overflowing() {
        let late = Timestamp::from_nanos(i64::MAX);
        let early = Timestamp::from_nanos(i64::MIN);
        assert_eq!(early.since(late), Duration::ZERO);
        assert!(late.secs_since(early) > 9e9);
        assert_eq!(late + Duration::from_secs(1), late);
    }

    #[test]
    fn micros_round_towards_the_past_on_both_sides_of_zero() {
        assert_eq!(Timestamp::from_nanos(1_999).micros(), 1);
        assert_eq!(Timestamp::from_nanos(-1).micros(), -1);
    }
}
