//! How human a pose looks, in one number.
//!
//! A product of three shares, each 1 for a body as bodies are: bones as long as this person's
//! bones have been so far, limbs as long on the left as on the right, and joints within their
//! limits. It needs no truth, so it can be watched in the field: swapped limbs, two persons in one
//! track or a window of nonsense bring it down. It is no probability.

use crate::skeleton::{JOINTS, h36m};

use super::bones::{KIND, KINDS, lengths};
use super::matrix::*;

/// Deviation of all lengths from the settled ones, as a share of them, at which the share is 0.6:
/// it is exp(-(x/s)²/2) with this s.
const LENGTHS: f64 = 0.22;
/// The same for the difference of the two sides.
const SIDES: f64 = 0.25;
/// Radians beyond a limit that do the same.
const BEYOND: f64 = 0.35;

/// Bones of the left side against those of the right: hip, thigh, shin, shoulder, upper arm,
/// forearm (indices of the skeleton's bones).
const PAIRED: [(usize, usize); 6] = [(0, 3), (1, 4), (2, 5), (10, 13), (11, 14), (12, 15)];

/// 0..1 for root-relative joints in metres; `settled`: the person's bones, if they are known.
pub fn plausibility(joints: &[V3; JOINTS], settled: Option<&[f64; JOINTS - 1]>) -> f32 {
    let lengths = lengths(joints);
    // A bone without length is no bone; nor is one of a number that is none.
    if !lengths.iter().all(|l| *l > 1e-3 && l.is_finite()) {
        return 0.0;
    }
    let thigh = (lengths[1] + lengths[4]) / 2.0;
    let wanted = settled.copied().unwrap_or_else(|| KIND.map(|kind| TYPICAL[kind] * thigh));
    let off: f64 = lengths.iter().zip(&wanted).map(|(l, w)| (l - w).abs()).sum();
    // What is typical of people is not exact for anybody.
    let tolerance = if settled.is_some() { 1.0 } else { 1.6 };
    let constancy = share(off / wanted.iter().sum::<f64>(), LENGTHS * tolerance);
    let (mut apart, mut both) = (0.0, 0.0);
    for (left, right) in PAIRED {
        apart += (lengths[left] - lengths[right]).abs();
        both += (lengths[left] + lengths[right]) / 2.0;
    }
    let symmetry = share(apart / both, SIDES);
    (constancy * symmetry * share(beyond_limits(joints), BEYOND)) as f32
}

fn share(off: f64, scale: f64) -> f64 {
    (-0.5 * (off / scale).powi(2)).exp()
}

/// Bones by kind in thighs.
const TYPICAL: [f64; KINDS] = [0.25, 1.0, 0.97, 0.52, 0.55, 0.26, 0.26, 0.37, 0.66, 0.57];

/// Radians beyond the limits of joints, all added up.
fn beyond_limits(j: &[V3; JOINTS]) -> f64 {
    use h36m::*;
    let along = |a: usize, b: usize| unit(sub(j[b], j[a])).unwrap_or([0.0; 3]);
    let angle = |a: V3, b: V3| dot(a, b).clamp(-1.0, 1.0).acos();
    let over = |angle: f64, limit: f64| (angle - limit).max(0.0);
    let mut beyond = 0.0;
    // The trunk bends by a quarter turn at each of its joints, at most; so does the neck.
    let trunk = [(PELVIS, SPINE), (SPINE, THORAX), (THORAX, NECK), (NECK, HEAD)];
    for two in trunk.windows(2) {
        beyond += over(angle(along(two[0].0, two[0].1), along(two[1].0, two[1].1)), 1.4);
    }
    // Knees and elbows fold no further than flesh allows.
    let hinges = [
        (LEFT_HIP, LEFT_KNEE, LEFT_ANKLE),
        (RIGHT_HIP, RIGHT_KNEE, RIGHT_ANKLE),
        (LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST),
        (RIGHT_SHOULDER, RIGHT_ELBOW, RIGHT_WRIST),
    ];
    for (a, b, c) in hinges {
        beyond += over(angle(along(a, b), along(b, c)), 2.75);
    }
    // Knees do not bend forwards: they turn about the axis from hip to hip, as far as that lies
    // across the thigh.
    let left = along(RIGHT_HIP, LEFT_HIP);
    for (hip, knee, ankle) in &hinges[..2] {
        let (thigh, shin) = (along(*hip, *knee), along(*knee, *ankle));
        let across = sub(left, scaled(thigh, dot(left, thigh)));
        let Some(axis) = unit(across).filter(|_| norm(across) > 0.5) else { continue };
        let bend = dot(cross(thigh, shin), axis).atan2(dot(thigh, shin));
        beyond += over(-bend, 0.35);
    }
    beyond
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figure;
    use crate::figure::random::SplitMix64;
    use crate::time::Timestamp;

    fn figure(t: f64) -> [V3; JOINTS] {
        Figure::default().at(Timestamp::from_secs_f64(t)).root_relative()
    }

    /// The smallest and the mean over the figure's whole programme.
    fn over_time(change: impl Fn(&mut [V3; JOINTS])) -> (f32, f32) {
        let settled = lengths(&figure(0.0));
        let (mut least, mut sum) = (1.0f32, 0.0);
        for i in 0..300 {
            let mut joints = figure(f64::from(i) * 0.2);
            change(&mut joints);
            let p = plausibility(&joints, Some(&settled));
            least = least.min(p);
            sum += p;
        }
        (least, sum / 300.0)
    }

    #[test]
    fn the_figure_is_plausible_whatever_it_does() {
        let (least, mean) = over_time(|_| ());
        assert!(least > 0.85 && mean > 0.95, "{least}, mean {mean}");
        // Also before anybody knows how long its bones are.
        for i in 0..300 {
            let p = plausibility(&figure(f64::from(i) * 0.2), None);
            assert!(p > 0.6, "{p} at {i}");
        }
    }

    #[test]
    fn broken_bodies_are_not() {
        use h36m::*;
        let mixed = over_time(|j| j.swap(LEFT_ANKLE, RIGHT_WRIST)).1;
        assert!(mixed < 0.4, "an ankle for a wrist: {mixed}");
        // Somebody else's body: legs of a child under the trunk of an adult.
        let short = over_time(|j| {
            for (a, b, c) in
                [(LEFT_HIP, LEFT_KNEE, LEFT_ANKLE), (RIGHT_HIP, RIGHT_KNEE, RIGHT_ANKLE)]
            {
                let (thigh, shin) = (sub(j[b], j[a]), sub(j[c], j[b]));
                j[b] = add(j[a], scaled(thigh, 0.4));
                j[c] = add(j[b], scaled(shin, 0.4));
            }
        })
        .1;
        assert!(short < 0.6, "legs of a child: {short}");
        // The knee bends forwards by a right angle: the shin goes where the belly looks.
        let backward = over_time(|j| {
            let forward = unit(cross(sub(j[LEFT_HIP], j[RIGHT_HIP]), sub(j[THORAX], j[PELVIS])));
            let shin = norm(sub(j[LEFT_ANKLE], j[LEFT_KNEE]));
            j[LEFT_ANKLE] = add(j[LEFT_KNEE], scaled(forward.unwrap(), shin));
        })
        .1;
        assert!(backward < 0.2, "a stork's knee: {backward}");
        let mut random = SplitMix64::new(1);
        let mut noise: [V3; JOINTS] =
            std::array::from_fn(|_| std::array::from_fn(|_| 0.4 * random.normal()));
        noise[0] = [0.0; 3];
        assert!(plausibility(&noise, None) < 0.1);
        assert_eq!(plausibility(&[[0.0; 3]; JOINTS], None), 0.0);
        assert_eq!(plausibility(&[[f64::NAN; 3]; JOINTS], None), 0.0);
    }

    #[test]
    fn noise_of_a_few_centimetres_costs_a_little_and_more_costs_more() {
        let noisy = |deviation: f64| {
            let mut random = SplitMix64::new(5);
            let settled = lengths(&figure(0.0));
            let mut sum = 0.0;
            for i in 0..200 {
                let mut joints = figure(f64::from(i) * 0.3);
                for x in joints.iter_mut().flatten() {
                    *x += deviation * random.normal();
                }
                sum += plausibility(&joints, Some(&settled));
            }
            sum / 200.0
        };
        let (little, more, much) = (noisy(0.02), noisy(0.06), noisy(0.15));
        assert!(
            little > 0.7 && little > more && more > much && much < 0.3,
            "{little} {more} {much}"
        );
    }
}
