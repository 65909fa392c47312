//! Stated cameras for motion capture: where they stand and what they would see.

use super::Joints;
use crate::camera::Intrinsics;
use crate::lift::Mount;
use crate::pose::{Keypoint, Keypoints2d};
use crate::skeleton::JOINTS;

/// A camera that looks at where a sequence happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Degrees around the person: 0 stands on the world's +z side, 90 on its +x side.
    pub yaw: f64,
    /// Metres above the floor.
    pub height: f64,
    /// Metres from the middle of the sequence, along the floor.
    pub distance: f64,
    /// Degrees along the picture's longer side.
    pub fov: f64,
    /// Picture size, pixels.
    pub size: (u32, u32),
}

impl Default for View {
    fn default() -> Self {
        Self { yaw: 0.0, height: 1.4, distance: 4.0, fov: 60.0, size: (1280, 720) }
    }
}

impl std::fmt::Display for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { yaw, height, distance, fov, size: (w, h) } = self;
        write!(f, "yaw={yaw},height={height},distance={distance},fov={fov},size={w}x{h}")
    }
}

impl std::str::FromStr for View {
    type Err = String;

    /// `yaw=30,height=1.4,distance=4,fov=60,size=1280x720`; what is left out has its default.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut view = Self::default();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').ok_or(format!("{part:?} is not KEY=VALUE"))?;
            let number = || value.parse::<f64>().map_err(|_| format!("{value:?} is no number"));
            match key {
                "yaw" => view.yaw = number()?,
                "height" => view.height = number()?,
                "distance" => view.distance = number()?,
                "fov" => view.fov = number()?,
                "size" => view.size = size(value)?,
                _ => return Err(format!("{key:?}: there are yaw, height, distance, fov and size")),
            }
        }
        let possible = view.yaw.is_finite()
            && (0.0..=100.0).contains(&view.height)
            && (0.2..=100.0).contains(&view.distance)
            && (1.0..=170.0).contains(&view.fov);
        if possible {
            Ok(view)
        } else {
            Err("no camera can stand there, or see so wide".to_owned())
        }
    }
}

/// `1280x720`.
pub fn size(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    parsed
        .filter(|(w, h)| (1..=65_535u32).contains(w) && (1..=65_535u32).contains(h))
        .ok_or(format!("{text:?} is not WIDTHxHEIGHT"))
}

/// A camera in a world whose y axis points up.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// What it is.
    pub intrinsics: Intrinsics,
    /// How it is held.
    pub mount: Mount,
    /// Rows: the camera's axes in the world.
    axes: [[f64; 3]; 3],
    centre: [f64; 3],
}

impl View {
    /// Aims at `target` (world, metres; y = 0 is the floor), without roll.
    pub fn aim(&self, target: [f64; 3]) -> Placed {
        let (s, c) = self.yaw.to_radians().sin_cos();
        let (x, z) = (target[0] + self.distance * s, target[2] + self.distance * c);
        let centre = [x, self.height, z];
        let forward: [f64; 3] = std::array::from_fn(|k| target[k] - centre[k]);
        let length = forward.iter().map(|v| v * v).sum::<f64>().sqrt();
        let forward = forward.map(|v| v / length);
        let level = forward[0].hypot(forward[2]);
        let right = [-forward[2] / level, 0.0, forward[0] / level];
        let down = [
            forward[1] * right[2] - forward[2] * right[1],
            forward[2] * right[0] - forward[0] * right[2],
            forward[0] * right[1] - forward[1] * right[0],
        ];
        let (w, h) = self.size;
        Placed {
            intrinsics: Intrinsics::from_fov(w, h, self.fov),
            mount: Mount { pitch_degrees: forward[1].asin().to_degrees(), roll_degrees: 0.0 },
            axes: [right, down, forward],
            centre,
        }
    }
}

impl Placed {
    /// A world point in the camera's axes.
    pub fn see(&self, p: [f64; 3]) -> [f64; 3] {
        let d: [f64; 3] = std::array::from_fn(|k| p[k] - self.centre[k]);
        self.axes.map(|a| a[0] * d[0] + a[1] * d[1] + a[2] * d[2])
    }

    /// What it sees of world points, exactly; what lies outside of the picture is missing.
    pub fn keypoints(&self, points: &Joints) -> Keypoints2d {
        let (w, h) = (f64::from(self.intrinsics.width), f64::from(self.intrinsics.height));
        let points: [Keypoint; JOINTS] =
            points.map(|p| match self.intrinsics.project(self.see(p)) {
                Some([x, y]) if x > -0.5 && y > -0.5 && x < w - 0.5 && y < h - 0.5 => {
                    Keypoint { x: x as f32, y: y as f32, confidence: 1.0 }
                }
                _ => Keypoint::default(),
            });
        Keypoints2d { points, score: 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_looks_at_its_target_level_and_upright() {
        for yaw in [0.0, 40.0, 90.0, 200.0] {
            let view = View { yaw, height: 2.0, ..View::default() };
            let placed = view.aim([1.0, 1.0, -2.0]);
            let middle = placed.see([1.0, 1.0, -2.0]);
            assert!(middle[0].abs() < 1e-12 && middle[1].abs() < 1e-12, "{middle:?}");
            assert!((middle[2] - 17f64.sqrt()).abs() < 1e-12, "4 m away and 1 m down");
            let above = placed.see([1.0, 1.5, -2.0]);
            assert!(above[1] < -0.4 && above[0].abs() < 1e-12, "up is up: {above:?}");
            assert!((placed.mount.pitch_degrees + 14.036).abs() < 1e-3, "it looks down");
            // Gravity as the mount states it is down as the camera sees it.
            let g = placed.mount.gravity();
            let down = placed.axes.map(|a| -a[1]);
            assert!(g.iter().zip(down).all(|(a, b)| (a - b).abs() < 1e-12), "{g:?} {down:?}");
        }
        // From +z, the world's +x is at the right.
        assert!(View::default().aim([0.0; 3]).see([0.5, 0.0, 0.0])[0] > 0.4);
    }

    #[test]
    fn views_are_written_and_read() {
        let view: View = "yaw=90,fov=75.5,size=640x480".parse().unwrap();
        assert_eq!((view.yaw, view.fov, view.size, view.height), (90.0, 75.5, (640, 480), 1.4));
        assert_eq!(view.to_string().parse::<View>().unwrap(), view);
        for (text, word) in
            [("yaw", "KEY"), ("tilt=3", "tilt"), ("fov=200", "wide"), ("size=3", "3")]
        {
            assert!(text.parse::<View>().unwrap_err().contains(word), "{text}");
        }
    }
}
