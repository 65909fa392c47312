//! One person on an even grid of times.

use glam::DVec3;

use super::Sample;
use crate::rotations::Upright;
use crate::skeleton::JOINTS;

/// Over longer gaps nothing is interpolated, seconds.
const LONGEST_GAP: f64 = 0.25;
/// More frames than a day at 120 per second are a mistake in the times.
const MOST_FRAMES: f64 = 24.0 * 3600.0 * 120.0;

/// One person's joints at equal steps of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Frames per second.
    pub rate: f64,
    /// Every joint, metres, y up; `None` where the person was out of sight for long.
    pub frames: Vec<Option<[DVec3; JOINTS]>>,
    /// True if the person's place was known at least once.
    pub placed: bool,
}

/// Samples that are no track.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum TrackError {
    /// Not enough of them.
    #[error("it has {0} pose(s): at least two are needed")]
    TooShort(usize),
    /// Their times make no sense.
    #[error("its poses span {0:.0} s: they are of several recordings, export these one by one")]
    TooLong(f64),
}

impl Track {
    /// Resamples linearly at `rate` frames per second; by default at the rate that the samples
    /// mostly have, to a whole number if they are within 2 % of it.
    ///
    /// # Errors
    /// If the samples are too few or their times make no sense.
    pub fn of(
        samples: &[Sample],
        rate: Option<f64>,
        upright: &Upright,
    ) -> Result<Self, TrackError> {
        let mut samples: Vec<Sample> = samples.to_vec();
        samples.sort_by_key(|s| s.time_us);
        // A later pose of the same moment is a better one.
        samples.reverse();
        samples.dedup_by_key(|s| s.time_us);
        samples.reverse();
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
            return Err(TrackError::TooShort(0));
        };
        let seconds = |s: &Sample| (s.time_us - first.time_us) as f64 * 1e-6;
        if samples.len() < 2 {
            return Err(TrackError::TooShort(samples.len()));
        }
        let rate = rate.unwrap_or_else(|| usual_rate(&samples));
        let span = (last.time_us as f64 - first.time_us as f64) * 1e-6;
        if span * rate > MOST_FRAMES {
            return Err(TrackError::TooLong(span));
        }
        let roots = roots(&samples);
        let placed = roots.is_some();
        let at = |i: usize| -> [DVec3; JOINTS] {
            let root = roots.as_ref().map_or(DVec3::ZERO, |r| upright.turn(r[i]));
            upright.turn_all(&samples[i].joints).map(|j| j + root)
        };
        let count = (span * rate + 1e-3).floor() as usize + 1;
        let mut frames = Vec::with_capacity(count);
        let mut next = 0;
        for k in 0..count {
            let now = k as f64 / rate;
            while next < samples.len() && seconds(&samples[next]) < now - 1e-7 {
                next += 1;
            }
            let frame = match next {
                n if n == samples.len() => Some(at(n - 1)),
                n if (seconds(&samples[n]) - now).abs() <= 1e-6 || n == 0 => Some(at(n)),
                n => {
                    let (before, after) = (seconds(&samples[n - 1]), seconds(&samples[n]));
                    (after - before <= LONGEST_GAP).then(|| {
                        let share = (now - before) / (after - before);
                        let (a, b) = (at(n - 1), at(n));
                        std::array::from_fn(|j| a[j].lerp(b[j], share))
                    })
                }
            };
            frames.push(frame);
        }
        Ok(Self { rate, frames, placed })
    }
}

/// Frames per second by the median of the samples' distances.
fn usual_rate(samples: &[Sample]) -> f64 {
    let mut steps: Vec<i64> =
        samples.windows(2).map(|pair| pair[1].time_us - pair[0].time_us).collect();
    steps.sort_unstable();
    let median = steps.get(steps.len() / 2).copied().unwrap_or(33_333).max(1_000);
    let rate = 1e6 / median as f64;
    let whole = rate.round().max(1.0);
    if (rate - whole).abs() <= 0.02 * whole { whole } else { rate }
}

/// The root of every sample: where it is not known, the last one known, or the first to come.
fn roots(samples: &[Sample]) -> Option<Vec<[f32; 3]>> {
    let mut held = samples.iter().find_map(|s| s.root)?;
    let hold = |s: &Sample| {
        held = s.root.unwrap_or(held);
        held
    };
    Some(samples.iter().map(hold).collect())
}
