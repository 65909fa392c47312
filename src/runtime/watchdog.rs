//! When the silence of a camera means that it is frozen. No clock of its own, no threads.

use std::time::{Duration, Instant};

/// Beside three intervals: what the scheduler and the bus may take.
const MARGIN: Duration = Duration::from_millis(200);
/// What a camera may take for its first frame: exposure has to settle, some send seconds of
/// nothing.
const FIRST: Duration = Duration::from_secs(3);
/// After so long without a freeze a camera is trusted again.
const TRUSTED_AFTER: Duration = Duration::from_secs(10);
/// The limit is doubled at most so often.
const DOUBLINGS: u32 = 3;

/// Watches one camera: frozen is what gave no frame for three intervals and 200 ms.
///
/// The interval is the longer of the nominal one and the one that is seen: in the dark many cameras
/// expose longer than their rate allows. A camera that freezes again right after it was reopened is
/// given twice the time, up to eight times, so that one whose true interval is far above its
/// nominal one is not reopened for ever.
#[derive(Default)]
pub(super) struct Watchdog {
    /// `None`: silence is no reason to reopen it.
    nominal: Option<Duration>,
    /// Smoothed over the last frames.
    seen: Option<Duration>,
    opened: Option<Instant>,
    /// The last frame, or excuse.
    last: Option<Instant>,
    doublings: u32,
}

impl Watchdog {
    /// The source is open and gives `rate` frames per second, if it is to be watched.
    pub fn opened(&mut self, rate: Option<f64>, now: Instant) {
        let interval = |r: f64| Duration::try_from_secs_f64(1.0 / r).ok();
        self.nominal = rate.filter(|r| *r > 0.0).and_then(interval);
        // What it really takes is kept: it is the same camera.
        self.opened = Some(now);
        self.last = None;
    }

    /// A frame came.
    pub fn frame(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            let step = now.saturating_duration_since(last);
            self.seen = Some(self.seen.map_or(step, |seen| (7 * seen + step) / 8));
        }
        let opened = self.opened.unwrap_or(now);
        if self.doublings > 0 && now.saturating_duration_since(opened) >= TRUSTED_AFTER {
            self.doublings = 0;
        }
    }

    /// No frame could come, for a reason that is not the camera's.
    pub fn excused(&mut self, now: Instant) {
        if self.last.is_some() {
            self.last = Some(now);
        } else {
            self.opened = Some(now);
        }
    }

    /// How long the camera has been silent, if that is too long. The next opening begins anew.
    pub fn frozen(&mut self, now: Instant) -> Option<Duration> {
        let limit = self.limit()?;
        let silence = now.saturating_duration_since(self.last.or(self.opened)?);
        if silence < limit {
            return None;
        }
        self.doublings = (self.doublings + 1).min(DOUBLINGS);
        Some(silence)
    }

    /// The longest wait after which one should look again.
    pub fn look_again(&self) -> Duration {
        self.limit().map_or(Duration::MAX, |limit| limit / 4).max(Duration::from_millis(10))
    }

    fn limit(&self) -> Option<Duration> {
        let interval = self.nominal?.max(self.seen.unwrap_or_default());
        let silence = if self.last.is_some() { Duration::ZERO } else { FIRST };
        Some((3 * interval + MARGIN) * (1 << self.doublings) + silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn watched(rate: f64) -> (Watchdog, Instant) {
        let (mut dog, now) = (Watchdog::default(), Instant::now());
        dog.opened(Some(rate), now);
        (dog, now)
    }

    #[test]
    fn three_intervals_and_200_ms_of_silence_are_a_freeze_and_less_is_not() {
        let (mut dog, mut now) = watched(25.0);
        for _ in 0..10 {
            now += 40 * MS;
            dog.frame(now);
        }
        assert_eq!(dog.frozen(now + 319 * MS), None);
        assert_eq!(dog.frozen(now + 320 * MS), Some(320 * MS));
    }

    #[test]
    fn a_camera_may_take_seconds_for_its_first_frame() {
        let (mut dog, now) = watched(30.0);
        assert_eq!(dog.frozen(now + 3000 * MS), None);
        assert!(dog.frozen(now + 3301 * MS).is_some());
    }

    #[test]
    fn one_that_exposes_longer_in_the_dark_is_not_frozen() {
        let (mut dog, mut now) = watched(30.0);
        for _ in 0..40 {
            now += 200 * MS;
            assert_eq!(dog.frozen(now), None);
            dog.frame(now);
        }
        assert_eq!(dog.frozen(now + 700 * MS), None);
    }

    #[test]
    fn one_that_is_much_slower_than_it_says_is_not_reopened_for_ever() {
        let (mut dog, mut now) = watched(30.0);
        let mut freezes = 0;
        for _ in 0..20 {
            dog.opened(Some(30.0), now);
            for _ in 0..20 {
                let silence = 900 * MS;
                if dog.frozen(now + silence).is_some() {
                    freezes += 1;
                    break;
                }
                now += silence;
                dog.frame(now);
            }
        }
        assert!(freezes <= 2, "{freezes}");
    }

    #[test]
    fn who_is_excused_or_not_watched_is_never_frozen() {
        let (mut dog, now) = watched(30.0);
        dog.frame(now);
        dog.excused(now + 5000 * MS);
        assert_eq!(dog.frozen(now + 5100 * MS), None);
        dog.opened(None, now);
        assert_eq!(dog.frozen(now + 100_000 * MS), None);
    }
}
