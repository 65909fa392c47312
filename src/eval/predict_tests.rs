use super::*;
use crate::lift::{LiftError, Lifted};
use crate::pose::{Keypoint, MAX_PERSONS, Pose3d};
use arrayvec::ArrayVec;

/// Answers with the keypoints themselves, at z = 0, of the frame `delay` frames ago.
struct Echo {
    delay: usize,
    seen: Vec<(Timestamp, Keypoints2d)>,
    most: usize,
}

impl Lift for Echo {
    fn input_skeleton(&self) -> Skeleton {
        Skeleton::Human36m17
    }

    fn name(&self) -> &str {
        "echo"
    }

    fn observe(
        &mut self,
        _: TrackId,
        time: Timestamp,
        keypoints: &Keypoints2d,
        camera: &Intrinsics,
    ) -> Result<(), LiftError> {
        let points = keypoints.points.map(|p| Keypoint { x: p.x - camera.cx as f32, ..p });
        self.seen.push((time, Keypoints2d { points, score: 1.0 }));
        self.most = self.most.max(self.seen.len());
        Ok(())
    }

    fn retain(&mut self, is_alive: &dyn Fn(TrackId) -> bool) {
        if !is_alive(TrackId(1)) {
            self.seen.clear();
        }
    }

    fn lift_all(
        &mut self,
        tracks: &[TrackId],
        at: Timestamp,
        lifted: &mut ArrayVec<Lifted, MAX_PERSONS>,
    ) -> Result<(), LiftError> {
        lifted.clear();
        for track in tracks {
            lifted.push(Lifted { pose: self.lift(*track, at)?, revision: None });
        }
        Ok(())
    }

    fn lift(&mut self, _: TrackId, at: Timestamp) -> Result<Option<Pose3d>, LiftError> {
        let delay = self.delay as f64 / 10.0;
        let describes = Timestamp::from_nanos(at.nanos() - (delay * 1e9) as i64);
        let found = self.seen.iter().find(|(t, _)| t.secs_since(describes).abs() < 1e-6);
        // Before the first frame the first is repeated.
        let Some((_, k)) = found.or(self.seen.first()) else { return Ok(None) };
        Ok(Some(Pose3d {
            joints: k.points.map(|p| [p.x, p.y, 0.0]),
            confidence: [1.0; JOINTS],
            root: None,
            root_covariance: None,
            plausibility: None,
            describes,
            lookahead_nanos: (delay * 1e9) as u32,
        }))
    }
}

/// Joint j is at x = 3 j + i in frame i; the principal point is at 20 of 100 pixels.
fn sequence(frames: usize) -> Sequence {
    let x = |i: usize, j: usize| (3 * j + i * usize::from(j > 0)) as f64;
    let pose = |i: usize| std::array::from_fn(|j| [x(i, j), 1.0, 0.0]);
    let shown = |i: usize| Keypoints2d {
        points: std::array::from_fn(|j| Keypoint {
            x: x(i, j) as f32 + 20.0,
            y: 1.0,
            confidence: 1.0,
        }),
        score: 1.0,
    };
    Sequence {
        subject: "s".into(),
        action: "a".into(),
        camera: "c".into(),
        rate_hz: 10.0,
        intrinsics: Intrinsics { cx: 20.0, ..Intrinsics::from_fov(100, 80, 60.0) },
        mount: Some(Mount { pitch_degrees: 3.0, roll_degrees: 5.0 }),
        skeleton: Skeleton::Human36m17,
        keypoints: (0..frames).map(shown).collect(),
        truth: (0..frames).map(pose).collect(),
    }
}

fn worst(pairs: &[Option<Pair>]) -> f64 {
    let off = |p: &Pair| {
        let root = p.predicted[0];
        let joint = |j: usize| (p.predicted[j][0] - root[0] - p.truth[j][0]).abs();
        (0..JOINTS).map(joint).fold(0.0, f64::max)
    };
    pairs.iter().flatten().map(off).fold(0.0, f64::max)
}

#[test]
fn a_late_answer_is_compared_with_the_truth_of_its_own_moment() {
    let s = sequence(8);
    for delay in [0, 3] {
        let mut lifter = Echo { delay, seen: Vec::new(), most: 0 };
        let pairs = predict(&mut lifter, &mut Tracks::default(), &s, Mode::Streamed).unwrap();
        assert_eq!(pairs.len(), 8);
        assert_eq!(pairs.iter().flatten().count(), 8 - delay, "the first are about before it");
        assert!(worst(&pairs) < 1e-5);
        assert_eq!(lifter.most, 8, "streamed: each frame is shown once");

        let mut lifter = Echo { delay, seen: Vec::new(), most: 0 };
        let pairs = predict(&mut lifter, &mut Tracks::default(), &s, Mode::Windows).unwrap();
        assert_eq!(pairs.iter().flatten().count(), 8, "every frame is answered");
        assert!(worst(&pairs) < 1e-5);
    }
}

#[test]
fn the_mirrored_sequence_gives_the_mirror_image() {
    let s = sequence(4);
    let m = mirrored(&s);
    assert_eq!(m.intrinsics.cx, 80.0);
    assert_eq!(m.mount.unwrap().roll_degrees, -5.0);
    assert_eq!(m.keypoints[0].points[1].x, 100.0 - s.keypoints[0].points[4].x);
    let twice = mirrored(&m);
    assert_eq!(twice.keypoints, s.keypoints);
    assert_eq!(twice.truth, s.truth);

    let run = |s: &Sequence| {
        let mut lifter = Echo { delay: 0, seen: Vec::new(), most: 0 };
        predict(&mut lifter, &mut Tracks::default(), s, Mode::Streamed).unwrap()
    };
    let (plain, flipped) = (run(&s), run(&m));
    // A lifter without preference for a side: the mean is what it says anyway.
    let mean = flip_averaged(&plain, &flipped);
    assert!(worst(&mean) < 1e-5);
    for (a, b) in plain.iter().zip(&mean) {
        assert_eq!(a.unwrap().truth, b.unwrap().truth);
    }
    let mut missing = flipped.clone();
    missing[2] = None;
    assert_eq!(flip_averaged(&plain, &missing)[2], None);
}

#[test]
fn data_that_the_lifter_cannot_take_is_refused() {
    let mut s = sequence(2);
    s.skeleton = Skeleton::Coco17;
    let mut lifter = Echo { delay: 0, seen: Vec::new(), most: 0 };
    let refused = predict(&mut lifter, &mut Tracks::default(), &s, Mode::Streamed).unwrap_err();
    assert!(refused.to_string().contains("wants h36m17"), "{refused}");
}

#[test]
fn between_frames_the_truth_lies_on_the_straight_line() {
    let s = sequence(3);
    assert_eq!(truth_at(&s, 1.25).unwrap()[2][0], 6.0 + 1.25);
    assert!(truth_at(&s, 2.5).is_none() && truth_at(&s, -0.5).is_none());
}
