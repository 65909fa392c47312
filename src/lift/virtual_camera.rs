//! A camera that looks at the person, wherever the person stands in the picture.
//!
//! Lifters that are fed screen coordinates err when the subject is off-centre or the lens differs
//! from the training set's. Here directions are turned into a virtual camera that looks at the
//! person and divided by the person's apparent size, so that only the pose is left
//! (`models/train/lifter/INPUT.md`, sections 2 and 3).

use super::window::{Ray, Rays};

/// Directions further than this from the virtual camera's axis (cosine) are missing.
const MIN_DEPTH: f64 = 0.05;
const MIN_SIZE: f64 = 1e-3;
/// Coordinates in units of the person's size are clamped to this.
const CLAMP: f64 = 8.0;
/// It serves while the person is within so many sizes of its axis...
const SHIFT: f64 = 1.0;
/// ... and between these multiples of its size.
const SIZES: std::ops::RangeInclusive<f64> = 0.75..=1.33;
/// The context's lookahead is in slots divided by this.
const LOOKAHEAD_UNIT: f32 = 10.0;

/// A turn of the real camera and the person's apparent size in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VirtualCamera {
    /// Real camera frame to virtual camera frame; the rows are the virtual axes.
    pub rotation: [[f64; 3]; 3],
    /// Confidence-weighted root mean square distance of the keypoints from the axis, in the plane
    /// at distance 1.
    pub size: f64,
}

impl VirtualCamera {
    /// Aims at a person; `None` if nothing of it is seen.
    pub fn aim(rays: &Rays) -> Option<Self> {
        let mut sum = [0.0; 3];
        for ray in rays.iter().filter(|r| r.is_present()) {
            for (s, d) in sum.iter_mut().zip(ray.direction) {
                *s += f64::from(ray.confidence) * f64::from(d);
            }
        }
        let z = normalised(sum)?;
        // Yaw, then pitch, no roll: the virtual x axis stays in the picture's horizontal plane.
        let x = normalised([z[2], 0.0, -z[0]])?;
        let y = [z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0]];
        let mut camera = Self { rotation: [x, y, z], size: MIN_SIZE };
        let (mut weighted, mut weights) = (0.0, 0.0);
        for ray in rays.iter().filter(|r| r.is_present()) {
            if let Some([px, py]) = camera.plane(ray) {
                weighted += f64::from(ray.confidence) * (px * px + py * py);
                weights += f64::from(ray.confidence);
            }
        }
        camera.size = (weighted / f64::max(weights, 1e-9)).sqrt().max(MIN_SIZE);
        Some(camera)
    }

    /// Is this camera still good for a person whose own camera would be `own`?
    pub fn serves(&self, own: &Self) -> bool {
        let [x, y, z] = self.rotate(own.rotation[2]);
        z >= MIN_DEPTH
            && x.hypot(y) <= SHIFT * self.size * z
            && SIZES.contains(&(own.size / self.size))
    }

    /// Where a ray meets the plane at distance 1 of the virtual camera; `None` if it does not.
    fn plane(&self, ray: &Ray) -> Option<[f64; 2]> {
        let p = self.rotate(ray.direction.map(f64::from));
        (p[2] >= MIN_DEPTH).then(|| [p[0] / p[2], p[1] / p[2]])
    }

    /// A direction of the real camera frame in the virtual one.
    pub fn rotate(&self, v: [f64; 3]) -> [f64; 3] {
        self.rotation.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
    }

    /// A vector of the virtual camera frame in the real one.
    pub fn rotate_back(&self, v: [f64; 3]) -> [f64; 3] {
        let r = &self.rotation;
        std::array::from_fn(|k| r[0][k] * v[0] + r[1][k] * v[1] + r[2][k] * v[2])
    }

    /// A slot's row of the lifter's `window` tensor, `[17, 3]`: x, y in units of the person's
    /// size, and confidence; zeros where missing.
    pub fn fill_slot(&self, rays: &Rays, tensor: &mut [f32]) {
        for (ray, out) in rays.iter().zip(tensor.chunks_exact_mut(3)) {
            let point = if ray.is_present() { self.plane(ray) } else { None };
            match point {
                Some([x, y]) => {
                    out[0] = (x / self.size).clamp(-CLAMP, CLAMP) as f32;
                    out[1] = (y / self.size).clamp(-CLAMP, CLAMP) as f32;
                    out[2] = ray.confidence;
                }
                None => out.fill(0.0),
            }
        }
    }

    /// The lifter's `context` tensor: size; gravity (a unit vector in the real camera frame,
    /// pointing down) as this camera sees it, with a 1 behind it if it is known; and which slot
    /// is asked for.
    pub fn context(&self, gravity: Option<[f64; 3]>, lookahead: u32) -> [f32; 6] {
        let g = gravity.map_or([0.0; 3], |g| self.rotate(g)).map(|v| v as f32);
        let known = if gravity.is_some() { 1.0 } else { 0.0 };
        [self.size as f32, g[0], g[1], g[2], known, lookahead as f32 / LOOKAHEAD_UNIT]
    }
}

fn normalised(v: [f64; 3]) -> Option<[f64; 3]> {
    let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    (norm > 1e-9).then(|| v.map(|x| x / norm))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skeleton::JOINTS;

    fn ray(v: [f64; 3]) -> Ray {
        let n = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        Ray { direction: v.map(|x| (x / n) as f32), confidence: 0.9 }
    }

    /// A flat person facing the camera, turned away from the axis by yaw and pitch.
    fn person(yaw: f64, pitch: f64) -> Rays {
        std::array::from_fn(|j| {
            let (x, y, z) = ((j % 5) as f64 * 0.05 - 0.1, j as f64 * 0.05 - 0.4, 1.0);
            let (y, z) = (y * pitch.cos() - z * pitch.sin(), y * pitch.sin() + z * pitch.cos());
            ray([x * yaw.cos() + z * yaw.sin(), y, -x * yaw.sin() + z * yaw.cos()])
        })
    }

    #[test]
    fn the_window_does_not_depend_on_where_the_person_stands() {
        let (centred, turned) = (person(0.0, 0.0), person(0.6, 0.25));
        let mut tensors = [[0.0f32; JOINTS * 3]; 2];
        for (rays, tensor) in [&centred, &turned].iter().zip(&mut tensors) {
            VirtualCamera::aim(rays).unwrap().fill_slot(rays, tensor);
        }
        for (a, b) in tensors[0].iter().zip(&tensors[1]) {
            // What is left is the roll that yaw-then-pitch does not take out.
            assert!((a - b).abs() < 1e-2, "{a} {b}");
        }
    }

    #[test]
    fn the_rotation_is_orthonormal_without_roll_and_undone_by_its_back() {
        let v = VirtualCamera::aim(&person(-0.5, 0.3)).unwrap();
        assert!(v.rotation[0][1].abs() < 1e-12, "x stays horizontal");
        for i in 0..3 {
            for k in 0..3 {
                let dot: f64 = (0..3).map(|c| v.rotation[i][c] * v.rotation[k][c]).sum();
                assert!((dot - f64::from(u8::from(i == k))).abs() < 1e-12);
            }
        }
        let p = [0.3, -1.2, 2.0];
        let back = v.rotate_back(v.rotate(p));
        assert!(p.iter().zip(back).all(|(a, b)| (a - b).abs() < 1e-12));
        let down = v.rotate([0.0, 1.0, 0.0]);
        assert!(down[1] > 0.8, "down stays down: {down:?}");
    }

    #[test]
    fn nobody_cannot_be_aimed_at_and_missing_keypoints_are_zeros() {
        let empty = [Ray::default(); JOINTS];
        assert_eq!(VirtualCamera::aim(&empty), None);
        let v = VirtualCamera::aim(&person(0.2, 0.0)).unwrap();
        let mut tensor = [1.0f32; JOINTS * 3];
        v.fill_slot(&empty, &mut tensor);
        assert_eq!(tensor, [0.0; JOINTS * 3]);
    }

    #[test]
    fn it_serves_who_stays_about_where_and_as_large_as_at_first() {
        let v = VirtualCamera::aim(&person(0.2, 0.0)).unwrap();
        assert!(v.serves(&v));
        let own = |yaw| VirtualCamera::aim(&person(yaw, 0.0)).unwrap();
        assert!(v.serves(&own(0.2 + 0.9 * v.size)) && !v.serves(&own(0.2 + 1.3 * v.size)));
        assert!(v.serves(&VirtualCamera { size: 1.3 * v.size, ..v }));
        assert!(!v.serves(&VirtualCamera { size: 1.4 * v.size, ..v }));
        assert!(!v.serves(&VirtualCamera { size: 0.7 * v.size, ..v }));
        assert!(!v.serves(&own(0.2 + std::f64::consts::PI)), "nor who is behind it");
    }
}
