//! Closed forms that the solver starts from.

use nalgebra::{DMatrix, DVector, Matrix3, Rotation3, Vector3};

use crate::camera::Intrinsics;

/// A board in front of a camera: board coordinates to camera coordinates, metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pose {
    pub rotation: Rotation3<f64>,
    pub translation: Vector3<f64>,
}

/// Focal lengths from the views' homographies, with the principal point in the picture's middle
/// and no distortion.
///
/// Zhang's constraints (A Flexible New Technique for Camera Calibration, 2000, equations 3 and 4):
/// the images of the board's two axes are perpendicular and equally long. With the principal point
/// known they are linear in 1/fx² and 1/fy², and a single tilted view is enough; this is more
/// stable than all five unknowns at once, and the solver finds the rest.
pub(super) fn focal_lengths(
    homographies: &[Matrix3<f64>],
    width: u32,
    height: u32,
) -> Option<Intrinsics> {
    let guess = Intrinsics::from_fov(width, height, 60.0);
    let centre = Matrix3::new(1.0, 0.0, -guess.cx, 0.0, 1.0, -guess.cy, 0.0, 0.0, 1.0);
    let mut rows = Vec::new();
    let mut right = Vec::new();
    for h in homographies {
        let h = centre * h;
        let scale = h.column(0).norm().max(h.column(1).norm());
        let (a, b) = (h.column(0) / scale, h.column(1) / scale);
        // (a + b) and (a - b) are perpendicular where a and b are equally long.
        for (p, q) in [(a, b), (a + b, a - b)] {
            rows.extend([p[0] * q[0], p[1] * q[1]]);
            right.push(-p[2] * q[2]);
        }
    }
    // Both sides in units of the picture's size.
    let unit = f64::from(width.max(height));
    let a = DMatrix::from_row_slice(right.len(), 2, &rows) / (unit * unit);
    let b = DVector::from_vec(right);
    let solution = a.svd(true, true).solve(&b, 1e-12).ok()?;
    let focal = |inverse_square: f64| {
        let f = unit / inverse_square.sqrt();
        (f.is_finite() && (0.2..20.0).contains(&(f / unit))).then_some(f)
    };
    match (focal(solution[0]), focal(solution[1])) {
        (Some(fx), Some(fy)) => Some(Intrinsics { fx, fy, ..guess }),
        // Square pixels are a good guess where only one came out.
        (Some(f), None) | (None, Some(f)) => Some(Intrinsics { fx: f, fy: f, ..guess }),
        (None, None) => None,
    }
}

/// The pose of a board from its homography (Zhang 2000, section 3.1, and the nearest rotation of
/// his appendix C). `None` for a degenerate one.
pub(super) fn pose(h: &Matrix3<f64>, lens: &Intrinsics) -> Option<Pose> {
    let k = Matrix3::new(lens.fx, 0.0, lens.cx, 0.0, lens.fy, lens.cy, 0.0, 0.0, 1.0);
    let m = k.try_inverse()? * h;
    let (a, b) = (m.column(0).norm(), m.column(1).norm());
    let mut scale = 2.0 / (a + b);
    // The board is in front of the camera.
    if m[(2, 2)] * scale < 0.0 {
        scale = -scale;
    }
    let (r1, r2): (Vector3<f64>, Vector3<f64>) = (m.column(0) * scale, m.column(1) * scale);
    let r3 = r1.cross(&r2);
    let svd = Matrix3::from_columns(&[r1, r2, r3]).svd(true, true);
    let rotation = svd.u? * svd.v_t?;
    if rotation.determinant() < 0.0 || !rotation.iter().all(|v| v.is_finite()) {
        return None;
    }
    Some(Pose {
        rotation: Rotation3::from_matrix_unchecked(rotation),
        translation: m.column(2) * scale,
    })
}
