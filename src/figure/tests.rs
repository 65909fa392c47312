use super::vec3::{cross, distance, dot, norm};
use super::*;
use crate::skeleton::Skeleton;

/// Times at which the whole period is looked at: every 1/120 s.
fn moments() -> impl Iterator<Item = Timestamp> {
    let step = 1_000_000_000 / 120;
    (0..PERIOD_NANOS / step).map(move |i| Timestamp::from_nanos(i * step))
}

fn legs() -> [[usize; 3]; 2] {
    [
        [h36m::LEFT_HIP, h36m::LEFT_KNEE, h36m::LEFT_ANKLE],
        [h36m::RIGHT_HIP, h36m::RIGHT_KNEE, h36m::RIGHT_ANKLE],
    ]
}

/// Knee flexion in degrees, negative if it bent forwards.
fn knee_degrees(pose: &Pose, side: usize) -> f64 {
    let [hip, knee, ankle] = legs()[side].map(|j| pose.joints[j]);
    let hinge = cross(pose.knee_fronts[side], sub(ankle, hip));
    body::flexion(hip, knee, ankle, hinge).to_degrees()
}

/// Degrees between two directions.
fn degrees(a: V3, b: V3) -> f64 {
    norm(cross(a, b)).atan2(dot(a, b)).to_degrees()
}

/// Height of a point above the floor, metres.
fn height(figure: &Figure, p: V3) -> f64 {
    figure.path.floor - p[1]
}

#[test]
fn every_bone_keeps_its_length() {
    let figure = Figure::default();
    let first = figure.at(Timestamp::ZERO);
    for t in moments() {
        let pose = figure.at(t);
        for &(a, b) in Skeleton::Human36m17.bones() {
            let now = distance(pose.joints[a], pose.joints[b]);
            let then = distance(first.joints[a], first.joints[b]);
            assert!((now - then).abs() < 1e-6, "bone {a}-{b} at {t}: {now} m, was {then} m");
        }
    }
}

#[test]
fn left_and_right_bones_are_equally_long() {
    let pose = Figure::default().at(Timestamp::from_secs_f64(12.3));
    let pairs = [
        ((h36m::PELVIS, h36m::LEFT_HIP), (h36m::PELVIS, h36m::RIGHT_HIP)),
        ((h36m::LEFT_HIP, h36m::LEFT_KNEE), (h36m::RIGHT_HIP, h36m::RIGHT_KNEE)),
        ((h36m::LEFT_KNEE, h36m::LEFT_ANKLE), (h36m::RIGHT_KNEE, h36m::RIGHT_ANKLE)),
        ((h36m::LEFT_SHOULDER, h36m::LEFT_ELBOW), (h36m::RIGHT_SHOULDER, h36m::RIGHT_ELBOW)),
        ((h36m::LEFT_ELBOW, h36m::LEFT_WRIST), (h36m::RIGHT_ELBOW, h36m::RIGHT_WRIST)),
    ];
    for ((a, b), (c, d)) in pairs {
        let l = distance(pose.joints[a], pose.joints[b]);
        assert!((l - distance(pose.joints[c], pose.joints[d])).abs() < 1e-9);
    }
}

#[test]
fn the_feet_are_always_within_the_legs_reach() {
    let figure = Figure::default();
    for t in moments() {
        let slack = figure.at(t).slack;
        assert!(slack > 0.0, "at {t} a leg is {:.1} mm too short", -1e3 * slack);
    }
}

#[test]
fn joints_stay_within_natural_limits() {
    let figure = Figure::default();
    for t in moments() {
        let pose = figure.at(t);
        for side in 0..2 {
            let knee = knee_degrees(&pose, side);
            assert!((0.5..130.0).contains(&knee), "knee {side} bends by {knee} degrees at {t}");
            let [hip, _, ankle] = legs()[side].map(|j| pose.joints[j]);
            let shank = sub(pose.joints[legs()[side][1]], ankle);
            // Ankle: 90 degrees between shank and sole is neutral; 35 up, 55 down at most.
            let angle = degrees(shank, pose.feet[side].axes.forward);
            assert!((55.0..145.0).contains(&angle), "ankle {side}: {angle} degrees at {t}");
            assert!(ankle[1] > hip[1] + 0.2, "the foot is below the hip at {t}");
            let arm = &pose.arms[side];
            let shoulder = pose.joints[[h36m::LEFT_SHOULDER, h36m::RIGHT_SHOULDER][side]];
            let bend = body::flexion(shoulder, arm.elbow, arm.wrist, scale(arm.hinge, -1.0));
            let bend = bend.to_degrees();
            assert!((3.0..140.0).contains(&bend), "elbow {side} bends by {bend} degrees at {t}");
        }
        let neck = degrees(pose.head.forward, pose.chest.forward);
        assert!(neck < 75.0, "head turned by {neck} degrees at {t}");
    }
}

#[test]
fn knees_bend_in_swing_and_in_squats_as_in_people() {
    let figure = Figure::default();
    // Steady walking in the long last walk: 55 to 70 degrees are normal in swing; this gait is
    // slow. Loading response bends the struck leg by 10 to 25.
    let (mut swing, mut squat) = (0f64, 0f64);
    for t in moments() {
        let pose = figure.at(t);
        let seconds = t.secs_f64();
        if (29.0..33.0).contains(&seconds) {
            swing = swing.max(knee_degrees(&pose, 0)).max(knee_degrees(&pose, 1));
        }
        if (6.0..11.0).contains(&seconds) {
            squat = squat.max(knee_degrees(&pose, 0));
        }
    }
    assert!((42.0..70.0).contains(&swing), "{swing} degrees in swing");
    assert!((90.0..120.0).contains(&squat), "{squat} degrees in the squat");
}

#[test]
fn feet_neither_pass_the_floor_nor_float() {
    let figure = Figure::default();
    let b = figure.body;
    for t in moments() {
        let pose = figure.at(t);
        let lowest = pose.feet.map(|foot| {
            let sole = |f| foot.axes.point(foot.ankle, f, 0.0, -b.ankle);
            let toe = foot.toes.point(sole(b.ball), b.toe - b.ball, 0.0, 0.0);
            let heights = [sole(-b.heel), sole(b.ball), toe].map(|p| height(&figure, p));
            heights.into_iter().fold(f64::INFINITY, f64::min)
        });
        for (side, low) in lowest.into_iter().enumerate() {
            assert!(low > -0.003, "foot {side} is {:.1} mm below the floor at {t}", -1e3 * low);
            if pose.feet[side].planted {
                assert!(low < 0.003, "planted foot {side} floats by {:.1} mm at {t}", 1e3 * low);
            }
            assert!(low < 0.20, "foot {side} is {low} m high at {t}");
        }
        assert!(pose.feet.iter().any(|f| f.planted), "somebody who walks never flies: {t}");
    }
}

#[test]
fn a_planted_foot_does_not_slide() {
    let figure = Figure::default();
    let mut before: Option<Pose> = None;
    for t in moments() {
        let pose = figure.at(t);
        if let Some(last) = before {
            for side in 0..2 {
                let (a, b) = (&last.feet[side], &pose.feet[side]);
                // The pivot changes once, from heel to ball, while the foot lies flat.
                let same = (a.pitch > 0.0) == (b.pitch > 0.0);
                if a.planted && b.planted && same {
                    let slid = distance(a.pivot, b.pivot);
                    assert!(slid < 1e-9, "foot {side} slid by {slid} m at {t}");
                }
            }
        }
        before = Some(pose);
    }
}

#[test]
fn he_stays_in_the_picture_two_and_a_half_to_five_metres_away() {
    let figure = Figure::default();
    let camera = truth::camera();
    for t in moments() {
        let pose = figure.at(t);
        let z = pose.joints[h36m::PELVIS][2];
        assert!((2.4..5.0).contains(&z), "{z} m at {t}");
        let fingers = pose.arms.map(|a| a.fingers);
        for p in pose.joints.iter().chain(&pose.keypoints).chain(&fingers) {
            let [x, y] = camera.project(*p).unwrap();
            let inside = (8.0..631.0).contains(&x) && (8.0..471.0).contains(&y);
            assert!(inside, "a joint at pixel {x:.0}, {y:.0} at {t}");
        }
    }
}

#[test]
fn he_turns_through_all_headings() {
    let figure = Figure::default();
    let mut seen = [false; 36];
    for t in moments() {
        let f = figure.at(t).pelvis.forward;
        let heading = f[0].atan2(f[2]).to_degrees().rem_euclid(360.0);
        seen[(heading / 10.0) as usize % 36] = true;
    }
    assert!(seen.iter().all(|s| *s), "{seen:?}");
}

#[test]
fn nothing_jumps() {
    let figure = Figure::default();
    let dt = 1.0 / 120.0;
    let all = |t: Timestamp| {
        let p = figure.at(t);
        let mut v = p.joints.to_vec();
        v.extend(p.keypoints);
        v.extend(p.arms.map(|a| a.fingers));
        v
    };
    let start = Timestamp::ZERO;
    let mut last = all(start);
    let mut speed: Option<Vec<V3>> = None;
    for i in 1..=(PERIOD_NANOS as f64 * 1e-9 / dt) as i64 + 10 {
        let now = all(start.offset_secs(i as f64 * dt));
        let velocity: Vec<V3> =
            now.iter().zip(&last).map(|(a, b)| scale(sub(*a, *b), 1.0 / dt)).collect();
        for (j, v) in velocity.iter().enumerate() {
            // The waving hand and the swinging foot are the fastest.
            assert!(norm(*v) < 4.5, "point {j} moves at {} m/s at {}", norm(*v), i as f64 * dt);
        }
        if let Some(before) = speed {
            for (j, (v, w)) in velocity.iter().zip(&before).enumerate() {
                let g = distance(*v, *w) / dt;
                assert!(g < 130.0, "point {j} accelerates by {g} m/s² at {}", i as f64 * dt);
            }
        }
        (last, speed) = (now, Some(velocity));
    }
}

#[test]
fn the_velocity_has_no_steps() {
    // At a step in velocity the second difference shrinks with dt, in smooth motion with dt²:
    // halving dt then halves or quarters it.
    let figure = Figure::default();
    let bend = |t: f64, dt: f64| {
        let at = |s: f64| figure.at(Timestamp::from_secs_f64(s)).joints;
        let (a, b, c) = (at(t - dt), at(t), at(t + dt));
        (0..JOINTS).map(|j| distance(sub(c[j], b[j]), sub(b[j], a[j]))).fold(0f64, f64::max)
    };
    for i in 1..34_000 {
        let t = f64::from(i) * 1e-3;
        let fine = bend(t, 2.5e-4);
        assert!(fine / 2.5e-4 < 0.12, "velocity steps by {} m/s at {t}", fine / 2.5e-4);
    }
}

#[test]
fn the_period_closes_and_extends_to_all_times() {
    let figure = Figure::default();
    let period = PERIOD_NANOS as f64 * 1e-9;
    assert!((30.0..60.0).contains(&period), "{period} s");
    for t in [0i64, 1, 3_600_000_000, 17_123_456_789, PERIOD_NANOS - 1] {
        let a = figure.at(Timestamp::from_nanos(t));
        assert_eq!(a, figure.at(Timestamp::from_nanos(t + 3 * PERIOD_NANOS)));
        assert_eq!(a, figure.at(Timestamp::from_nanos(t - 2 * PERIOD_NANOS)));
    }
    let (end, start) = (figure.at(Timestamp::from_nanos(-1)), figure.at(Timestamp::ZERO));
    for j in 0..JOINTS {
        assert!(distance(end.joints[j], start.joints[j]) < 1e-6, "joint {j}");
    }
}

#[test]
fn the_face_is_seen_from_the_front_only_and_limbs_hide_what_is_behind_them() {
    let figure = Figure::default();
    let camera = truth::camera();
    let (mut front, mut back) = (0, 0);
    for t in moments().step_by(10) {
        let pose = figure.at(t);
        let seen = figure.project(&pose, &camera).visibility;
        let away = dot(pose.head.forward, vec3::unit(pose.joints[h36m::NECK]));
        if away > 0.8 {
            back += 1;
            assert!(seen[coco::NOSE] < 0.1, "nose through the head at {t}");
            assert!(seen[coco::LEFT_EYE] < 0.1 && seen[coco::RIGHT_EYE] < 0.1);
        }
        if away < -0.7 {
            front += 1;
            assert!(seen[coco::NOSE] > 0.9, "nose hidden from the front at {t}");
            assert!(seen[coco::LEFT_EYE] > 0.9 && seen[coco::RIGHT_EYE] > 0.9, "{t}");
        }
    }
    assert!(front > 20 && back > 20, "{front} {back}");
    // Passing from left to right at the near side, he shows his right side: the left wrist hides
    // behind the trunk at some time, the right one is never all hidden.
    let walk: Vec<_> = moments()
        .map(|t| figure.at(t))
        .filter(|p| p.pelvis.forward[0] > 0.97 && p.joints[h36m::PELVIS][2] < 3.2)
        .map(|p| figure.project(&p, &camera).visibility)
        .collect();
    let least = |j: usize| walk.iter().map(|v| v[j]).fold(1f64, f64::min);
    assert!(least(coco::LEFT_WRIST) < 0.2, "{}", least(coco::LEFT_WRIST));
    assert!(least(coco::RIGHT_WRIST) > 0.5, "{}", least(coco::RIGHT_WRIST));
}
