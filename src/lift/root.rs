//! Where the pelvis is, in metres, from one camera.
//!
//! The lifter says where the joints are relative to the pelvis; the keypoints say in which
//! directions they are seen. Only one place of the pelvis fits both. It is found by weighted least
//! squares: first in closed form, linear in the unknown place, then by a few steps of
//! Gauss-Newton on the angles themselves, with outlying keypoints weighted down. All of it happens
//! in a camera that is turned towards the person, so that a person at the picture's edge is
//! treated as one in its middle.
//!
//! **Scale.** One camera cannot tell a child nearby from an adult further off: the place is
//! proportional to the assumed size of the body. [`BodyScale`] says what is assumed and how
//! uncertain it is; that uncertainty is added to the covariance and never averaged away.

use crate::skeleton::{COCO_SIGMAS, JOINTS, coco, h36m};

use super::matrix::*;
use super::window::{MIN_CONFIDENCE, Rays};

/// Keypoints that are joints of the lifted skeleton: (COCO-17, Human3.6M-17). The face is not
/// among them: no joint of Human3.6M lies on it.
const PAIRS: [(usize, usize); 12] = [
    (coco::LEFT_SHOULDER, h36m::LEFT_SHOULDER),
    (coco::RIGHT_SHOULDER, h36m::RIGHT_SHOULDER),
    (coco::LEFT_ELBOW, h36m::LEFT_ELBOW),
    (coco::RIGHT_ELBOW, h36m::RIGHT_ELBOW),
    (coco::LEFT_WRIST, h36m::LEFT_WRIST),
    (coco::RIGHT_WRIST, h36m::RIGHT_WRIST),
    (coco::LEFT_HIP, h36m::LEFT_HIP),
    (coco::RIGHT_HIP, h36m::RIGHT_HIP),
    (coco::LEFT_KNEE, h36m::LEFT_KNEE),
    (coco::RIGHT_KNEE, h36m::RIGHT_KNEE),
    (coco::LEFT_ANKLE, h36m::LEFT_ANKLE),
    (coco::RIGHT_ANKLE, h36m::RIGHT_ANKLE),
];

/// With fewer of them seen there is no root.
const MIN_PAIRS: usize = 4;
/// Disagreement between a keypoint of confidence 1 and its lifted joint that is taken for granted,
/// metres across the line of sight per unit of COCO's spread: 54 mm at a hip, 31 mm at a wrist.
/// It is for the lifter's error as much as for the detector's.
const METRES_PER_SIGMA: f64 = 0.5;
/// Weight of that prior knowledge against the residuals at hand, in degrees of freedom.
const PRIOR_FREEDOM: f64 = 6.0;
/// Residuals beyond this many deviations are weighted down (Huber).
const HUBER: f64 = 2.0;
/// Residuals that are this many times the expected ones, in the mean, are no view of this pose.
const MAX_RESIDUAL: f64 = 3.0;
/// A depth that is known no better than to this share of itself is not known.
const MAX_DEPTH_DOUBT: f64 = 0.5;
/// Nearer to the lens than this, metres, nobody is.
const MIN_DEPTH: f64 = 0.2;
const STEPS: usize = 4;

/// A place of the pelvis with its covariance, camera frame, metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Located {
    /// Where.
    pub position: [f64; 3],
    /// Square metres; of the measurement alone, for the body size that was assumed.
    pub covariance: [[f64; 3]; 3],
}

/// How large the body is taken to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BodyScale {
    /// What the lifter's joints are multiplied by.
    pub factor: f64,
    /// Its standard deviation, as a share of itself.
    pub doubt: f64,
}

/// People of one stature differ in how it is made up: head, trunk, legs.
const PROPORTION_DOUBT: f64 = 0.03;
/// Statures of adults: 1.55 to 1.90 m are within two deviations (pooled sexes).
const ADULT_DOUBT: f64 = 0.06;

impl BodyScale {
    /// For a person of `height_m` metres, or an adult of unknown height, with a lifter whose
    /// answers have the height `body_height_m`.
    pub fn new(height_m: Option<f64>, body_height_m: f64) -> Self {
        match height_m {
            Some(height) => Self { factor: height / body_height_m, doubt: PROPORTION_DOUBT },
            None => Self { factor: 1.0, doubt: PROPORTION_DOUBT.hypot(ADULT_DOUBT) },
        }
    }
}

/// One joint: what is known of it in the turned camera.
#[derive(Clone, Copy)]
struct Sight {
    /// Relative to the pelvis, metres.
    joint: V3,
    /// Where the line of sight meets the plane at distance 1.
    seen: [f64; 2],
    /// Expected disagreement across the line of sight, metres.
    deviation: f64,
}

/// The pelvis's place from its `joints` (metres, camera axes, relative to it) and the `rays` of
/// the same moment's keypoints. `None` where it cannot be known: too little of the person is
/// seen, or seen too flat, or the two do not fit each other.
pub fn locate(joints: &[[f64; 3]; JOINTS], rays: &Rays) -> Option<Located> {
    let towards =
        rays.iter().filter(|r| r.confidence >= MIN_CONFIDENCE).fold([0.0; 3], |sum, r| {
            add(sum, scaled(r.direction.map(f64::from), f64::from(r.confidence)))
        });
    let z = unit(towards)?;
    let x = unit([z[2], 0.0, -z[0]])?;
    let turn = [x, cross(z, x), z];

    let mut sights = [Sight { joint: [0.0; 3], seen: [0.0; 2], deviation: 1.0 }; PAIRS.len()];
    let mut count = 0;
    for (from, to) in PAIRS {
        let ray = &rays[from];
        let ahead = apply(&turn, ray.direction.map(f64::from));
        // Lines of sight far off the axis belong to no person that is seen along it.
        if ray.confidence < MIN_CONFIDENCE || ahead[2] < 0.2 {
            continue;
        }
        sights[count] = Sight {
            joint: apply(&turn, joints[to]),
            seen: [ahead[0] / ahead[2], ahead[1] / ahead[2]],
            deviation: METRES_PER_SIGMA * f64::from(COCO_SIGMAS[from])
                / f64::from(ray.confidence).sqrt(),
        };
        count += 1;
    }
    if count < MIN_PAIRS {
        return None;
    }
    let (place, covariance) = solve(&sights[..count])?;
    let back = transposed(&turn);
    Some(Located {
        position: apply(&back, place),
        covariance: product(&product(&back, &covariance), &turn),
    })
}

fn solve(sights: &[Sight]) -> Option<(V3, M3)> {
    // Closed form: X + j_x = u (Z + j_z) and the same in y, each equation in metres.
    let (mut normal, mut right) = (ZERO, [0.0; 3]);
    for s in sights {
        let w = s.deviation.powi(-2);
        for k in 0..2 {
            let mut row = [0.0, 0.0, -s.seen[k]];
            row[k] = 1.0;
            gather(&mut normal, &mut right, row, s.seen[k] * s.joint[2] - s.joint[k], w);
        }
    }
    let mut place = apply(&inverse(&normal)?, right);

    let (mut covariance, mut variance) = (ZERO, 0.0);
    for _ in 0..STEPS {
        let (mut normal, mut right, mut chi2) = (ZERO, [0.0; 3], 0.0);
        for s in sights {
            let [x, y, z] = add(place, s.joint);
            if z < MIN_DEPTH {
                return None;
            }
            let off = [s.seen[0] - x / z, s.seen[1] - y / z];
            let deviation = s.deviation / z;
            let miss = off[0].hypot(off[1]) / deviation;
            let robust = if miss <= HUBER { 1.0 } else { HUBER / miss };
            let w = robust * deviation.powi(-2);
            gather(&mut normal, &mut right, [1.0 / z, 0.0, -x / (z * z)], off[0], w);
            gather(&mut normal, &mut right, [0.0, 1.0 / z, -y / (z * z)], off[1], w);
            chi2 += robust * miss * miss;
        }
        let freedom = 2.0 * sights.len() as f64 - 3.0;
        if chi2 > MAX_RESIDUAL * MAX_RESIDUAL * freedom {
            variance = f64::INFINITY;
        } else {
            variance = (PRIOR_FREEDOM + chi2) / (PRIOR_FREEDOM + freedom);
        }
        covariance = inverse(&normal)?;
        place = add(place, apply(&covariance, right));
    }
    let known = place[2] >= MIN_DEPTH
        && variance.is_finite()
        && (covariance[2][2] * variance).sqrt() <= MAX_DEPTH_DOUBT * place[2];
    known.then(|| (place, plus(&ZERO, variance, &covariance)))
}

/// Adds one equation `row · x = value` of weight `w` to the normal equations.
fn gather(normal: &mut M3, right: &mut V3, row: V3, value: f64, w: f64) {
    for i in 0..3 {
        right[i] += w * row[i] * value;
        for k in 0..3 {
            normal[i][k] += w * row[i] * row[k];
        }
    }
}

/// The covariance of a place for everything that is unsure: the measurement, the body's size, and
/// the focal length (`focal_doubt`: its standard deviation as a share of itself), to which depth
/// is proportional.
pub fn full_covariance(located: &Located, scale: BodyScale, focal_doubt: f64) -> [[f64; 3]; 3] {
    let place = located.position;
    let mut all = plus(&located.covariance, scale.doubt * scale.doubt, &outer(place));
    all[2][2] += (focal_doubt * place[2]).powi(2);
    all
}

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;
