//! Three-dimensional vectors and body axes: just what the figure needs.

/// A point or direction, metres, camera frame.
pub type V3 = [f64; 3];

/// Sum.
pub fn add(a: V3, b: V3) -> V3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// Difference `a - b`.
pub fn sub(a: V3, b: V3) -> V3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// `a` times `k`.
pub fn scale(a: V3, k: f64) -> V3 {
    [a[0] * k, a[1] * k, a[2] * k]
}

/// Scalar product.
pub fn dot(a: V3, b: V3) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Vector product.
pub fn cross(a: V3, b: V3) -> V3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// Length.
pub fn norm(a: V3) -> f64 {
    dot(a, a).sqrt()
}

/// Distance.
pub fn distance(a: V3, b: V3) -> f64 {
    norm(sub(a, b))
}

/// Direction of `a`; `a` itself where it has none.
pub fn unit(a: V3) -> V3 {
    let n = norm(a);
    if n > 1e-12 { scale(a, 1.0 / n) } else { a }
}

/// From `a` (at 0) to `b` (at 1).
pub fn mix(a: V3, b: V3, w: f64) -> V3 {
    add(scale(a, 1.0 - w), scale(b, w))
}

/// 0 below 0, 1 above 1, the cubic with level ends between.
pub fn smooth(x: f64) -> f64 {
    let x = x.clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

/// Orthonormal axes of a body part: `forward × left = up`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axes {
    /// Where the part faces.
    pub forward: V3,
    /// To the person's own left.
    pub left: V3,
    /// Towards the head.
    pub up: V3,
}

impl Axes {
    /// Upright, facing `(x, z)` in the floor plane (need not have unit length).
    pub fn upright(x: f64, z: f64) -> Self {
        let forward = unit([x, 0.0, z]);
        let up = [0.0, -1.0, 0.0];
        Self { forward, left: cross(up, forward), up }
    }

    /// Turned about its own up axis; positive turns to the left. Radians, as below.
    pub fn yawed(self, angle: f64) -> Self {
        let (s, c) = angle.sin_cos();
        let forward = add(scale(self.forward, c), scale(self.left, s));
        Self { forward, left: cross(self.up, forward), up: self.up }
    }

    /// Turned about its own left axis; positive bows forward.
    pub fn pitched(self, angle: f64) -> Self {
        let (s, c) = angle.sin_cos();
        let up = add(scale(self.up, c), scale(self.forward, s));
        Self { forward: cross(self.left, up), left: self.left, up }
    }

    /// Turned about its own forward axis; positive raises the left side.
    pub fn rolled(self, angle: f64) -> Self {
        let (s, c) = angle.sin_cos();
        let left = add(scale(self.left, c), scale(self.up, s));
        Self { forward: self.forward, left, up: cross(self.forward, left) }
    }

    /// The point `origin` + `forward`, `left`, `up` metres along the axes.
    pub fn point(&self, origin: V3, forward: f64, left: f64, up: f64) -> V3 {
        let across = add(scale(self.forward, forward), scale(self.left, left));
        add(origin, add(across, scale(self.up, up)))
    }

    /// The direction (forward, left, up) in the camera frame.
    pub fn direction(&self, forward: f64, left: f64, up: f64) -> V3 {
        self.point([0.0; 3], forward, left, up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turned_axes_stay_orthonormal_and_right_handed() {
        let a = Axes::upright(0.3, -0.8).yawed(0.7).pitched(-0.4).rolled(1.1);
        for v in [a.forward, a.left, a.up] {
            assert!((norm(v) - 1.0).abs() < 1e-12);
        }
        assert!(distance(cross(a.forward, a.left), a.up) < 1e-12);
    }

    #[test]
    fn a_person_who_walks_away_from_the_camera_has_the_left_hand_on_the_left() {
        let a = Axes::upright(0.0, 1.0);
        assert!(distance(a.left, [-1.0, 0.0, 0.0]) < 1e-12);
        assert!(a.yawed(0.5).forward[0] < 0.0, "a turn to the left");
        assert!(a.pitched(0.5).up[2] > 0.0, "a bow forward");
        assert!(a.rolled(0.5).left[1] < 0.0, "the left side rises");
    }
}
