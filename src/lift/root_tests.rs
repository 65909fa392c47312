use super::*;
use crate::camera::Intrinsics;
use crate::figure::Figure;
use crate::figure::random::SplitMix64;
use crate::lift::window::Ray;
use crate::time::Timestamp;
use proptest::prelude::*;

fn ray_to(p: V3, confidence: f32) -> Ray {
    Ray { direction: unit(p).unwrap().map(|v| v as f32), confidence }
}

/// The figure at `t`: joints relative to the pelvis, and COCO's points of it.
fn figure(t: f64) -> ([V3; JOINTS], [V3; JOINTS]) {
    let pose = Figure::default().at(Timestamp::from_secs_f64(t));
    (pose.root_relative(), pose.keypoints.map(|k| sub(k, pose.joints[0])))
}

fn seen_from(root: V3, points: &[V3; JOINTS]) -> Rays {
    points.map(|p| ray_to(add(p, root), 0.9))
}

proptest! {
    #[test]
    fn an_exact_pose_has_an_exact_root(
        t in 0.0..60.0f64, x in -2.5..2.5f64, y in -1.0..1.0f64, z in 1.5..12.0f64,
    ) {
        let (joints, points) = figure(t);
        let root = [x, y, z];
        let found = locate(&joints, &seen_from(root, &points)).unwrap();
        // Rays are f32: some 1e-7 of the distance, times the leverage of depth.
        prop_assert!(norm(sub(found.position, root)) < 2e-5 * z * z, "{found:?} for {root:?}");
    }

    #[test]
    fn places_are_proportional_to_the_body(t in 0.0..60.0f64, k in 0.5..1.3f64) {
        let (joints, points) = figure(t);
        let rays = seen_from([0.4, 0.1, 4.0], &points);
        let found = locate(&joints.map(|j| scaled(j, k)), &rays).unwrap();
        for (got, wanted) in found.position.iter().zip([0.4, 0.1, 4.0]) {
            prop_assert!((got - k * wanted).abs() < 1e-3, "{found:?} at {k}");
        }
    }

    #[test]
    fn nothing_that_is_seen_makes_it_panic_or_answer_with_nan(
        joints in proptest::array::uniform17(proptest::array::uniform3(-3.0..3.0f64)),
        rays in proptest::array::uniform17((proptest::array::uniform3(-1.0..1.0f32), 0.0..1.0f32)),
    ) {
        let rays = rays.map(|(d, confidence)| {
            let n = d.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-3);
            Ray { direction: d.map(|v| v / n), confidence }
        });
        if let Some(found) = locate(&joints, &rays) {
            prop_assert!(found.position.iter().all(|v| v.is_finite()));
            prop_assert!(found.covariance.as_flattened().iter().all(|v| v.is_finite()));
            prop_assert!((0..3).all(|k| found.covariance[k][k] > 0.0));
        }
    }
}

/// Noise of the assumed size on every keypoint, another body and place in each draw. Gives the
/// mean squared Mahalanobis distance of the error for the covariance given, and the error's mean
/// in depth, as a share of the depth.
fn draw(draws: usize, noise: f64) -> (f64, f64) {
    let mut random = SplitMix64::new(11);
    let (mut nees, mut bias) = (0.0, 0.0);
    for _ in 0..draws {
        let (joints, points) = figure(60.0 * random.uniform());
        let root =
            [4.0 * random.uniform() - 2.0, random.uniform() - 0.5, 2.5 + 5.0 * random.uniform()];
        let rays: Rays = std::array::from_fn(|j| {
            let p = add(points[j], root);
            let confidence = 0.3 + 0.7 * random.uniform();
            let m = noise * METRES_PER_SIGMA * f64::from(COCO_SIGMAS[j]) / confidence.sqrt();
            // Across the line of sight.
            let z = unit(p).unwrap();
            let x = unit([z[2], 0.0, -z[0]]).unwrap();
            let y = cross(z, x);
            let (a, b) = (m * random.normal(), m * random.normal());
            ray_to(add(p, add(scaled(x, a), scaled(y, b))), confidence as f32)
        });
        let found = locate(&joints, &rays).expect("a person in full view has a place");
        let off = sub(found.position, root);
        nees += dot(off, apply(&inverse(&found.covariance).unwrap(), off));
        bias += off[2] / root[2];
    }
    (nees / draws as f64, bias / draws as f64)
}

#[test]
fn the_covariance_is_that_of_the_errors() {
    // Of three degrees of freedom: 3 in the mean, and over 4,000 draws within 0.1 of it but for
    // the approximations (linear, Huber's weights).
    let (nees, bias) = draw(4_000, 1.0);
    assert!((2.5..3.6).contains(&nees), "{nees} should be about 3");
    assert!(bias.abs() < 0.004, "depth is not biased: {bias}");
    // The residuals at hand tell of more noise than was expected, and of less.
    let (more, _) = draw(4_000, 2.0);
    assert!((2.0..6.0).contains(&more), "{more}");
    let (less, _) = draw(4_000, 0.3);
    assert!((0.1..3.0).contains(&less), "rather too modest: {less}");
}

#[test]
fn a_wild_keypoint_hardly_moves_the_root() {
    let (joints, points) = figure(3.0);
    let root = [0.2, 0.0, 4.0];
    let mut rays = seen_from(root, &points);
    rays[coco::LEFT_WRIST] = ray_to(add(root, [1.2, -1.0, 0.0]), 0.9);
    let found = locate(&joints, &rays).unwrap();
    assert!(norm(sub(found.position, root)) < 0.25, "{found:?}");
    let clean = locate(&joints, &seen_from(root, &points)).unwrap();
    assert!(found.covariance[2][2] > 2.0 * clean.covariance[2][2], "and it is said");
}

#[test]
fn where_it_cannot_be_known_there_is_none() {
    let (joints, points) = figure(5.0);
    let rays = seen_from([0.0, 0.0, 3.0], &points);
    assert!(locate(&joints, &rays).is_some());
    // Too few: three limbs' ends and the face.
    let mut few = rays;
    for (j, ray) in few.iter_mut().enumerate() {
        if (coco::LEFT_SHOULDER..coco::LEFT_KNEE).contains(&j) {
            ray.confidence = 0.0;
        }
    }
    few[coco::LEFT_ANKLE].confidence = 0.05;
    assert_eq!(locate(&joints, &few), None);
    // All in one direction: no size, no depth.
    assert_eq!(locate(&joints, &[ray_to([0.1, 0.1, 3.0], 0.9); JOINTS]), None);
    // Another pose than the one that is seen: upside down.
    assert_eq!(locate(&joints.map(|j| [j[0], -j[1], j[2]]), &rays), None);
    // Nobody.
    assert_eq!(locate(&joints, &[Ray::default(); JOINTS]), None);
}

#[test]
fn the_edge_of_the_picture_is_as_good_as_its_middle() {
    let (joints, points) = figure(8.0);
    let camera = Intrinsics::from_fov(1280, 720, 100.0);
    // 50 degrees to the side at the same distance.
    let (s, c) = 0.8f64.sin_cos();
    let turned = |p: V3| [c * p[0] + s * p[2], p[1], -s * p[0] + c * p[2]];
    let middle = locate(&joints, &seen_from([0.0, 0.1, 4.0], &points)).unwrap();
    let side = turned([0.0, 0.1, 4.0]);
    assert!(camera.project(side).is_some());
    let there = locate(&joints.map(turned), &seen_from(side, &points.map(turned))).unwrap();
    assert!(norm(sub(there.position, side)) < 1e-3);
    let trace = |l: &Located| (0..3).map(|k| l.covariance[k][k]).sum::<f64>();
    assert!((trace(&there) / trace(&middle) - 1.0).abs() < 0.05);
}

#[test]
fn the_doubt_about_body_and_lens_is_in_the_full_covariance() {
    let located = Located { position: [1.0, 0.0, 4.0], covariance: diagonal(1e-4) };
    let stated = BodyScale::new(Some(1.72), 1.72);
    assert_eq!(stated.factor, 1.0);
    let unknown = BodyScale::new(None, 1.72);
    let short = BodyScale::new(Some(1.29), 1.72);
    assert!((short.factor - 0.75).abs() < 1e-12);
    let depth = |scale, focal| full_covariance(&located, scale, focal)[2][2].sqrt();
    // 3 % of 4 m; 6.7 % of 4 m; 15 % of 4 m on top.
    assert!((depth(stated, 0.0) - 0.12).abs() < 0.002);
    assert!((depth(unknown, 0.0) - 0.268).abs() < 0.003);
    assert!((depth(stated, 0.15) - 0.612).abs() < 0.003);
    // A wrong lens shifts depth, not the place across it.
    let across = |focal| full_covariance(&located, stated, focal)[0][0];
    assert_eq!(across(0.0), across(0.15));
}
