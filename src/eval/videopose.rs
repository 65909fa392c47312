//! VideoPose3D's files: `data_2d_*.npz` (keypoints) and `data_3d_*.npz` (the truth).
//!
//! Both hold a dictionary of subjects of actions (`positions_2d`, `positions_3d`). Keypoints are a
//! list with one array `[F, 17, 2]` per camera, in pixels; `metadata` names the keypoints that are
//! each other's mirror image, which tells their order. Joints are one array `[F, 17 or 32, 3]`,
//! metres. In Human3.6M's files these lie in the world (z up) and the cameras are in a program, so
//! they must be stated ([`Cameras`]); other files may hold the cameras' own axes.

use std::path::Path;

use serde::Deserialize;

use super::array::Array;
use super::npz::Npz;
use super::pickle::{self, Object};
use super::{EvalError, Joints, Sequence};
use crate::camera::Intrinsics;
use crate::lift::Mount;
use crate::pose::{Keypoint, Keypoints2d};
use crate::skeleton::{JOINTS, Skeleton};

/// The 17 joints that evaluations use, of the 32 that Human3.6M has.
const OF_32: [usize; JOINTS] = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27];
const OF_17: [usize; JOINTS] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

/// A file of cameras (TOML): `[[camera]]`, in the order of the keypoint file's lists.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cameras {
    camera: Vec<Camera>,
}

/// One camera.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    /// In words.
    pub name: String,
    /// Whom this entry is for; everybody if absent.
    pub subjects: Option<Vec<String>>,
    /// What it is.
    pub intrinsics: Intrinsics,
    /// Quaternion w, x, y, z that turns the camera's axes into the world's.
    pub orientation: [f64; 4],
    /// Where it stands in the world, metres.
    pub translation: [f64; 3],
}

impl Cameras {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// If it is not as described, or a camera cannot be.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let file = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| EvalError::data(&file, e))?;
        let cameras: Self =
            toml::from_str(&text).map_err(|e| EvalError::data(&file, e.message()))?;
        for c in &cameras.camera {
            c.intrinsics
                .check()
                .map_err(|e| EvalError::data(&file, format!("camera {:?}: {e}", c.name)))?;
            let norm: f64 = c.orientation.iter().map(|v| v * v).sum();
            if (norm - 1.0).abs() > 1e-3 || !c.translation.iter().all(|v| v.is_finite()) {
                let problem = format!("camera {:?}: its orientation is no unit quaternion", c.name);
                return Err(EvalError::data(&file, problem));
            }
        }
        Ok(cameras)
    }

    fn of(&self, subject: &str) -> Vec<&Camera> {
        let for_them = |c: &&Camera| match &c.subjects {
            Some(subjects) => subjects.iter().any(|s| s == subject),
            None => true,
        };
        self.camera.iter().filter(for_them).collect()
    }
}

impl Camera {
    /// A vector of the world in the camera's axes.
    fn turn(&self, v: [f64; 3]) -> [f64; 3] {
        let [w, x, y, z] = self.orientation;
        // Rows of the transposed rotation.
        let rows = [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y)],
            [2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x)],
            [2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y)],
        ];
        rows.map(|r| r[0] * v[0] + r[1] * v[1] + r[2] * v[2])
    }

    /// A point of the world in the camera's frame.
    fn see(&self, p: [f64; 3]) -> [f64; 3] {
        self.turn(std::array::from_fn(|k| p[k] - self.translation[k]))
    }

    /// From where the world's down (-z) is.
    fn mount(&self) -> Mount {
        let g = self.turn([0.0, 0.0, -1.0]);
        let pitch_degrees = (-g[2]).clamp(-1.0, 1.0).asin().to_degrees();
        Mount { pitch_degrees, roll_degrees: g[0].atan2(g[1]).to_degrees() }
    }
}

/// In which axes the joints are.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The world's, with the cameras that see it.
    World(Cameras),
    /// Each camera's own; all cameras are alike.
    Camera(Intrinsics),
}

/// The two files, read.
pub struct VideoPose {
    file: String,
    truth: Object,
    seen: Object,
    skeleton: Skeleton,
    frame: Frame,
    rate_hz: f64,
}

impl VideoPose {
    /// Reads the keypoints from one file and the joints from another (or the same).
    ///
    /// # Errors
    /// If an array is missing, or the keypoints' order is not known.
    pub fn read(
        keypoints: &mut Npz,
        joints: &mut Npz,
        frame: Frame,
        rate_hz: f64,
    ) -> Result<Self, EvalError> {
        let skeleton = layout(&objects(keypoints, "metadata")?)
            .map_err(|problem| EvalError::data(keypoints.name(), problem))?;
        let seen = objects(keypoints, "positions_2d")?;
        let truth = objects(joints, "positions_3d")?;
        let file = format!("{} and {}", keypoints.name(), joints.name());
        if seen.entries().is_none() || truth.entries().is_none() {
            return Err(EvalError::data(file, "no dictionary of subjects"));
        }
        Ok(Self { file, truth, seen, skeleton, frame, rate_hz })
    }

    /// Of the keypoints.
    pub fn skeleton(&self) -> Skeleton {
        self.skeleton
    }

    /// Every action of every subject that has keypoints and joints, by every camera.
    pub fn sequences(&self) -> impl Iterator<Item = Result<Sequence, EvalError>> + '_ {
        let subjects = self.truth.entries().unwrap_or_default();
        subjects.iter().flat_map(move |(subject, actions)| {
            let subject = subject.text().unwrap_or("?");
            let actions = actions.entries().unwrap_or_default();
            actions.iter().flat_map(move |(action, truth)| {
                let action = action.text().unwrap_or("?");
                let views = self
                    .seen
                    .get(subject)
                    .and_then(|s| s.get(action))
                    .map(|views| views.items().unwrap_or(std::slice::from_ref(views)))
                    .unwrap_or_default();
                views.iter().enumerate().map(move |(i, keypoints)| {
                    self.sequence(subject, action, i, keypoints, truth).map_err(|problem| {
                        let what = format!("{subject}, {action:?}, camera {i}: {problem}");
                        EvalError::data(&self.file, what)
                    })
                })
            })
        })
    }

    fn sequence(
        &self,
        subject: &str,
        action: &str,
        view: usize,
        keypoints: &Object,
        truth: &Object,
    ) -> Result<Sequence, String> {
        let truth = match truth.items() {
            Some(each) => each.get(view).ok_or("there are joints for fewer cameras")?,
            None => truth,
        };
        let mut truth = joints(truth)?;
        let keypoints = pixels(keypoints)?;
        if keypoints.len() < truth.len() {
            let (n, m) = (keypoints.len(), truth.len());
            return Err(format!("{n} frames of keypoints for {m} frames of joints"));
        }
        let (camera, intrinsics, mount) = match &self.frame {
            Frame::Camera(intrinsics) => (format!("camera {view}"), *intrinsics, None),
            Frame::World(cameras) => {
                let of = cameras.of(subject);
                let c = of.get(view).ok_or_else(|| {
                    format!("the file of cameras has {} for this subject", of.len())
                })?;
                for pose in &mut truth {
                    *pose = pose.map(|j| c.see(j));
                }
                (c.name.clone(), c.intrinsics, Some(c.mount()))
            }
        };
        Ok(Sequence {
            subject: subject.to_owned(),
            // "Walking 1" is Walking.
            action: action.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end().to_owned(),
            camera,
            rate_hz: self.rate_hz,
            intrinsics,
            mount,
            skeleton: self.skeleton,
            // As VideoPose3D does: cameras run on a little after the motion capture has ended.
            keypoints: keypoints.into_iter().take(truth.len()).collect(),
            truth,
        })
    }
}

/// An array of objects, read.
fn objects(npz: &mut Npz, name: &str) -> Result<Object, EvalError> {
    let array = npz.array(name)?;
    if array.dtype.kind != 'O' {
        let problem = format!("{name:?} is an array of numbers, a dictionary is needed");
        return Err(EvalError::data(npz.name(), problem));
    }
    pickle::read(&array.bytes)
        .map_err(|e| EvalError::data(npz.name(), format!("the array {name:?} is {e}")))
}

/// Which keypoints, by which of them are left.
fn layout(metadata: &Object) -> Result<Skeleton, String> {
    let left = metadata.get("keypoints_symmetry").and_then(|s| s.items()?.first());
    let numbers: Option<Vec<usize>> = match left {
        Some(Object::List(items)) => items.iter().map(|i| i.number().map(|n| n as usize)).collect(),
        Some(Object::Array(a)) => {
            a.numbers().ok().map(|all| all.into_iter().map(|n| n as usize).collect())
        }
        _ => None,
    };
    match numbers.as_deref() {
        Some([4, 5, 6, 11, 12, 13]) => Ok(Skeleton::Human36m17),
        Some([1, 3, 5, 7, 9, 11, 13, 15]) => Ok(Skeleton::Coco17),
        Some(other) => {
            Err(format!("its left keypoints are {other:?}: neither Human3.6M's 17 nor COCO's 17"))
        }
        None => {
            Err("its metadata has no keypoints_symmetry, which tells the keypoints' order"
                .to_owned())
        }
    }
}

fn joints(object: &Object) -> Result<Vec<Joints>, String> {
    let array = object.array().ok_or_else(|| format!("{} instead of joints", object.what()))?;
    let order = match array.shape[..] {
        [_, 17, 3] => OF_17,
        [_, 32, 3] => OF_32,
        _ => return Err(format!("joints of shape {:?}, [F, 17 or 32, 3] is needed", array.shape)),
    };
    let numbers = finite(array)?;
    let frames = numbers.chunks_exact(3 * array.shape[1]);
    Ok(frames.map(|f| order.map(|j| [f[3 * j], f[3 * j + 1], f[3 * j + 2]])).collect())
}

fn pixels(object: &Object) -> Result<Vec<Keypoints2d>, String> {
    let array = object.array().ok_or_else(|| format!("{} instead of keypoints", object.what()))?;
    let [_, JOINTS, n @ (2 | 3)] = array.shape[..] else {
        return Err(format!("keypoints of shape {:?}, [F, 17, 2 or 3] is needed", array.shape));
    };
    let numbers = finite(array)?;
    let point = |p: &[f64]| {
        let confidence = p.get(2).map_or(1.0, |c| *c as f32);
        Keypoint { x: p[0] as f32, y: p[1] as f32, confidence }
    };
    let frame = |f: &[f64]| {
        let points = std::array::from_fn(|j| point(&f[n * j..n * j + n]));
        Keypoints2d { points, score: 1.0 }
    };
    Ok(numbers.chunks_exact(n * JOINTS).map(frame).collect())
}

fn finite(array: &Array) -> Result<Vec<f64>, String> {
    let numbers = array.numbers().map_err(|e| e.to_string())?;
    if numbers.iter().all(|v| v.is_finite()) {
        Ok(numbers)
    } else {
        Err("a number that is not finite".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looking_along_y() -> Camera {
        // Camera x = world x, camera y (down) = world -z, camera z = world y: a quarter turn
        // about x, backwards.
        let h = 0.5f64.sqrt();
        Camera {
            name: "c".into(),
            subjects: None,
            intrinsics: Intrinsics::from_fov(1000, 1000, 60.0),
            orientation: [h, -h, 0.0, 0.0],
            translation: [1.0, -4.0, 1.5],
        }
    }

    #[test]
    fn the_world_is_seen_in_the_cameras_axes() {
        let c = looking_along_y();
        let p = c.see([1.5, 0.0, 1.0]);
        assert!((p[0] - 0.5).abs() < 1e-12 && (p[1] - 0.5).abs() < 1e-12, "{p:?}");
        assert!((p[2] - 4.0).abs() < 1e-12, "{p:?}");
        let m = c.mount();
        assert!(m.pitch_degrees.abs() < 1e-9 && m.roll_degrees.abs() < 1e-9, "{m:?}");
    }

    #[test]
    fn a_file_of_cameras_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cameras.toml");
        let good = "[[camera]]\nname = \"a\"\nsubjects = [\"S9\"]\norientation = [1, 0, 0, 0]\n\
            translation = [0, 0, 0]\nintrinsics = { width = 1000, height = 1002, fx = 1145.0, \
            fy = 1143.8, cx = 512.5, cy = 515.5 }\n";
        std::fs::write(&path, good).unwrap();
        let cameras = Cameras::read(&path).unwrap();
        assert_eq!((cameras.of("S9").len(), cameras.of("S11").len()), (1, 0));
        for (right, wrong, word) in [
            ("[1, 0, 0, 0]", "[1, 1, 0, 0]", "quaternion"),
            ("fx = 1145.0", "fx = 0.0", "fx"),
            ("name", "nome", "nome"),
        ] {
            std::fs::write(&path, good.replacen(right, wrong, 1)).unwrap();
            let said = Cameras::read(&path).unwrap_err().to_string();
            assert!(said.contains(word) && said.contains("cameras.toml"), "{said}");
        }
    }

    #[test]
    fn the_order_of_keypoints_is_told_by_their_symmetry() {
        let metadata = |left: &[i64]| {
            let list = |n: &[i64]| Object::List(n.iter().map(|i| Object::Int(*i)).collect());
            let both = Object::List(vec![list(left), list(&[])]);
            Object::Map(vec![(Object::Text("keypoints_symmetry".into()), both)])
        };
        assert_eq!(layout(&metadata(&[4, 5, 6, 11, 12, 13])), Ok(Skeleton::Human36m17));
        assert_eq!(layout(&metadata(&[1, 3, 5, 7, 9, 11, 13, 15])), Ok(Skeleton::Coco17));
        assert!(layout(&metadata(&[1, 2])).unwrap_err().contains("[1, 2]"));
        assert!(layout(&Object::None).unwrap_err().contains("keypoints_symmetry"));
    }
}
