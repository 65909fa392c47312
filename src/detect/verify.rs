//! Does a network that sees pictures answer as it does on the CPU?
//!
//! Backends have been seen to compute wrong values without a word, and no pictures with their
//! answers are shipped with networks. So both look at the same scenes, and what is read from their
//! outputs is compared: the places of keypoints, the corners of persons' boxes.

use super::decode::{BoxDecoder, FoundBox, FoundPerson, KeypointReader, PersonDecoder};
use super::preprocess::Preprocessor;
use super::{Crop, DetectError};
use crate::engine::gate::{Budget, SideBySide, Verdict};
use crate::engine::spec::{FinderDecoder, FinderSpec, ImageInput, Task};
use crate::engine::{Engine, EngineError, ModelSpec, Precision};
use crate::frame::{ImageLayout, ImageView};
use crate::pose::BoundingBox;

/// Of keypoints less sure than this nobody makes anything; of two weak peaks any rounding may
/// choose the other.
const SURE: f32 = 0.3;
/// A box that is surer than the finder's threshold by this factor must be found again.
const CLEARLY: f32 = 1.2;
/// Boxes that overlap by less are not of the same person.
const SAME_IOU: f32 = 0.5;
/// Boxes of a scene that are looked at.
const MOST_BOXES: usize = 8;

/// A picture, and where persons are in it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Its bytes.
    pub pixels: Vec<u8>,
    /// How they lie.
    pub layout: ImageLayout,
    /// Persons, pixels.
    pub persons: Vec<BoundingBox>,
}

impl Scene {
    fn view(&self, model: &ModelSpec) -> Result<ImageView<'_>, EngineError> {
        self.layout
            .picture(&self.pixels)
            .ok_or_else(|| model.problem("a scene's picture is shorter than its layout"))
    }
}

/// Holds `candidate` against `reference`, both of `model` at batch 1, on `scenes`. What is allowed
/// is the budget of `precision`.
///
/// # Errors
/// If `model` sees no pictures, a network has other tensors, or running fails. Wrong answers are
/// no error but a verdict; so is that nobody is seen in the scenes: nothing measured is not within.
pub fn verify(
    model: &ModelSpec,
    precision: Precision,
    scenes: &[Scene],
    reference: &mut dyn Engine,
    candidate: &mut dyn Engine,
) -> Result<Verdict, EngineError> {
    match &model.task {
        Task::Keypoints(spec) => {
            let reader = KeypointReader::new(spec);
            let mut apart = |wanted: &[Vec<f32>], found: &[Vec<f32>], apart: &mut Vec<f64>| {
                keypoints_apart(&reader, wanted, found, apart);
            };
            let mut both = SideBySide::new(reference, candidate, &mut apart)?;
            show(model, &spec.input, scenes, &mut both, |_, scene, crops| {
                let around = |p| Crop::around(p, spec.crop_scale, &spec.input);
                crops.extend(scene.persons.iter().map(around));
            })?;
            Ok(both.verdict(Budget::keypoints(precision)))
        }
        Task::Finder(spec) => {
            let mut decoder = BoxDecoder::new(spec);
            let mut apart = |wanted: &[Vec<f32>], found: &[Vec<f32>], apart: &mut Vec<f64>| {
                boxes_apart(&mut decoder, threshold(spec), wanted, found, apart);
            };
            let mut both = SideBySide::new(reference, candidate, &mut apart)?;
            show(model, &spec.input, scenes, &mut both, |image, _, crops| {
                let place = spec.letterbox;
                crops.push(Crop::letterbox(image.width, image.height, &spec.input, place));
            })?;
            Ok(both.verdict(Budget::boxes(precision)))
        }
        Task::OneStage(spec) => {
            let mut decoder = PersonDecoder::new(spec, MOST_BOXES);
            let threshold = spec.decoder.score_threshold;
            let mut apart = |wanted: &[Vec<f32>], found: &[Vec<f32>], apart: &mut Vec<f64>| {
                persons_apart(&mut decoder, threshold, wanted, found, apart);
            };
            let mut both = SideBySide::new(reference, candidate, &mut apart)?;
            show(model, &spec.input, scenes, &mut both, |image, _, crops| {
                let place = spec.letterbox;
                crops.push(Crop::letterbox(image.width, image.height, &spec.input, place));
            })?;
            // Whole persons are in its input, as for a finder: twice the pixels of a crop's.
            Ok(both.verdict(Budget::boxes(precision)))
        }
        Task::Lifter(_) | Task::Part(_) => Err(model.problem("it sees no pictures")),
    }
}

/// Shows what `of` cuts out of each scene, in the way that the detector does.
fn show(
    model: &ModelSpec,
    input: &ImageInput,
    scenes: &[Scene],
    both: &mut SideBySide<'_>,
    of: impl Fn(&ImageView<'_>, &Scene, &mut Vec<Crop>),
) -> Result<(), EngineError> {
    let mut preprocessor = Preprocessor::new(input);
    let (mut tensor, mut cut) = (vec![0.0; preprocessor.tensor_len()], Vec::new());
    let problem = |e| match e {
        DetectError::Engine(e) => e,
        other => model.problem(other.to_string()),
    };
    for scene in scenes {
        let image = scene.view(model)?;
        cut.clear();
        of(&image, scene, &mut cut);
        for crop in &cut {
            let plan = preprocessor.plan(&image, crop).map_err(problem)?;
            preprocessor.fill(&plan, &image, &mut tensor).map_err(problem)?;
            preprocessor.with_sampling(&plan, &image, false, |sampling| {
                both.show(&tensor, Some(sampling))
            })?;
        }
    }
    Ok(())
}

fn keypoints_apart(
    reader: &KeypointReader,
    wanted: &[Vec<f32>],
    found: &[Vec<f32>],
    apart: &mut Vec<f64>,
) {
    // A reference that is not finite is nothing to compare with.
    let Ok(wanted) = reader.read(wanted) else { return };
    let sure = wanted.iter().enumerate().filter(|(_, [_, _, confidence])| *confidence >= SURE);
    match reader.read(found) {
        Ok(found) => apart.extend(sure.map(|(joint, [x, y, _])| {
            let [u, v, _] = found[joint];
            f64::from(x - u).hypot(f64::from(y - v))
        })),
        Err(_) => apart.extend(sure.map(|_| f64::NAN)),
    }
}

/// Boxes below it are no persons.
fn threshold(spec: &FinderSpec) -> f32 {
    match &spec.decoder {
        FinderDecoder::Boxes(d) => d.score_threshold,
        FinderDecoder::AnchorFree(d) => d.score_threshold,
    }
}

fn boxes_apart(
    decoder: &mut BoxDecoder,
    threshold: f32,
    wanted: &[Vec<f32>],
    found: &[Vec<f32>],
    apart: &mut Vec<f64>,
) {
    let (mut sure, mut given) = (Vec::new(), Vec::new());
    if decoder.read(wanted, MOST_BOXES, &mut sure).is_err() {
        return;
    }
    let whole = decoder.read(found, MOST_BOXES, &mut given).is_ok();
    let clear = |b: &&FoundBox| b.score >= (CLEARLY * threshold).min(0.9);
    for FoundBox { area, .. } in sure.iter().filter(clear) {
        let same = given
            .iter()
            .map(|other| (area.iou(&other.area), other.area))
            .filter(|(iou, _)| *iou >= SAME_IOU)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let corners = |a: &BoundingBox| [(a.x, a.y), (a.x + a.width, a.y + a.height)];
        let far = |(x, y): (f32, f32)| f64::from(x).hypot(f64::from(y));
        match same {
            _ if !whole => apart.push(f64::NAN),
            // A person who is not found is as far off as they are large.
            None => apart.push(far((area.width, area.height))),
            Some((_, other)) => apart.extend(
                corners(area).iter().zip(corners(&other)).map(|(a, b)| far((a.0 - b.0, a.1 - b.1))),
            ),
        }
    }
}

fn persons_apart(
    decoder: &mut PersonDecoder,
    threshold: f32,
    wanted: &[Vec<f32>],
    found: &[Vec<f32>],
    apart: &mut Vec<f64>,
) {
    let (mut sure, mut given) = (Vec::new(), Vec::new());
    let clearly = (CLEARLY * threshold).min(0.9);
    if decoder.read(wanted, clearly, MOST_BOXES, &mut sure).is_err() {
        return;
    }
    let whole = decoder.read(found, threshold, MOST_BOXES, &mut given).is_ok();
    for FoundPerson { found: FoundBox { area, .. }, points } in &sure {
        let same = given
            .iter()
            .map(|other| (area.iou(&other.found.area), &other.points))
            .filter(|(iou, _)| *iou >= SAME_IOU)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match same {
            _ if !whole => apart.push(f64::NAN),
            None => apart.push(f64::from(area.width).hypot(f64::from(area.height))),
            Some((_, others)) => {
                let seen = points.iter().zip(others).filter(|(p, _)| p[2] >= SURE);
                apart.extend(
                    seen.map(|([x, y, _], [u, v, _])| f64::from(x - u).hypot(f64::from(y - v))),
                );
            }
        }
    }
}
