//! One person's root over time: a Kalman filter of constant velocity on real time stamps.
//!
//! The state is the pelvis's place and velocity in the camera frame; what moves it is white
//! acceleration. The errors of single frames are not independent: detector and lifter err in the
//! same direction while the picture hardly changes. So a measurement is taken for as much less
//! than it says as there are frames within `CORRELATION_S`. Errors of the body's size and of
//! the lens do not belong here at all (they do not average away) and are added afterwards
//! ([`full_covariance`](super::root::full_covariance)).

use super::matrix::*;
use super::root::Located;
use crate::time::Timestamp;

/// Spectral density of the pelvis's acceleration, m²/s³: some 2 m/s² that change within a
/// quarter of a second.
const ACCELERATION: f64 = 1.5;
/// Time over which the errors of measurements resemble each other.
const CORRELATION_S: f64 = 0.15;
/// Deviation of the velocity of who has just been seen for the first time, m/s.
const FIRST_SPEED: f64 = 1.5;
/// Without a measurement for longer than this the place is not known any more.
const FORGET_S: f64 = 0.5;
/// Measurements further off than this (squared Mahalanobis distance, three degrees of freedom:
/// one in ten thousand) are not believed...
const GATE: f64 = 21.1;
/// ... unless so many come in a row.
const PATIENCE: u32 = 5;

#[derive(Clone, Copy, Debug)]
struct State {
    time: Timestamp,
    /// When a measurement was last believed.
    measured: Timestamp,
    place: V3,
    velocity: V3,
    /// Covariances: of the place, of place and velocity, of the velocity.
    pp: M3,
    pv: M3,
    vv: M3,
    refused: u32,
}

/// See the module's page.
#[derive(Clone, Copy, Debug, Default)]
pub struct RootFilter {
    state: Option<State>,
}

impl RootFilter {
    /// Forgets everything.
    pub fn reset(&mut self) {
        self.state = None;
    }

    /// The place at `time`, given what was measured then, if anything. `None` while it is not
    /// known. A time that does not grow gives the last answer again.
    pub fn update(&mut self, time: Timestamp, measured: Option<Located>) -> Option<Located> {
        let dt = self.state.map_or(0.0, |s| time.secs_since(s.time));
        if self.state.is_some_and(|s| time.secs_since(s.measured) > FORGET_S) {
            self.state = None;
        }
        match (&mut self.state, measured) {
            (None, None) => return None,
            (None, Some(m)) => self.state = Some(State::new(time, &m)),
            (Some(state), measured) if dt > 0.0 => {
                state.predict(time, dt);
                if let Some(m) = measured {
                    let kept = state.correct(&m, dt);
                    if !kept && state.refused > PATIENCE {
                        *state = State::new(time, &m);
                    }
                }
            }
            (Some(_), _) => {}
        }
        self.state.map(|s| Located { position: s.place, covariance: s.pp })
    }
}

impl State {
    fn new(time: Timestamp, m: &Located) -> Self {
        Self {
            time,
            measured: time,
            place: m.position,
            velocity: [0.0; 3],
            pp: m.covariance,
            pv: ZERO,
            vv: diagonal(FIRST_SPEED * FIRST_SPEED),
            refused: 0,
        }
    }

    fn predict(&mut self, time: Timestamp, dt: f64) {
        self.time = time;
        self.place = add(self.place, scaled(self.velocity, dt));
        let both = plus(&self.pv, 1.0, &transposed(&self.pv));
        self.pp = plus(&plus(&self.pp, dt, &both), dt * dt, &self.vv);
        self.pp = plus(&self.pp, ACCELERATION * dt.powi(3) / 3.0, &diagonal(1.0));
        self.pv = plus(&self.pv, dt, &self.vv);
        self.pv = plus(&self.pv, ACCELERATION * dt * dt / 2.0, &diagonal(1.0));
        self.vv = plus(&self.vv, ACCELERATION * dt, &diagonal(1.0));
    }

    /// False: the measurement was not believed.
    fn correct(&mut self, m: &Located, dt: f64) -> bool {
        let doubt = (2.0 * CORRELATION_S / dt).max(1.0);
        let off = sub(m.position, self.place);
        let spread = plus(&self.pp, 1.0, &m.covariance);
        let expected = plus(&self.pp, doubt, &m.covariance);
        let (Some(surprise), Some(gain)) = (inverse(&spread), inverse(&expected)) else {
            return false;
        };
        if dot(off, apply(&surprise, off)) > GATE {
            self.refused += 1;
            return false;
        }
        self.refused = 0;
        self.measured = self.time;
        let place_gain = product(&self.pp, &gain);
        let velocity_gain = product(&transposed(&self.pv), &gain);
        self.place = add(self.place, apply(&place_gain, off));
        self.velocity = add(self.velocity, apply(&velocity_gain, off));
        let (pp, pv) = (self.pp, self.pv);
        self.pp = symmetric(&plus(&pp, -1.0, &product(&place_gain, &pp)));
        self.pv = plus(&pv, -1.0, &product(&place_gain, &pv));
        self.vv = symmetric(&plus(&self.vv, -1.0, &product(&velocity_gain, &pv)));
        true
    }
}

/// Rounding must not make a covariance crooked over hours.
fn symmetric(m: &M3) -> M3 {
    let twice = plus(m, 1.0, &transposed(m));
    plus(&ZERO, 0.5, &twice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::random::SplitMix64;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_secs_f64(seconds)
    }

    fn seen(position: V3, deviation: V3) -> Located {
        let mut covariance = ZERO;
        for k in 0..3 {
            covariance[k][k] = deviation[k] * deviation[k];
        }
        Located { position, covariance }
    }

    #[test]
    fn nobody_is_nowhere_and_who_is_not_seen_any_more_is_forgotten() {
        let mut filter = RootFilter::default();
        assert_eq!(filter.update(at(0.0), None), None);
        let first = filter.update(at(0.1), Some(seen([1.0, 0.5, 3.0], [0.02; 3]))).unwrap();
        assert_eq!(first.position, [1.0, 0.5, 3.0]);
        let coasting = filter.update(at(0.4), None).unwrap();
        assert!(coasting.covariance[0][0] > 10.0 * first.covariance[0][0]);
        assert_eq!(filter.update(at(0.7), None), None);
        filter.update(at(0.8), Some(seen([0.0; 3], [0.1; 3])));
        filter.reset();
        assert_eq!(filter.update(at(0.9), None), None);
    }

    #[test]
    fn a_single_leap_is_not_believed_and_a_lasting_one_is() {
        let mut filter = RootFilter::default();
        for i in 0..60 {
            filter.update(at(f64::from(i) / 30.0), Some(seen([0.0, 0.0, 3.0], [0.03; 3])));
        }
        let leap = filter.update(at(2.0), Some(seen([0.0, 0.0, 6.0], [0.03; 3]))).unwrap();
        assert!((leap.position[2] - 3.0).abs() < 0.05, "{leap:?}");
        let mut last = leap;
        for i in 61..75 {
            let t = at(f64::from(i) / 30.0);
            last = filter.update(t, Some(seen([0.0, 0.0, 6.0], [0.03; 3]))).unwrap();
        }
        assert!((last.position[2] - 6.0).abs() < 0.05, "{last:?}");
    }

    /// Walks, measured with errors that resemble those of the frame before. Gives the mean
    /// squared Mahalanobis distance (3 if the covariance is right), and the root mean square
    /// errors of measurement and filter.
    fn walk(carry: f64, frames: usize) -> (f64, f64, f64) {
        let mut random = SplitMix64::new(7);
        let deviation = [0.02, 0.02, 0.10];
        let (mut filter, mut standing) = (RootFilter::default(), [0.0; 3]);
        let (mut nees, mut raw, mut filtered, mut n) = (0.0, 0.0, 0.0, 0.0);
        for i in 0..frames {
            let t = i as f64 / 30.0;
            // To and fro, 1.2 m/s at most, with the bob of every step.
            let truth =
                [1.5 * (0.8 * t).sin(), 0.02 * (11.0 * t).sin(), 4.0 + 0.8 * (0.5 * t).cos()];
            for s in &mut standing {
                *s = carry * *s + (1.0 - carry * carry).sqrt() * random.normal();
            }
            let error: V3 = std::array::from_fn(|k| deviation[k] * standing[k]);
            let m = seen(add(truth, error), deviation);
            let out = filter.update(at(t), Some(m)).unwrap();
            if i > 60 {
                let off = sub(out.position, truth);
                nees += dot(off, apply(&inverse(&out.covariance).unwrap(), off));
                raw += dot(error, error);
                filtered += dot(off, off);
                n += 1.0;
            }
        }
        (nees / n, (raw / n).sqrt(), (filtered / n).sqrt())
    }

    #[test]
    fn filtered_places_are_better_than_measured_ones_and_their_covariance_is_right() {
        // The stand-in detector's errors carry over by 0.82 a frame: a correlation of 0.17 s.
        let (nees, raw, filtered) = walk(0.82, 20_000);
        println!("correlated errors: {raw:.3} -> {filtered:.3} m, NEES {nees:.2}");
        assert!(filtered < 0.95 * raw, "{filtered} of {raw} m");
        // Who walks as steadily as here is known better than the filter dares to say.
        assert!((0.7..5.0).contains(&nees), "{nees} should be about 3");
        let (nees, raw, filtered) = walk(0.0, 20_000);
        println!("independent errors: {raw:.3} -> {filtered:.3} m, NEES {nees:.2}");
        assert!(filtered < 0.5 * raw, "{filtered} of {raw} m");
        assert!(nees < 3.5, "independent errors: rather too modest than too sure: {nees}");
    }
}
