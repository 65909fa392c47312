//! One person's recent past, placed by time.
//!
//! A lifter was trained on a fixed rate; cameras have rates of their own, drop frames and lose
//! people. So observations are kept with their times, and a window of slots at the model's rate
//! is interpolated from them when it is asked for. The rules are those that the training data
//! went through (`models/train/lifter/INPUT.md`, section 1).

use ringbuf::LocalRb;
use ringbuf::storage::Heap;

use crate::camera::Intrinsics;
use crate::pose::Keypoints2d;
use crate::skeleton::JOINTS;
use crate::time::Timestamp;

/// A keypoint with less confidence is missing.
pub const MIN_CONFIDENCE: f32 = 0.1;
/// Observations further apart than this are not bridged: the slots between them are missing.
pub const MAX_GAP_S: f64 = 0.25;
/// Within an unbridged gap, a slot this near to an observation takes it as it is.
const SNAP_S: f64 = 0.02;
/// Times closer than this are the same time.
const EPSILON_S: f64 = 1e-4;
/// Observations are thinned to this rate, so that a fast camera cannot outgrow the ring.
const MAX_RATE_HZ: f64 = 120.0;

/// A direction in the camera frame with the belief in it; confidence 0 = missing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ray {
    /// Unit vector, x right, y down, z forward.
    pub direction: [f32; 3],
    /// 0 (missing) to 1.
    pub confidence: f32,
}

impl Ray {
    fn is_present(self) -> bool {
        self.confidence >= MIN_CONFIDENCE
    }
}

/// One person's keypoints as rays.
pub type Rays = [Ray; JOINTS];

#[derive(Clone, Copy)]
struct Observation {
    time: Timestamp,
    rays: Rays,
}

/// One person's observations over the last seconds.
///
/// The ring's full case: observations are thinned to 120 per second and it is sized for the
/// window's span at that rate, so what is displaced is always older than the window can reach.
pub struct Window {
    observations: LocalRb<Heap<Observation>>,
}

impl Window {
    /// For windows of `slots` at `rate_hz`.
    pub fn new(slots: usize, rate_hz: f64) -> Self {
        let span = slots.saturating_sub(1) as f64 / rate_hz + MAX_GAP_S;
        Self { observations: LocalRb::new((span * MAX_RATE_HZ).ceil() as usize + 4) }
    }

    /// Forgets everything: the window belongs to another person now.
    pub fn clear(&mut self) {
        self.observations.clear();
    }

    /// The time of the newest observation.
    pub fn newest(&mut self) -> Option<Timestamp> {
        self.history().newest(0).map(|o| o.time)
    }

    // ringbuf gives read access to its owner, not to who merely looks: hence `&mut`.
    fn history(&mut self) -> History<'_> {
        let (old, new) = self.observations.as_slices();
        History { old, new }
    }

    /// Appends what was seen at `time`. Observations must come in the order of time: one that is
    /// not newer than the last is ignored, and false returned.
    pub fn observe(
        &mut self,
        time: Timestamp,
        keypoints: &Keypoints2d,
        camera: &Intrinsics,
    ) -> bool {
        if self.newest().is_some_and(|last| time <= last) {
            return false;
        }
        let rays = keypoints.points.map(|p| {
            // NaN compares false: it is missing, too.
            if !(p.confidence >= MIN_CONFIDENCE && p.x.is_finite() && p.y.is_finite()) {
                return Ray::default();
            }
            let [u, v] = camera.unproject(f64::from(p.x), f64::from(p.y));
            let norm = (u * u + v * v + 1.0).sqrt();
            let direction = [(u / norm) as f32, (v / norm) as f32, (1.0 / norm) as f32];
            Ray { direction, confidence: p.confidence.min(1.0) }
        });
        let seen = Observation { time, rays };
        let history = self.history();
        let crowded = match (history.newest(0), history.newest(1)) {
            (Some(last), Some(before)) => {
                last.time.secs_since(before.time) < 1.0 / MAX_RATE_HZ - EPSILON_S
            }
            _ => false,
        };
        // The newest observation is always kept: it is slot 0. So thinning replaces the last one.
        match (crowded, self.observations.as_mut_slices()) {
            (true, (_, [.., last]) | ([.., last], [])) => *last = seen,
            _ => {
                self.observations.push_overwrite(seen);
            }
        }
        true
    }

    /// Fills `slots`, newest first: slot `i` is what was seen at `at - i / rate_hz`, or missing.
    ///
    /// `at` is normally the newest observation's time. If it is later (the person is not seen just
    /// now) the slots beyond the newest observation are missing. Before the oldest observation
    /// the oldest is repeated, so that a new person has a full window at once.
    pub fn resample(&mut self, at: Timestamp, rate_hz: f64, slots: &mut [Rays]) {
        let history = self.history();
        // Index, counted back from the newest, of the observation at or after the slot.
        let mut after = 0;
        for (i, slot) in slots.iter_mut().enumerate() {
            *slot = [Ray::default(); JOINTS];
            // Exact slot times: differences to `at` only, so that they do not drift.
            let age = i as f64 / rate_hz;
            let offset = |o: &Observation| o.time.secs_since(at) + age;
            // Positive: the observation is later than the slot.
            while history.newest(after + 1).is_some_and(|o| offset(o) >= -EPSILON_S) {
                after += 1;
            }
            let Some(b) = history.newest(after) else { continue };
            let to_b = offset(b);
            if to_b < -EPSILON_S {
                // The slot is later than the newest observation.
                if -to_b <= SNAP_S + EPSILON_S {
                    *slot = b.rays;
                }
                continue;
            }
            let a = if to_b <= EPSILON_S { b } else { history.newest(after + 1).unwrap_or(b) };
            *slot = between(a, b, -offset(a), to_b);
        }
    }
}

/// A ring's observations in the order of time: first all of `old`, then all of `new`.
#[derive(Clone, Copy)]
struct History<'a> {
    old: &'a [Observation],
    new: &'a [Observation],
}

impl<'a> History<'a> {
    /// The observation `n` places before the newest.
    fn newest(self, n: usize) -> Option<&'a Observation> {
        match n.checked_sub(self.new.len()) {
            None => self.new.get(self.new.len() - 1 - n),
            Some(n) => self.old.get(self.old.len().checked_sub(n + 1)?),
        }
    }
}

/// What lies `from_a` seconds after observation `a` and `to_b` seconds before `b`.
fn between(a: &Observation, b: &Observation, from_a: f64, to_b: f64) -> Rays {
    let gap = from_a + to_b;
    if gap <= EPSILON_S || std::ptr::eq(a, b) {
        return b.rays;
    }
    let nearer_is_a = from_a < to_b;
    let nearer = if nearer_is_a { a } else { b };
    if gap > MAX_GAP_S + EPSILON_S {
        let near = from_a.min(to_b) <= SNAP_S + EPSILON_S;
        return if near { nearer.rays } else { [Ray::default(); JOINTS] };
    }
    let w = (from_a / gap) as f32;
    std::array::from_fn(|j| {
        let (p, q) = (a.rays[j], b.rays[j]);
        match (p.is_present(), q.is_present()) {
            (true, true) => {
                let mixed: [f32; 3] =
                    std::array::from_fn(|k| (1.0 - w) * p.direction[k] + w * q.direction[k]);
                let norm = mixed.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-6);
                Ray {
                    direction: mixed.map(|v| v / norm),
                    confidence: (1.0 - w) * p.confidence + w * q.confidence,
                }
            }
            (true, false) if nearer_is_a => p,
            (false, true) if !nearer_is_a => q,
            _ => Ray::default(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pose::Keypoint;

    fn camera() -> Intrinsics {
        Intrinsics {
            fx: 500.0,
            fy: 500.0,
            cx: 0.0,
            cy: 0.0,
            ..Intrinsics::from_fov(1000, 1000, 90.0)
        }
    }

    /// Everybody's joints at pixel x.
    fn seen(x: f32) -> Keypoints2d {
        let p = Keypoint { x, y: 0.0, confidence: 0.8 };
        Keypoints2d { points: [p; JOINTS], score: 0.8 }
    }

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_secs_f64(seconds)
    }

    fn pixel(ray: Ray) -> Option<f32> {
        ray.is_present().then(|| 500.0 * ray.direction[0] / ray.direction[2])
    }

    /// Pixels of joint 0 in a window of `n` slots at 10 Hz, newest first.
    fn resampled(w: &mut Window, t: f64, n: usize) -> Vec<Option<f32>> {
        let mut slots = vec![[Ray::default(); JOINTS]; n];
        w.resample(at(t), 10.0, &mut slots);
        slots.iter().map(|s| pixel(s[0])).collect()
    }

    fn assert_near(got: &[Option<f32>], wanted: &[Option<f32>]) {
        assert_eq!(got.len(), wanted.len());
        for (g, w) in got.iter().zip(wanted) {
            match (g, w) {
                (Some(g), Some(w)) => assert!((g - w).abs() < 0.05, "{got:?} for {wanted:?}"),
                _ => assert_eq!(g.is_some(), w.is_some(), "{got:?} for {wanted:?}"),
            }
        }
    }

    #[test]
    fn slots_between_observations_are_interpolated_and_the_newest_is_slot_zero() {
        let mut w = Window::new(5, 10.0);
        for i in 0..=4 {
            // 8 Hz camera: 0, 125, 250, 375, 500 ms; x moves by 1 px per 12.5 ms.
            assert!(w.observe(at(f64::from(i) * 0.125), &seen(i as f32 * 10.0), &camera()));
        }
        let wanted = [Some(40.0), Some(32.0), Some(24.0), Some(16.0), Some(8.0)];
        assert_near(&resampled(&mut w, 0.5, 5), &wanted);
    }

    #[test]
    fn a_new_person_has_a_full_window_of_the_first_observation() {
        let mut w = Window::new(4, 10.0);
        w.observe(at(3.0), &seen(7.0), &camera());
        assert_near(&resampled(&mut w, 3.0, 4), &[Some(7.0); 4]);
    }

    #[test]
    fn a_gap_that_is_too_long_is_marked_and_not_bridged() {
        let mut w = Window::new(8, 10.0);
        for (t, x) in [(0.0, 0.0), (0.1, 1.0), (0.5, 5.0), (0.6, 6.0)] {
            w.observe(at(t), &seen(x), &camera());
        }
        let wanted = [Some(6.0), Some(5.0), None, None, None, Some(1.0), Some(0.0), Some(0.0)];
        assert_near(&resampled(&mut w, 0.6, 8), &wanted);
    }

    #[test]
    fn slots_later_than_the_newest_observation_are_missing() {
        let mut w = Window::new(4, 10.0);
        w.observe(at(0.0), &seen(0.0), &camera());
        w.observe(at(0.1), &seen(1.0), &camera());
        assert_near(&resampled(&mut w, 0.3, 4), &[None, None, Some(1.0), Some(0.0)]);
    }

    #[test]
    fn a_keypoint_seen_on_one_side_only_is_taken_from_there_if_that_side_is_nearer() {
        let mut w = Window::new(2, 10.0);
        let mut blind = seen(0.0);
        blind.points[0].confidence = 0.0;
        w.observe(at(0.0), &seen(3.0), &camera());
        w.observe(at(0.15), &blind, &camera());
        // 50 ms is nearer to the first (seen), 100 ms before 0.2 would be nearer to the second.
        assert_near(&resampled(&mut w, 0.15, 2), &[None, Some(3.0)]);
        let mut slots = [[Ray::default(); JOINTS]; 2];
        w.resample(at(0.15), 10.0, &mut slots);
        assert!(slots[0][1].is_present(), "other keypoints are not touched");
    }

    #[test]
    fn observations_from_the_past_are_refused() {
        let mut w = Window::new(4, 10.0);
        assert!(w.observe(at(1.0), &seen(0.0), &camera()));
        assert!(!w.observe(at(1.0), &seen(0.0), &camera()));
        assert!(!w.observe(at(0.5), &seen(0.0), &camera()));
        assert_eq!(w.newest(), Some(at(1.0)));
    }

    #[test]
    fn a_camera_of_a_thousand_frames_per_second_neither_grows_the_ring_nor_shortens_the_window() {
        let mut w = Window::new(11, 10.0);
        for i in 0..=3_000 {
            w.observe(at(f64::from(i) * 1e-3), &seen(i as f32 * 0.1), &camera());
        }
        let wanted: Vec<_> = (0..11).map(|i| Some(300.0 - i as f32 * 10.0)).collect();
        assert_near(&resampled(&mut w, 3.0, 11), &wanted);
    }

    #[test]
    fn nan_keypoints_are_missing() {
        let mut w = Window::new(1, 10.0);
        let mut k = seen(1.0);
        k.points[0].x = f32::NAN;
        k.points[1].confidence = f32::NAN;
        w.observe(at(0.0), &k, &camera());
        let mut slots = [[Ray::default(); JOINTS]; 1];
        w.resample(at(0.0), 10.0, &mut slots);
        assert!(!slots[0][0].is_present() && !slots[0][1].is_present() && slots[0][2].is_present());
    }
}
