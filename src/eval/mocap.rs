//! Motion capture in posewire's own file, seen by stated cameras.
//!
//! The arrays of the `.npz` (or `.npz.xz`): `pos_delta` i16 `[66, F]`, the differences from frame to
//! frame of 22 points' millimetres (the pelvis in the world, y up; the others relative to it);
//! `offsets` `[S + 1]`, where the sequences begin; `names`, `subject`, `split` `[S]`; `hz`. The points
//! are the 17 joints of Human3.6M and five of the face, of which COCO's 17 are assembled.

use std::path::Path;

use super::npz::Npz;
use super::view::View;
use super::{EvalError, Joints, Sequence};
use crate::skeleton::{JOINTS, Skeleton};

const POINTS: usize = 22;
/// Each COCO keypoint's place among the 22 points.
const COCO: [usize; JOINTS] = [17, 18, 19, 20, 21, 11, 14, 12, 15, 13, 16, 4, 1, 5, 2, 6, 3];

/// The file, decoded.
pub struct Mocap {
    positions: Vec<[[f32; 3]; POINTS]>,
    offsets: Vec<usize>,
    names: Vec<String>,
    subjects: Vec<String>,
    splits: Vec<String>,
    rate_hz: f64,
}

impl Mocap {
    /// Is it such a file?
    pub fn fits(npz: &Npz) -> bool {
        npz.has("pos_delta") && npz.has("offsets")
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// If an array is missing or does not fit the others.
    pub fn read(npz: &mut Npz) -> Result<Self, EvalError> {
        let file = npz.name().to_owned();
        let wrong = |problem: String| EvalError::data(&file, problem);
        let delta = npz.array("pos_delta")?;
        let [rows, frames] = delta.shape[..] else {
            return Err(wrong(format!("pos_delta has the shape {:?}", delta.shape)));
        };
        if rows != POINTS * 3 {
            return Err(wrong(format!("pos_delta has {rows} rows, 66 are needed")));
        }
        let number = |a: super::array::Array| a.numbers().map_err(|e| wrong(e.to_string()));
        let delta = number(delta)?;
        let mut positions = vec![[[0f32; 3]; POINTS]; frames];
        for row in 0..rows {
            let mut sum = 0.0;
            for (p, d) in positions.iter_mut().zip(&delta[row * frames..(row + 1) * frames]) {
                sum += d;
                p[row / 3][row % 3] = sum as f32;
            }
        }
        for p in &mut positions {
            let root = p[0];
            for point in &mut p[1..] {
                for k in 0..3 {
                    point[k] += root[k];
                }
            }
        }
        let offsets: Vec<usize> =
            number(npz.array("offsets")?)?.into_iter().map(|o| o as usize).collect();
        let mut texts =
            |name: &str| npz.array(name)?.texts().map_err(|e| wrong(format!("{name}: {e}")));
        let (names, subjects, splits) = (texts("names")?, texts("subject")?, texts("split")?);
        let n = names.len();
        let rising = offsets.windows(2).all(|w| w[0] <= w[1]);
        if offsets.len() != n + 1
            || !rising
            || offsets.last() != Some(&frames)
            || subjects.len() != n
            || splits.len() != n
        {
            return Err(wrong(
                "offsets, names, subject and split do not fit each other".to_owned(),
            ));
        }
        let rate_hz = number(npz.array("hz")?)?.first().copied().unwrap_or(0.0);
        if !(1.0..=1000.0).contains(&rate_hz) {
            return Err(wrong(format!("{rate_hz} frames per second")));
        }
        Ok(Self { positions, offsets, names, subjects, splits, rate_hz })
    }

    /// Opens and reads a file.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn open(path: &Path) -> Result<Self, EvalError> {
        Self::read(&mut Npz::open(path)?)
    }

    /// Every sequence of `split` ("heldout", "train", or all if `None`) as each of `views` sees it.
    pub fn sequences<'a>(
        &'a self,
        views: &'a [View],
        skeleton: Skeleton,
        split: Option<&'a str>,
    ) -> impl Iterator<Item = Sequence> + 'a {
        let wanted = (0..self.names.len()).filter(move |&s| {
            let frames = self.offsets[s + 1] - self.offsets[s];
            frames > 0 && split.is_none_or(|split| self.splits[s] == split)
        });
        views
            .iter()
            .flat_map(move |view| wanted.clone().map(move |s| self.sequence(s, view, skeleton)))
    }

    fn sequence(&self, s: usize, view: &View, skeleton: Skeleton) -> Sequence {
        let poses = &self.positions[self.offsets[s]..self.offsets[s + 1]];
        let metres = |p: [f32; 3]| p.map(|v| f64::from(v) / 1000.0);
        let mut target = [0.0; 3];
        for pose in poses {
            for (t, v) in target.iter_mut().zip(metres(pose[0])) {
                *t += v / poses.len() as f64;
            }
        }
        let camera = view.aim(target);
        let joints =
            |pose: &[[f32; 3]; POINTS]| -> Joints { std::array::from_fn(|j| metres(pose[j])) };
        let shown = |pose: &[[f32; 3]; POINTS]| match skeleton {
            Skeleton::Coco17 => camera.keypoints(&COCO.map(|j| metres(pose[j]))),
            Skeleton::Human36m17 => camera.keypoints(&joints(pose)),
        };
        Sequence {
            subject: self.subjects[s].clone(),
            action: action(&self.names[s]),
            camera: view.to_string(),
            rate_hz: self.rate_hz,
            intrinsics: camera.intrinsics,
            mount: Some(camera.mount),
            skeleton,
            keypoints: poses.iter().map(shown).collect(),
            truth: poses.iter().map(|p| joints(p).map(|j| camera.see(j))).collect(),
        }
    }
}

/// `cmu_16_04:jump` is "jump"; `uiprmd_m05_s09_e03` is the exercise "uiprmd_m05", done by subject 9
/// for the third time; a name that says nothing more is its subject's: `cmu_135`.
fn action(name: &str) -> String {
    if let Some((_, what)) = name.split_once(':') {
        return what.trim().to_owned();
    }
    let parts: Vec<_> = name.split('_').collect();
    let told = parts.iter().rposition(|p| {
        let counts = p.strip_prefix(['s', 'e']).unwrap_or(p);
        counts.is_empty() || !counts.bytes().all(|b| b.is_ascii_digit())
    });
    let end = match told {
        // "cmu": the number behind it is the subject's.
        Some(0) => 2.min(parts.len()),
        Some(last) => last + 1,
        None => parts.len(),
    };
    parts[..end].join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_by_what_is_done() {
        for (name, wanted) in [
            ("cmu_16_04:jump", "jump"),
            ("uiprmd_m05_s09_e03", "uiprmd_m05"),
            ("uiprmd_inc_m01_s09_e04", "uiprmd_inc_m01"),
            ("cmu_135_02", "cmu_135"),
            ("fair1", "fair1"),
        ] {
            assert_eq!(action(name), wanted, "{name}");
        }
    }

    #[test]
    fn the_shared_file_gives_people_who_stand_upright_in_the_picture() {
        let Some(dir) = crate::engine::tiny::shared_data("mocap") else { return };
        let mocap = Mocap::open(&dir.join("mocap_50hz.npz.xz")).unwrap();
        let views = [View::default()];
        let mut count = 0;
        for s in mocap.sequences(&views, Skeleton::Coco17, Some("heldout")).step_by(20) {
            assert_eq!(s.keypoints.len(), s.truth.len());
            assert_eq!(s.rate_hz, 50.0);
            let tall = |t: &Joints| (t[10][1] - t[3][1].max(t[6][1])).abs();
            let tallest = s.truth.iter().map(tall).fold(0.0, f64::max);
            assert!((1.1..2.1).contains(&tallest), "{}: {tallest} m", s.action);
            // The keypoint of the left wrist is where the camera sees the joint.
            let seen = s.keypoints[0].points[9];
            if seen.confidence > 0.0 {
                let [x, y] = s.intrinsics.project(s.truth[0][13]).unwrap();
                assert!((f64::from(seen.x) - x).abs() < 1e-2);
                assert!((f64::from(seen.y) - y).abs() < 1e-2);
            }
            count += 1;
        }
        assert!(count > 5, "{count} sequences");
    }
}
