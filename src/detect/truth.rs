//! A detector that knows the answer: for `demo:` where no trained detector is at hand.
//!
//! It does not look at the pixels. It asks the drawn figure where it was when the frame was taken
//! and answers like a detector: jittering, unsure of what is hidden, now and then blind. The
//! magnitudes are those of a small top-down network on these very pictures (PP-TinyPose): 3 % of the
//! torso, as median, where a joint is in plain view, and twice that where it is hidden
//! (`tests/demo_detectors.py`, 2026-11-23: 2.9 % and 6.1 %).

use crate::camera::Intrinsics;
use crate::figure::Figure;
use crate::figure::random::SplitMix64;
use crate::figure::truth::{Projection, moment};
use crate::frame::{Frame, ImageView};
use crate::pose::{Keypoint, Keypoints2d};
use crate::skeleton::{COCO_SIGMAS, JOINTS, Skeleton, h36m};

use super::{DetectError, Detector};

/// Share of the jitter that carries over from one frame to the next at 30 frames per second:
/// networks err in the same direction while the picture hardly changes.
const CARRY: f64 = 0.82;
/// Jitter of a visible joint, as a share of COCO's annotation spread for it.
const VISIBLE: f64 = 0.26;
/// The same for a hidden joint.
const HIDDEN: f64 = 0.7;
/// Chance per frame that one joint is missed: in view, hidden.
const MISS: (f64, f64) = (0.004, 0.10);
/// Chance per frame that the whole person is missed.
const BLIND: f64 = 0.004;

/// The stand-in detector for `demo:`. See the module's page.
pub struct TruthDetector {
    figure: Figure,
    camera: Intrinsics,
    rate: f64,
    seed: u64,
    /// Each joint's standing error in units of its own deviation, x and y, and the frame it was
    /// for.
    jitter: [[f64; 2]; JOINTS],
    last: Option<u64>,
}

impl TruthDetector {
    /// For frames of `demo:` at `rate` frames per second. Equal seeds give equal noise.
    pub fn new(rate: f64, seed: u64) -> Self {
        Self {
            figure: Figure::default(),
            camera: crate::figure::truth::camera(),
            rate,
            seed,
            jitter: [[0.0; 2]; JOINTS],
            last: None,
        }
    }

    /// What it says about frame `sequence`; `None`: nobody seen.
    pub fn keypoints(&mut self, sequence: u64) -> Option<Keypoints2d> {
        let pose = self.figure.at(moment(sequence, self.rate));
        let truth = self.figure.project(&pose, &self.camera);
        // Fresh noise belongs to the frame's number; over frames that were dropped the standing
        // error decays as it would have.
        let mut random = SplitMix64::new(self.seed ^ sequence.wrapping_mul(0xA076_1D64_78BD_642F));
        let gap = self.last.map_or(u64::MAX, |last| sequence.wrapping_sub(last));
        let carry = if gap > 1_000 { 0.0 } else { CARRY.powf(gap as f64 * 30.0 / self.rate) };
        let fresh = (1.0 - carry * carry).sqrt();
        for joint in &mut self.jitter {
            for axis in joint {
                *axis = *axis * carry + fresh * random.normal();
            }
        }
        self.last = Some(sequence);
        let blind = random.uniform() < BLIND;
        let size = self.size(&pose);
        let found = self.noisy(&truth, size, &mut random);
        (!blind).then_some(found)
    }

    /// The person's scale as COCO means it, pixels: the root of the area of the standing body.
    fn size(&self, pose: &crate::figure::Pose) -> f64 {
        let depth = pose.joints[h36m::PELVIS][2].max(0.1);
        // The box of a standing adult is 0.35 as wide as high, the segment fills half of it.
        self.camera.fy * self.figure.body.height / depth * (0.35f64 * 0.55).sqrt()
    }

    fn noisy(&self, truth: &Projection, size: f64, random: &mut SplitMix64) -> Keypoints2d {
        let mut points = [Keypoint::default(); JOINTS];
        for (j, point) in points.iter_mut().enumerate() {
            let seen = truth.visibility[j];
            let sigma = f64::from(COCO_SIGMAS[j]) * size * (HIDDEN + (VISIBLE - HIDDEN) * seen);
            let [ex, ey] = self.jitter[j];
            let miss = random.uniform() < MISS.1 + (MISS.0 - MISS.1) * seen;
            // Heatmap peaks sink with occlusion, and with the error that they make.
            let error = ex.hypot(ey);
            let base = 0.42 + 0.50 * seen - 0.05 * error + 0.03 * random.normal();
            *point = Keypoint {
                x: (truth.points[j][0] + ex * sigma) as f32,
                y: (truth.points[j][1] + ey * sigma) as f32,
                confidence: base.clamp(0.05, 0.98) as f32,
            };
            if miss {
                // A missed joint is a weak peak anywhere near the person.
                point.x += (random.normal() * 0.25 * size) as f32;
                point.y += (random.normal() * 0.25 * size) as f32;
                point.confidence = (0.05 * random.uniform()) as f32;
            }
        }
        let mut found = Keypoints2d { points, score: 0.0 };
        found.score = found.mean_confidence();
        found
    }
}

impl Detector for TruthDetector {
    fn skeleton(&self) -> Skeleton {
        Skeleton::Coco17
    }

    fn detect(
        &mut self,
        frame: &Frame,
        _image: &ImageView<'_>,
        found: &mut Vec<Keypoints2d>,
    ) -> Result<(), DetectError> {
        let (w, h) = (self.camera.width, self.camera.height);
        if (frame.layout.width, frame.layout.height) != (w, h) {
            return Err(DetectError::Picture(format!(
                "{}x{} is not a picture of demo: ({w}x{h}); the truth detector knows no other",
                frame.layout.width, frame.layout.height
            )));
        }
        found.extend(self.keypoints(frame.sequence));
        Ok(())
    }

    fn describe(&self) -> String {
        "the demo figure's own keypoints with detector-like noise (no trained detector)".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Seen {
        errors: Vec<f64>,
        confidence: Vec<f64>,
        visible: Vec<bool>,
        missed: usize,
    }

    fn watch(frames: u64) -> Seen {
        let mut detector = TruthDetector::new(30.0, 1);
        let mut seen = Seen { errors: vec![], confidence: vec![], visible: vec![], missed: 0 };
        for i in 0..frames {
            let pose = detector.figure.at(moment(i, 30.0));
            let truth = detector.figure.project(&pose, &detector.camera);
            let torso = 502.0 * 0.485 / pose.joints[h36m::PELVIS][2];
            let Some(found) = detector.keypoints(i) else {
                seen.missed += 1;
                continue;
            };
            for (j, p) in found.points.iter().enumerate() {
                let (dx, dy) =
                    (f64::from(p.x) - truth.points[j][0], f64::from(p.y) - truth.points[j][1]);
                seen.errors.push(dx.hypot(dy) / torso);
                seen.confidence.push(f64::from(p.confidence));
                seen.visible.push(truth.visibility[j] > 0.5);
            }
        }
        seen
    }

    fn median(mut v: Vec<f64>) -> f64 {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    }

    #[test]
    fn visible_joints_err_like_a_good_detectors_and_hidden_ones_more() {
        let seen = watch(1_000);
        let pick = |vis: bool| {
            let it = seen.errors.iter().zip(&seen.visible);
            median(it.filter(|(_, v)| **v == vis).map(|(e, _)| *e).collect())
        };
        let (clear, hidden) = (pick(true), pick(false));
        println!("median error: {clear:.4} of the torso in view, {hidden:.4} hidden");
        assert!((0.005..0.05).contains(&clear), "{clear} of the torso");
        assert!(hidden > 2.0 * clear, "{hidden} against {clear}");
    }

    #[test]
    fn confidence_falls_where_the_error_grows() {
        let seen = watch(1_000);
        let n = seen.errors.len() as f64;
        let (me, mc) =
            (seen.errors.iter().sum::<f64>() / n, seen.confidence.iter().sum::<f64>() / n);
        let (mut ec, mut ee, mut cc) = (0.0, 0.0, 0.0);
        for (e, c) in seen.errors.iter().zip(&seen.confidence) {
            ec += (e - me) * (c - mc);
            ee += (e - me).powi(2);
            cc += (c - mc).powi(2);
        }
        let correlation = ec / (ee * cc).sqrt();
        assert!(correlation < -0.4, "{correlation}");
    }

    #[test]
    fn now_and_then_it_misses_a_joint_or_the_person() {
        let seen = watch(2_000);
        assert!((1..40).contains(&seen.missed), "{} of 2000", seen.missed);
        let weak = seen.confidence.iter().filter(|c| **c < 0.05).count();
        let share = weak as f64 / seen.confidence.len() as f64;
        assert!((0.002..0.05).contains(&share), "{share} of the joints");
    }

    #[test]
    fn errors_of_neighbouring_frames_resemble_each_other() {
        let mut detector = TruthDetector::new(30.0, 3);
        let (mut product, mut square, mut before) = (0.0, 0.0, None);
        for i in 0..2_000 {
            detector.keypoints(i);
            let e = detector.jitter[5][0];
            if let Some(b) = before {
                product += e * b;
                square += e * e;
            }
            before = Some(e);
        }
        let correlation = product / square;
        assert!((correlation - CARRY).abs() < 0.08, "{correlation}");
    }

    #[test]
    fn equal_seeds_see_the_same_and_others_do_not() {
        let all = |seed| {
            let mut d = TruthDetector::new(30.0, seed);
            (0..50).map(|i| d.keypoints(i)).collect::<Vec<_>>()
        };
        assert_eq!(all(5), all(5));
        assert_ne!(all(5), all(6));
    }
}
