//! Where the camera is, from one view of a board that lies at a known place.

use nalgebra::{Matrix3, Rotation3, UnitQuaternion, Vector3};
use serde::{Deserialize, Serialize};

use super::board::Board;
use super::bundle::{self, Reprojection, State};
use super::homography::homography;
use super::{View, lm, start};
use crate::camera::Intrinsics;

/// The camera in another frame: a robot's or a room's. A point p of the camera's frame is at
/// `rotation p + translation` in that one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extrinsics {
    /// Name of the other frame: `world`, `base_link`. Its z is taken to point up.
    pub frame: String,
    /// The camera's optical centre in it, metres.
    pub translation: [f64; 3],
    /// Unit quaternion w, x, y, z.
    pub rotation: [f64; 4],
}

impl Extrinsics {
    /// Checks that the numbers can be those of a camera.
    ///
    /// # Errors
    /// What cannot, in words.
    pub fn check(&self) -> Result<(), String> {
        if !self.translation.iter().all(|v| v.is_finite() && v.abs() < 1e6) {
            return Err("extrinsics: translation must be three finite numbers, metres".into());
        }
        let norm = self.rotation.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm.is_nan() || (norm - 1.0).abs() >= 1e-3 {
            return Err(format!(
                "extrinsics: rotation must be a unit quaternion w, x, y, z; its length is {norm}"
            ));
        }
        Ok(())
    }

    fn quaternion(&self) -> UnitQuaternion<f64> {
        let [w, x, y, z] = self.rotation;
        UnitQuaternion::from_quaternion(nalgebra::Quaternion::new(w, x, y, z))
    }

    /// The other frame's downward direction in the camera's frame; a unit vector.
    pub fn gravity(&self) -> [f64; 3] {
        let down = self.quaternion().inverse() * -Vector3::z();
        [down.x, down.y, down.z]
    }

    /// A point of the camera's frame in the other one, metres.
    pub fn place(&self, point: [f64; 3]) -> [f64; 3] {
        let p = self.quaternion() * Vector3::from(point) + Vector3::from(self.translation);
        [p.x, p.y, p.z]
    }
}

/// Where the board lies in the other frame: the frame that is printed on it, whose origin is the
/// corner with the arrows, x along the longer row of squares, y upwards on the paper, z out of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoardPlace {
    /// The origin, metres.
    pub at: [f64; 3],
    /// Roll, pitch, yaw, degrees: rotations about the other frame's x, then y, then z.
    pub roll_pitch_yaw: [f64; 3],
}

/// Finds the camera.
///
/// # Errors
/// If the board has no unique orientation, or its corners are not those of a plane; in words.
pub fn locate(
    board: &Board,
    lens: &Intrinsics,
    view: &View,
    place: &BoardPlace,
    frame: &str,
) -> Result<(Extrinsics, f64), String> {
    if !board.has_origin() {
        return Err(format!(
            "a board of {}x{} inner corners looks the same upside down: use one with an odd and \
             an even number, as 9x6",
            board.columns, board.rows
        ));
    }
    let points = board.points();
    if view.corners.len() != points.len() {
        return Err(format!("{} corners, not {}", view.corners.len(), points.len()));
    }
    // The closed form wants a lens without distortion: rays instead of pixels.
    let rays: Vec<[f64; 2]> = view.corners.iter().map(|c| lens.unproject(c[0], c[1])).collect();
    let plain = Intrinsics { fx: 1.0, fy: 1.0, cx: 0.0, cy: 0.0, distortion: [0.0; 5], ..*lens };
    let first = homography(&points, &rays)
        .and_then(|h| start::pose(&h, &plain))
        .ok_or("the corners are not those of a flat board in front of the camera")?;
    let views = [view];
    let problem = Reprojection { points: &points, views: &views, free: [false; bundle::LENS] };
    let state = State { lens: bundle::from_intrinsics(lens), poses: vec![first] };
    let solved = lm::minimise(&problem, state, 100);
    let pose = solved.state.poses[0];
    let rms = (2.0 * solved.cost / points.len() as f64).sqrt();

    // Board frame (z into the paper) to the printed one (z out of it): half a turn about x.
    let flip =
        Rotation3::from_matrix_unchecked(Matrix3::from_diagonal(&Vector3::new(1.0, -1.0, -1.0)));
    let [roll, pitch, yaw] = place.roll_pitch_yaw.map(f64::to_radians);
    let placed = Rotation3::from_euler_angles(roll, pitch, yaw);
    // other <- printed <- board <- camera
    let rotation = placed * flip * pose.rotation.inverse();
    let translation = Vector3::from(place.at) - rotation * pose.translation;
    let q = UnitQuaternion::from_rotation_matrix(&rotation);
    // Of the two quaternions of a rotation, the one with a positive first element.
    let sign = if q.w < 0.0 { -1.0 } else { 1.0 };
    let extrinsics = Extrinsics {
        frame: frame.to_owned(),
        translation: [translation.x, translation.y, translation.z],
        rotation: [q.w, q.i, q.j, q.k].map(|v| sign * v),
    };
    Ok((extrinsics, rms))
}
