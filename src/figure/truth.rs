//! What a perfect detector would say: the figure's keypoints in the picture, and which of them
//! the camera can see.

use crate::camera::Intrinsics;
use crate::skeleton::{JOINTS, coco};
use crate::time::Timestamp;

use super::flesh::{Solid, solids};
use super::vec3::smooth;
use super::{Figure, Pose};

/// Frames per second of the demo, where nothing else is asked for.
pub const FRAME_RATE: f64 = 30.0;

/// The demo's camera: 640×480, 65 degrees across, level, free of distortion.
pub fn camera() -> Intrinsics {
    Intrinsics::from_fov(640, 480, 65.0)
}

/// When frame `sequence` shows the figure, at `rate` frames per second.
pub fn moment(sequence: u64, rate: f64) -> Timestamp {
    Timestamp::from_nanos((sequence as f64 / rate * 1e9).round() as i64)
}

/// COCO-17 in the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projection {
    /// Pixels; outside of the picture where a point is.
    pub points: [[f64; 2]; JOINTS],
    /// 1: in plain view; 0: behind something, or outside of the picture.
    pub visibility: [f64; JOINTS],
}

/// How deep below the skin each point lies, metres: what may cover it without hiding it.
const COVER: [f64; JOINTS] = {
    let mut cover = [0.10; JOINTS];
    cover[coco::NOSE] = 0.02;
    cover[coco::LEFT_EYE] = 0.02;
    cover[coco::RIGHT_EYE] = 0.02;
    cover[coco::LEFT_EAR] = 0.03;
    cover[coco::RIGHT_EAR] = 0.03;
    cover[coco::LEFT_SHOULDER] = 0.12;
    cover[coco::RIGHT_SHOULDER] = 0.12;
    cover[coco::LEFT_HIP] = 0.19;
    cover[coco::RIGHT_HIP] = 0.19;
    cover[coco::LEFT_WRIST] = 0.07;
    cover[coco::RIGHT_WRIST] = 0.07;
    cover
};

impl Figure {
    /// The keypoints of `pose` in the picture of `camera`.
    pub fn project(&self, pose: &Pose, camera: &Intrinsics) -> Projection {
        let flesh = solids(self, pose);
        let mut out = Projection { points: [[0.0; 2]; JOINTS], visibility: [0.0; JOINTS] };
        for (j, &point) in pose.keypoints.iter().enumerate() {
            let Some(pixel) = camera.project(point) else { continue };
            out.points[j] = pixel;
            let inside = (-0.5..f64::from(camera.width) - 0.5).contains(&pixel[0])
                && (-0.5..f64::from(camera.height) - 0.5).contains(&pixel[1]);
            if inside {
                // A few centimetres beyond what the point's own flesh explains is hidden.
                let over = covered(&flesh, point) - COVER[j];
                out.visibility[j] = 1.0 - smooth(over / 0.04);
            }
        }
        out
    }
}

/// How far in front of `point` the line of sight first meets flesh, metres; 0 if it does not.
fn covered(flesh: &[Solid], point: [f64; 3]) -> f64 {
    let towards = point.map(|x| x as f32);
    let first = flesh
        .iter()
        .filter_map(|s| s.hit(s.camera(), s.local(towards)))
        .fold(1.0f32, |t, hit| t.min(hit.t));
    f64::from(1.0 - first) * super::vec3::norm(point)
}
