//! Grids of times, and what the formats hold. Real readers: `tests/check_exports.py`.

use glam::{DQuat, DVec3, EulerRot};

use super::*;
use crate::rotations::{PARENT, Upright};
use crate::skeleton::h36m;

/// Somebody who stands, faces the camera and raises the left arm over `seconds`.
fn samples(count: usize, step_us: i64, root: bool) -> Vec<Sample> {
    (0..count)
        .map(|i| {
            let up = i as f32 / count as f32 * 2.5 - 1.25;
            let mut joints = [[0.0f32; 3]; JOINTS];
            let mut put = |j: usize, x: f32, y: f32, z: f32| joints[j] = [x, y, z];
            // Camera axes: y down; the person's left is at the camera's right.
            put(h36m::RIGHT_HIP, -0.1, 0.0, 0.0);
            put(h36m::RIGHT_KNEE, -0.12, 0.42, -0.05);
            put(h36m::RIGHT_ANKLE, -0.12, 0.83, 0.0);
            put(h36m::LEFT_HIP, 0.1, 0.0, 0.0);
            put(h36m::LEFT_KNEE, 0.12, 0.42, -0.05);
            put(h36m::LEFT_ANKLE, 0.12, 0.83, 0.0);
            put(h36m::SPINE, 0.0, -0.22, 0.01);
            put(h36m::THORAX, 0.0, -0.48, 0.0);
            put(h36m::NECK, 0.0, -0.6, -0.05);
            put(h36m::HEAD, 0.0, -0.7, -0.02);
            put(h36m::RIGHT_SHOULDER, -0.16, -0.44, 0.0);
            put(h36m::RIGHT_ELBOW, -0.2, -0.15, 0.0);
            put(h36m::RIGHT_WRIST, -0.2, 0.1, -0.05);
            put(h36m::LEFT_SHOULDER, 0.16, -0.44, 0.0);
            let (x, y) = (0.28 * up.cos(), -0.28 * up.sin());
            put(h36m::LEFT_ELBOW, 0.16 + x, -0.44 + y, 0.0);
            put(h36m::LEFT_WRIST, 0.16 + 1.9 * x, -0.44 + 1.9 * y, -0.02);
            let root = root.then_some([0.5, 0.1, 3.0 - i as f32 * 0.01]);
            Sample { time_us: 5_000_000 + i as i64 * step_us, joints, root }
        })
        .collect()
}

fn level() -> Upright {
    Upright::new(None)
}

#[test]
fn even_samples_stay_as_they_are_upright() {
    let all = samples(50, 33_333, true);
    let track = Track::of(&all, None, &level()).unwrap();
    assert_eq!((track.rate, track.frames.len(), track.placed), (30.0, 50, true));
    let last = track.frames[49].unwrap();
    let wanted = DVec3::new(0.5, -0.1, -(3.0 - 0.49));
    assert!(last[0].distance(wanted) < 1e-3, "{}", last[0]);
    assert!(last[h36m::HEAD].y > last[0].y, "heads are up");
}

#[test]
fn uneven_samples_are_interpolated_and_long_gaps_stay_empty() {
    let mut all = samples(100, 33_333, true);
    // Every third is missing, then half a second.
    let mut i = 0;
    all.retain(|_| {
        i += 1;
        i % 3 != 0 && !(50..66).contains(&i)
    });
    let whole = Track::of(&samples(100, 33_333, true), Some(30.0), &level()).unwrap();
    let track = Track::of(&all, Some(30.0), &level()).unwrap();
    assert_eq!(track.frames.len(), 100);
    let mut gaps = 0;
    for (a, b) in track.frames.iter().zip(&whole.frames) {
        match (a, b) {
            (Some(a), Some(b)) => {
                let worst = a.iter().zip(b).map(|(a, b)| a.distance(*b)).fold(0.0, f64::max);
                assert!(worst < 2e-3, "{worst}");
            }
            (None, Some(_)) => gaps += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((15..=18).contains(&gaps), "{gaps}");
}

#[test]
fn what_is_no_track_says_why() {
    assert_eq!(Track::of(&[], None, &level()), Err(TrackError::TooShort(0)));
    assert_eq!(Track::of(&samples(1, 1, true), None, &level()), Err(TrackError::TooShort(1)));
    let mut all = samples(10, 33_333, true);
    all[9].time_us = i64::MAX;
    assert!(matches!(Track::of(&all, None, &level()), Err(TrackError::TooLong(_))));
}

#[test]
fn a_place_that_is_known_now_and_then_is_held() {
    let mut all = samples(10, 33_333, true);
    all[0].root = None;
    all[5].root = None;
    let track = Track::of(&all, None, &level()).unwrap();
    let root = |i: usize| track.frames[i].unwrap()[0];
    assert!(root(0).distance(root(1)) < 1e-4 && root(5).distance(root(4)) < 1e-4);
    let nowhere = Track::of(&samples(10, 33_333, false), None, &level()).unwrap();
    assert!(!nowhere.placed);
    assert!(nowhere.frames.iter().flatten().all(|f| f[0] == DVec3::ZERO));
}

#[test]
fn a_bvh_file_gives_the_joints_back_by_forward_kinematics() {
    let track = Track::of(&samples(40, 33_333, true), None, &level()).unwrap();
    let mut text = Vec::new();
    bvh::write(&mut text, &track).unwrap();
    let text = String::from_utf8(text).unwrap();
    // Our own reading of it, by the format's rules alone.
    let mut stack: Vec<usize> = Vec::new();
    let mut nodes: Vec<(Option<usize>, DVec3, usize)> = Vec::new();
    let mut lines = text.lines();
    for line in lines.by_ref() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["ROOT" | "JOINT", _] | ["End", "Site"] => {
                nodes.push((stack.last().copied(), DVec3::ZERO, 0));
            }
            ["{"] => stack.push(nodes.len() - 1),
            ["}"] => {
                stack.pop();
            }
            ["OFFSET", x, y, z] => {
                let number = |s: &str| s.parse().unwrap();
                nodes.last_mut().unwrap().1 = DVec3::new(number(x), number(y), number(z));
            }
            ["CHANNELS", n, ..] => nodes.last_mut().unwrap().2 = n.parse().unwrap(),
            ["MOTION"] => break,
            _ => {}
        }
    }
    assert_eq!(nodes.iter().filter(|n| n.2 == 6).count(), 1);
    assert_eq!(nodes.iter().filter(|n| n.2 == 3).count(), 16);
    assert_eq!(lines.next(), Some("Frames: 40"));
    assert!(lines.next().unwrap().starts_with("Frame Time: 0.0333"));
    let mut worst = 0.0f64;
    for (line, frame) in lines.zip(&track.frames) {
        let numbers: Vec<f64> = line.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let mut numbers = numbers.into_iter();
        let mut placed: Vec<(DVec3, DQuat)> = Vec::new();
        for &(parent, offset, channels) in &nodes {
            let (at, turn) = parent.map_or((DVec3::ZERO, DQuat::IDENTITY), |p| placed[p]);
            let mut at = at + turn * offset;
            let mut three = || {
                let mut next = || numbers.next().unwrap();
                (next(), next(), next())
            };
            if channels == 6 {
                at += DVec3::from(three());
            }
            let mut turn = turn;
            if channels > 0 {
                let (z, x, y) = three();
                let [z, x, y] = [z, x, y].map(f64::to_radians);
                turn *= DQuat::from_euler(EulerRot::ZXY, z, x, y);
            }
            placed.push((at, turn));
        }
        assert!(numbers.next().is_none());
        // Nodes that end a bone stand at its joint: each is looked for.
        for joint in frame.as_ref().unwrap() {
            let nearest = placed
                .iter()
                .map(|(at, _)| (*at / 100.0).distance(*joint))
                .fold(f64::INFINITY, f64::min);
            worst = worst.max(nearest);
        }
    }
    // Bones have one length over all frames; the samples' differ by what f32 rounds.
    assert!(worst < 1e-4, "{worst} m");
    assert_eq!(PARENT.len(), JOINTS);
}

#[test]
fn a_c3d_file_has_its_blocks_where_it_says() {
    let mut all = samples(70, 16_667, true);
    all.drain(10..30);
    let track = Track::of(&all, Some(60.0), &level()).unwrap();
    let mut bytes = Vec::new();
    c3d::write(&mut bytes, &track).unwrap();
    assert_eq!(bytes.len() % 512, 0);
    assert_eq!(&bytes[..2], &[2, 0x50]);
    let word = |n: usize| usize::from(u16::from_le_bytes([bytes[2 * n - 2], bytes[2 * n - 1]]));
    assert_eq!((word(2), word(4), word(5)), (JOINTS, 1, 70));
    let at = 512 * (word(9) - 1);
    let float =
        |i: usize| f32::from_le_bytes(bytes[at + 4 * i..at + 4 * i + 4].try_into().unwrap());
    let first = track.frames[0].unwrap();
    for (j, joint) in first.iter().enumerate() {
        assert!((f64::from(float(4 * j)) - 1e3 * joint.x).abs() < 1e-2);
        assert_eq!(float(4 * j + 3), 0.0);
    }
    let blind = track.frames.iter().position(Option::is_none).unwrap();
    assert_eq!(float(4 * JOINTS * blind + 3), -1.0);
}

#[test]
fn a_trc_file_has_as_many_cells_as_it_says() {
    let mut all = samples(40, 33_333, true);
    all.drain(10..25);
    let track = Track::of(&all, Some(30.0), &level()).unwrap();
    let mut text = Vec::new();
    trc::write(&mut text, "x.trc", &track).unwrap();
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "PathFileType\t4\t(X/Y/Z)\tx.trc");
    assert_eq!(lines[2].split('\t').nth(3), Some("17"));
    assert_eq!(lines[5], "");
    assert_eq!(lines.len(), 6 + 40);
    for line in &lines[6..] {
        assert_eq!(line.split('\t').count(), 2 + 3 * JOINTS, "{line}");
    }
}
