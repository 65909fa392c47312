//! From poses and truths to the numbers of a report.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Joints;
use super::predict::Pair;
use crate::metrics::{self, motion, threshold};
use crate::skeleton::{JOINTS, Skeleton, h36m};

/// PCK's threshold, and where AUC's thresholds end, mm.
const LIMIT_MM: f64 = 150.0;
/// Between AUC's thresholds, mm.
const STEP_MM: f64 = 5.0;
const MM: f64 = 1000.0;

/// Everything that is reported of a set of poses. Means over frames; lengths in millimetres.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Score {
    /// Frames with a pose and a truth.
    pub frames: usize,
    /// Mean per-joint position error, pelvis to pelvis.
    pub mpjpe_mm: f64,
    /// After the best turn, scale and shift.
    pub p_mpjpe_mm: f64,
    /// After the best scale.
    pub n_mpjpe_mm: f64,
    /// Of first differences, mm per frame.
    pub mpjve_mm_per_frame: f64,
    /// The same per second.
    pub mpjve_mm_per_s: f64,
    /// Of second differences, mm per frame squared.
    pub accel_error_mm_per_frame2: f64,
    /// The same per second squared, metres.
    pub accel_error_m_per_s2: f64,
    /// Share of joints, but for the pelvis, that are less than 150 mm off, percent.
    pub pck150_percent: f64,
    /// Mean of that share over the thresholds 0, 5, ... 150 mm, percent.
    pub auc_percent: f64,
    /// Mean length of third differences, m/s³.
    pub jitter_m_per_s3: f64,
    /// The truth's own.
    pub truth_jitter_m_per_s3: f64,
    /// Standard deviation of a bone's length within a sequence, mean over bones and sequences.
    pub bone_deviation_mm: f64,
}

/// A joint's part in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JointScore {
    /// Its name.
    pub name: &'static str,
    /// Mean position error, pelvis to pelvis, mm.
    pub mean_mm: f64,
    /// A tenth of the errors are below, mm.
    pub p10_mm: f64,
    /// A tenth of the errors are above, mm.
    pub p90_mm: f64,
    /// Mean error after the best similarity of the whole pose, mm.
    pub aligned_mean_mm: f64,
}

/// An action's score, and how its frames' errors spread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActionScore {
    /// Its name.
    pub name: String,
    /// A tenth of its frames' MPJPE are below, mm.
    pub p10_mm: f64,
    /// A tenth of its frames' MPJPE are above, mm.
    pub p90_mm: f64,
    /// Its numbers.
    #[serde(flatten)]
    pub score: Score,
}

/// A sum and how many it is of.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    n: f64,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.n += 1.0;
        }
    }

    fn join(&mut self, other: &Self) {
        self.sum += other.sum;
        self.n += other.n;
    }

    /// 0 of nothing: there were no such differences.
    fn get(&self) -> f64 {
        if self.n > 0.0 { self.sum / self.n } else { 0.0 }
    }
}

#[derive(Clone, Debug, Default)]
struct Group {
    /// Each frame's joints, mm.
    errors: Vec<[f32; JOINTS]>,
    aligned: Vec<[f32; JOINTS]>,
    scaled: Mean,
    velocity: Mean,
    velocity_per_s: Mean,
    acceleration: Mean,
    acceleration_per_s2: Mean,
    jitter: Mean,
    truth_jitter: Mean,
    bones: Mean,
}

/// Collects sequences.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    groups: BTreeMap<String, Group>,
}

impl Tally {
    /// Adds a sequence's poses, which follow each other at `rate_hz`. Differences over time are
    /// taken where every pose of them is there.
    pub fn add(&mut self, action: &str, rate_hz: f64, pairs: &[Option<Pair>]) {
        let group = self.groups.entry(action.to_owned()).or_default();
        let root = h36m::PELVIS;
        for pair in pairs.iter().flatten() {
            let errors = metrics::joint_errors(&pair.predicted, &pair.truth, root);
            let aligned = metrics::aligned_joint_errors(&pair.predicted, &pair.truth);
            let (Some(errors), Some(aligned)) = (errors, aligned) else { continue };
            group.errors.push(millimetres(errors));
            group.aligned.push(millimetres(aligned));
            group.scaled.add(metrics::n_mpjpe(&pair.predicted, &pair.truth, root));
        }
        for w in pairs.windows(2) {
            let error = both(w).and_then(|(p, t)| motion::velocity_error(p, t, root));
            group.velocity.add(error);
            group.velocity_per_s.add(error.map(|e| e * rate_hz));
        }
        for w in pairs.windows(3) {
            let error = both(w).and_then(|(p, t)| motion::acceleration_error(p, t, root));
            group.acceleration.add(error);
            group.acceleration_per_s2.add(error.map(|e| e * rate_hz.powi(2)));
        }
        for w in pairs.windows(4) {
            let Some((p, t)) = both(w) else { continue };
            group.jitter.add(motion::jitter(p, root).map(|j| j * rate_hz.powi(3)));
            group.truth_jitter.add(motion::jitter(t, root).map(|j| j * rate_hz.powi(3)));
        }
        let poses: Vec<Joints> = pairs.iter().flatten().map(|p| p.predicted).collect();
        group.bones.add(motion::bone_length_deviation(&poses, Skeleton::Human36m17.bones()));
    }

    /// Over everything. Every frame counts the same, whatever its action.
    pub fn overall(&self) -> Score {
        let mut all = Group::default();
        for g in self.groups.values() {
            all.errors.extend_from_slice(&g.errors);
            all.aligned.extend_from_slice(&g.aligned);
            for (sum, part) in all.means().into_iter().zip(g.clone().means()) {
                sum.join(part);
            }
        }
        all.score()
    }

    /// The mean over actions of their MPJPE, mm: how Human3.6M's protocols average.
    pub fn mean_over_actions(&self) -> f64 {
        let mut mean = Mean::default();
        for g in self.groups.values().filter(|g| !g.errors.is_empty()) {
            mean.add(Some(g.score().mpjpe_mm));
        }
        mean.get()
    }

    /// Each action, by name.
    pub fn actions(&self) -> Vec<ActionScore> {
        let score = |(name, g): (&String, &Group)| {
            let mut frames: Vec<f64> = g.errors.iter().map(|e| mean(e)).collect();
            let (p10_mm, p90_mm) = spread(&mut frames);
            ActionScore { name: name.clone(), p10_mm, p90_mm, score: g.score() }
        };
        self.groups.iter().filter(|(_, g)| !g.errors.is_empty()).map(score).collect()
    }

    /// Each joint, over everything.
    pub fn joints(&self) -> Vec<JointScore> {
        let of = |j: usize, which: fn(&Group) -> &Vec<[f32; JOINTS]>| -> Vec<f64> {
            self.groups.values().flat_map(which).map(|e| f64::from(e[j])).collect()
        };
        let joint = |(j, name): (usize, &&'static str)| {
            let mut errors = of(j, |g| &g.errors);
            let aligned = of(j, |g| &g.aligned);
            let average = |v: &[f64]| v.iter().sum::<f64>() / v.len().max(1) as f64;
            let (p10_mm, p90_mm) = spread(&mut errors);
            let (mean_mm, aligned_mean_mm) = (average(&errors), average(&aligned));
            JointScore { name, mean_mm, p10_mm, p90_mm, aligned_mean_mm }
        };
        Skeleton::Human36m17.joint_names().iter().enumerate().map(joint).collect()
    }
}

impl Group {
    fn means(&mut self) -> [&mut Mean; 8] {
        [
            &mut self.scaled,
            &mut self.velocity,
            &mut self.velocity_per_s,
            &mut self.acceleration,
            &mut self.acceleration_per_s2,
            &mut self.jitter,
            &mut self.truth_jitter,
            &mut self.bones,
        ]
    }

    fn score(&self) -> Score {
        let average = |errors: &[[f32; JOINTS]]| {
            errors.iter().map(|e| mean(e)).sum::<f64>() / errors.len().max(1) as f64
        };
        // The pelvis is right by definition.
        let apart: Vec<f64> =
            self.errors.iter().flat_map(|e| &e[1..]).map(|e| f64::from(*e)).collect();
        let percent = |share: Option<f64>| share.map_or(0.0, |s| 100.0 * s);
        Score {
            frames: self.errors.len(),
            mpjpe_mm: average(&self.errors),
            p_mpjpe_mm: average(&self.aligned),
            n_mpjpe_mm: MM * self.scaled.get(),
            mpjve_mm_per_frame: MM * self.velocity.get(),
            mpjve_mm_per_s: MM * self.velocity_per_s.get(),
            accel_error_mm_per_frame2: MM * self.acceleration.get(),
            accel_error_m_per_s2: self.acceleration_per_s2.get(),
            pck150_percent: percent(threshold::pck(&apart, LIMIT_MM)),
            auc_percent: percent(threshold::auc(&apart, LIMIT_MM, STEP_MM)),
            jitter_m_per_s3: self.jitter.get(),
            truth_jitter_m_per_s3: self.truth_jitter.get(),
            bone_deviation_mm: MM * self.bones.get(),
        }
    }
}

fn millimetres(metres: impl Iterator<Item = f64>) -> [f32; JOINTS] {
    let mut out = [0.0; JOINTS];
    for (o, m) in out.iter_mut().zip(metres) {
        *o = (MM * m) as f32;
    }
    out
}

fn mean(errors: &[f32; JOINTS]) -> f64 {
    errors.iter().map(|e| f64::from(*e)).sum::<f64>() / JOINTS as f64
}

/// The poses and truths of successive frames; `None` where one is missing.
fn both<const N: usize>(
    pairs: &[Option<Pair>],
) -> Option<([&[metrics::V3]; N], [&[metrics::V3]; N])> {
    let mut predicted: [&[metrics::V3]; N] = [&[]; N];
    let mut truth = predicted;
    for (i, pair) in pairs.iter().enumerate().take(N) {
        let pair = pair.as_ref()?;
        predicted[i] = &pair.predicted;
        truth[i] = &pair.truth;
    }
    Some((predicted, truth))
}

/// The 10th and 90th percentile; sorts.
fn spread(values: &mut [f64]) -> (f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let last = values.len().saturating_sub(1) as f64;
        values.get((share * last).round() as usize).copied().unwrap_or(0.0)
    };
    (at(0.1), at(0.9))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pose that is no point, with joint 5 moved by `off` along x.
    fn pose(off: f64) -> Joints {
        let mut pose: Joints = std::array::from_fn(|j| {
            let j = j as f64;
            [0.05 * j, 0.3 * (j * 1.7).sin(), 0.2 * (j * 0.9).cos()]
        });
        pose[0] = [0.0; 3];
        pose[5][0] += off;
        pose
    }

    fn pair(off: f64) -> Option<Pair> {
        Some(Pair { predicted: pose(off), truth: pose(0.0) })
    }

    #[test]
    fn one_joint_that_is_34_mm_off_is_2_mm_on_average_and_does_not_move() {
        let mut tally = Tally::default();
        tally.add("stand", 50.0, &[pair(0.034); 6]);
        let s = tally.overall();
        assert_eq!(s.frames, 6);
        assert!((s.mpjpe_mm - 2.0).abs() < 1e-4, "{s:?}");
        assert!(s.p_mpjpe_mm > 0.1 && s.p_mpjpe_mm < 4.0 && s.n_mpjpe_mm < 4.0);
        assert!(s.mpjve_mm_per_frame < 1e-9 && s.jitter_m_per_s3 < 1e-6);
        assert_eq!(s.pck150_percent, 100.0);
        // 15 joints exact: 30 of 31 thresholds; one at 34 mm: 35, 40, ... 150 are 24.
        assert!((s.auc_percent - 100.0 * (15.0 * 30.0 + 24.0) / (16.0 * 31.0)).abs() < 1e-9);
        let joints = tally.joints();
        assert_eq!(joints[5].name, "left_knee");
        assert!((joints[5].mean_mm - 34.0).abs() < 1e-3 && joints[4].mean_mm < 1e-3);
        assert!((joints[5].p10_mm - 34.0).abs() < 1e-3);
    }

    #[test]
    fn a_drift_is_velocity_and_no_acceleration_and_gaps_are_not_bridged() {
        let drift = |i: i32| pair(0.017 * f64::from(i));
        let mut tally = Tally::default();
        tally.add("a", 10.0, &[drift(0), drift(1), drift(2), drift(3)]);
        let s = tally.overall();
        assert!((s.mpjve_mm_per_frame - 1.0).abs() < 1e-9, "17 mm per frame at one of 17: {s:?}");
        assert!((s.mpjve_mm_per_s - 10.0).abs() < 1e-9);
        assert!(s.accel_error_mm_per_frame2 < 1e-9);

        let mut tally = Tally::default();
        tally.add("a", 10.0, &[drift(0), None, drift(2), None, drift(4)]);
        let s = tally.overall();
        assert_eq!((s.frames, s.mpjve_mm_per_frame), (3, 0.0));
    }

    #[test]
    fn actions_are_apart_and_every_frame_counts_once_over_all() {
        let mut tally = Tally::default();
        tally.add("far", 50.0, &[pair(0.170); 1]);
        tally.add("near", 50.0, &[pair(0.017); 3]);
        let actions = tally.actions();
        let names: Vec<_> = actions.iter().map(|a| (a.name.as_str(), a.score.frames)).collect();
        assert_eq!(names, [("far", 1), ("near", 3)]);
        assert!((actions[0].score.mpjpe_mm - 10.0).abs() < 1e-4);
        assert!((tally.overall().mpjpe_mm - (10.0 + 3.0) / 4.0).abs() < 1e-4);
        assert!((tally.mean_over_actions() - 5.5).abs() < 1e-4);
        // 170 mm is beyond PCK's 150 for one of 16 joints.
        assert!((actions[0].score.pck150_percent - 100.0 * 15.0 / 16.0).abs() < 1e-9);
    }
}
