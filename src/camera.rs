//! The pinhole camera with lens distortion: from pixels to rays and back.
//!
//! Camera frame: x right, y down, z forward. The distortion model is OpenCV's
//! (k1, k2, p1, p2, k3), Brown-Conrady.

use serde::{Deserialize, Serialize};

use crate::orientation::Orientation;

/// Intrinsic parameters of one camera at one picture size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intrinsics {
    /// Picture width that the parameters hold for, pixels.
    pub width: u32,
    /// Picture height that the parameters hold for, pixels.
    pub height: u32,
    /// Horizontal focal length, pixels.
    pub fx: f64,
    /// Vertical focal length, pixels.
    pub fy: f64,
    /// Principal point, pixels from the centre of the left-most column.
    pub cx: f64,
    /// Principal point, pixels from the centre of the top row.
    pub cy: f64,
    /// k1, k2, p1, p2, k3 as OpenCV orders them.
    #[serde(default)]
    pub distortion: [f64; 5],
}

/// Intrinsics that cannot belong to a camera.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum IntrinsicsError {
    /// A size or focal length is not a positive finite number.
    #[error("camera intrinsics: {0} must be a positive finite number")]
    NotPositive(&'static str),
    /// A principal point or coefficient is not finite.
    #[error("camera intrinsics: {0} must be a finite number")]
    NotFinite(&'static str),
}

impl Intrinsics {
    /// The angle that the picture spans along its longer side, degrees, were there no distortion:
    /// the inverse of [`from_fov`](Self::from_fov).
    #[must_use]
    pub fn fov_degrees(&self) -> f64 {
        let (side, f) =
            if self.width >= self.height { (self.width, self.fx) } else { (self.height, self.fy) };
        2.0 * (f64::from(side) / 2.0 / f).atan().to_degrees()
    }

    /// A distortion-free camera whose picture spans `fov_degrees` along its longer side: the
    /// stated guess where there is no calibration.
    pub fn from_fov(width: u32, height: u32, fov_degrees: f64) -> Self {
        let half = f64::from(width.max(height)) / 2.0;
        let f = half / (fov_degrees.to_radians() / 2.0).tan();
        Self {
            width,
            height,
            fx: f,
            fy: f,
            cx: (f64::from(width) - 1.0) / 2.0,
            cy: (f64::from(height) - 1.0) / 2.0,
            distortion: [0.0; 5],
        }
    }

    /// Checks that the numbers can belong to a camera.
    ///
    /// # Errors
    /// Names the first field that cannot.
    pub fn check(&self) -> Result<(), IntrinsicsError> {
        let positive = [
            ("width", f64::from(self.width)),
            ("height", f64::from(self.height)),
            ("fx", self.fx),
            ("fy", self.fy),
        ];
        for (name, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(IntrinsicsError::NotPositive(name));
            }
        }
        if !(self.cx.is_finite() && self.cy.is_finite()) {
            return Err(IntrinsicsError::NotFinite("cx, cy"));
        }
        if !self.distortion.iter().all(|k| k.is_finite()) {
            return Err(IntrinsicsError::NotFinite("distortion"));
        }
        Ok(())
    }

    /// The same camera delivering another picture size (scaled, not cropped).
    pub fn resized(&self, width: u32, height: u32) -> Self {
        let sx = f64::from(width) / f64::from(self.width);
        let sy = f64::from(height) / f64::from(self.height);
        Self {
            width,
            height,
            fx: self.fx * sx,
            fy: self.fy * sy,
            // Pixel centres are at integers, so the picture's edge is at -0.5.
            cx: (self.cx + 0.5) * sx - 0.5,
            cy: (self.cy + 0.5) * sy - 0.5,
            distortion: self.distortion,
        }
    }

    /// The same camera whose pictures are turned.
    pub fn turned(&self, o: Orientation) -> Self {
        let [k1, k2, mut p1, mut p2, k3] = self.distortion;
        let (mut fx, mut fy) = (self.fx, self.fy);
        let [cx, cy] = o.point([self.cx, self.cy], self.width, self.height);
        let (width, height) = o.size(self.width, self.height);
        // The tangential part turns like a vector whose components are p2 and p1.
        if o.mirror {
            p2 = -p2;
        }
        for _ in 0..o.quarters {
            (p1, p2) = (p2, -p1);
            (fx, fy) = (fy, fx);
        }
        Self { width, height, fx, fy, cx, cy, distortion: [k1, k2, p1, p2, k3] }
    }

    /// Pixel to the undistorted normalised plane: the ray is (u, v, 1).
    ///
    /// Inverts the distortion by fixed-point iteration, as OpenCV's `undistortPoints` does; far
    /// outside of the picture, where the model folds over, the result is the last iterate.
    pub fn unproject(&self, x: f64, y: f64) -> [f64; 2] {
        let xd = (x - self.cx) / self.fx;
        let yd = (y - self.cy) / self.fy;
        if self.distortion == [0.0; 5] {
            return [xd, yd];
        }
        let (mut u, mut v) = (xd, yd);
        for _ in 0..20 {
            let (radial, dx, dy) = self.distortion_at(u, v);
            if radial.abs() < 1e-6 {
                break;
            }
            let next = ((xd - dx) / radial, (yd - dy) / radial);
            if !(next.0.is_finite() && next.1.is_finite()) {
                break;
            }
            let moved = (next.0 - u).abs() + (next.1 - v).abs();
            (u, v) = next;
            if moved < 1e-10 {
                break;
            }
        }
        [u, v]
    }

    /// A point in the camera frame (metres) to pixels; `None` behind the camera.
    pub fn project(&self, point: [f64; 3]) -> Option<[f64; 2]> {
        if point[2] <= 1e-6 {
            return None;
        }
        let (u, v) = (point[0] / point[2], point[1] / point[2]);
        let (radial, dx, dy) = self.distortion_at(u, v);
        Some([self.fx * (u * radial + dx) + self.cx, self.fy * (v * radial + dy) + self.cy])
    }

    /// (radial factor, tangential x, tangential y) at an undistorted point.
    fn distortion_at(&self, u: f64, v: f64) -> (f64, f64, f64) {
        let [k1, k2, p1, p2, k3] = self.distortion;
        let r2 = u * u + v * v;
        let radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3));
        let dx = 2.0 * p1 * u * v + p2 * (r2 + 2.0 * u * u);
        let dy = p1 * (r2 + 2.0 * v * v) + 2.0 * p2 * u * v;
        (radial, dx, dy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_angle_of_view_is_along_the_longer_side() {
        assert!((Intrinsics::from_fov(1280, 720, 70.0).fov_degrees() - 70.0).abs() < 1e-9);
        assert!((Intrinsics::from_fov(480, 640, 35.0).fov_degrees() - 35.0).abs() < 1e-9);
        let narrow = Intrinsics { fx: 1280.0, ..Intrinsics::from_fov(1280, 720, 70.0) };
        assert!((narrow.fov_degrees() - 53.13).abs() < 0.01);
    }

    #[test]
    fn unprojecting_a_projection_gives_the_ray_back_with_and_without_distortion() {
        let mut camera = Intrinsics::from_fov(1280, 720, 70.0);
        for distortion in [[0.0; 5], [-0.28, 0.09, 0.0008, -0.0006, -0.01]] {
            camera.distortion = distortion;
            for (x, y) in [(-0.5, -0.3), (0.0, 0.0), (0.4, 0.25), (0.6, -0.35)] {
                let pixel = camera.project([x * 3.0, y * 3.0, 3.0]).unwrap();
                let [u, v] = camera.unproject(pixel[0], pixel[1]);
                assert!((u - x).abs() < 1e-7 && (v - y).abs() < 1e-7, "{u} {v} for {x} {y}");
            }
        }
    }

    #[test]
    fn the_field_of_view_spans_the_longer_side() {
        for (w, h) in [(640, 480), (480, 640)] {
            let c = Intrinsics::from_fov(w, h, 60.0);
            let edge = c.unproject(-0.5, -0.5);
            let wanted = 30f64.to_radians().tan();
            assert!((edge[0].abs().max(edge[1].abs()) - wanted).abs() < 1e-9);
        }
    }

    #[test]
    fn resizing_keeps_the_ray_of_a_picture_corner() {
        let a = Intrinsics { cx: 300.0, cy: 260.0, ..Intrinsics::from_fov(640, 480, 60.0) };
        let b = a.resized(320, 240);
        let (p, q) = (a.unproject(-0.5, -0.5), b.unproject(-0.5, -0.5));
        assert!((p[0] - q[0]).abs() < 1e-12 && (p[1] - q[1]).abs() < 1e-12);
    }

    #[test]
    fn a_turned_camera_sees_a_turned_point_at_the_turned_pixel() {
        let camera = Intrinsics {
            fy: 590.0,
            cx: 300.0,
            cy: 250.0,
            distortion: [-0.28, 0.09, 0.004, -0.003, -0.01],
            ..Intrinsics::from_fov(640, 480, 60.0)
        };
        for n in 0..8 {
            let o = Orientation { mirror: n >= 4, quarters: n % 4 };
            let turned = camera.turned(o);
            for point in [[0.3, -0.2, 1.0], [-0.5, 0.4, 1.5], [0.0, 0.0, 2.0]] {
                let wanted = o.point(camera.project(point).unwrap(), 640, 480);
                let got = turned.project(o.direction(point)).unwrap();
                assert!((got[0] - wanted[0]).abs() < 1e-9, "{o}: {got:?} for {wanted:?}");
                assert!((got[1] - wanted[1]).abs() < 1e-9, "{o}: {got:?} for {wanted:?}");
            }
        }
    }

    #[test]
    fn impossible_intrinsics_are_named() {
        let mut c = Intrinsics::from_fov(640, 480, 60.0);
        c.fy = 0.0;
        assert_eq!(c.check(), Err(IntrinsicsError::NotPositive("fy")));
        c.fy = 500.0;
        c.distortion[2] = f64::NAN;
        assert_eq!(c.check(), Err(IntrinsicsError::NotFinite("distortion")));
    }

    #[test]
    fn points_behind_the_camera_have_no_pixel() {
        assert_eq!(Intrinsics::from_fov(640, 480, 60.0).project([0.0, 0.0, -1.0]), None);
    }
}
