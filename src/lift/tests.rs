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
        smooth: SmoothSettings { enabled: false, ..SmoothSettings::default() },
        followed: ArrayVec::new(),
        spare: (0..MAX_WINDOWS).map(|_| Past::new(&spec)).collect(),
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

/// The golden file of the embedded lifter, which was made outside of posewire.
fn golden() -> serde_json::Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pstmo_s_27_live.golden.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers<const N: usize>(value: &serde_json::Value) -> Vec<[f64; N]> {
    serde_json::from_value::<Vec<Vec<f64>>>(value.clone())
        .unwrap()
        .into_iter()
        .map(|v| v.try_into().unwrap())
        .collect()
}

#[test]
fn from_pixels_to_joints_the_golden_cases_are_reproduced() {
    let model = crate::engine::Catalog::embedded().unwrap();
    let model = model.pick(crate::engine::ModelKind::Lifter, None).unwrap();
    let golden = golden();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 2);
    for case in cases {
        let mut lifter = Lifter::new(
            &crate::engine::tract::Tract,
            &model,
            Precision::F32,
            &LiftSettings::default(),
        )
        .unwrap();
        lifter.smooth.enabled = false;
        lifter.gravity =
            case["gravity"].as_array().map(|g| std::array::from_fn(|k| g[k].as_f64().unwrap()));
        let number = |key: &str| case["intrinsics"][key].as_f64().unwrap();
        let camera = Intrinsics {
            fx: number("fx"),
            fy: number("fy"),
            cx: number("cx"),
            cy: number("cy"),
            ..Intrinsics::from_fov(1280, 720, 60.0)
        };
        let mut now = Timestamp::ZERO;
        for seen in case["observations"].as_array().unwrap() {
            now = Timestamp::from_secs_f64(seen["t"].as_f64().unwrap());
            let points = numbers::<3>(&seen["keypoints"]);
            let keypoints = Keypoints2d {
                points: std::array::from_fn(|j| Keypoint {
                    x: points[j][0] as f32,
                    y: points[j][1] as f32,
                    confidence: points[j][2] as f32,
                }),
                score: 1.0,
            };
            lifter.observe(TrackId(1), now, &keypoints, &camera).unwrap();
        }
        let pose = lifter.lift(TrackId(1), now).unwrap().unwrap();
        let window: Vec<f64> =
            case["window"].as_array().unwrap().iter().flat_map(numbers::<3>).flatten().collect();
        assert_eq!(window.len(), lifter.window.len());
        for (i, (got, wanted)) in lifter.window.iter().zip(&window).enumerate() {
            let off = (f64::from(*got) - wanted).abs();
            assert!(off < 1e-4, "slot {}: {got} for {wanted}", i / (JOINTS * 3));
        }
        for (got, wanted) in pose.joints.iter().zip(numbers::<3>(&case["joints_camera"])) {
            for k in 0..3 {
                assert!((f64::from(got[k]) - wanted[k]).abs() < 5e-4, "{got:?} for {wanted:?}");
            }
        }
    }
}

/// A backend that loads the real network and then errs in one joint.
struct Wrong;

impl Backend for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }

    fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn load(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(Off(crate::engine::tract::Tract.load(model, precision, batch)?)))
    }
}

struct Off(Box<dyn Engine>);

impl Engine for Off {
    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn run(
        &mut self,
        inputs: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        self.0.run(inputs, outputs)?;
        outputs[0].data[20] += 0.001;
        Ok(())
    }
}

#[test]
fn a_backend_that_is_a_millimetre_off_is_refused_at_start() {
    let model = crate::engine::Catalog::embedded().unwrap();
    let model = model.pick(crate::engine::ModelKind::Lifter, None).unwrap();
    let refused = Lifter::new(&Wrong, &model, Precision::F32, &LiftSettings::default());
    let error = refused.err().expect("it is refused");
    assert_eq!(error.severity(), Severity::Fatal);
    assert!(error.to_string().contains("golden case 0"), "{error}");
}
