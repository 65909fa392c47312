//! The detector with engines that see bright bars instead of people: real preprocessing, real
//! decoding, real following.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::engine::spec::*;
use crate::engine::{EngineError, Signature, TensorMut, TensorRef};
use crate::frame::{ColorSpace, FrameStamp, ImageLayout, PixelFormat, PixelMemory, Timebase};

const CELLS: (usize, usize) = (20, 16);
const MAP: (usize, usize) = (48, 64);

/// What the fakes have in common with their test.
#[derive(Default)]
struct Probe {
    finder_runs: AtomicUsize,
    keypoint_runs: AtomicUsize,
    break_keypoints: AtomicBool,
    /// Keypoints are seen in the first, third, ... run only, and weakly.
    every_other: AtomicBool,
    /// Keypoints are seen weakly.
    unsure: AtomicBool,
}

/// Columns `from..to` of a one-row profile that are bright, as runs.
fn runs(bright: &[bool]) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut start = None;
    for (i, b) in bright.iter().chain([&false]).enumerate() {
        match (start, *b) {
            (None, true) => start = Some(i),
            (Some(s), false) => {
                runs.push((s, i));
                start = None;
            }
            _ => {}
        }
    }
    runs
}

/// Bright columns and rows of the tensor's first channel; columns may be limited.
fn profile(data: &[f32], width: usize, columns: Option<(usize, usize)>) -> (Vec<bool>, Vec<bool>) {
    let rows: Vec<&[f32]> = data.chunks_exact(width).collect();
    let (a, b) = columns.unwrap_or((0, width));
    let is = |v: f32| v > 100.0;
    let xs = (0..width).map(|x| rows.iter().any(|r| is(r[x]))).collect();
    let ys = rows.iter().map(|r| r[a..b].iter().any(|v| is(*v))).collect();
    (xs, ys)
}

struct FakeFinder(Arc<Probe>, Signature);

impl Engine for FakeFinder {
    fn signature(&self) -> &Signature {
        &self.1
    }

    fn run(
        &mut self,
        inputs: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        self.0.finder_runs.fetch_add(1, Ordering::Relaxed);
        let (w, h) = (inputs[0].shape[3], inputs[0].shape[2]);
        let data = &inputs[0].data[..w * h];
        let [scores, boxes] = outputs else { unreachable!() };
        scores.data.fill(0.0);
        boxes.data.fill(1.0);
        let cells = CELLS.0 * CELLS.1;
        for (x0, x1) in runs(&profile(data, w, None).0) {
            let (_, ys) = profile(data, w, Some((x0, x1)));
            let (y0, y1) = runs(&ys)[0];
            let (i, j) = ((x0 + x1) / 2 / 16, (y0 + y1) / 2 / 16);
            let cell = j * CELLS.0 + i;
            let (x, y) = ((i as f32 + 0.5) * 16.0, (j as f32 + 0.5) * 16.0);
            scores.data[cell] = 0.9;
            let sides = [x - x0 as f32, y - y0 as f32, x1 as f32 - x, y1 as f32 - y];
            for (n, side) in sides.into_iter().enumerate() {
                boxes.data[n * cells + cell] = side;
            }
        }
        Ok(())
    }
}

/// Puts 17 keypoints on the bar nearest to the crop's middle, from its top to its bottom.
struct FakeKeypoints(Arc<Probe>, Signature);

impl Engine for FakeKeypoints {
    fn signature(&self) -> &Signature {
        &self.1
    }

    fn run(
        &mut self,
        inputs: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        let run = self.0.keypoint_runs.fetch_add(1, Ordering::Relaxed);
        let every_other = self.0.every_other.load(Ordering::Relaxed);
        let weak = every_other || self.0.unsure.load(Ordering::Relaxed);
        let (w, h) = (inputs[0].shape[3], inputs[0].shape[2]);
        let data = &inputs[0].data[..w * h];
        let maps = &mut *outputs[0].data;
        maps.fill(0.0);
        if every_other && run % 2 == 1 {
            return Ok(());
        }
        let (xs, _) = profile(data, w, None);
        let distance = |r: &(usize, usize)| (r.0 + r.1).abs_diff(w);
        let Some((x0, x1)) = runs(&xs).into_iter().min_by_key(distance) else { return Ok(()) };
        let (y0, y1) = runs(&profile(data, w, Some((x0, x1))).1)[0];
        for (k, map) in maps.chunks_exact_mut(MAP.0 * MAP.1).enumerate() {
            let x = if k % 2 == 0 { x0 } else { x1 - 1 } / 4;
            let y = (y0 + (y1 - 1 - y0) * k / 16) / 4;
            map[y * MAP.0 + x] = if weak { 0.5 } else { 0.9 };
        }
        if self.0.break_keypoints.load(Ordering::Relaxed) {
            maps[777] = f32::NAN;
        }
        Ok(())
    }
}

fn spec(task: Task) -> ModelSpec {
    ModelSpec { task, name: "fake".into(), ..crate::engine::tiny::spec(Vec::new()) }
}

fn image_input(width: usize, height: usize) -> ImageInput {
    ImageInput {
        name: "image".into(),
        width,
        height,
        channels: Channels::Rgb,
        mean: [0.0; 3],
        std: [1.0; 3],
        pad: 0.0,
    }
}

fn signature(spec: &ModelSpec) -> Signature {
    let pair = |t: TensorSpec| (t.name, t.shape);
    Signature {
        inputs: spec.inputs(1).into_iter().map(pair).collect(),
        outputs: spec.outputs(1).into_iter().map(pair).collect(),
    }
}

fn detector(settings: DetectorSettings) -> (TopDown, Arc<Probe>) {
    let probe = Arc::new(Probe::default());
    let finder = spec(Task::Finder(FinderSpec {
        input: image_input(320, 256),
        letterbox: Letterbox::TopLeft,
        decoder: FinderDecoder::AnchorFree(AnchorFreeDecoder {
            levels: vec![AnchorFreeLevel { stride: 16, scores: "s".into(), boxes: "b".into() }],
            distances: DistanceUnit::Pixels,
            activation: Activation::None,
            classes: 1,
            person: 0,
            cell_offset: 0.5,
            score_threshold: 0.4,
            nms_iou: 0.6,
        }),
    }));
    let keypoints = spec(Task::Keypoints(KeypointsSpec {
        input: image_input(192, 256),
        skeleton: Skeleton::Coco17,
        crop_scale: 1.25,
        decoder: KeypointsDecoder::Heatmap(HeatmapDecoder {
            heatmaps: "h".into(),
            stride: 4,
            refine: Refine::None,
            blur: 0,
            activation: Activation::None,
            cell_offset: 0.5,
            score_threshold: 0.3,
        }),
    }));
    let f = Box::new(FakeFinder(probe.clone(), signature(&finder)));
    let k = Box::new(FakeKeypoints(probe.clone(), signature(&keypoints)));
    (TopDown::with_engines((&finder, f), (&keypoints, k), settings).unwrap(), probe)
}

/// A grey picture of 640 x 480 with a bright bar of 40 x 200 at each place (left, top).
fn look(
    d: &mut TopDown,
    seconds: f64,
    bars: &[(i32, i32)],
) -> Result<Vec<Keypoints2d>, DetectError> {
    let mut bytes = vec![0u8; 640 * 480];
    for (left, top) in bars {
        for y in (*top).max(0)..(top + 200).min(480) {
            for x in (*left).max(0)..(left + 40).min(640) {
                bytes[(y * 640 + x) as usize] = 255;
            }
        }
    }
    let layout = ImageLayout::packed(640, 480, PixelFormat::Gray8, ColorSpace::default());
    let stamp = FrameStamp {
        camera: 0,
        sequence: 0,
        captured: Timestamp::from_secs_f64(seconds),
        timebase: Timebase::Media,
        dequeued: Timestamp::ZERO,
    };
    let memory: Arc<dyn PixelMemory> = Arc::new(bytes);
    let frame = Frame::new(stamp, layout, ArrayVec::from_iter([memory]), None).unwrap();
    let image = frame.image();
    let mut found = Vec::new();
    d.detect(&frame, &image, &mut found).map(|()| found)
}

/// Without second looks: the fake puts its points on the edges of a bar, which change places in a
/// mirror, so that the mean of both looks is half as sure.
fn once(settings: DetectorSettings) -> DetectorSettings {
    DetectorSettings { flip_newcomers: false, ..settings }
}

fn middle(k: &Keypoints2d) -> (f32, f32) {
    k.bounding_box(0.1).unwrap().centre()
}

#[test]
fn a_person_is_found_where_it_is_and_followed_without_the_finder() {
    let (mut d, probe) = detector(once(DetectorSettings {
        // Not in the second after somebody came.
        search_idle_seconds: 60.0,
        ..DetectorSettings::default()
    }));
    for n in 0..15 {
        // 20 pixels per frame: half of the bar's width.
        let left = 100 + 20 * n;
        let found = look(&mut d, f64::from(n) / 30.0, &[(left, 120)]).unwrap();
        assert_eq!(found.len(), 1, "frame {n}");
        let (x, y) = middle(&found[0]);
        assert!((x - (left as f32 + 19.5)).abs() < 6.0, "frame {n}: {x} of {left}");
        assert!((y - 219.5).abs() < 6.0, "frame {n}: {y}");
        assert!(found[0].score > 0.8);
    }
    assert_eq!(probe.finder_runs.load(Ordering::Relaxed), 1);
    look(&mut d, 0.5, &[(400, 120)]).unwrap();
    assert_eq!(probe.finder_runs.load(Ordering::Relaxed), 2, "search_every is 15 frames");
}

#[test]
fn the_crop_of_somebody_who_trembles_stays_and_of_somebody_who_walks_it_goes_along() {
    let (mut d, _) = detector(once(DetectorSettings::default()));
    look(&mut d, 0.0, &[(300, 120)]).unwrap();
    look(&mut d, 1.0 / 30.0, &[(300, 120)]).unwrap();
    let stays = d.followed[0].area;
    for n in 2..12_i32 {
        let aside = [0, 1, 0, -1][n as usize % 4];
        let found = look(&mut d, f64::from(n) / 30.0, &[(300 + aside, 120)]).unwrap();
        assert_eq!(found.len(), 1, "frame {n}");
        assert_eq!(d.followed[0].area, stays, "frame {n}");
    }
    for n in 12..20_i32 {
        look(&mut d, f64::from(n) / 30.0, &[(300 + 8 * (n - 11), 120)]).unwrap();
    }
    let (was, is) = (stays.centre().0, d.followed[0].area.centre().0);
    assert!((is - was - 64.0).abs() < 12.0, "{was} -> {is}");
}

#[test]
fn an_empty_room_is_searched_at_a_limited_rate_and_a_newcomer_is_seen_at_once() {
    let (mut d, probe) = detector(DetectorSettings::default());
    for n in 0..60 {
        assert!(look(&mut d, f64::from(n) / 60.0, &[]).unwrap().is_empty());
    }
    // Every 6th or 7th frame at 60 frames per second.
    let runs = probe.finder_runs.load(Ordering::Relaxed);
    assert!((8..=11).contains(&runs), "{runs}");
    assert_eq!(probe.keypoint_runs.load(Ordering::Relaxed), 0);
    let seen =
        (60..68).any(|n| !look(&mut d, f64::from(n) / 60.0, &[(300, 100)]).unwrap().is_empty());
    assert!(seen);
}

#[test]
fn somebody_who_vanishes_is_dropped_and_searched_for_in_the_same_frame() {
    let (mut d, probe) = detector(DetectorSettings::default());
    look(&mut d, 0.0, &[(100, 100)]).unwrap();
    assert_eq!(probe.finder_runs.load(Ordering::Relaxed), 1);
    // Too far away for the crop: a jump as after lost frames.
    let found = look(&mut d, 0.033, &[(500, 200)]).unwrap();
    assert_eq!(probe.finder_runs.load(Ordering::Relaxed), 2);
    assert_eq!(found.len(), 1);
    assert!((middle(&found[0]).0 - 519.5).abs() < 6.0);
    assert!(look(&mut d, 0.066, &[]).unwrap().is_empty());
}

#[test]
fn several_persons_are_reported_once_each_up_to_the_limit() {
    let settings = DetectorSettings { search_every: 1, ..DetectorSettings::default() };
    let (mut d, _) = detector(settings.clone());
    let bars = [(40, 100), (240, 130), (440, 90), (560, 200)];
    for n in 0..4 {
        let mut found = look(&mut d, f64::from(n) * 0.033, &bars).unwrap();
        found.sort_by(|a, b| middle(a).0.total_cmp(&middle(b).0));
        assert_eq!(found.len(), 4, "frame {n}");
        for (k, (left, _)) in found.iter().zip(bars) {
            assert!((middle(k).0 - (left as f32 + 19.5)).abs() < 6.0);
        }
    }
    let (mut d, _) = detector(DetectorSettings { max_persons: 2, ..settings });
    assert_eq!(look(&mut d, 0.0, &bars).unwrap().len(), 2);
}

#[test]
fn with_somebody_followed_a_frame_costs_one_run_more_than_they_do() {
    let (mut d, probe) = detector(once(DetectorSettings {
        search_every: 5,
        search_idle_seconds: 60.0,
        ..DetectorSettings::default()
    }));
    let bars = [(40, 100), (240, 130), (440, 90), (560, 200)];
    let runs = || {
        let finder = probe.finder_runs.load(Ordering::Relaxed);
        finder + probe.keypoint_runs.load(Ordering::Relaxed)
    };
    assert_eq!(look(&mut d, 0.0, &bars[..1]).unwrap().len(), 1);
    let mut before = 1;
    let mut counts = Vec::new();
    for n in 1..=9 {
        let had = runs();
        let found = look(&mut d, f64::from(n) * 0.033, &bars).unwrap().len();
        assert!(runs() - had <= before + 1, "frame {n}: {} runs for {before}", runs() - had);
        (before, counts) = (found, [counts, vec![found]].concat());
    }
    // The finder runs in frame 5, and one newcomer is looked at in each frame after it.
    assert_eq!(counts, [1, 1, 1, 1, 1, 2, 3, 4, 4]);
}

#[test]
fn whoever_fades_keeps_nobody_else_from_being_looked_at() {
    let (mut d, probe) = detector(once(DetectorSettings::default()));
    let bars = [(40, 100), (240, 130), (440, 90)];
    assert_eq!(look(&mut d, 0.0, &bars[..1]).unwrap().len(), 1);
    // Half as sure from now on: it fades in every frame.
    probe.unsure.store(true, Ordering::Relaxed);
    let found = (1..=8).map(|n| look(&mut d, f64::from(n) * 0.033, &bars).unwrap().len());
    // The finder runs in frame 4, and in frame 8 again.
    assert_eq!(found.collect::<Vec<_>>(), [1, 1, 1, 1, 2, 3, 3, 3]);
    assert_eq!(probe.finder_runs.load(Ordering::Relaxed), 3);
}

#[test]
fn whoever_is_lost_beside_others_is_searched_for_at_the_rate_of_an_empty_room() {
    let settings = DetectorSettings { search_every: 1_000, ..DetectorSettings::default() };
    let (mut d, probe) = detector(once(settings));
    let mut at = |n: i32, bars: &[(i32, i32)]| look(&mut d, f64::from(n) / 30.0, bars).unwrap();
    assert_eq!(at(0, &[(40, 100), (300, 100)]).len(), 2);
    // Long enough for the second after their coming to be over.
    (1..60).for_each(|n| assert_eq!(at(n, &[(40, 100), (300, 100)]).len(), 2));
    let before = probe.finder_runs.load(Ordering::Relaxed);
    assert!((9..=12).contains(&before), "{before}");
    (60..75).for_each(|n| assert_eq!(at(n, &[(40, 100)]).len(), 1, "frame {n}"));
    let after = probe.finder_runs.load(Ordering::Relaxed) - before;
    // In half a second: at once, and every third frame or fourth.
    assert!((4..=5).contains(&after), "{after}");
    let back = (75..80).position(|n| at(n, &[(40, 100), (500, 100)]).len() == 2);
    assert!(back.is_some_and(|frames| frames <= 4), "{back:?}");
}

#[test]
fn two_followed_crops_that_end_on_one_person_become_one() {
    let (mut d, _) = detector(DetectorSettings { search_every: 1_000, ..Default::default() });
    assert_eq!(look(&mut d, 0.0, &[(200, 100), (290, 100)]).unwrap().len(), 2);
    // One of them has gone; both crops see the other.
    let found = look(&mut d, 0.033, &[(245, 100)]).unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn a_person_cut_by_the_border_keeps_its_points_within_the_picture() {
    let (mut d, _) = detector(DetectorSettings::default());
    for (n, place) in [(-15, 100), (620, 350), (300, -120), (10, 400)].into_iter().enumerate() {
        d.forget();
        let found = look(&mut d, n as f64, &[place]).unwrap();
        assert_eq!(found.len(), 1, "{place:?}");
        for p in found[0].points.iter().filter(|p| p.confidence > 0.0) {
            assert!(p.x > -10.0 && p.x < 650.0 && p.y > -10.0 && p.y < 490.0, "{p:?}");
        }
    }
}

#[test]
fn boxes_too_small_to_see_anything_in_are_left_alone() {
    let settings = DetectorSettings { min_person_pixels: 250.0, ..DetectorSettings::default() };
    let (mut d, probe) = detector(settings);
    assert!(look(&mut d, 0.0, &[(100, 100)]).unwrap().is_empty());
    assert_eq!(probe.keypoint_runs.load(Ordering::Relaxed), 0);
}

#[test]
fn a_newcomer_whom_a_mirror_does_not_show_is_nobody() {
    let settings = |flip_newcomers| DetectorSettings { flip_newcomers, ..Default::default() };
    let (mut twice, probe) = detector(settings(true));
    let runs = || probe.keypoint_runs.load(Ordering::Relaxed);
    // Somebody: a second run for a newcomer, none for who is known.
    for n in 0..3 {
        assert_eq!(look(&mut twice, f64::from(n) * 0.033, &[(100, 100)]).unwrap().len(), 1);
        assert_eq!(runs(), 2 + n as usize);
    }
    // Seen in every other run only: the mean of both looks is too unsure.
    for (flip_newcomers, found) in [(true, 0), (false, 1)] {
        let (mut d, probe) = detector(settings(flip_newcomers));
        probe.every_other.store(true, Ordering::Relaxed);
        assert_eq!(look(&mut d, 0.0, &[(100, 100)]).unwrap().len(), found);
        assert_eq!(probe.keypoint_runs.load(Ordering::Relaxed), 2 - found);
    }
}

#[test]
fn a_second_look_in_a_mirror_costs_a_run_and_finds_the_person_where_it_is() {
    let (mut plain, _) = detector(DetectorSettings::default());
    let (mut twice, probe) =
        detector(DetectorSettings { flip: true, ..DetectorSettings::default() });
    assert!(twice.describe().contains("flip"));
    let (a, b) = (look(&mut plain, 0.0, &[(100, 100)]), look(&mut twice, 0.0, &[(100, 100)]));
    let (a, b) = (middle(&a.unwrap()[0]), middle(&b.unwrap()[0]));
    assert!((a.0 - b.0).abs() < 6.0 && (a.1 - b.1).abs() < 6.0, "{a:?} {b:?}");
    assert_eq!(probe.keypoint_runs.load(Ordering::Relaxed), 2);
    probe.break_keypoints.store(true, Ordering::Relaxed);
    assert!(look(&mut twice, 0.033, &[(100, 100)]).is_err());
}

#[test]
fn a_nan_costs_the_frame_and_the_next_one_is_searched_anew() {
    let (mut d, probe) = detector(DetectorSettings::default());
    assert_eq!(look(&mut d, 0.0, &[(100, 100)]).unwrap().len(), 1);
    probe.break_keypoints.store(true, Ordering::Relaxed);
    let error = look(&mut d, 0.033, &[(100, 100)]).unwrap_err();
    assert!(error.to_string().contains("\"h\""), "{error}");
    assert_eq!(crate::fault::Fault::severity(&error), crate::fault::Severity::Skip);
    probe.break_keypoints.store(false, Ordering::Relaxed);
    let found = look(&mut d, 0.066, &[(100, 100)]).unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn settings_out_of_range_and_unknown_keys_are_refused() {
    let parse = |text: &str| toml::from_str::<DetectorSettings>(text);
    assert_eq!(parse("").unwrap(), DetectorSettings::default());
    assert_eq!(parse("max_persons = 2").unwrap().max_persons, 2);
    assert!(parse("max_people = 2").unwrap_err().to_string().contains("max_people"));
    for text in ["max_persons = 0", "max_persons = 17", "search_every = 0", "score_threshold = 2.0"]
    {
        assert!(parse(text).unwrap().check().is_err(), "{text}");
    }
}
