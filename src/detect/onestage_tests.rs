//! The detector with an engine that gives the persons it is told to: real preprocessing, decoding
//! and placing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrayvec::ArrayVec;

use super::*;
use crate::engine::spec::*;
use crate::engine::{EngineError, Signature, TensorMut, TensorRef};
use crate::frame::{ColorSpace, FrameStamp, ImageLayout, PixelFormat, PixelMemory, Timebase};
use crate::skeleton::JOINTS;

const COUNT: usize = 6;

/// Centre, size, score.
type Person = ([f32; 2], [f32; 2], f32);

#[derive(Default)]
struct Probe {
    runs: AtomicUsize,
    exchanges: AtomicUsize,
    /// In pixels of the input.
    persons: Mutex<Vec<Person>>,
}

struct Fake(Arc<Probe>, Signature);

impl Engine for Fake {
    fn signature(&self) -> &Signature {
        &self.1
    }

    fn run(
        &mut self,
        inputs: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        self.0.runs.fetch_add(1, Ordering::Relaxed);
        // A landscape picture in the middle of a square: padding above, pixels below.
        assert!((inputs[0].data[0] - 114.0 / 255.0).abs() < 1e-4);
        assert!((inputs[0].data[160 * 320] - 200.0 / 255.0).abs() < 0.01);
        let out = &mut *outputs[0].data;
        out.fill(0.0);
        for (n, ([x, y], [w, h], score)) in self.0.persons.lock().unwrap().iter().enumerate() {
            let mut column = vec![*x, *y, *w, *h, *score];
            for k in 0..JOINTS {
                let share = k as f32 / 16.0 - 0.5;
                column.extend([x + share * w, y + share * h, 0.75]);
            }
            for (row, v) in column.into_iter().enumerate() {
                out[row * COUNT + n] = v;
            }
        }
        Ok(())
    }

    fn exchange(&mut self) -> bool {
        self.0.exchanges.fetch_add(1, Ordering::Relaxed);
        true
    }
}

struct FakeBackend(Arc<Probe>);

impl Backend for FakeBackend {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn load(
        &self,
        model: &ModelSpec,
        _: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        let pairs = |all: Vec<TensorSpec>| all.into_iter().map(|t| (t.name, t.shape)).collect();
        let signature =
            Signature { inputs: pairs(model.inputs(batch)), outputs: pairs(model.outputs(batch)) };
        Ok(Box::new(Fake(self.0.clone(), signature)))
    }
}

fn model() -> ModelSpec {
    let task = Task::OneStage(OneStageSpec {
        input: ImageInput {
            name: "images".into(),
            width: 320,
            height: 320,
            channels: Channels::Rgb,
            mean: [0.0; 3],
            std: [255.0; 3],
            pad: 114.0,
        },
        letterbox: Letterbox::Centre,
        skeleton: Skeleton::Coco17,
        decoder: OneStageDecoder {
            layout: PersonLayout::YoloPose { output: "output0".into() },
            count: COUNT,
            score_threshold: 0.3,
            nms_iou: 0.7,
        },
    });
    ModelSpec { task, ..crate::engine::tiny::spec(Vec::new()) }
}

fn detector(settings: DetectorSettings) -> (OneStage, Arc<Probe>) {
    let probe = Arc::new(Probe::default());
    let backend = FakeBackend(probe.clone());
    (OneStage::new(&backend, &model(), Precision::F32, settings).unwrap(), probe)
}

/// A bright picture of 640 by 360: two of its pixels are one of the input.
fn try_look(detector: &mut OneStage, ms: i64) -> Result<Vec<Keypoints2d>, DetectError> {
    let color = ColorSpace { bt709: false, full_range: true };
    let layout = ImageLayout::packed(640, 360, PixelFormat::Gray8, color);
    let stamp = FrameStamp {
        camera: 0,
        sequence: 0,
        captured: Timestamp::from_secs_f64(ms as f64 / 1e3),
        timebase: Timebase::Media,
        dequeued: Timestamp::ZERO,
    };
    let memory: Arc<dyn PixelMemory> = Arc::new(vec![200; 640 * 360]);
    let frame = Frame::new(stamp, layout, ArrayVec::from_iter([memory]), None).unwrap();
    let mut found = Vec::new();
    detector.detect(&frame, &frame.image(), &mut found).map(|()| found)
}

fn look(detector: &mut OneStage, ms: i64) -> Vec<Keypoints2d> {
    try_look(detector, ms).unwrap()
}

#[test]
fn persons_come_back_in_pixels_of_the_picture_best_first() {
    let (mut detector, probe) = detector(DetectorSettings::default());
    *probe.persons.lock().unwrap() = vec![
        ([80.0, 160.0], [40.0, 120.0], 0.6),
        ([240.0, 150.0], [50.0, 100.0], 0.9),
        // Hardly anything; twelve pixels; the second one once more.
        ([160.0, 160.0], [40.0, 120.0], 0.2),
        ([160.0, 160.0], [3.0, 6.0], 0.8),
        ([243.0, 152.0], [40.0, 100.0], 0.7),
    ];
    let found = look(&mut detector, 0);
    assert_eq!(found.iter().map(|p| p.score).collect::<Vec<_>>(), [0.9, 0.6]);
    // The input's row 70 is the picture's upper edge.
    let shoulder = found[1].points[5];
    let (u, v) = (80.0 + (5.0 / 16.0 - 0.5) * 40.0, 160.0 + (5.0 / 16.0 - 0.5) * 120.0);
    assert!((shoulder.x - 2.0 * u).abs() < 1e-3, "{shoulder:?}");
    assert!((shoulder.y - 2.0 * (v - 70.0)).abs() < 1e-3, "{shoulder:?}");
    assert_eq!(shoulder.confidence, 0.75);
    assert!(detector.describe().contains("320x320"));
    detector.exchange();
    assert_eq!(probe.exchanges.load(Ordering::Relaxed), 1);
}

#[test]
fn a_keypoint_far_outside_of_the_picture_was_seen_by_nobody() {
    let (mut detector, probe) = detector(DetectorSettings::default());
    *probe.persons.lock().unwrap() = vec![([20.0, 160.0], [100.0, 120.0], 0.6)];
    let found = look(&mut detector, 0);
    assert_eq!(found[0].points[0].confidence, 0.0);
    assert_eq!(found[0].points[16].confidence, 0.75);
}

#[test]
fn settings_limit_what_is_given_out() {
    let persons: Vec<Person> =
        (0..5).map(|n| ([40.0 + 60.0 * n as f32, 160.0], [30.0, 90.0], 0.5)).collect();
    let count = |settings| {
        let (mut detector, probe) = detector(settings);
        probe.persons.lock().unwrap().clone_from(&persons);
        look(&mut detector, 0).len()
    };
    let usual = DetectorSettings::default();
    assert_eq!(count(usual.clone()), 4);
    assert_eq!(count(DetectorSettings { max_persons: 16, ..usual.clone() }), 5);
    assert_eq!(count(DetectorSettings { score_threshold: Some(0.6), ..usual.clone() }), 0);
    assert_eq!(count(DetectorSettings { min_person_pixels: 200.0, ..usual }), 0);
}

#[test]
fn an_empty_room_is_looked_at_ten_times_a_second_and_a_person_in_every_frame() {
    let (mut detector, probe) = detector(DetectorSettings::default());
    let runs = || probe.runs.swap(0, Ordering::Relaxed);
    (0..30).for_each(|n| drop(look(&mut detector, 20 * n)));
    assert_eq!(runs(), 6);
    detector.set_search_stride(2);
    (30..60).for_each(|n| drop(look(&mut detector, 20 * n)));
    assert_eq!(runs(), 3);
    probe.persons.lock().unwrap().push(([160.0, 160.0], [40.0, 120.0], 0.6));
    let seen = (60..90).map(|n| look(&mut detector, 20 * n).len()).sum::<usize>();
    assert!((20..=30).contains(&seen) && runs() == seen, "{seen}");
    // A clock that was set back does not blind it.
    probe.persons.lock().unwrap().clear();
    look(&mut detector, 5000);
    look(&mut detector, 100);
    assert_eq!(runs(), 2);
}

#[test]
fn a_network_that_fails_costs_a_frame() {
    let (mut detector, probe) = detector(DetectorSettings::default());
    *probe.persons.lock().unwrap() = vec![([160.0, f32::NAN], [40.0, 120.0], 0.6)];
    let said = try_look(&mut detector, 0).unwrap_err().to_string();
    assert!(said.contains("output0") && said.contains("not finite"), "{said}");
    *probe.persons.lock().unwrap() = vec![([160.0, 160.0], [40.0, 120.0], 0.6)];
    assert_eq!(look(&mut detector, 20).len(), 1);
}

#[test]
fn models_and_settings_that_do_not_fit_are_refused() {
    let backend = FakeBackend(Arc::default());
    let new = |model: &ModelSpec, settings| {
        OneStage::new(&backend, model, Precision::F32, settings).err().unwrap().to_string()
    };
    let flip = DetectorSettings { flip: true, ..DetectorSettings::default() };
    let said = new(&model(), flip);
    assert!(said.contains("flip = false"), "{said}");
    let lifter = crate::engine::tiny::spec(Vec::new());
    let said = new(&lifter, DetectorSettings::default());
    assert!(said.contains("a one-stage model is needed"), "{said}");
}

#[test]
fn an_engine_that_answers_otherwise_is_found_out() {
    let color = ColorSpace { bt709: false, full_range: true };
    let scene = crate::detect::Scene {
        pixels: vec![200; 640 * 360],
        layout: ImageLayout::packed(640, 360, PixelFormat::Gray8, color),
        persons: Vec::new(),
    };
    let judged = |others: Vec<Person>| {
        let engine = |persons: Vec<Person>| {
            let probe = Arc::new(Probe::default());
            *probe.persons.lock().unwrap() = persons;
            FakeBackend(probe).load(&model(), Precision::F32, 1).unwrap()
        };
        let persons =
            vec![([80.0, 160.0], [40.0, 120.0], 0.8), ([240.0, 150.0], [50.0, 99.0], 0.6)];
        let (mut reference, mut candidate) = (engine(persons), engine(others));
        let scenes = std::slice::from_ref(&scene);
        let (reference, candidate) = (reference.as_mut(), candidate.as_mut());
        crate::detect::verify(&model(), Precision::F16, scenes, reference, candidate).unwrap()
    };
    let second = ([240.0, 150.0], [50.0, 99.0], 0.55);
    let near = judged(vec![([80.2, 160.0], [40.0, 120.0], 0.8), second]);
    assert!(near.passed() && (near.mean - 0.1).abs() < 1e-3, "{near}");
    let off = judged(vec![([84.0, 160.0], [40.0, 120.0], 0.8), second]);
    assert!(!off.passed() && (off.mean - 2.0).abs() < 1e-3, "{off}");
    let blind = judged(vec![second]);
    assert!(!blind.passed() && blind.mean > 5.0, "{blind}");
    let failed = judged(vec![([f32::NAN, 160.0], [40.0, 120.0], 0.8), second]);
    assert!(!failed.passed(), "{failed}");
}
