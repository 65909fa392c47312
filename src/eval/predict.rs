//! A sequence through a lifter.

use super::{EvalError, Joints, Sequence};
use crate::camera::Intrinsics;
use crate::lift::{Lift, LiftSettings, Mount};
use crate::pose::{Keypoints2d, TrackId};
use crate::skeleton::{JOINTS, Skeleton};
use crate::time::Timestamp;

/// How the lifter is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As the runtime does: frame by frame, with what the lifter keeps of the past.
    Streamed,
    /// Every window by itself, nothing kept from one to the next. After the last frame the last
    /// keypoints are repeated until the lifter has seen its future, as the literature does, so
    /// every frame is answered.
    Windows,
}

/// A pose, and what it should have been.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The lifter's, relative to the pelvis.
    pub predicted: Joints,
    /// The truth at the moment that the pose describes.
    pub truth: Joints,
}

/// Who is who, to a lifter that has seen others before.
#[derive(Default)]
pub struct Tracks(u32);

impl Tracks {
    fn next(&mut self) -> TrackId {
        self.0 = self.0.wrapping_add(1).max(1);
        TrackId(self.0)
    }
}

/// What the lifter makes of a sequence: one entry for each frame at which it was asked, `None`
/// where it had no answer or one about a time outside of the sequence.
///
/// # Errors
/// If the lifter fails, or wants other keypoints than the sequence has.
pub fn predict(
    lifter: &mut dyn Lift,
    tracks: &mut Tracks,
    sequence: &Sequence,
    mode: Mode,
) -> Result<Vec<Option<Pair>>, EvalError> {
    if lifter.input_skeleton() != sequence.skeleton {
        return Err(EvalError::Asked(format!(
            "the lifter {} wants {} keypoints, the data has {}: choose another model or other data",
            lifter.name(),
            lifter.input_skeleton(),
            sequence.skeleton
        )));
    }
    lifter.retain(&|_| false);
    let n = sequence.keypoints.len();
    let time = |i: usize| Timestamp::from_secs_f64(i as f64 / sequence.rate_hz);
    // What is seen at a frame, or after the last one.
    let seen = |i: usize| &sequence.keypoints[i.min(n - 1)];
    let mut pairs = Vec::with_capacity(n);
    let mut track = tracks.next();
    if mode == Mode::Streamed {
        for i in 0..n {
            lifter.observe(track, time(i), seen(i), &sequence.intrinsics)?;
            let pose = lifter.lift(track, time(i))?;
            pairs.push(pose.and_then(|p| pair(sequence, p.describes, p.joints)));
        }
        return Ok(pairs);
    }
    // How far the window reaches is the lifter's business; that it has all of it is made sure by
    // giving it the whole sequence up to its future, each time anew.
    let mut future = 0;
    let mut i = 0;
    while i < n + future {
        lifter.retain(&|_| false);
        track = tracks.next();
        // Only so much of the past as any lifter has in its window.
        for k in i.saturating_sub((LONGEST_S * sequence.rate_hz) as usize)..=i {
            lifter.observe(track, time(k), seen(k), &sequence.intrinsics)?;
        }
        let pose = lifter.lift(track, time(i))?;
        if let Some(p) = &pose {
            let ahead = f64::from(p.lookahead_nanos) / 1e9 * sequence.rate_hz;
            future = ahead.round() as usize;
        }
        pairs.push(pose.and_then(|p| pair(sequence, p.describes, p.joints)));
        i += 1;
    }
    Ok(pairs)
}

/// No known lifter looks further back: 243 frames at 25 Hz are 9.7 s.
const LONGEST_S: f64 = 10.0;

fn pair(sequence: &Sequence, at: Timestamp, joints: [[f32; 3]; JOINTS]) -> Option<Pair> {
    let truth = truth_at(sequence, at.secs_f64() * sequence.rate_hz)?;
    Some(Pair { predicted: joints.map(|j| j.map(f64::from)), truth })
}

/// The truth at frame `at`, between frames on the straight line, relative to the pelvis.
fn truth_at(sequence: &Sequence, at: f64) -> Option<Joints> {
    let last = sequence.truth.len().checked_sub(1)?;
    if at < -1e-3 || at > last as f64 + 1e-3 {
        return None;
    }
    let at = at.clamp(0.0, last as f64);
    let before = (at.floor() as usize).min(last);
    let (a, b) = (&sequence.truth[before], &sequence.truth[(before + 1).min(last)]);
    let w = at - before as f64;
    let mix = |j: usize| -> [f64; 3] { std::array::from_fn(|k| a[j][k] + w * (b[j][k] - a[j][k])) };
    let root = mix(0);
    Some(std::array::from_fn(|j| {
        let p = mix(j);
        std::array::from_fn(|k| p[k] - root[k])
    }))
}

/// The sequence as a mirror would show it, by the mirrored camera.
pub fn mirrored(sequence: &Sequence) -> Sequence {
    let width = sequence.intrinsics.width as f32;
    let order = *sequence.skeleton.mirror();
    let flip = |k: &Keypoints2d| Keypoints2d {
        points: order.map(|j| {
            let p = k.points[j];
            crate::pose::Keypoint { x: width - p.x, ..p }
        }),
        score: k.score,
    };
    let i = sequence.intrinsics;
    let [k1, k2, p1, p2, k3] = i.distortion;
    Sequence {
        // Rays are mirrored exactly: x' - cx' = -(x - cx); of the lens, only p2 is not even in x.
        intrinsics: Intrinsics {
            cx: f64::from(i.width) - i.cx,
            distortion: [k1, k2, p1, -p2, k3],
            ..i
        },
        mount: sequence.mount.map(mirrored_mount),
        keypoints: sequence.keypoints.iter().map(flip).collect(),
        truth: sequence.truth.iter().map(mirrored_joints).collect(),
        ..sequence.clone()
    }
}

/// A camera held as in the mirror.
pub fn mirrored_mount(mount: Mount) -> Mount {
    Mount { roll_degrees: -mount.roll_degrees, ..mount }
}

fn mirrored_joints(joints: &Joints) -> Joints {
    Skeleton::Human36m17.mirror().map(|j| [-joints[j][0], joints[j][1], joints[j][2]])
}

/// The mean of the lifter's answer and of the mirror image of its answer to the mirrored sequence
/// (flip augmentation). A frame that either has no answer for has none.
pub fn flip_averaged(plain: &[Option<Pair>], flipped: &[Option<Pair>]) -> Vec<Option<Pair>> {
    let mean = |a: &Pair, b: &Pair| {
        let back = mirrored_joints(&b.predicted);
        let joint = |j: usize| std::array::from_fn(|k| 0.5 * (a.predicted[j][k] + back[j][k]));
        Pair { predicted: std::array::from_fn(joint), truth: a.truth }
    };
    plain.iter().zip(flipped).map(|(a, b)| Some(mean(a.as_ref()?, b.as_ref()?))).collect()
}

/// The lifter's settings for a camera that is held as `mount` says.
pub fn settings_for(settings: &LiftSettings, mount: Option<Mount>) -> LiftSettings {
    LiftSettings { mount, ..*settings }
}

#[cfg(test)]
#[path = "predict_tests.rs"]
mod tests;
