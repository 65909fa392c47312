//! Measures of poses over time, at equal intervals.
//!
//! Differences are taken per interval; who wants them per second divides by the interval once for
//! each difference.

use super::{V3, dot, sub};

/// Coefficients of the first, second and third difference, newest first.
const VELOCITY: [f64; 2] = [1.0, -1.0];
const ACCELERATION: [f64; 3] = [1.0, -2.0, 1.0];
const JERK: [f64; 4] = [1.0, -3.0, 3.0, -1.0];

/// Mean per-joint velocity error (MPJVE): how far the first differences of two successive poses
/// are from those of the truth, poses moved to `root`. Oldest first. `None` if poses differ in
/// length, are empty, or lack the joint.
pub fn velocity_error(predicted: [&[V3]; 2], truth: [&[V3]; 2], root: usize) -> Option<f64> {
    difference_error(predicted, truth, root, VELOCITY)
}

/// Acceleration error: how far the second differences of three successive poses are from those of
/// the truth, poses moved to `root`, mean over the joints. Oldest first. `None` as for
/// [`velocity_error`].
pub fn acceleration_error(predicted: [&[V3]; 3], truth: [&[V3]; 3], root: usize) -> Option<f64> {
    difference_error(predicted, truth, root, ACCELERATION)
}

/// Jitter needs no truth: the length of the third difference of four successive poses, poses
/// moved to `root`, mean over the joints. Oldest first. `None` as for [`velocity_error`].
pub fn jitter(poses: [&[V3]; 4], root: usize) -> Option<f64> {
    let n = same_length(&poses)?;
    let joint = |j| Some(length(difference(poses, root, j, JERK)?));
    (0..n).map(joint).sum::<Option<f64>>().map(|sum| sum / n as f64)
}

/// The standard deviation over `poses` of each bone's length, mean over the bones (pairs of
/// joints). A skeleton's bones do not change their lengths: this should be 0. `None` if there are
/// no poses or bones, or a pose lacks a joint.
pub fn bone_length_deviation<P: AsRef<[V3]>>(poses: &[P], bones: &[(usize, usize)]) -> Option<f64> {
    if poses.is_empty() || bones.is_empty() {
        return None;
    }
    let deviation = |&(a, b): &(usize, usize)| {
        let lengths = || {
            poses.iter().map(move |p| Some(length(sub(*p.as_ref().get(a)?, *p.as_ref().get(b)?))))
        };
        let n = poses.len() as f64;
        let mean = lengths().sum::<Option<f64>>()? / n;
        let squares = lengths().map(|l| l.map(|l| (l - mean).powi(2))).sum::<Option<f64>>()?;
        Some((squares / n).sqrt())
    };
    Some(bones.iter().map(deviation).sum::<Option<f64>>()? / bones.len() as f64)
}

fn difference_error<const N: usize>(
    predicted: [&[V3]; N],
    truth: [&[V3]; N],
    root: usize,
    coefficients: [f64; N],
) -> Option<f64> {
    let n = same_length(&predicted)?;
    if same_length(&truth)? != n {
        return None;
    }
    let joint = |j| {
        let p = difference(predicted, root, j, coefficients)?;
        let t = difference(truth, root, j, coefficients)?;
        Some(length(sub(p, t)))
    };
    (0..n).map(joint).sum::<Option<f64>>().map(|sum| sum / n as f64)
}

/// The poses' common number of joints, at least one.
fn same_length(poses: &[&[V3]]) -> Option<usize> {
    let n = poses.first()?.len();
    (n > 0 && poses.iter().all(|p| p.len() == n)).then_some(n)
}

fn difference<const N: usize>(
    poses: [&[V3]; N],
    root: usize,
    joint: usize,
    coefficients: [f64; N],
) -> Option<V3> {
    let mut sum = [0.0; 3];
    for (pose, c) in poses.iter().rev().zip(coefficients) {
        let p = sub(*pose.get(joint)?, *pose.get(root)?);
        for (s, v) in sum.iter_mut().zip(p) {
            *s += c * v;
        }
    }
    Some(sum)
}

fn length(v: V3) -> f64 {
    dot(v, v).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root that wanders, and a joint at x = f(t) from it.
    fn moving<const N: usize>(f: impl Fn(f64) -> f64) -> [[V3; 2]; N] {
        std::array::from_fn(|i| {
            let t = i as f64;
            let root = [t * t, -t, 7.0];
            [root, [root[0] + f(t), root[1], root[2]]]
        })
    }

    fn slices<const N: usize>(poses: &[[V3; 2]; N]) -> [&[V3]; N] {
        std::array::from_fn(|i| &poses[i][..])
    }

    #[test]
    fn errors_of_motion_are_those_of_the_differences() {
        let still = moving(|_| 1.0);
        let steady = moving(|t| 1.0 + 3.0 * t);
        let velocity = velocity_error(slices(&steady), slices(&still), 0).unwrap();
        assert!((velocity - 1.5).abs() < 1e-12, "3 at one of two joints: {velocity}");

        let (still, steady) = (moving(|_| 1.0), moving(|t| 1.0 + 3.0 * t));
        assert!(acceleration_error(slices(&steady), slices(&still), 0).unwrap() < 1e-12);
        let falling = moving(|t| 2.5 * t * t);
        let error = acceleration_error(slices(&falling), slices(&still), 0).unwrap();
        assert!((error - 2.5).abs() < 1e-12, "the second difference of 2.5 t² is 5: {error}");

        assert!(jitter(slices(&moving(|t| 2.5 * t * t - t)), 0).unwrap() < 1e-12);
        let cubic = jitter(slices(&moving(|t| t * t * t)), 0).unwrap();
        assert!((cubic - 3.0).abs() < 1e-12, "the third difference of t³ is 6: {cubic}");
    }

    #[test]
    fn bones_that_keep_their_length_do_not_deviate() {
        let poses: Vec<[V3; 2]> = moving::<5>(|_| 0.4).to_vec();
        assert!(bone_length_deviation(&poses, &[(0, 1)]).unwrap() < 1e-12);
        // 1 and 3 by turns: mean 2, deviation 1.
        let poses = moving::<4>(|t| if t % 2.0 == 0.0 { 1.0 } else { 3.0 });
        let deviation = bone_length_deviation(&poses, &[(0, 1)]).unwrap();
        assert!((deviation - 1.0).abs() < 1e-12);
        assert_eq!(bone_length_deviation(&poses, &[(0, 2)]), None);
        assert_eq!(bone_length_deviation::<[V3; 2]>(&[], &[(0, 1)]), None);
    }

    #[test]
    fn poses_that_cannot_be_compared_have_no_error() {
        let (a, b) = (moving::<2>(|t| t), moving::<2>(|t| t));
        assert_eq!(velocity_error(slices(&a), [&b[0][..1], &b[1][..]], 0), None);
        assert_eq!(velocity_error(slices(&a), slices(&b), 2), None);
        assert_eq!(jitter([&[]; 4], 0), None);
    }
}
