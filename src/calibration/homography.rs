//! The plane-to-picture map of one view, by the normalised direct linear transform (Hartley,
//! Zisserman: Multiple View Geometry, algorithm 4.2).

use nalgebra::{Matrix3, SMatrix, Vector3};

/// The homography that takes `from` to `to`, scaled to a unit bottom-right element; `None` if
/// fewer than four points are in general position.
pub(super) fn homography(from: &[[f64; 2]], to: &[[f64; 2]]) -> Option<Matrix3<f64>> {
    if from.len() != to.len() || from.len() < 4 {
        return None;
    }
    let (a, b) = (normaliser(from)?, normaliser(to)?);
    let mut normal = SMatrix::<f64, 9, 9>::zeros();
    for (p, q) in from.iter().zip(to) {
        let p = a * Vector3::new(p[0], p[1], 1.0);
        let q = b * Vector3::new(q[0], q[1], 1.0);
        let rows = [
            [0.0, 0.0, 0.0, -p.x, -p.y, -1.0, q.y * p.x, q.y * p.y, q.y],
            [p.x, p.y, 1.0, 0.0, 0.0, 0.0, -q.x * p.x, -q.x * p.y, -q.x],
        ];
        for row in rows {
            let row = SMatrix::<f64, 1, 9>::from_row_slice(&row);
            normal += row.transpose() * row;
        }
    }
    let eigen = normal.symmetric_eigen();
    let smallest = eigen.eigenvalues.imin();
    let h = eigen.eigenvectors.column(smallest);
    let h = Matrix3::new(h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8]);
    let h = b.try_inverse()? * h * a;
    let scale = h[(2, 2)];
    let usable = scale.abs() > 1e-12 && h.determinant().abs() > 1e-12 * scale.abs().powi(3);
    usable.then(|| h / scale)
}

/// Moves the points' mean to the origin and their mean distance from it to the square root of 2.
fn normaliser(points: &[[f64; 2]]) -> Option<Matrix3<f64>> {
    let n = points.len() as f64;
    let (sx, sy) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p[0], y + p[1]));
    let (cx, cy) = (sx / n, sy / n);
    let spread = points.iter().map(|p| (p[0] - cx).hypot(p[1] - cy)).sum::<f64>() / n;
    if spread.is_nan() || spread <= 0.0 || spread.is_infinite() {
        return None;
    }
    let s = std::f64::consts::SQRT_2 / spread;
    Some(Matrix3::new(s, 0.0, -s * cx, 0.0, s, -s * cy, 0.0, 0.0, 1.0))
}

/// Where `h` takes a point.
#[cfg(test)]
pub(super) fn apply(h: &Matrix3<f64>, p: [f64; 2]) -> [f64; 2] {
    let q = h * Vector3::new(p[0], p[1], 1.0);
    [q.x / q.z, q.y / q.z]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_map_is_found_again() {
        let h = Matrix3::new(700.0, 40.0, 300.0, -30.0, 650.0, 220.0, 0.4, -0.2, 1.0);
        let from: Vec<[f64; 2]> =
            (0..12).map(|i| [f64::from(i % 4) * 0.03, f64::from(i / 4) * 0.03]).collect();
        let to: Vec<[f64; 2]> = from.iter().map(|&p| apply(&h, p)).collect();
        let found = homography(&from, &to).unwrap();
        assert!((found - h).abs().max() < 1e-6, "{found}");
    }

    #[test]
    fn points_on_a_line_have_no_homography() {
        let from: Vec<[f64; 2]> = (0..8).map(|i| [f64::from(i), 0.0]).collect();
        let to: Vec<[f64; 2]> = (0..8).map(|i| [3.0 * f64::from(i), 1.0]).collect();
        if let Some(h) = homography(&from, &to) {
            // Numerically some map may come out; it must then at least fit.
            let q = apply(&h, [4.0, 0.0]);
            assert!((q[0] - 12.0).abs() < 1e-3);
        }
        assert!(homography(&from[..3], &to[..3]).is_none());
        assert!(homography(&[[1.0, 1.0]; 5], &[[2.0, 2.0]; 5]).is_none());
    }
}
