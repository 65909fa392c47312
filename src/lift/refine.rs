//! Second thoughts: the pose of an instant that has been published, with more future seen.
//!
//! Every frame, the lifter is also asked for a slot further back. Those answers lie on the time
//! grid; the instants that frames described lie between them. So an instant's revision is the
//! mix of the two answers around it. One revision leaves with each frame, the oldest that is due.

use arrayvec::ArrayVec;
use ringbuf::LocalRb;
use ringbuf::storage::Heap;

use crate::pose::Pose3d;
use crate::skeleton::JOINTS;
use crate::time::Timestamp;

/// Answers further apart than this many periods are not mixed.
const MAX_PERIODS: f64 = 3.5;
/// How many answers are kept: frames that come faster than slots leave some for later.
const KEPT: usize = 4;

/// An answer about a moment in the past.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// When.
    pub(super) time: Timestamp,
    /// Root-relative, camera axes, metres.
    pub(super) joints: [[f64; 3]; JOINTS],
    /// Per joint.
    pub(super) confidence: [f32; JOINTS],
}

/// One person's poses that wait for their revision.
pub(super) struct Refiner {
    waiting: LocalRb<Heap<Pose3d>>,
    answers: ArrayVec<Answer, KEPT>,
    period_s: f64,
}

impl Refiner {
    /// For revisions with `slots` of `period_s` more future; `None` is kept where there are none.
    ///
    /// Full, the ring drops the oldest: it has room for 120 frames a second.
    pub(super) fn new(slots: u32, period_s: f64) -> Self {
        let frames = (f64::from(slots) + 2.0 * MAX_PERIODS) * period_s * 120.0;
        Self {
            waiting: LocalRb::new((frames.ceil() as usize).max(1)),
            answers: ArrayVec::new(),
            period_s,
        }
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.answers.clear();
    }

    /// Takes in a pose as it is published, and what is now known of an earlier moment.
    pub(super) fn observe(&mut self, pose: &Pose3d, answer: Answer) {
        self.waiting.push_overwrite(*pose);
        if self.answers.last().is_none_or(|last| last.time < answer.time) {
            if self.answers.is_full() {
                self.answers.remove(0);
            }
            self.answers.push(answer);
        }
    }

    /// The revision that is due, at the newest observation's time `now`. Its root is the
    /// published one of that instant.
    pub(super) fn revise(&mut self, now: Timestamp) -> Option<Pose3d> {
        let newest = self.answers.last()?.time;
        while self.waiting.first().is_some_and(|p| p.describes <= newest) {
            let pose = self.waiting.try_pop()?;
            if let Some(revised) = self.mix(&pose, now) {
                return Some(revised);
            }
        }
        None
    }

    fn mix(&self, pose: &Pose3d, now: Timestamp) -> Option<Pose3d> {
        let at = pose.describes;
        let after = self.answers.iter().position(|a| a.time >= at)?;
        let b = &self.answers[after];
        let a = if b.time == at { b } else { &self.answers[after.checked_sub(1)?] };
        let gap = b.time.secs_since(a.time);
        if gap > MAX_PERIODS * self.period_s {
            return None;
        }
        let w = if gap > 0.0 { at.secs_since(a.time) / gap } else { 0.0 };
        let mixed = |j: usize, k: usize| ((1.0 - w) * a.joints[j][k] + w * b.joints[j][k]) as f32;
        Some(Pose3d {
            joints: std::array::from_fn(|j| std::array::from_fn(|k| mixed(j, k))),
            confidence: if w < 0.5 { a.confidence } else { b.confidence },
            lookahead_nanos: u32::try_from(now.nanos() - at.nanos()).unwrap_or(u32::MAX),
            ..*pose
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_secs_f64(seconds)
    }

    /// A joint that moves by 1 m/s, as published at `t`: off by a metre.
    fn published(t: f64) -> Pose3d {
        Pose3d {
            joints: [[t as f32 + 1.0; 3]; JOINTS],
            confidence: [0.5; JOINTS],
            root: Some([t as f32; 3]),
            root_covariance: None,
            plausibility: None,
            describes: at(t),
            lookahead_nanos: 0,
        }
    }

    fn answer(t: f64) -> Answer {
        Answer { time: at(t), joints: [[t; 3]; JOINTS], confidence: [0.9; JOINTS] }
    }

    #[test]
    fn every_instant_is_revised_once_and_to_what_lies_there() {
        for fps in [10.0, 25.0, 30.0, 60.0] {
            let mut refiner = Refiner::new(5, 0.04);
            let mut revised = Vec::new();
            for i in 0..200 {
                let t = 10.0 + f64::from(i) / fps;
                // Five grid slots back.
                let grid = ((t - 1e-4) / 0.04).ceil() - 5.0;
                refiner.observe(&published(t), answer(grid * 0.04));
                if let Some(pose) = refiner.revise(at(t)) {
                    let s = pose.describes.secs_f64();
                    assert!(f64::from(pose.joints[3][1] - s as f32).abs() < 1e-4, "{fps}: {s}");
                    assert_eq!(pose.root, Some([s as f32; 3]));
                    let seen = f64::from(pose.lookahead_nanos) * 1e-9;
                    assert!((seen - (t - s)).abs() < 1e-6 && seen > 0.15, "{seen}");
                    revised.push(s);
                }
            }
            let ordered = revised.windows(2).all(|w| w[0] < w[1]);
            assert!(ordered, "{fps}: none twice, none out of order");
            assert!(revised.len() > 175, "{fps}: {} of 200", revised.len());
        }
    }

    #[test]
    fn across_a_gap_nothing_is_made_up() {
        let mut refiner = Refiner::new(2, 0.04);
        refiner.observe(&published(1.0), answer(0.92));
        assert_eq!(refiner.revise(at(1.0)), None);
        refiner.observe(&published(2.0), answer(1.92));
        assert_eq!(refiner.revise(at(2.0)), None, "1.0 lies between answers a second apart");
        refiner.clear();
        assert_eq!(refiner.revise(at(9.0)), None);
    }
}
