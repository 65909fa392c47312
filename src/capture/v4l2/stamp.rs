//! When a picture was taken: the driver's stamps, and what is wrong with them. No clock of its own.

use std::time::Duration;

use super::abi::{
    BUF_FLAG_TIMESTAMP_MASK, BUF_FLAG_TIMESTAMP_MONOTONIC, BUF_FLAG_TSTAMP_SRC_MASK,
    BUF_FLAG_TSTAMP_SRC_SOE,
};
use crate::time::Timestamp;

/// A picture that is older than this when it is taken has a stamp of another clock.
const STALE: Duration = Duration::from_secs(10);

/// What may be wrong with a driver's stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quirk {
    Zero,
    Future,
    Realtime,
    Stale,
    Backwards,
}

impl Quirk {
    /// In words, with what is done.
    pub fn words(self) -> &'static str {
        match self {
            Self::Zero => "the driver's time stamps are zero: the time of arrival is taken instead",
            Self::Future => {
                "the driver's time stamps lie in the future: the time of arrival is taken instead"
            }
            Self::Realtime => {
                "the driver stamps by the realtime clock: its stamps are converted, and jump where \
                 that clock is set"
            }
            Self::Stale => {
                "the driver's time stamps are of another clock: the time of arrival is taken \
                 instead"
            }
            Self::Backwards => {
                "the driver's time stamps do not go forward: the time of arrival is taken instead"
            }
        }
    }
}

/// Makes the moment of capture of a driver's stamp.
#[derive(Default)]
pub(super) struct Stamps {
    /// From the start of the exposure to its middle, where that is known.
    half_exposure: Duration,
    last: Option<Timestamp>,
}

impl Stamps {
    /// Of a camera whose exposure takes twice `half_exposure`; zero where that is not known.
    pub fn new(half_exposure: Duration) -> Self {
        Self { half_exposure, ..Self::default() }
    }

    /// The moment of a picture that was taken from the driver at `now`, on the monotonic clock,
    /// with what was wrong. `nanos` and `flags` are the buffer's; `realtime` is what to add to a
    /// monotonic time to have Unix time.
    pub fn captured(
        &mut self,
        nanos: i64,
        flags: u32,
        now: Timestamp,
        realtime: i64,
    ) -> (Timestamp, Option<Quirk>) {
        let monotonic = flags & BUF_FLAG_TIMESTAMP_MASK == BUF_FLAG_TIMESTAMP_MONOTONIC;
        let recent = |t: Timestamp| t <= now && now.since(t) <= STALE;
        let (given, converted) =
            (Timestamp::from_nanos(nanos), Timestamp::from_nanos(nanos.saturating_sub(realtime)));
        let (mut at, mut quirk) = if nanos <= 0 {
            (now, Some(Quirk::Zero))
        } else if recent(given) {
            // Also where the driver does not say by which clock: it cannot be chance.
            (given, None)
        } else if recent(converted) && realtime > 0 {
            (converted, Some(Quirk::Realtime))
        } else if given > now && monotonic {
            (now, Some(Quirk::Future))
        } else {
            (now, Some(Quirk::Stale))
        };
        if quirk.is_none() && self.last.is_some_and(|last| at <= last) {
            (at, quirk) = (now, Some(Quirk::Backwards));
        }
        let start = flags & BUF_FLAG_TSTAMP_SRC_MASK == BUF_FLAG_TSTAMP_SRC_SOE;
        if quirk.is_none() {
            self.last = Some(at);
            if start {
                at = (at + self.half_exposure).min(now);
            }
        }
        (at, quirk)
    }
}

/// A driver's wrapping 32-bit frame numbers, continued in 64 bits.
#[derive(Default)]
pub(super) struct Numbers {
    last: Option<(u32, u64)>,
}

impl Numbers {
    /// The number of a frame. Where the driver's does not go forward, it is the next one.
    pub fn extend(&mut self, number: u32) -> u64 {
        let full = match self.last {
            Some((last, full)) => match number.wrapping_sub(last) {
                step @ 1..=0x7fff_ffff => full + u64::from(step),
                _ => full + 1,
            },
            None => number.into(),
        };
        self.last = Some((number, full));
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONOTONIC: u32 = BUF_FLAG_TIMESTAMP_MONOTONIC;
    const SECOND: i64 = 1_000_000_000;
    /// Now, on the monotonic clock, and what makes Unix time of it.
    const NOW: i64 = 5_000 * SECOND;
    const REALTIME: i64 = 1_790_000_000 * SECOND;

    fn one(nanos: i64, flags: u32) -> (i64, Option<Quirk>) {
        let now = Timestamp::from_nanos(NOW);
        let (at, quirk) = Stamps::default().captured(nanos, flags, now, REALTIME);
        (at.nanos(), quirk)
    }

    #[test]
    fn a_good_stamp_is_kept_and_others_are_named_and_replaced() {
        let good = NOW - SECOND / 50;
        assert_eq!(one(good, MONOTONIC), (good, None));
        assert_eq!(one(0, MONOTONIC), (NOW, Some(Quirk::Zero)));
        assert_eq!(one(-5, MONOTONIC), (NOW, Some(Quirk::Zero)));
        assert_eq!(one(NOW + 1, MONOTONIC), (NOW, Some(Quirk::Future)));
        assert_eq!(one(NOW + 3600 * SECOND, MONOTONIC), (NOW, Some(Quirk::Future)));
        assert_eq!(one(NOW - 3600 * SECOND, MONOTONIC), (NOW, Some(Quirk::Stale)));
        assert_eq!(one(REALTIME + good, 0), (good, Some(Quirk::Realtime)));
        assert_eq!(one(REALTIME + good, MONOTONIC), (good, Some(Quirk::Realtime)));
        assert_eq!(one(good, 0), (good, None));
    }

    #[test]
    fn a_stamp_of_the_exposures_start_is_moved_to_its_middle_and_one_of_the_frames_end_is_not() {
        let mut stamps = Stamps { half_exposure: Duration::from_millis(5), ..Stamps::default() };
        let now = Timestamp::from_nanos(NOW);
        let at = NOW - SECOND / 50;
        let start = stamps.captured(at, MONOTONIC | BUF_FLAG_TSTAMP_SRC_SOE, now, REALTIME);
        assert_eq!(start.0.nanos(), at + 5_000_000);
        let end = stamps.captured(at + 1, MONOTONIC, now, REALTIME);
        assert_eq!(end.0.nanos(), at + 1);
    }

    #[test]
    fn stamps_that_stand_still_are_replaced() {
        let mut stamps = Stamps::default();
        let mut now = Timestamp::from_nanos(NOW);
        let at = NOW - SECOND / 50;
        for n in 0..3 {
            now = now + Duration::from_millis(33);
            let (moment, quirk) = stamps.captured(at, MONOTONIC, now, REALTIME);
            assert_eq!(quirk, (n > 0).then_some(Quirk::Backwards));
            assert_eq!(moment.nanos(), if n > 0 { now.nanos() } else { at });
        }
    }

    #[test]
    fn frame_numbers_go_on_over_the_wrap_and_never_back() {
        let mut numbers = Numbers::default();
        let given = [u32::MAX - 1, u32::MAX, 0, 3, 3, 3, 0, 1, 5];
        let full: Vec<_> = given.iter().map(|&n| numbers.extend(n)).collect();
        let begin = u64::from(u32::MAX) - 1;
        let steps: Vec<_> = full.iter().map(|n| n - begin).collect();
        assert_eq!(steps, [0, 1, 2, 5, 6, 7, 8, 9, 13]);
    }
}
