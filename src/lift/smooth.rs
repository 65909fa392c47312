//! Smoothing over time: the One Euro filter on joints.
//!
//! Casiez, Roussel and Vogel, "1 € Filter", CHI 2012: a low-pass whose cut-off rises with speed,
//! so that a still joint does not tremble and a fast one does not lag. Run on real time stamps:
//! `a = 1 / (1 + tau / dt)`, `tau = 1 / (2 pi fc)`, `fc = min_cutoff + beta * |velocity|`.

use serde::{Deserialize, Serialize};

use crate::skeleton::JOINTS;
use crate::time::Timestamp;

/// What the user may say about smoothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmoothSettings {
    /// Is it done at all?
    pub enabled: bool,
    /// Cut-off for a joint at rest, Hz: lower is calmer and later.
    pub min_cutoff_hz: f64,
    /// Hz that the cut-off rises by for each metre per second.
    pub beta: f64,
}

impl Default for SmoothSettings {
    /// The knee of the curve of jitter against error on held-out motion with simulated detector
    /// noise (`docs/lifting.md`): jitter more than halved, velocity error a fifth less, for
    /// 1.6 mm of lag.
    fn default() -> Self {
        Self { enabled: true, min_cutoff_hz: 3.0, beta: 3.0 }
    }
}

/// Cut-off of the velocity's own low-pass, Hz.
const VELOCITY_CUTOFF_HZ: f64 = 1.0;
/// After a pause this long the filter begins anew: what it knew is of another movement.
const FORGET_S: f64 = 0.5;

/// One person's joints over time.
#[derive(Clone, Debug, Default)]
pub struct Smoother {
    last: Option<(Timestamp, [[f64; 3]; JOINTS])>,
    velocity: [[f64; 3]; JOINTS],
}

impl Smoother {
    /// Forgets everything.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// The joints at `time` (metres), smoothed by what came before them. Times that do not grow
    /// give the last answer again.
    pub fn smooth(
        &mut self,
        settings: &SmoothSettings,
        time: Timestamp,
        joints: [[f64; 3]; JOINTS],
    ) -> [[f64; 3]; JOINTS] {
        let (last_time, mut smooth) = match self.last {
            Some((t, j)) if time.secs_since(t) <= FORGET_S => (t, j),
            _ => {
                self.reset();
                self.last = Some((time, joints));
                return joints;
            }
        };
        let dt = time.secs_since(last_time);
        if dt <= 0.0 {
            return smooth;
        }
        let gain = |cutoff_hz: f64| 1.0 / (1.0 + 1.0 / (std::f64::consts::TAU * cutoff_hz * dt));
        let velocity_gain = gain(VELOCITY_CUTOFF_HZ);
        for ((s, v), joint) in smooth.iter_mut().zip(&mut self.velocity).zip(joints) {
            for k in 0..3 {
                v[k] += velocity_gain * ((joint[k] - s[k]) / dt - v[k]);
            }
            // One cut-off a joint, by its speed in space, so that its path does not bend.
            let speed = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            let a = gain(settings.min_cutoff_hz + settings.beta * speed);
            for k in 0..3 {
                s[k] += a * (joint[k] - s[k]);
            }
        }
        self.last = Some((time, smooth));
        smooth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FPS: f64 = 30.0;
    const CALM: SmoothSettings = SmoothSettings { enabled: true, min_cutoff_hz: 1.5, beta: 2.0 };

    fn at(frame: usize) -> Timestamp {
        Timestamp::from_secs_f64(frame as f64 / FPS)
    }

    /// Runs joint 3's x coordinate through the filter.
    fn filtered(values: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut smoother = Smoother::default();
        let settings = CALM;
        values
            .enumerate()
            .map(|(i, x)| {
                let mut joints = [[0.0; 3]; JOINTS];
                joints[3][0] = x;
                smoother.smooth(&settings, at(i), joints)[3][0]
            })
            .collect()
    }

    #[test]
    fn a_trembling_joint_comes_to_rest() {
        let out = filtered((0..300).map(|i| if i % 2 == 0 { 0.01 } else { -0.01 }));
        let tremble = out[200..].windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f64::max);
        assert!(tremble < 0.02 * 0.35, "{tremble}");
    }

    #[test]
    fn a_fast_joint_lags_by_less_than_two_frames() {
        // 3 m/s: a hand that waves.
        let out = filtered((0..120).map(|i| 3.0 * i as f64 / FPS));
        let lag_seconds = (3.0 * 119.0 / FPS - out[119]) / 3.0;
        assert!(lag_seconds < 2.0 / FPS, "{lag_seconds} s");
    }

    #[test]
    fn after_a_pause_nothing_old_is_left_and_time_standing_still_repeats_the_answer() {
        let mut smoother = Smoother::default();
        let settings = CALM;
        let here = [[1.0; 3]; JOINTS];
        let there = [[2.0; 3]; JOINTS];
        assert_eq!(smoother.smooth(&settings, at(0), here), here);
        let between = smoother.smooth(&settings, at(1), there);
        assert!(between[0][0] > 1.0 && between[0][0] < 2.0);
        assert_eq!(smoother.smooth(&settings, at(1), here), between);
        assert_eq!(smoother.smooth(&settings, at(100), there), there);
    }

    #[test]
    fn the_pelvis_stays_at_the_origin() {
        let mut smoother = Smoother::default();
        for i in 0..50 {
            let mut joints = [[0.3 * i as f64; 3]; JOINTS];
            joints[0] = [0.0; 3];
            let out = smoother.smooth(&CALM, at(i), joints);
            assert_eq!(out[0], [0.0; 3]);
        }
    }
}
