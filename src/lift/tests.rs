use super::*;
use crate::engine::spec::Normalisation;
use crate::engine::streaming::{FEATURES, pack};
use crate::engine::tract::Tract;
use crate::engine::{Catalog, Engine, ModelKind};
use crate::lift::smooth::SmoothSettings;
use crate::pose::Keypoint;
use std::sync::{Arc, Mutex};

/// A network that keeps what it was given and answers with a fixed pose.
struct Recorder {
    seen: Arc<Mutex<Seen>>,
    answer: Vec<f32>,
}

#[derive(Default)]
struct Seen {
    slots: Vec<f32>,
    context: Vec<f32>,
    encoded: usize,
}

impl StreamingLifter for Recorder {
    fn slot_len(&self) -> usize {
        FEATURES
    }

    fn encode(
        &mut self,
        keypoints: &[f32],
        fresh: &[f32],
        slots: &mut [f32],
    ) -> Result<(), EngineError> {
        self.seen.lock().unwrap().encoded += fresh.len();
        pack(keypoints, fresh, slots);
        Ok(())
    }

    fn lift(
        &mut self,
        slots: &[f32],
        context: &[f32],
        joints: &mut [f32],
    ) -> Result<(), EngineError> {
        let mut seen = self.seen.lock().unwrap();
        (seen.slots, seen.context) = (slots.to_vec(), context.to_vec());
        for joints in joints.chunks_mut(POINTS) {
            joints.copy_from_slice(&self.answer);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        "recorder".to_owned()
    }
}

const FRAMES: usize = 4;

fn lifter(answer: Vec<f32>, lookahead: u32) -> (Lifter, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let spec = LifterSpec {
        frames: FRAMES,
        features: 3,
        context: 6,
        rate_hz: 10.0,
        lookahead,
        lookaheads: vec![lookahead],
        input_skeleton: Skeleton::Coco17,
        normalisation: Normalisation::AnchoredVirtualCamera,
        output_skeleton: Skeleton::Human36m17,
        body_height_m: 1.72,
        streaming: None,
    };
    let settings = Settings {
        gravity: Some(Mount { pitch_degrees: 0.0, roll_degrees: 0.0 }.gravity()),
        ..bare(lookahead)
    };
    let network = Box::new(Recorder { seen: seen.clone(), answer });
    (Lifter::with_network("recorder", spec, settings, network), seen)
}

/// Nothing but the network's answer.
pub(super) fn bare(lookahead: u32) -> Settings {
    Settings {
        gravity: None,
        smooth: SmoothSettings { enabled: false, ..SmoothSettings::default() },
        lookahead,
        refine: None,
        steady_bones: false,
        scale: root::BodyScale { factor: 1.0, doubt: 0.05 },
        focal_doubt: 0.0,
    }
}

/// One person's pose.
fn pose_of(lifter: &mut Lifter, track: u32) -> Option<Pose3d> {
    let mut lifted = ArrayVec::new();
    lifter.lift(&[TrackId(track)], &mut lifted).unwrap();
    lifted[0].pose
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
    let pose = pose_of(&mut lifter, 1).unwrap();
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
    pose_of(&mut lifter, 1).unwrap();
    let context = &seen.lock().unwrap().context;
    assert_eq!(context.len(), 6);
    assert!(context[0] > 0.1 && context[4] == 1.0);
    let norm: f32 = context[1..4].iter().map(|v| v * v).sum();
    assert!((norm - 1.0).abs() < 1e-5 && context[2] > 0.9, "{context:?}");
}

#[test]
fn a_pose_describes_the_slot_that_was_asked_for_and_says_how_much_future_it_saw() {
    let (mut lifter, seen) = lifter(vec![0.0; POINTS], 2);
    let now = Timestamp::from_secs_f64(5.07);
    lifter.observe(TrackId(1), now, &person(300.0), &camera()).unwrap();
    let pose = pose_of(&mut lifter, 1).unwrap();
    // The grid's second slot back: 5.0 is the first.
    assert!((pose.describes.secs_f64() - 4.9).abs() < 1e-9);
    assert_eq!(pose.lookahead_nanos, 170_000_000);
    assert!((seen.lock().unwrap().context[5] - 0.2).abs() < 1e-6);
}

#[test]
fn only_new_slots_are_encoded_and_who_is_not_seen_keeps_the_pose() {
    let (mut lifter, seen) = lifter(vec![0.0; POINTS], 0);
    let mut encoded = Vec::new();
    let mut before = 0;
    for (i, t) in [1.0, 1.05, 1.13, 1.16, 1.42].into_iter().enumerate() {
        let keypoints = person(100.0 + i as f32);
        lifter.observe(TrackId(1), Timestamp::from_secs_f64(t), &keypoints, &camera()).unwrap();
        let pose = pose_of(&mut lifter, 1);
        assert_eq!(pose_of(&mut lifter, 1), pose, "again, without an observation");
        let now = seen.lock().unwrap().encoded;
        encoded.push(now - before);
        before = now;
    }
    // Slot 0 and: what is repeated; 1.0; 1.1; none; 1.2, 1.3 and 1.4.
    assert_eq!(encoded, [2, 2, 2, 1, 4]);
    // Another camera: everything that differs.
    lifter.observe(TrackId(1), Timestamp::from_secs_f64(1.5), &person(600.0), &camera()).unwrap();
    pose_of(&mut lifter, 1).unwrap();
    assert_eq!(seen.lock().unwrap().encoded - before, FRAMES);
}

#[test]
fn windows_of_people_who_left_are_reused_and_a_stranger_is_not_mixed_with_them() {
    let (mut lifter, seen) = lifter(vec![0.0; POINTS], 0);
    for id in 1..=200 {
        let t = Timestamp::from_secs_f64(f64::from(id));
        lifter.observe(TrackId(id), t, &person(100.0 + id as f32), &camera()).unwrap();
        pose_of(&mut lifter, id).unwrap();
        // A new person's window repeats its only observation.
        let seen = seen.lock().unwrap();
        let slots: Vec<_> = seen.slots.chunks_exact(FEATURES).collect();
        assert_eq!(slots.len(), FRAMES);
        assert_eq!(slots[0][..POINTS], slots[FRAMES - 1][..POINTS]);
        lifter.retain(|_| false);
    }
    assert_eq!(pose_of(&mut lifter, 200), None);
}

#[test]
fn too_many_people_are_refused_and_those_before_them_stay() {
    let (mut lifter, _) = lifter(vec![0.0; POINTS], 0);
    for id in 0..MAX_WINDOWS as u32 {
        lifter.observe(TrackId(id), Timestamp::ZERO, &person(0.0), &camera()).unwrap();
    }
    let refused = lifter.observe(TrackId(99), Timestamp::ZERO, &person(0.0), &camera());
    assert!(matches!(refused, Err(LiftError::TooMany(99))));
    let mut lifted = ArrayVec::new();
    let everybody: Vec<_> = (0..MAX_PERSONS as u32).map(TrackId).collect();
    lifter.lift(&everybody, &mut lifted).unwrap();
    assert_eq!(lifted.iter().filter(|l| l.pose.is_some()).count(), MAX_PERSONS);
}

#[test]
fn a_network_that_answers_with_nan_costs_a_frame_and_not_the_process() {
    let (mut lifter, _) = lifter(vec![f32::NAN; POINTS], 0);
    lifter.observe(TrackId(1), Timestamp::ZERO, &person(0.0), &camera()).unwrap();
    let error = lifter.lift(&[TrackId(1)], &mut ArrayVec::new()).unwrap_err();
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

/// The embedded lifters of the present input version.
pub(super) fn shipped() -> Vec<ModelSpec> {
    let catalog = Catalog::embedded().unwrap();
    let present = |m: &ModelSpec| {
        m.lifter().is_ok_and(|l| l.normalisation == Normalisation::AnchoredVirtualCamera)
    };
    catalog.models().filter(|m| present(m)).cloned().collect()
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
    for model in shipped() {
        let golden: serde_json::Value =
            serde_json::from_slice(&model.golden_bytes().unwrap().unwrap()).unwrap();
        let cases = golden["cases"].as_array().unwrap();
        assert!(cases.len() >= 2);
        for case in cases {
            golden_case(&model, case);
        }
    }
}

fn golden_case(model: &ModelSpec, case: &serde_json::Value) {
    let spec = model.lifter().unwrap().clone();
    let network = Tract.load_lifter(model, Precision::F32, 1).unwrap();
    let settings = Settings {
        gravity: case["gravity"]
            .as_array()
            .map(|g| std::array::from_fn(|k| g[k].as_f64().unwrap())),
        ..bare(case["lookahead"].as_u64().unwrap() as u32)
    };
    let mut lifter = Lifter::with_network(&model.name, spec, settings, network);
    let number = |key: &str| case["intrinsics"][key].as_f64().unwrap();
    let camera = Intrinsics {
        fx: number("fx"),
        fy: number("fy"),
        cx: number("cx"),
        cy: number("cy"),
        ..Intrinsics::from_fov(1280, 720, 60.0)
    };
    let mut replaced = 0;
    let mut held = None;
    for seen in case["observations"].as_array().unwrap() {
        let points = numbers::<3>(&seen["keypoints"]);
        let keypoints = Keypoints2d {
            points: std::array::from_fn(|j| Keypoint {
                x: points[j][0] as f32,
                y: points[j][1] as f32,
                confidence: points[j][2] as f32,
            }),
            score: 1.0,
        };
        let now = Timestamp::from_secs_f64(seen["t"].as_f64().unwrap());
        lifter.observe(TrackId(1), now, &keypoints, &camera).unwrap();
        // Every window on the way is lifted, so that the last one is all cache.
        pose_of(&mut lifter, 1);
        let camera = lifter.followed[0].window.camera().copied();
        replaced += u64::from(held.is_some() && held != camera);
        held = camera;
    }
    assert_eq!(Some(replaced), case["anchor_replaced"].as_u64(), "anchors");
    let pose = pose_of(&mut lifter, 1).unwrap();
    let describes = case["describes"].as_f64().unwrap();
    assert!((pose.describes.secs_f64() - describes).abs() < 1e-5, "{pose:?}");
    let window = &lifter.followed[0].window;
    assert!((f64::from(window.fresh()) - case["fresh"].as_f64().unwrap()).abs() < 1e-4);
    let held = held.unwrap();
    assert!((held.size - case["size"].as_f64().unwrap()).abs() < 2e-5);
    for (i, wanted) in case["window"].as_array().unwrap().iter().enumerate() {
        let mut slot = [0.0; POINTS];
        held.fill_slot(&window.slot(i), &mut slot);
        for (got, wanted) in slot.iter().zip(numbers::<3>(wanted).as_flattened()) {
            assert!((f64::from(*got) - wanted).abs() < 1e-4, "slot {i}: {got} for {wanted}");
        }
    }
    for (got, wanted) in pose.joints.iter().zip(numbers::<3>(&case["joints_camera"])) {
        for k in 0..3 {
            assert!((f64::from(got[k]) - wanted[k]).abs() < 5e-4, "{got:?} for {wanted:?}");
        }
    }
}

#[test]
fn lookaheads_that_the_model_does_not_serve_are_refused_with_those_that_it_does() {
    for model in shipped() {
        let with = |lookahead_ms, refine_ms| {
            let lifter = LifterSettings { lookahead_ms, refine_ms, ..LifterSettings::default() };
            LiftSettings { lifter, ..LiftSettings::default() }.check(&model)
        };
        assert_eq!(with(None, None).unwrap().lookahead, model.lifter().unwrap().lookahead);
        let said = with(Some(33.0), None).unwrap_err().to_string();
        assert!(said.contains("33 ms") && said.contains("serves 0, 40"), "{said}");
        let several = model.lifter().unwrap().lookaheads.len() > 1;
        if several {
            let both = with(Some(40.0), Some(200.0)).unwrap();
            assert_eq!((both.lookahead, both.refine), (1, Some(5)));
            let said = with(Some(40.0), Some(40.0)).unwrap_err().to_string();
            assert!(said.contains("refine_ms"), "{said}");
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
        Tract.load(model, precision, batch)
    }

    fn load_lifter(
        &self,
        model: &ModelSpec,
        precision: Precision,
        persons: usize,
    ) -> Result<Box<dyn StreamingLifter>, EngineError> {
        Ok(Box::new(Off(Tract.load_lifter(model, precision, persons)?)))
    }
}

struct Off(Box<dyn StreamingLifter>);

impl StreamingLifter for Off {
    fn slot_len(&self) -> usize {
        self.0.slot_len()
    }

    fn encode(&mut self, k: &[f32], fresh: &[f32], slots: &mut [f32]) -> Result<(), EngineError> {
        self.0.encode(k, fresh, slots)
    }

    fn lift(&mut self, slots: &[f32], c: &[f32], joints: &mut [f32]) -> Result<(), EngineError> {
        self.0.lift(slots, c, joints)?;
        joints[20] += 0.001;
        Ok(())
    }

    fn describe(&self) -> String {
        "off".to_owned()
    }
}

#[test]
fn a_backend_that_is_a_millimetre_off_is_refused_at_start() {
    let model = Catalog::embedded().unwrap();
    let model = model.models().find(|m| m.kind() == ModelKind::Lifter).unwrap();
    let refused = Lifter::new(&Wrong, model, Precision::F32, &LiftSettings::default());
    let error = refused.err().expect("it is refused");
    assert_eq!(error.severity(), Severity::Fatal);
    assert!(error.to_string().contains("1.000 mm at most over 3 cases"), "{error}");
}
