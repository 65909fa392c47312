use super::super::followed::MAX_WINDOWS;
use super::*;
use crate::engine::{Catalog, ModelKind, tract::Tract};
use crate::skeleton::h36m;

fn spec(frames: usize, rate_hz: f64, lookahead: u32) -> LifterSpec {
    LifterSpec {
        frames,
        features: 2,
        context: 0,
        rate_hz,
        lookahead,
        lookaheads: vec![lookahead],
        input_skeleton: Skeleton::Coco17,
        normalisation: Normalisation::Screen,
        output_skeleton: Skeleton::Human36m17,
        body_height_m: 1.72,
        streaming: None,
    }
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(seconds)
}

/// Every joint at x, with the confidence.
fn seen(seconds: f64, x: f32, confidence: f32) -> Seen {
    Seen { time: at(seconds), points: [Point { at: [x, -x], confidence }; JOINTS] }
}

fn ring(sightings: &[Seen]) -> LocalRb<Heap<Seen>> {
    let mut ring = LocalRb::new(100);
    for s in sightings {
        push(&mut ring, *s);
    }
    ring
}

/// Joint `j`'s x in each slot of the window at `now`.
fn track(ring: &mut LocalRb<Heap<Seen>>, now: f64, spec: &LifterSpec, j: usize) -> Vec<f32> {
    let mut window = vec![f32::NAN; spec.frames * JOINTS * 2];
    fill(ring, at(now), spec, &mut window).unwrap();
    assert!(window.iter().all(|v| v.is_finite()));
    window.chunks_exact(JOINTS * 2).map(|slot| slot[2 * j]).collect()
}

fn assert_near(got: &[f32], wanted: &[f32]) {
    assert_eq!(got.len(), wanted.len());
    assert!(got.iter().zip(wanted).all(|(g, w)| (g - w).abs() < 1e-5), "{got:?}");
}

#[test]
fn pixels_become_screen_coordinates_with_the_aspect_kept() {
    let camera = Intrinsics::from_fov(1000, 500, 60.0);
    let point = |x, y| on_screen(Keypoint { x, y, confidence: 0.9 }, &camera).at;
    assert_eq!(point(0.0, 0.0), [-1.0, -0.5]);
    assert_eq!(point(500.0, 250.0), [0.0, 0.0]);
    assert_eq!(point(1000.0, 500.0), [1.0, 0.5]);
    let missing = on_screen(Keypoint { x: f32::NAN, y: 0.0, confidence: 0.9 }, &camera);
    assert_eq!(missing.confidence, 0.0);
}

#[test]
fn slots_lie_oldest_first_and_are_interpolated_in_time_and_padded_at_both_ends() {
    let spec = spec(6, 10.0, 2);
    // 0.1 per 50 ms from 0.0 s to 0.2 s.
    let all: Vec<_> = (0..5).map(|i| seen(f64::from(i) * 0.05, i as f32 * 0.1, 0.9)).collect();
    let mut ring = ring(&all);
    assert_near(&track(&mut ring, 0.225, &spec, 3), &[0.0, 0.0, 0.0, 0.05, 0.25, 0.4]);
}

#[test]
fn a_keypoint_that_is_missing_for_a_while_is_bridged_and_one_never_seen_stands_in_the_middle() {
    let spec = spec(4, 10.0, 0);
    let mut all = [seen(0.0, 0.0, 0.9), seen(0.1, 0.1, 0.9), seen(0.2, 0.2, 0.9)];
    all[1].points[5] = Point { at: [9.0, 9.0], confidence: 0.0 };
    for s in &mut all {
        s.points[6].confidence = 0.0;
    }
    let mut kept = ring(&all);
    assert_near(&track(&mut kept, 0.2, &spec, 5), &[0.0, 0.0, 0.1, 0.2]);
    assert_near(&track(&mut kept, 0.2, &spec, 6), &[0.0, 0.0, 0.1, 0.2]);
    assert!(fill(&mut ring(&[]), at(0.0), &spec, &mut [0.0; 4 * JOINTS * 2]).is_none());
}

#[test]
fn the_target_is_believed_in_only_near_a_sighting() {
    let spec = spec(11, 10.0, 5);
    let mut window = vec![0.0; 11 * JOINTS * 2];
    let mut ring = ring(&[seen(0.0, 0.0, 0.5), seen(1.0, 0.0, 0.9)]);
    let sure = fill(&mut ring, at(1.0), &spec, &mut window).unwrap();
    assert_eq!(sure[0].confidence, 0.0, "half a second from both");
    let sure = fill(&mut ring, at(1.5), &spec, &mut window).unwrap();
    assert!((sure[0].confidence - 0.9).abs() < 1e-6, "the newer one itself");
}

#[test]
fn a_fast_camera_does_not_outgrow_the_ring_and_the_past_is_refused() {
    let all: Vec<_> = (0..2_000).map(|i| seen(f64::from(i) * 1e-3, i as f32, 0.9)).collect();
    let mut ring = LocalRb::new(300);
    for s in &all {
        push(&mut ring, *s);
    }
    push(&mut ring, seen(1.0, -1.0, 0.9));
    let spec = spec(11, 10.0, 0);
    let x = track(&mut ring, 1.999, &spec, 0);
    assert!((x[0] - 999.0).abs() < 5.0 && (x[10] - 1999.0).abs() < 1e-3, "{x:?}");
}

/// The tiny model of `tests/data/pstmo`, which the importer made of random weights.
fn tiny() -> ModelSpec {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pstmo");
    let catalog = Catalog::with_dir(dir.as_ref()).unwrap();
    catalog.pick(ModelKind::Lifter, Some("tiny_pstmo")).unwrap()
}

fn quiet() -> LiftSettings {
    let smooth = SmoothSettings { enabled: false, ..SmoothSettings::default() };
    LiftSettings { smooth, ..LiftSettings::default() }
}

#[test]
fn an_imported_model_lifts_streamed_keypoints_to_what_the_reference_says() {
    let model = tiny();
    let golden: Golden = serde_json::from_slice(&model.golden_bytes().unwrap().unwrap()).unwrap();
    assert!(golden.cases.len() >= 2);
    let camera = Intrinsics::from_fov(1000, 600, 60.0);
    let mut lifter =
        super::super::open(&Tract, &model, Precision::F32, &quiet(), Skeleton::Coco17).unwrap();
    assert_eq!(lifter.input_skeleton(), Skeleton::Coco17);
    for (n, case) in golden.cases.iter().enumerate() {
        let track = TrackId(n as u32 + 1);
        let mut pose = None;
        for (i, slot) in case.window.iter().enumerate() {
            let points = slot.map(|[x, y]| Keypoint {
                x: (x + 1.0) * 500.0,
                y: (y + 0.6) * 500.0,
                confidence: 0.8,
            });
            let time = at(i as f64 / 25.0);
            lifter.observe(track, time, &Keypoints2d { points, score: 0.8 }, &camera).unwrap();
            pose = lifter.lift(track, time).unwrap();
        }
        let pose = pose.unwrap();
        // 27 slots at 25 Hz: the target is the middle one.
        assert_eq!(pose.lookahead_nanos, 520_000_000);
        assert!((pose.describes.secs_f64() - 0.52).abs() < 1e-6);
        assert!(pose.confidence.iter().all(|c| (c - 0.8).abs() < 1e-5));
        assert_eq!(pose.joints[0], [0.0; 3], "the root is 0 by definition");
        for (got, wanted) in pose.joints.iter().zip(&case.joints).skip(1) {
            for k in 0..3 {
                assert!((got[k] - wanted[k]).abs() < 1e-4, "{got:?} for {wanted:?}");
            }
        }
    }
}

#[test]
fn a_human36m_model_takes_coco_keypoints_and_a_coco_model_does_not_take_human36m() {
    let mut model = tiny();
    let refused =
        ReferenceLifter::new(&Tract, &model, Precision::F32, &quiet(), Skeleton::Human36m17);
    let said = refused.err().expect("it is refused").to_string();
    assert!(said.contains("wants coco17") && said.contains("h36m17"), "{said}");

    let crate::engine::spec::Task::Lifter(spec) = &mut model.task else { panic!("a lifter") };
    spec.input_skeleton = Skeleton::Human36m17;
    let load = |given| ReferenceLifter::new(&Tract, &model, Precision::F32, &quiet(), given);
    let mut own = load(Skeleton::Human36m17).unwrap();
    let mut derived = load(Skeleton::Coco17).unwrap();
    let camera = Intrinsics::from_fov(640, 480, 60.0);
    let points = std::array::from_fn(|j| Keypoint {
        x: 200.0 + 9.0 * j as f32,
        y: 100.0 + ((j * 5) % 17) as f32 * 10.0,
        confidence: 0.9,
    });
    let coco = Keypoints2d { points, score: 0.9 };
    let made = Keypoints2d { points: h36m_input::from_coco(&points, 0.1), score: 0.9 };
    let track = TrackId(1);
    derived.observe(track, at(0.0), &coco, &camera).unwrap();
    own.observe(track, at(0.0), &made, &camera).unwrap();
    let (a, b) = (derived.lift(track, at(0.0)).unwrap(), own.lift(track, at(0.0)).unwrap());
    assert_eq!(a, b);
    assert!(a.unwrap().joints[h36m::HEAD] != [0.0; 3]);
}

#[test]
fn a_golden_file_of_another_network_is_noticed() {
    let mut model = tiny();
    let dir = tempfile::tempdir().unwrap();
    let text = String::from_utf8(model.golden_bytes().unwrap().unwrap().to_vec()).unwrap();
    let mut golden: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = golden["cases"][1]["joints"][4][2].as_f64().unwrap();
    golden["cases"][1]["joints"][4][2] = (number + 0.002).into();
    let path = dir.path().join("golden.json");
    std::fs::write(&path, golden.to_string()).unwrap();
    model.golden = Some(crate::engine::spec::Asset::File(path));
    let refused = ReferenceLifter::new(&Tract, &model, Precision::F32, &quiet(), Skeleton::Coco17);
    let said = refused.err().expect("it is refused").to_string();
    assert!(said.contains("golden case 1") && said.contains("2.00 mm"), "{said}");
}

#[test]
fn windows_of_people_who_left_are_reused() {
    let mut lifter =
        ReferenceLifter::new(&Tract, &tiny(), Precision::F32, &quiet(), Skeleton::Coco17).unwrap();
    let camera = Intrinsics::from_fov(640, 480, 60.0);
    let person = |x: f32| Keypoints2d {
        points: [Keypoint { x, y: 50.0, confidence: 0.9 }; JOINTS],
        score: 0.9,
    };
    for id in 0..MAX_WINDOWS as u32 {
        lifter.observe(TrackId(id), at(0.0), &person(10.0), &camera).unwrap();
    }
    let refused = lifter.observe(TrackId(99), at(0.0), &person(10.0), &camera);
    assert!(matches!(refused, Err(LiftError::TooMany(99))));
    lifter.retain(&|id| id.0 != 3);
    lifter.observe(TrackId(99), at(5.0), &person(500.0), &camera).unwrap();
    let mut window = vec![0.0; 27 * JOINTS * 2];
    let index = lifter.followed.position(TrackId(99)).unwrap();
    let past = &mut lifter.followed[index];
    fill(&mut past.seen, at(5.0), &lifter.spec, &mut window).unwrap();
    let x = 500.0 / 640.0 * 2.0 - 1.0;
    assert!(window.iter().step_by(2).all(|v| (v - x).abs() < 1e-6), "nothing of the one before");
    assert_eq!(lifter.lift(TrackId(3), at(5.0)).unwrap(), None);
}
