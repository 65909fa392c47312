use super::*;
use crate::engine::Signature;
use crate::pose::Keypoint;
use std::sync::{Arc, Mutex};

/// An engine that keeps what it was given and answers with a fixed pose.
struct Recorder {
    signature: Signature,
    seen: Arc<Mutex<Vec<Vec<f32>>>>,
    answer: Vec<f32>,
}

impl Engine for Recorder {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(
        &mut self,
        inputs: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        *self.seen.lock().unwrap() = inputs.iter().map(|t| t.data.to_vec()).collect();
        outputs[0].data.copy_from_slice(&self.answer);
        Ok(())
    }
}

const FRAMES: usize = 4;

fn lifter(answer: Vec<f32>, lookahead: u32) -> (Lifter, Arc<Mutex<Vec<Vec<f32>>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let signature = Signature { inputs: Vec::new(), outputs: Vec::new() };
    let spec = LifterSpec {
        frames: FRAMES,
        features: 3,
        context: 5,
        rate_hz: 10.0,
        lookahead,
        input_skeleton: Skeleton::Coco17,
        normalisation: crate::engine::spec::Normalisation::VirtualCamera,
        output_skeleton: Skeleton::Human36m17,
    };
    let lifter = Lifter {
        name: "recorder".into(),
        engine: Box::new(Recorder { signature, seen: seen.clone(), answer }),
        gravity: Some(Mount { pitch_degrees: 0.0, roll_degrees: 0.0 }.gravity()),
        windows: ArrayVec::new(),
        spare: (0..MAX_WINDOWS).map(|_| Window::new(FRAMES, 10.0)).collect(),
        slots: vec![Rays::default(); FRAMES],
        window_shape: [1, FRAMES, JOINTS, 3],
        window: vec![0.0; FRAMES * JOINTS * 3],
        joints: vec![0.0; JOINTS * 3],
        spec,
    };
    (lifter, seen)
}

fn person(x: f32) -> Keypoints2d {
    Keypoints2d {
        points: std::array::from_fn(|j| Keypoint {
            x: x + (j % 5) as f32 * 12.0,
            y: 100.0 + j as f32 * 20.0,
            confidence: 0.9,
        }),
        score: 0.9,
    }
}

fn camera() -> Intrinsics {
    Intrinsics::from_fov(640, 480, 60.0)
}

#[test]
fn joints_come_back_root_relative_in_the_real_cameras_axes() {
    // The network answers: the head is 0.6 m above the pelvis, which it puts at (0.1, 0.2, 0.3).
    let mut answer = vec![0.0; JOINTS * 3];
    for joint in answer.chunks_exact_mut(3) {
        joint.copy_from_slice(&[0.1, 0.2, 0.3]);
    }
    answer[10 * 3 + 1] -= 0.6;
    let (mut lifter, _) = lifter(answer, 0);
    let track = TrackId(1);
    // Far right and low: the virtual camera is turned by some 25 and 20 degrees.
    lifter.observe(track, Timestamp::ZERO, &person(560.0), &camera()).unwrap();
    let pose = lifter.lift(track, Timestamp::ZERO).unwrap().unwrap();
    assert_eq!(pose.joints[0], [0.0; 3]);
    let head = pose.joints[10];
    let length = head.iter().map(|v| v * v).sum::<f32>().sqrt();
    assert!((length - 0.6).abs() < 1e-5);
    assert!(head[1] < -0.5 && head[0].abs() < 0.05, "up stays up: {head:?}");
    assert!(head[2] > 0.0, "looking down at it, its top leans away: {head:?}");
}

#[test]
fn gravity_is_given_in_the_virtual_cameras_frame() {
    let (mut lifter, seen) = lifter(vec![0.0; JOINTS * 3], 0);
    lifter.observe(TrackId(1), Timestamp::ZERO, &person(300.0), &camera()).unwrap();
    lifter.lift(TrackId(1), Timestamp::ZERO).unwrap();
    let seen = seen.lock().unwrap();
    let context = &seen[1];
    assert_eq!(context.len(), 5);
    assert!(context[0] > 0.1 && context[4] == 1.0);
    let norm: f32 = context[1..4].iter().map(|v| v * v).sum();
    assert!((norm - 1.0).abs() < 1e-5 && context[2] > 0.9, "{context:?}");
}

#[test]
fn a_pose_describes_the_moment_before_its_lookahead() {
    let (mut lifter, _) = lifter(vec![0.0; JOINTS * 3], 2);
    let now = Timestamp::from_secs_f64(5.0);
    lifter.observe(TrackId(1), now, &person(300.0), &camera()).unwrap();
    let pose = lifter.lift(TrackId(1), now).unwrap().unwrap();
    assert_eq!(pose.lookahead_nanos, 200_000_000);
    assert!((pose.describes.secs_f64() - 4.8).abs() < 1e-9);
}

#[test]
fn windows_of_people_who_left_are_reused_and_a_stranger_is_not_mixed_with_them() {
    let (mut lifter, seen) = lifter(vec![0.0; JOINTS * 3], 0);
    for id in 1..=200 {
        let t = Timestamp::from_secs_f64(f64::from(id));
        lifter.observe(TrackId(id), t, &person(100.0 + id as f32), &camera()).unwrap();
        lifter.lift(TrackId(id), t).unwrap().unwrap();
        // A new person's window repeats its only observation.
        let seen = seen.lock().unwrap();
        let slots: Vec<_> = seen[0].chunks_exact(JOINTS * 3).collect();
        assert_eq!(slots[0], slots[FRAMES - 1]);
        lifter.retain(|_| false);
    }
    assert_eq!(lifter.lift(TrackId(200), Timestamp::ZERO).unwrap(), None);
}

#[test]
fn too_many_people_are_refused_and_those_before_them_stay() {
    let (mut lifter, _) = lifter(vec![0.0; JOINTS * 3], 0);
    for id in 0..MAX_WINDOWS as u32 {
        lifter.observe(TrackId(id), Timestamp::ZERO, &person(0.0), &camera()).unwrap();
    }
    let refused = lifter.observe(TrackId(99), Timestamp::ZERO, &person(0.0), &camera());
    assert!(matches!(refused, Err(LiftError::TooMany(99))));
    assert!(lifter.lift(TrackId(0), Timestamp::ZERO).unwrap().is_some());
}

#[test]
fn a_network_that_answers_with_nan_costs_a_frame_and_not_the_process() {
    let (mut lifter, _) = lifter(vec![f32::NAN; JOINTS * 3], 0);
    lifter.observe(TrackId(1), Timestamp::ZERO, &person(0.0), &camera()).unwrap();
    let error = lifter.lift(TrackId(1), Timestamp::ZERO).unwrap_err();
    assert_eq!(error.severity(), Severity::Skip);
}

#[test]
fn gravity_follows_the_stated_mount() {
    let level = Mount { pitch_degrees: 0.0, roll_degrees: 0.0 }.gravity();
    assert_eq!(level, [0.0, 1.0, 0.0]);
    let up = Mount { pitch_degrees: 90.0, roll_degrees: 0.0 }.gravity();
    assert!((up[2] + 1.0).abs() < 1e-12, "looking up, things fall against the view: {up:?}");
    let rolled = Mount { pitch_degrees: 0.0, roll_degrees: 90.0 }.gravity();
    assert!((rolled[0] - 1.0).abs() < 1e-12, "{rolled:?}");
}
