//! The best similarity between two sets of points.

use super::{V3, mean, sub};

/// A turn, a scale and a shift: x ↦ scale · rotation · x + shift.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// Rows of the rotation.
    pub rotation: [V3; 3],
    /// Positive.
    pub scale: f64,
    /// Added last.
    pub shift: V3,
}

impl Similarity {
    /// The similarity that takes `from` to `to` with the least sum of squares, by Horn's closed
    /// form with unit quaternions (B. K. P. Horn, "Closed-form solution of absolute orientation
    /// using unit quaternions", J. Opt. Soc. Am. A 4, 1987; the scale is the asymmetric one).
    /// `None` as for [`p_mpjpe`](super::p_mpjpe).
    pub fn between(from: &[V3], to: &[V3]) -> Option<Self> {
        if from.len() != to.len() || from.len() < 3 {
            return None;
        }
        let (a, b) = (mean(from), mean(to));
        // Cross covariance and the spread of `from`.
        let mut m = [[0.0; 3]; 3];
        let mut spread = 0.0;
        for (p, q) in from.iter().zip(to) {
            let (p, q) = (sub(*p, a), sub(*q, b));
            for i in 0..3 {
                spread += p[i] * p[i];
                for j in 0..3 {
                    m[i][j] += p[i] * q[j];
                }
            }
        }
        // Also refuses what is not a number.
        if spread.is_nan() || spread <= 1e-18 {
            return None;
        }
        // Horn's symmetric matrix, whose first eigenvector is the quaternion.
        let [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]] = m;
        let n = [
            [xx + yy + zz, yz - zy, zx - xz, xy - yx],
            [yz - zy, xx - yy - zz, xy + yx, zx + xz],
            [zx - xz, xy + yx, yy - xx - zz, yz + zy],
            [xy - yx, zx + xz, yz + zy, zz - xx - yy],
        ];
        let [w, x, y, z] = first_eigenvector(n);
        let rotation = [
            [w * w + x * x - y * y - z * z, 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), w * w - x * x + y * y - z * z, 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ];
        // Least squares: scale = sum q · R p / sum p · p.
        let mut along = 0.0;
        for i in 0..3 {
            for j in 0..3 {
                along += rotation[i][j] * m[j][i];
            }
        }
        let scale = along / spread;
        let turned = turn(&rotation, a).map(|v| v * scale);
        Some(Self { rotation, scale, shift: sub(b, turned) })
    }

    /// The image of a point.
    pub fn apply(&self, p: V3) -> V3 {
        let r = turn(&self.rotation, p);
        std::array::from_fn(|i| self.scale * r[i] + self.shift[i])
    }
}

fn turn(r: &[V3; 3], p: V3) -> V3 {
    std::array::from_fn(|i| r[i][0] * p[0] + r[i][1] * p[1] + r[i][2] * p[2])
}

/// The unit eigenvector of the largest eigenvalue of a symmetric matrix, by cyclic Jacobi
/// rotations: unlike power iteration it does not stall where eigenvalues are close (poses that
/// are nearly flat or nearly symmetric).
fn first_eigenvector(mut a: [[f64; 4]; 4]) -> [f64; 4] {
    let mut v = [[0.0; 4]; 4];
    for (i, row) in v.iter_mut().enumerate() {
        row[i] = 1.0;
    }
    let size: f64 = a.iter().flatten().map(|x| x * x).sum();
    // Convergence is quadratic; ten sweeps are far more than a 4x4 matrix takes.
    for _ in 0..10 {
        let off: f64 =
            (0..4).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i][j].powi(2)).sum();
        if off <= 1e-30 * size {
            break;
        }
        for p in 0..3 {
            for q in p + 1..4 {
                if a[p][q] == 0.0 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let t = if theta == 0.0 { 1.0 } else { t };
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for row in &mut a {
                    let (x, y) = (row[p], row[q]);
                    row[p] = c * x - s * y;
                    row[q] = s * x + c * y;
                }
                let (upper, lower) = (a[p], a[q]);
                a[p] = std::array::from_fn(|k| c * upper[k] - s * lower[k]);
                a[q] = std::array::from_fn(|k| s * upper[k] + c * lower[k]);
                for row in &mut v {
                    let (x, y) = (row[p], row[q]);
                    row[p] = c * x - s * y;
                    row[q] = s * x + c * y;
                }
            }
        }
    }
    let mut best = 0;
    for i in 1..4 {
        if a[i][i] > a[best][best] {
            best = i;
        }
    }
    let q = [v[0][best], v[1][best], v[2][best], v[3][best]];
    let n = q.iter().map(|x| x * x).sum::<f64>().sqrt();
    q.map(|x| x / n)
}

#[cfg(test)]
mod tests {
    use super::super::p_mpjpe;
    use super::*;

    const POINTS: [V3; 5] =
        [[0.0, 0.0, 0.0], [1.0, 0.2, -0.3], [-0.4, 0.9, 0.5], [0.3, -0.7, 1.1], [0.6, 0.5, 0.4]];

    /// Turn by `angle` about z, then by `tilt` about x.
    fn rotation(angle: f64, tilt: f64) -> [V3; 3] {
        let ((s, c), (t, k)) = (angle.sin_cos(), tilt.sin_cos());
        [[c, -s, 0.0], [k * s, k * c, -t], [t * s, t * c, k]]
    }

    #[test]
    fn a_known_similarity_is_found_at_any_angle() {
        for (angle, tilt) in
            [(0.0, 0.0), (0.3, -0.2), (3.1, 1.5), (std::f64::consts::PI, 0.0), (-2.0, 3.0)]
        {
            let wanted =
                Similarity { rotation: rotation(angle, tilt), scale: 1.7, shift: [0.4, -2.0, 5.0] };
            let to = POINTS.map(|p| wanted.apply(p));
            let found = Similarity::between(&POINTS, &to).unwrap();
            assert!((found.scale - 1.7).abs() < 1e-12, "{found:?}");
            for i in 0..3 {
                assert!((found.shift[i] - wanted.shift[i]).abs() < 1e-12);
                for j in 0..3 {
                    assert!((found.rotation[i][j] - wanted.rotation[i][j]).abs() < 1e-12);
                }
            }
            assert!(p_mpjpe(&POINTS, &to).unwrap() < 1e-12);
        }
    }

    #[test]
    fn flat_poses_are_aligned_too() {
        let flat = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 1.0, 0.0]];
        let r = rotation(0.8, 1.1);
        let to = flat.map(|p| turn(&r, p));
        assert!(p_mpjpe(&flat, &to).unwrap() < 1e-12);
    }

    #[test]
    fn a_mirrored_pose_does_not_fit() {
        let mirrored = POINTS.map(|p| [-p[0], p[1], p[2]]);
        let error = p_mpjpe(&mirrored, &POINTS).unwrap();
        assert!(error > 0.1, "{error}");
        let r = Similarity::between(&mirrored, &POINTS).unwrap().rotation;
        let det = r[0][0] * (r[1][1] * r[2][2] - r[1][2] * r[2][1])
            - r[0][1] * (r[1][0] * r[2][2] - r[1][2] * r[2][0])
            + r[0][2] * (r[1][0] * r[2][1] - r[1][1] * r[2][0]);
        assert!((det - 1.0).abs() < 1e-12, "a rotation, not a reflection: {det}");
    }

    #[test]
    fn the_scale_of_a_square_against_a_stretched_square_is_the_least_squares_one() {
        // The square's corners (±1, ±1) against (±3, ±1): scale = (3 + 1) / 2, by hand; what is
        // left at each corner is (1, -1).
        let square = [[1.0, 1.0, 0.0], [-1.0, 1.0, 0.0], [-1.0, -1.0, 0.0], [1.0, -1.0, 0.0]];
        let stretched = square.map(|p| [3.0 * p[0], p[1], 0.0]);
        let fit = Similarity::between(&square, &stretched).unwrap();
        assert!((fit.scale - 2.0).abs() < 1e-12);
        assert!((p_mpjpe(&square, &stretched).unwrap() - 2f64.sqrt()).abs() < 1e-12);
    }
}
