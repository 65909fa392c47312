//! One-stage outputs, made by hand, against a second reading of the formats.

use super::*;
use crate::engine::spec::{Channels, ImageInput, Letterbox};
use crate::pose::BoundingBox;
use crate::skeleton::Skeleton;

const WIDTH: usize = 64;
const HEIGHT: usize = 32;

fn spec(layout: PersonLayout, count: usize) -> OneStageSpec {
    OneStageSpec {
        input: ImageInput {
            name: "i".into(),
            width: WIDTH,
            height: HEIGHT,
            channels: Channels::Rgb,
            mean: [0.0; 3],
            std: [1.0; 3],
            pad: 0.0,
        },
        letterbox: Letterbox::Centre,
        skeleton: Skeleton::Coco17,
        decoder: OneStageDecoder { layout, count, score_threshold: 0.3, nms_iou: 0.6 },
    }
}

/// One of each layout.
fn layouts() -> [PersonLayout; 4] {
    [
        PersonLayout::YoloPose { output: "a".into() },
        PersonLayout::YoloPoseRows { output: "a".into() },
        PersonLayout::Instances { dets: "a".into(), keypoints: "b".into() },
        PersonLayout::MultiPose { output: "a".into() },
    ]
}

/// Left, top, right, bottom, score, keypoints.
type Candidate = ([f32; 4], f32, [[f32; 3]; JOINTS]);

/// The outputs of a network that found `all`.
fn written(layout: &PersonLayout, all: &[Candidate]) -> Vec<Vec<f32>> {
    let n = all.len();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    if let PersonLayout::YoloPose { .. } = layout {
        first = vec![0.0; 56 * n];
    }
    for (i, ([l, t, r, b], score, points)) in all.iter().enumerate() {
        match layout {
            PersonLayout::YoloPose { .. } => {
                let head = [0.5 * (l + r), 0.5 * (t + b), r - l, b - t, *score];
                let column = head.iter().chain(points.as_flattened());
                for (row, v) in column.enumerate() {
                    first[row * n + i] = *v;
                }
            }
            PersonLayout::YoloPoseRows { .. } => {
                first.extend([*l, *t, *r, *b, *score, 0.0]);
                first.extend(points.as_flattened());
            }
            PersonLayout::Instances { .. } => {
                first.extend([*l, *t, *r, *b, *score]);
                second.extend(points.as_flattened());
            }
            PersonLayout::MultiPose { .. } => {
                let (w, h) = (WIDTH as f32, HEIGHT as f32);
                first.extend(points.iter().flat_map(|[x, y, c]| [y / h, x / w, *c]));
                first.extend([t / h, l / w, b / h, r / w, *score]);
            }
        }
    }
    if second.is_empty() { vec![first] } else { vec![first, second] }
}

fn person(at: [f32; 4], score: f32, seed: usize) -> Candidate {
    let mut points = [[0.0; 3]; JOINTS];
    for (k, p) in points.iter_mut().enumerate() {
        let share = |n: usize| (n * (k + 1) * (seed + 3) % 17) as f32 / 16.0;
        *p = [
            at[0] + share(5) * (at[2] - at[0]),
            at[1] + share(7) * (at[3] - at[1]),
            0.25 + 0.75 * share(3),
        ];
    }
    (at, score, points)
}

/// What is left of `all`, by plain loops over corners.
fn expected(all: &[Candidate], threshold: f32, most: usize) -> Vec<Candidate> {
    let mut left: Vec<Candidate> = all.iter().filter(|c| c.1 >= threshold).copied().collect();
    let mut kept: Vec<Candidate> = Vec::new();
    while kept.len() < most && !left.is_empty() {
        let mut best = 0;
        for (i, c) in left.iter().enumerate() {
            if c.1 > left[best].1 {
                best = i;
            }
        }
        let (a, ..) = left.remove(best);
        let chosen = all.iter().find(|c| c.0 == a).copied().unwrap();
        left.retain(|(b, ..)| {
            let w = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
            let h = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
            let area = |s: &[f32; 4]| (s[2] - s[0]) * (s[3] - s[1]);
            w * h / (area(&a) + area(b) - w * h) <= 0.6
        });
        kept.push(chosen);
    }
    kept
}

#[track_caller]
fn same(found: &[FoundPerson], wanted: &[Candidate]) {
    assert_eq!(found.len(), wanted.len());
    for (f, ([l, t, r, b], score, points)) in found.iter().zip(wanted) {
        assert_eq!(f.found.score, *score);
        let BoundingBox { x, y, width, height } = f.found.area;
        for (have, want) in [(x, *l), (y, *t), (x + width, *r), (y + height, *b)] {
            assert!((have - want).abs() < 1e-3, "{have} {want}");
        }
        for (have, want) in f.points.as_flattened().iter().zip(points.as_flattened()) {
            assert!((have - want).abs() < 1e-3, "{have} {want}");
        }
    }
}

#[test]
fn every_layout_gives_the_persons_that_were_written_best_first_and_each_once() {
    // A grid of people, each proposed several times at slightly other places.
    let mut all = Vec::new();
    for n in 0..60usize {
        let (x, y) = ((n % 4) as f32 * 16.0, (n / 4 % 2) as f32 * 15.0);
        let off = (n * 7 % 11) as f32 * 0.37;
        let at = [x + off, y + 0.3 * off, x + off + 9.0 + (n % 3) as f32, y + 13.0 + 0.1 * off];
        all.push(person(at, (n * 37 % 97) as f32 / 97.0, n));
    }
    for layout in layouts() {
        let outputs = written(&layout, &all);
        let mut decoder = PersonDecoder::new(&spec(layout, all.len()), 20);
        let mut found = Vec::new();
        for (threshold, most) in [(0.3, 20), (0.0, 20), (0.3, 3), (0.95, 20), (1.0, 20)] {
            decoder.read(&outputs, threshold, most, &mut found).unwrap();
            let wanted = expected(&all, threshold, most);
            assert!(threshold > 0.9 || wanted.len() >= 3, "{threshold}");
            same(&found, &wanted);
        }
    }
}

#[test]
fn nan_in_scores_and_in_chosen_candidates_is_an_error_and_elsewhere_is_not() {
    let sure = person([1.0, 2.0, 21.0, 30.0], 0.9, 1);
    let weak = person([30.0, 2.0, 50.0, 30.0], 0.1, 2);
    for layout in layouts() {
        let mut decoder = PersonDecoder::new(&spec(layout.clone(), 2), 8);
        let mut found = Vec::new();
        let mut read = |all: &[Candidate]| {
            decoder.read(&written(&layout, all), 0.3, 8, &mut found).map(|()| found.len())
        };
        let spoilt = |mut c: Candidate, what: usize| {
            match what {
                0 => c.0[2] = f32::NAN,
                1 => c.2[16][1] = f32::INFINITY,
                _ => c.1 = f32::NAN,
            }
            c
        };
        assert_eq!(read(&[sure, weak]), Ok(1));
        assert_eq!(read(&[sure, spoilt(weak, 0)]), Ok(1), "{layout:?}");
        assert_eq!(read(&[sure, spoilt(weak, 1)]), Ok(1), "{layout:?}");
        assert!(read(&[sure, spoilt(weak, 2)]).is_err(), "{layout:?}");
        assert!(read(&[spoilt(sure, 0), weak]).is_err(), "{layout:?}");
        let said = read(&[spoilt(sure, 1), weak]).unwrap_err().output;
        let own = matches!(layout, PersonLayout::Instances { .. });
        assert_eq!(said, if own { "b" } else { "a" });
    }
}

#[test]
fn outputs_of_another_size_are_an_error_and_boxes_without_area_nobody() {
    let inside_out = ([20.0, 2.0, 10.0, 30.0], 0.9, [[1.0; 3]; JOINTS]);
    for layout in layouts() {
        let mut decoder = PersonDecoder::new(&spec(layout.clone(), 1), 8);
        let (outputs, mut found) = (written(&layout, &[inside_out]), Vec::new());
        decoder.read(&outputs, 0.3, 8, &mut found).unwrap();
        assert!(found.is_empty(), "{layout:?}");
        for k in 0..outputs.len() {
            let mut short = outputs.clone();
            short[k].pop();
            assert!(decoder.read(&short, 0.3, 8, &mut found).is_err(), "{layout:?}");
        }
        assert!(decoder.read(&[], 0.3, 8, &mut found).is_err(), "{layout:?}");
    }
}
