use super::*;
use crate::pose::Keypoint;
use proptest::prelude::*;

fn camera() -> Intrinsics {
    Intrinsics { fx: 500.0, fy: 500.0, cx: 0.0, cy: 0.0, ..Intrinsics::from_fov(1000, 1000, 90.0) }
}

/// A person of some size whose joints all lie about pixel x; joint 0 lies on it.
fn seen(x: f32) -> Keypoints2d {
    Keypoints2d {
        points: std::array::from_fn(|j| Keypoint { x, y: 10.0 * j as f32, confidence: 0.8 }),
        score: 0.8,
    }
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(seconds)
}

fn pixel(ray: Ray) -> Option<f32> {
    ray.is_present().then(|| 500.0 * ray.direction[0] / ray.direction[2])
}

/// Pixels of joint 0 in the slots, newest first.
fn pixels(w: &Window) -> Vec<Option<f32>> {
    (0..=w.grid_slots.len()).map(|i| pixel(w.slot(i)[0])).collect()
}

fn assert_near(got: &[Option<f32>], wanted: &[Option<f32>]) {
    assert_eq!(got.len(), wanted.len());
    for (g, w) in got.iter().zip(wanted) {
        match (g, w) {
            (Some(g), Some(w)) => assert!((g - w).abs() < 0.05, "{got:?} for {wanted:?}"),
            _ => assert_eq!(g.is_some(), w.is_some(), "{got:?} for {wanted:?}"),
        }
    }
}

#[test]
fn the_newest_is_slot_zero_and_the_others_lie_on_the_grid() {
    let mut w = Window::new(5, 10.0, true);
    assert_eq!(w.observe(at(0.06), &seen(6.0), &camera()), Change::All);
    // x = 100 px/s.
    for (t, new) in [(0.16, 1), (0.26, 1), (0.28, 0), (0.43, 2)] {
        let change = w.observe(at(t), &seen(100.0 * t as f32), &camera());
        assert_eq!(change, Change::Slots(new), "at {t}");
    }
    assert_near(&pixels(&w), &[Some(43.0), Some(40.0), Some(30.0), Some(20.0), Some(10.0)]);
    assert_eq!(w.slot_time(0), at(0.43));
    assert_eq!(w.slot_time(1), at(0.4));
    assert_eq!(w.slot_time(4), at(0.1));
    // 30 ms of 100.
    assert!((w.fresh() + 0.7).abs() < 1e-6);
}

#[test]
fn an_observation_on_the_grid_is_slot_zero_and_comes_into_the_grid_with_the_next() {
    let mut w = Window::new(3, 10.0, true);
    w.observe(at(0.1), &seen(1.0), &camera());
    assert_eq!(w.slot_time(1), at(0.0));
    assert_eq!(w.fresh(), 0.0);
    assert_eq!(w.observe(at(0.2), &seen(2.0), &camera()), Change::Slots(1));
    assert_near(&pixels(&w), &[Some(2.0), Some(1.0), Some(1.0)]);
    assert_eq!(w.fresh(), 0.0);
}

#[test]
fn a_new_person_has_a_full_window_of_the_first_observation() {
    let mut w = Window::new(4, 10.0, true);
    w.observe(at(3.0), &seen(7.0), &camera());
    assert_near(&pixels(&w), &[Some(7.0); 4]);
    assert_eq!(w.distinct(), 2, "slot 0 and what is repeated");
    w.observe(at(3.05), &seen(9.0), &camera());
    assert_eq!(w.distinct(), 3);
    assert_near(&pixels(&w), &[Some(9.0), Some(7.0), Some(7.0), Some(7.0)]);
}

#[test]
fn a_gap_that_is_too_long_is_marked_and_not_bridged() {
    let mut w = Window::new(8, 10.0, true);
    for (t, x) in [(0.0, 0.0), (0.1, 1.0), (0.5, 5.0), (0.61, 6.1)] {
        w.observe(at(t), &seen(x), &camera());
    }
    let wanted = [Some(6.1), Some(6.0), Some(5.0), None, None, None, Some(1.0), Some(0.0)];
    assert_near(&pixels(&w), &wanted);
}

#[test]
fn after_a_pause_of_a_whole_window_the_past_is_forgotten() {
    let mut w = Window::new(4, 10.0, true);
    w.observe(at(0.0), &seen(0.0), &camera());
    w.observe(at(0.1), &seen(1.0), &camera());
    assert_eq!(w.observe(at(0.5), &seen(2.0), &camera()), Change::Slots(4));
    assert_eq!(w.observe(at(0.91), &seen(3.0), &camera()), Change::All);
    assert_near(&pixels(&w), &[Some(3.0); 4]);
}

#[test]
fn a_keypoint_seen_on_one_side_only_is_taken_from_there_if_that_side_is_nearer() {
    let mut w = Window::new(3, 10.0, true);
    let mut blind = seen(0.0);
    blind.points[0].confidence = 0.0;
    w.observe(at(0.05), &seen(3.0), &camera());
    w.observe(at(0.22), &blind, &camera());
    // 0.1 is nearer to the first (seen), 0.2 to the second.
    assert_near(&pixels(&w), &[None, None, Some(3.0)]);
    assert!(w.slot(1)[1].is_present(), "other keypoints are not touched");
}

#[test]
fn what_comes_from_the_past_or_shows_too_little_is_no_observation() {
    let mut w = Window::new(4, 10.0, true);
    assert_eq!(w.observe(at(1.0), &seen(0.0), &camera()), Change::All);
    assert_eq!(w.observe(at(1.0), &seen(0.0), &camera()), Change::None);
    assert_eq!(w.observe(at(0.5), &seen(0.0), &camera()), Change::None);
    let mut three = seen(0.0);
    for p in &mut three.points[3..] {
        p.confidence = 0.05;
    }
    three.points[2].x = f32::NAN;
    three.points[1].confidence = f32::NAN;
    assert_eq!(w.observe(at(1.1), &three, &camera()), Change::None);
    assert_eq!(w.newest(), Some(at(1.0)));
}

#[test]
fn the_camera_is_held_while_it_serves_and_replaced_when_it_does_not() {
    let mut w = Window::new(4, 25.0, true);
    w.observe(at(0.0), &seen(100.0), &camera());
    let held = *w.camera().unwrap();
    assert_eq!(w.observe(at(0.04), &seen(110.0), &camera()), Change::Slots(1));
    assert_eq!(*w.camera().unwrap(), held);
    assert_eq!(w.observe(at(0.08), &seen(300.0), &camera()), Change::Camera);
    assert_ne!(*w.camera().unwrap(), held);
    // Unless it never is.
    let mut w = Window::new(4, 25.0, false);
    w.observe(at(0.0), &seen(100.0), &camera());
    assert_eq!(w.observe(at(0.04), &seen(101.0), &camera()), Change::Camera);
}

/// All observations kept, every slot computed anew: the rules as they are written.
fn by_the_book(history: &[Observation], slots: usize, rate: f64) -> Vec<Rays> {
    let newest = history.last().unwrap();
    let k = ((newest.time.secs_f64() - EPSILON_S) * rate).ceil() - 1.0;
    let mut out = vec![newest.rays];
    for i in 1..slots {
        let tau = Timestamp::from_secs_f64((k - (i as f64 - 1.0)) / rate);
        let at_or_behind = |o: &Observation| o.time.secs_since(tau) >= -EPSILON_S;
        let b = history.iter().position(at_or_behind).unwrap();
        out.push(if tau.secs_since(history[0].time) <= EPSILON_S {
            history[0].rays
        } else if history[b].time.secs_since(tau).abs() <= EPSILON_S {
            history[b].rays
        } else {
            between(&history[b - 1], &history[b], tau)
        });
    }
    out
}

proptest! {
    #[test]
    fn slots_that_were_filled_once_are_what_they_would_be_computed_anew(
        steps in proptest::collection::vec((0.0..1.0f64, 0.0..1.0f32, any::<u32>()), 1..80),
    ) {
        const SLOTS: usize = 9;
        let mut w = Window::new(SLOTS, 25.0, true);
        let (mut t, mut history) = (100.0, Vec::<Observation>::new());
        for (gap, x, blind) in steps {
            // Mostly a frame or two, some long gaps, some longer than the window.
            t += if gap < 0.8 { 0.005 + 0.07 * gap } else { 0.1 + 2.0 * (gap - 0.8) };
            let mut keypoints = seen(100.0 * x);
            for (j, p) in keypoints.points.iter_mut().enumerate() {
                p.confidence = if blind >> j & 3 == 3 { 0.0 } else { 0.5 + 0.4 * x };
            }
            if w.observe(at(t), &keypoints, &camera()) == Change::None {
                continue;
            }
            let newest = Observation { time: at(t), rays: w.slot(0) };
            let span = SLOTS as f64 / 25.0;
            if history.last().is_some_and(|o| newest.time.secs_since(o.time) > span) {
                history.clear();
            }
            history.push(newest);
            for (i, wanted) in by_the_book(&history, SLOTS, 25.0).iter().enumerate() {
                let got = w.slot(i);
                for (g, w) in got.iter().zip(wanted) {
                    prop_assert!((g.confidence - w.confidence).abs() < 1e-5, "slot {i} at {t}");
                    for k in 0..3 {
                        prop_assert!((g.direction[k] - w.direction[k]).abs() < 1e-5);
                    }
                }
            }
        }
    }
}
