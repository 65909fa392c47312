//! One-stage detection: one network finds the persons of the whole picture with their keypoints.
//!
//! Nobody is followed and nothing is cropped: every frame costs one run of the network, however many
//! persons there are. With nobody in view it rests between two looks, as the finder of the top-down
//! detector does.

use super::decode::{FoundPerson, PersonDecoder};
use super::finder::clip;
use super::keypoints::placed;
use super::network::Network;
use super::settings::DetectorSettings;
use super::{Crop, DetectError, Detector};
use crate::engine::spec::OneStageSpec;
use crate::engine::{Backend, Engine, EngineError, ModelSpec, Precision};
use crate::frame::{Frame, ImageView};
use crate::pose::{BoundingBox, Keypoints2d, MAX_PERSONS};
use crate::skeleton::Skeleton;
use crate::time::Timestamp;

/// Persons that the network may give at once: some of them are too small or seen twice.
const MOST_FOUND: usize = 4 * MAX_PERSONS;
/// Keypoints that two poses are compared by.
const SEEN: f32 = 0.2;
/// Publishers count a picture's pixels from its first pixel's edge when they resize it, and from
/// that pixel's centre when they say where a keypoint is.
const CENTRE: f32 = 0.5;

/// Finds persons with their keypoints. See the module's introduction.
pub struct OneStage {
    settings: DetectorSettings,
    spec: OneStageSpec,
    network: Network,
    decoder: PersonDecoder,
    /// What the last look found, in pixels of the network's input.
    persons: Vec<FoundPerson>,
    /// Boxes in the picture of those that are given out.
    areas: Vec<BoundingBox>,
    /// When it looked last and saw nobody.
    empty: Option<Timestamp>,
    search_stride: u32,
}

impl OneStage {
    /// Loads the network into `backend`.
    ///
    /// # Errors
    /// If the model is of another kind or has another skeleton than COCO-17, does not load, or a
    /// setting is out of range or asks for what only top-down detectors can do.
    pub fn new(
        backend: &dyn Backend,
        model: &ModelSpec,
        precision: Precision,
        settings: DetectorSettings,
    ) -> Result<Self, DetectError> {
        settings.check()?;
        if settings.flip {
            let model = &model.name;
            return Err(DetectError::Settings(format!(
                "flip is for keypoint networks, and {model} is a one-stage model; set flip = false"
            )));
        }
        let spec = model.one_stage()?.clone();
        if spec.skeleton != Skeleton::Coco17 {
            return Err(DetectError::Engine(EngineError::Model {
                model: model.name.clone(),
                problem: format!("its skeleton is {}, coco17 is needed", spec.skeleton),
            }));
        }
        let engine: Box<dyn Engine> = backend.load(model, precision, 1)?;
        Ok(Self {
            network: Network::new(model, &spec.input, engine)?,
            decoder: PersonDecoder::new(&spec, MOST_FOUND),
            persons: Vec::with_capacity(MOST_FOUND),
            areas: Vec::with_capacity(MAX_PERSONS),
            empty: None,
            search_stride: 1,
            settings,
            spec,
        })
    }

    /// Nobody was there, and it is not yet time to look again?
    fn rests(&self, now: Timestamp) -> bool {
        let pause = self.settings.search_idle_seconds * f64::from(self.search_stride);
        // A clock that was set back must not blind it.
        self.empty.is_some_and(|last| (0.0..pause).contains(&now.secs_since(last)))
    }

    /// One picture.
    fn look(
        &mut self,
        image: &ImageView<'_>,
        found: &mut Vec<Keypoints2d>,
    ) -> Result<(), DetectError> {
        let crop =
            Crop::letterbox(image.width, image.height, &self.spec.input, self.spec.letterbox);
        self.network.look(image, &crop)?;
        let threshold = self.settings.score_threshold.unwrap_or(self.spec.decoder.score_threshold);
        self.decoder
            .read(&self.network.outputs, threshold, MOST_FOUND, &mut self.persons)
            .map_err(|e| DetectError::output(self.network.name(), &e))?;
        self.areas.clear();
        let first = found.len();
        for person in &self.persons {
            if self.areas.len() == self.settings.max_persons {
                break;
            }
            let b = person.found.area;
            let (left, top) = crop.to_picture(b.x, b.y);
            let (right, bottom) = crop.to_picture(b.x + b.width, b.y + b.height);
            let area = clip(left, top, right, bottom, image);
            let size = area.width.max(area.height);
            if size < self.settings.min_person_pixels {
                continue;
            }
            let points = placed(&person.points, &crop, CENTRE, image, 0.02 * size);
            let keypoints = Keypoints2d { points, score: person.found.score };
            let mut others = found[first..].iter().zip(&self.areas);
            let twice = others.any(|(other, of)| {
                let scale = area.area().min(of.area());
                keypoints.similarity(other, scale, SEEN) > self.settings.duplicate_similarity
            });
            if !twice {
                self.areas.push(area);
                found.push(keypoints);
            }
        }
        Ok(())
    }
}

impl Detector for OneStage {
    fn skeleton(&self) -> Skeleton {
        self.spec.skeleton
    }

    fn detect(
        &mut self,
        frame: &Frame,
        image: &ImageView<'_>,
        found: &mut Vec<Keypoints2d>,
    ) -> Result<(), DetectError> {
        let now = frame.captured;
        if self.rests(now) {
            return Ok(());
        }
        // Until this look has succeeded, nobody knows that the room is empty.
        self.empty = None;
        self.look(image, found)?;
        self.empty = self.areas.is_empty().then_some(now);
        Ok(())
    }

    fn describe(&self) -> String {
        let input = &self.spec.input;
        format!("one-stage {} ({}x{})", self.network.name(), input.width, input.height)
    }

    fn set_search_stride(&mut self, stride: u32) {
        self.search_stride = stride.max(1);
    }

    fn exchange(&mut self) {
        self.network.exchange();
    }
}

#[cfg(test)]
#[path = "onestage_tests.rs"]
mod tests;
