//! How far poses are from the truth: the measures that the field reports, as pure functions.
//!
//! One pose: [`mpjpe`], [`p_mpjpe`], [`n_mpjpe`] and what they are the means of. Several joint
//! errors: [`threshold`] (PCK, AUC). Poses over time: [`motion`] (velocity, acceleration, jitter,
//! bone lengths). Lengths come out in the unit in which they go in.

pub mod motion;
mod similarity;
pub mod threshold;

pub use similarity::Similarity;

/// A point or joint.
pub type V3 = [f64; 3];

/// Each joint's distance from the truth after the joint `root` of both has been moved to the
/// origin. `None` if the poses differ in length, are empty, or lack the joint.
pub fn joint_errors<'a>(
    predicted: &'a [V3],
    truth: &'a [V3],
    root: usize,
) -> Option<impl ExactSizeIterator<Item = f64> + 'a> {
    let (p0, t0) = (*predicted.get(root)?, *truth.get(root)?);
    if predicted.len() != truth.len() {
        return None;
    }
    Some(predicted.iter().zip(truth).map(move |(p, t)| distance(sub(*p, p0), sub(*t, t0))))
}

/// Each joint's distance from the truth after the best similarity has been applied to
/// `predicted`. `None` as for [`p_mpjpe`].
pub fn aligned_joint_errors<'a>(
    predicted: &'a [V3],
    truth: &'a [V3],
) -> Option<impl ExactSizeIterator<Item = f64> + 'a> {
    let fit = Similarity::between(predicted, truth)?;
    Some(predicted.iter().zip(truth).map(move |(p, t)| distance(fit.apply(*p), *t)))
}

/// Mean per-joint position error after the joint `root` of both has been moved to the origin
/// ("protocol 1"). The root, whose error is 0, counts as a joint, as it does in the literature.
/// `None` if the poses differ in length, are empty, or lack the joint.
pub fn mpjpe(predicted: &[V3], truth: &[V3], root: usize) -> Option<f64> {
    joint_errors(predicted, truth, root).map(average)
}

/// Mean per-joint position error after the best similarity (turn, scale and shift, no mirroring)
/// in the least-squares sense has been applied to `predicted` ("protocol 2", P-MPJPE). `None` if
/// the poses differ in length or have fewer than three points, or if all of `predicted` coincide.
pub fn p_mpjpe(predicted: &[V3], truth: &[V3]) -> Option<f64> {
    aligned_joint_errors(predicted, truth).map(average)
}

/// Mean per-joint position error after the joint `root` of both has been moved to the origin and
/// `predicted` multiplied by the number that makes the sum of squares least ("protocol 3",
/// N-MPJPE; Rhodin et al., CVPR 2018). `None` as for [`mpjpe`], or if all of `predicted` coincide.
pub fn n_mpjpe(predicted: &[V3], truth: &[V3], root: usize) -> Option<f64> {
    let (p0, t0) = (*predicted.get(root)?, *truth.get(root)?);
    if predicted.len() != truth.len() {
        return None;
    }
    let both = || predicted.iter().zip(truth).map(|(p, t)| (sub(*p, p0), sub(*t, t0)));
    let along: f64 = both().map(|(p, t)| dot(p, t)).sum();
    let spread: f64 = both().map(|(p, _)| dot(p, p)).sum();
    if spread.is_nan() || spread <= 1e-18 {
        return None;
    }
    let scale = along / spread;
    Some(average(both().map(|(p, t)| distance(p.map(|v| v * scale), t))))
}

fn average(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

fn dot(a: V3, b: V3) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn sub(a: V3, b: V3) -> V3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

fn distance(a: V3, b: V3) -> f64 {
    sub(a, b).iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn mean(points: &[V3]) -> V3 {
    let n = points.len() as f64;
    std::array::from_fn(|i| points.iter().map(|p| p[i]).sum::<f64>() / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTS: [V3; 5] =
        [[0.0, 0.0, 0.0], [1.0, 0.2, -0.3], [-0.4, 0.9, 0.5], [0.3, -0.7, 1.1], [0.6, 0.5, 0.4]];

    #[test]
    fn mpjpe_ignores_where_the_root_is_and_counts_the_rest() {
        let shifted = POINTS.map(|p| [p[0] + 7.0, p[1] - 1.0, p[2] + 0.5]);
        assert!(mpjpe(&shifted, &POINTS, 0).unwrap() < 1e-12);
        let mut off = POINTS;
        off[4][2] += 0.5;
        assert!((mpjpe(&off, &POINTS, 0).unwrap() - 0.1).abs() < 1e-12, "0.5 over five joints");
        // Wrong at the root: wrong everywhere else.
        let mut off = POINTS;
        off[0][0] += 0.5;
        assert!((mpjpe(&off, &POINTS, 0).unwrap() - 0.4).abs() < 1e-12);
    }

    #[test]
    fn poses_that_cannot_be_compared_have_no_error() {
        assert_eq!(mpjpe(&POINTS[..4], &POINTS, 0), None);
        assert_eq!(mpjpe(&[], &[], 0), None);
        assert_eq!(p_mpjpe(&POINTS[..2], &POINTS[..2]), None);
        assert_eq!(p_mpjpe(&[[1.0; 3]; 5], &POINTS), None, "all points coincide");
    }

    #[test]
    fn n_mpjpe_forgives_the_scale_and_nothing_else() {
        let half = POINTS.map(|p| [0.5 * p[0] + 3.0, 0.5 * p[1], 0.5 * p[2] - 1.0]);
        assert!(n_mpjpe(&half, &POINTS, 0).unwrap() < 1e-12);
        // (1, 0, 0) against (1, 1, 0): the best scale is 1, what is left is 1 at one of two joints.
        let error = n_mpjpe(&[[0.0; 3], [1.0, 0.0, 0.0]], &[[0.0; 3], [1.0, 1.0, 0.0]], 0);
        assert!((error.unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(n_mpjpe(&[[1.0; 3]; 5], &POINTS, 0), None, "all points coincide");
    }

    #[test]
    fn joint_errors_are_what_the_means_are_of() {
        let mut off = POINTS;
        off[2][1] -= 0.3;
        let errors: Vec<_> = joint_errors(&off, &POINTS, 0).unwrap().collect();
        assert!((errors[2] - 0.3).abs() < 1e-12 && errors[4] < 1e-12, "{errors:?}");
        let aligned: Vec<_> = aligned_joint_errors(&off, &POINTS).unwrap().collect();
        let mean = aligned.iter().sum::<f64>() / 5.0;
        assert!((mean - p_mpjpe(&off, &POINTS).unwrap()).abs() < 1e-12);
        assert!(aligned[2] < 0.3, "the fit gives way to the wrong joint: {aligned:?}");
    }
}
