use super::*;
use crate::pose::Keypoint;

/// A standing person of 100 x 200 pixels with its top left at (x, y).
fn person(x: f32, y: f32) -> Keypoints2d {
    Keypoints2d {
        points: std::array::from_fn(|j| Keypoint {
            x: x + (j * 37 % 100) as f32,
            y: y + j as f32 * 12.5,
            confidence: 0.8,
        }),
        score: 0.8,
    }
}

struct Scene {
    tracker: Tracker,
    present: ArrayVec<Tracked, MAX_TRACKS>,
    frame: i64,
    fps: f64,
}

impl Scene {
    fn new(fps: f64) -> Self {
        let tracker = Tracker::new(TrackSettings::default());
        Self { tracker, present: ArrayVec::new(), frame: 0, fps }
    }

    /// The next frame; gives (id, predicted) of everybody published, in the order of ids.
    fn frame(&mut self, detections: &[Keypoints2d]) -> Vec<(u32, bool)> {
        let time = Timestamp::from_secs_f64(self.frame as f64 / self.fps);
        self.frame += 1;
        self.tracker.update(time, detections, &mut self.present);
        let mut ids: Vec<_> =
            self.present.iter().filter(|t| t.confirmed).map(|t| (t.id.0, t.predicted)).collect();
        ids.sort_unstable();
        ids
    }

    fn id_nearest(&self, x: f32) -> u32 {
        let distance = |t: &&Tracked| (t.keypoints.points[0].x - x).abs();
        self.present.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap().id.0
    }
}

#[test]
fn a_walking_person_keeps_one_id_at_any_frame_rate() {
    for fps in [5.0, 15.0, 30.0, 120.0] {
        let mut scene = Scene::new(fps);
        for i in 0..60 {
            // 150 pixels per second: a brisk walk across the picture.
            let ids = scene.frame(&[person(i as f32 * 150.0 / fps as f32, 50.0)]);
            if i > 0 {
                assert_eq!(ids, [(1, false)], "frame {i} at {fps} fps");
            }
        }
    }
}

#[test]
fn one_false_detection_is_never_published() {
    let mut scene = Scene::new(30.0);
    assert!(scene.frame(&[person(0.0, 0.0)]).is_empty());
    assert!(scene.frame(&[]).is_empty());
    assert!(scene.frame(&[person(400.0, 0.0)]).is_empty());
    assert!(scene.frame(&[]).is_empty());
}

#[test]
fn a_short_occlusion_keeps_the_id_and_says_that_it_is_predicted() {
    let mut scene = Scene::new(30.0);
    for i in 0..30 {
        scene.frame(&[person(i as f32 * 5.0, 50.0)]);
    }
    for _ in 0..6 {
        assert_eq!(scene.frame(&[]), [(1, true)]);
    }
    // Beyond the coasting time nothing is published, but the identity is kept.
    for _ in 0..14 {
        scene.frame(&[]);
    }
    assert!(scene.frame(&[]).is_empty());
    assert_eq!(scene.frame(&[person(51.0 * 5.0, 50.0)]), [(1, false)]);
}

#[test]
fn who_comes_back_after_the_lost_time_is_a_new_person_and_ids_are_not_reused() {
    let mut scene = Scene::new(10.0);
    for _ in 0..5 {
        scene.frame(&[person(0.0, 0.0)]);
    }
    for _ in 0..12 {
        scene.frame(&[]);
    }
    scene.frame(&[person(0.0, 0.0)]);
    assert_eq!(scene.frame(&[person(0.0, 0.0)]), [(2, false)]);
    assert!(!scene.tracker.is_alive(TrackId(1)));
}

#[test]
fn two_people_crossing_keep_their_ids() {
    for gone in [0, 3] {
        let mut scene = Scene::new(30.0);
        let mut ids = (0, 0);
        for i in 0..80 {
            let (a, b) = (i as f32 * 6.0, 480.0 - i as f32 * 6.0);
            let (left, right) = (person(a, 50.0), person(b, 60.0));
            // Around the meeting (frame 40) the one behind is hidden for `gone` frames.
            let hidden = (40 - gone / 2..40 - gone / 2 + gone).contains(&i);
            let seen: &[_] = if hidden { &[left] } else { &[left, right] };
            scene.frame(seen);
            if i == 20 {
                ids = (scene.id_nearest(a), scene.id_nearest(b));
                assert_ne!(ids.0, ids.1);
            }
            if i == 79 {
                assert_eq!((scene.id_nearest(a), scene.id_nearest(b)), ids, "hidden for {gone}");
            }
        }
        assert_eq!(scene.present.len(), 2);
    }
}

#[test]
fn the_same_person_found_twice_is_one_track() {
    let mut scene = Scene::new(30.0);
    for _ in 0..10 {
        scene.frame(&[person(100.0, 50.0), person(102.0, 51.0)]);
    }
    assert_eq!(scene.present.len(), 1);
}

#[test]
fn the_order_of_detections_does_not_matter() {
    let mut scene = Scene::new(30.0);
    for i in 0..20 {
        let mut seen = [person(0.0, 0.0), person(200.0, 0.0), person(400.0, 0.0)];
        seen.rotate_left(i % 3);
        scene.frame(&seen);
    }
    let mut by_place = [scene.id_nearest(0.0), scene.id_nearest(200.0), scene.id_nearest(400.0)];
    by_place.sort_unstable();
    assert_eq!(by_place, [1, 2, 3]);
    assert_eq!(scene.tracker.last_id, 3, "no further track was ever opened");
}

#[test]
fn more_people_than_can_be_followed_are_left_out_without_harm() {
    let mut scene = Scene::new(30.0);
    let crowd: Vec<_> = (0..50).map(|i| person(i as f32 * 300.0, 0.0)).collect();
    for _ in 0..5 {
        scene.frame(&crowd);
    }
    assert_eq!(scene.present.len(), MAX_TRACKS);
}

#[test]
fn time_going_backwards_or_standing_still_does_no_harm() {
    let mut tracker = Tracker::new(TrackSettings::default());
    let mut present = ArrayVec::new();
    for seconds in [1.0, 1.1, 1.1, 0.2, 1.2] {
        tracker.update(Timestamp::from_secs_f64(seconds), &[person(0.0, 0.0)], &mut present);
        assert_eq!(present.len(), 1);
        assert!(present[0].keypoints.points[0].x.is_finite());
        assert!(!present[0].predicted, "nobody from another time is carried on");
    }
}
