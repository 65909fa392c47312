//! Top-down detection: a finder says where persons are, a keypoint network looks at each of them.
//!
//! The finder is the dear part and a person is seldom far from where it was a frame ago. So each
//! person that was seen is followed: its crop is taken about its last keypoints, moved on with
//! their velocity. The finder runs every so often, at once when a followed person fades, and, as
//! long as nobody is there, at a limited rate.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::decode::{BoxDecoder, FoundBox, KeypointReader};
use super::network::Network;
use super::preprocess::Preprocessor;
use super::{Crop, DetectError, Detector};
use crate::engine::spec::{FinderSpec, KeypointsSpec};
use crate::engine::{Backend, Engine, EngineError, ModelSpec, Precision};
use crate::frame::{Frame, ImageView};
use crate::pose::{BoundingBox, Keypoint, Keypoints2d, MAX_PERSONS};
use crate::skeleton::{JOINTS, Skeleton};
use crate::time::Timestamp;

/// How persons are found and followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopDownSettings {
    /// At most this many persons are followed, 1..=16; each costs one run of the keypoint network
    /// per frame.
    pub max_persons: usize,
    /// With somebody followed, the finder runs every this many frames.
    pub search_every: u32,
    /// With nobody followed, the finder runs when this many seconds have passed since it last
    /// did: an empty room need not be searched at the camera's full rate.
    pub search_idle_seconds: f64,
    /// A person whose mean keypoint confidence is below this is not reported and not followed;
    /// by default what the keypoint model's manifest says.
    pub score_threshold: Option<f32>,
    /// Two poses more alike than this (object keypoint similarity, 0..1) are one person.
    pub duplicate_similarity: f32,
    /// Boxes smaller than this along their longer side, in pixels, are left alone: too small to
    /// see keypoints in.
    pub min_person_pixels: f32,
    /// Every crop is looked at a second time in a mirror, and the mean of both answers is taken:
    /// more exact, for twice the keypoint network's time.
    pub flip: bool,
}

impl Default for TopDownSettings {
    fn default() -> Self {
        Self {
            max_persons: 4,
            search_every: 15,
            search_idle_seconds: 0.1,
            score_threshold: None,
            duplicate_similarity: 0.7,
            min_person_pixels: 24.0,
            flip: false,
        }
    }
}

/// Keypoints that a box is drawn around.
const SEEN: f32 = 0.2;
/// A person's box is its keypoints' box enlarged by this: keypoints end at eyes and ankles,
/// persons at hair and soles.
const BODY_MARGIN: f32 = 1.15;
/// A finder's box that overlaps a followed person's by this much is that person.
const SAME_BOX_IOU: f32 = 0.4;
/// A person whose score falls below this share of its running mean is fading.
const FADING: f32 = 0.75;
/// Boxes that the finder may propose at once; those of followed persons are among them.
const MOST_BOXES: usize = 2 * MAX_PERSONS;

/// Somebody who was seen in the last frame.
#[derive(Clone, Copy, Debug)]
struct Followed {
    keypoints: Keypoints2d,
    /// Where to look, and what the keypoints' box was: the finder's box when it has just run.
    area: BoundingBox,
    /// Pixels per second.
    velocity: (f32, f32),
    /// Running mean of the score.
    usual: f32,
}

/// Finds persons, follows them and reads their keypoints. See the module's introduction.
pub struct TopDown {
    settings: TopDownSettings,
    finder: Finder,
    keypoints: KeypointNetwork,
    followed: ArrayVec<Followed, MAX_PERSONS>,
    last_frame: Option<Timestamp>,
    last_search: Option<Timestamp>,
    frames_since_search: u32,
    search_stride: u32,
    searches: u64,
}

struct Finder {
    spec: FinderSpec,
    network: Network,
    preprocessor: Preprocessor,
    decoder: BoxDecoder,
    boxes: Vec<FoundBox>,
}

struct KeypointNetwork {
    spec: KeypointsSpec,
    network: Network,
    preprocessor: Preprocessor,
    reader: KeypointReader,
    /// Outputs for the crop as it is, while it is looked at in a mirror; `None`: it is not.
    plain: Option<Vec<Vec<f32>>>,
}

impl TopDown {
    /// Loads a finder and a keypoint network into `backend`.
    ///
    /// # Errors
    /// If a model is of another kind, does not load, or a setting is out of range.
    pub fn new(
        backend: &dyn Backend,
        finder: &ModelSpec,
        keypoints: &ModelSpec,
        precision: Precision,
        settings: TopDownSettings,
    ) -> Result<Self, DetectError> {
        // A mistaken setting should not have to wait for the networks.
        settings.check()?;
        let engines = (backend.load(finder, precision, 1)?, backend.load(keypoints, precision, 1)?);
        Self::with_engines((finder, engines.0), (keypoints, engines.1), settings)
    }

    /// From a finder and a keypoint network, each with the engine that it was loaded into at
    /// batch 1.
    ///
    /// # Errors
    /// If a model is of another kind, an engine has other tensors than its manifest, or a setting
    /// is out of range.
    pub fn with_engines(
        finder: (&ModelSpec, Box<dyn Engine>),
        keypoints: (&ModelSpec, Box<dyn Engine>),
        settings: TopDownSettings,
    ) -> Result<Self, DetectError> {
        settings.check()?;
        let spec = finder.0.finder()?.clone();
        let finder = Finder {
            network: Network::new(finder.0, finder.1)?,
            preprocessor: Preprocessor::new(&spec.input),
            decoder: BoxDecoder::new(&spec),
            boxes: Vec::with_capacity(MOST_BOXES),
            spec,
        };
        let spec = keypoints.0.keypoints()?.clone();
        if spec.skeleton != Skeleton::Coco17 {
            return Err(DetectError::Engine(EngineError::Model {
                model: keypoints.0.name.clone(),
                problem: format!("its skeleton is {}, coco17 is needed", spec.skeleton),
            }));
        }
        let network = Network::new(keypoints.0, keypoints.1)?;
        let keypoints = KeypointNetwork {
            plain: settings.flip.then(|| network.outputs.clone()),
            network,
            preprocessor: Preprocessor::new(&spec.input),
            reader: KeypointReader::new(&spec),
            spec,
        };
        Ok(Self {
            settings,
            finder,
            keypoints,
            followed: ArrayVec::new(),
            last_frame: None,
            last_search: None,
            frames_since_search: 0,
            search_stride: 1,
            searches: 0,
        })
    }

    /// How often the finder has run.
    pub fn searches(&self) -> u64 {
        self.searches
    }

    /// Forgets whom it follows: the next picture has nothing to do with the last one.
    pub fn forget(&mut self) {
        self.followed.clear();
        self.last_frame = None;
        self.last_search = None;
        self.frames_since_search = 0;
    }

    fn threshold(&self) -> f32 {
        self.settings.score_threshold.unwrap_or(self.keypoints.reader.score_threshold)
    }

    /// Looks again at everybody who was followed. True if somebody fades or is gone.
    fn follow(
        &mut self,
        image: &ImageView<'_>,
        now: Timestamp,
        seen: &mut ArrayVec<Followed, MAX_PERSONS>,
    ) -> Result<bool, DetectError> {
        // A recording that starts again, or a long gap, says nothing about motion.
        let dt = self.last_frame.map_or(0.0, |last| now.secs_since(last) as f32);
        let dt = if (0.0..0.5).contains(&dt) { dt } else { 0.0 };
        let mut fading = false;
        for was in std::mem::take(&mut self.followed) {
            let mut area = was.area;
            // Never by more than a third of the person: a wild velocity must not lose it.
            let most = (area.width / 3.0, area.height / 3.0);
            area.x += (was.velocity.0 * dt).clamp(-most.0, most.0);
            area.y += (was.velocity.1 * dt).clamp(-most.1, most.1);
            let Some(keypoints) = self.look(image, &area)? else {
                fading = true;
                continue;
            };
            fading |= keypoints.score < FADING * was.usual;
            let Some(area) = area_of(&keypoints, image) else { continue };
            let velocity = velocity(&was.keypoints, &keypoints, dt);
            let usual = 0.9 * was.usual + 0.1 * keypoints.score;
            seen.push(Followed { keypoints, area, velocity, usual });
        }
        Ok(fading)
    }

    /// Is it time to run the finder?
    fn search_is_due(&self, now: Timestamp, following: bool, fading: bool) -> bool {
        if following {
            let every = self.settings.search_every.saturating_mul(self.search_stride);
            return fading || self.frames_since_search.saturating_add(1) >= every;
        }
        fading
            || self.last_search.is_none_or(|last| {
                let passed = now.secs_since(last);
                // A clock that was set back must not blind it.
                passed < 0.0
                    || passed >= self.settings.search_idle_seconds * f64::from(self.search_stride)
            })
    }

    /// Runs the finder and looks at everybody who is not followed yet.
    fn search(
        &mut self,
        image: &ImageView<'_>,
        seen: &mut ArrayVec<Followed, MAX_PERSONS>,
    ) -> Result<(), DetectError> {
        self.searches += 1;
        self.finder.find(image)?;
        for n in 0..self.finder.boxes.len() {
            let area = self.finder.boxes[n].area;
            if area.width.max(area.height) < self.settings.min_person_pixels {
                continue;
            }
            let known = seen.iter_mut().find(|s| overlap(&s.area, &area) >= SAME_BOX_IOU);
            if let Some(known) = known {
                // The finder sees the whole person; keypoints alone, if some were lost, would
                // keep the crop from ever growing back.
                known.area = area;
                continue;
            }
            if seen.len() >= self.settings.max_persons {
                continue;
            }
            if let Some(keypoints) = self.look(image, &area)? {
                let area = area_of(&keypoints, image).unwrap_or(area);
                let usual = keypoints.score;
                seen.push(Followed { keypoints, area, velocity: (0.0, 0.0), usual });
            }
        }
        Ok(())
    }

    /// One picture.
    fn step(
        &mut self,
        now: Timestamp,
        image: &ImageView<'_>,
        found: &mut Vec<Keypoints2d>,
    ) -> Result<(), DetectError> {
        let mut seen = ArrayVec::new();
        let following = !self.followed.is_empty();
        let fading = self.follow(image, now, &mut seen)?;
        if self.search_is_due(now, following, fading) {
            self.search(image, &mut seen)?;
            self.last_search = Some(now);
            self.frames_since_search = 0;
        } else {
            self.frames_since_search = self.frames_since_search.saturating_add(1);
        }
        self.last_frame = Some(now);
        seen.sort_unstable_by(|a, b| b.keypoints.score.total_cmp(&a.keypoints.score));
        for person in seen {
            let same = |other: &Followed| {
                let (a, b) = (&person.keypoints, &other.keypoints);
                let scale = person.area.area().min(other.area.area());
                a.similarity(b, scale, SEEN) > self.settings.duplicate_similarity
            };
            if self.followed.len() < self.settings.max_persons && !self.followed.iter().any(same) {
                self.followed.push(person);
                found.push(person.keypoints);
            }
        }
        Ok(())
    }

    /// The keypoints of the person in `area`; `None` if there is nobody.
    fn look(
        &mut self,
        image: &ImageView<'_>,
        area: &BoundingBox,
    ) -> Result<Option<Keypoints2d>, DetectError> {
        if area.width.max(area.height) < self.settings.min_person_pixels {
            return Ok(None);
        }
        let keypoints = self.keypoints.read(image, area)?;
        Ok((keypoints.score >= self.threshold()).then_some(keypoints))
    }
}

impl Detector for TopDown {
    fn skeleton(&self) -> Skeleton {
        self.keypoints.spec.skeleton
    }

    fn detect(
        &mut self,
        frame: &Frame,
        image: &ImageView<'_>,
        found: &mut Vec<Keypoints2d>,
    ) -> Result<(), DetectError> {
        let result = self.step(frame.captured, image, found);
        if result.is_err() {
            // Nobody is followed any more: search as soon as a picture can be used again.
            self.forget();
        }
        result
    }

    fn describe(&self) -> String {
        format!(
            "finder {} ({}x{}), keypoints {} ({}x{}{})",
            self.finder.network.name(),
            self.finder.spec.input.width,
            self.finder.spec.input.height,
            self.keypoints.network.name(),
            self.keypoints.spec.input.width,
            self.keypoints.spec.input.height,
            if self.settings.flip { ", twice: flip" } else { "" }
        )
    }

    fn set_search_stride(&mut self, stride: u32) {
        self.search_stride = stride.max(1);
    }

    fn exchange(&mut self) {
        self.finder.network.exchange();
        self.keypoints.network.exchange();
    }
}

impl TopDownSettings {
    fn check(&self) -> Result<(), DetectError> {
        let wrong = |what: &str| Err(DetectError::Settings(what.to_owned()));
        if !(1..=MAX_PERSONS).contains(&self.max_persons) {
            return wrong("max_persons must be 1 to 16");
        }
        if self.search_every == 0 {
            return wrong("search_every must be 1 or more frames");
        }
        if !(0.0..=60.0).contains(&self.search_idle_seconds) {
            return wrong("search_idle_seconds must be 0 to 60");
        }
        if self.score_threshold.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
            return wrong("score_threshold must be 0 to 1");
        }
        if !(0.0..=1.0).contains(&self.duplicate_similarity) {
            return wrong("duplicate_similarity must be 0 to 1");
        }
        if !(1.0..=4096.0).contains(&self.min_person_pixels) {
            return wrong("min_person_pixels must be 1 to 4096");
        }
        Ok(())
    }
}

impl Finder {
    /// Fills `boxes`, in pixels of the picture, best first.
    fn find(&mut self, image: &ImageView<'_>) -> Result<(), DetectError> {
        let input = &self.spec.input;
        let crop = Crop::letterbox(image.width, image.height, input, self.spec.letterbox);
        self.preprocessor.sample(image, &crop, &mut self.network.input)?;
        self.network.run()?;
        self.decoder
            .read(&self.network.outputs, MOST_BOXES, &mut self.boxes)
            .map_err(|e| DetectError::output(self.network.name(), &e))?;
        for found in &mut self.boxes {
            let a = found.area;
            let (x, y) = crop.to_picture(a.x, a.y);
            let (right, bottom) = crop.to_picture(a.x + a.width, a.y + a.height);
            found.area = clip(x, y, right, bottom, image);
        }
        Ok(())
    }
}

impl KeypointNetwork {
    fn read(
        &mut self,
        image: &ImageView<'_>,
        area: &BoundingBox,
    ) -> Result<Keypoints2d, DetectError> {
        let crop = Crop::around(area, self.spec.crop_scale, &self.spec.input);
        self.preprocessor.sample(image, &crop, &mut self.network.input)?;
        self.network.run()?;
        if let Some(plain) = &mut self.plain {
            std::mem::swap(plain, &mut self.network.outputs);
            for row in self.network.input.chunks_exact_mut(self.spec.input.width) {
                row.reverse();
            }
            self.network.run()?;
            std::mem::swap(plain, &mut self.network.outputs);
            self.reader.average_mirrored(&mut self.network.outputs, plain);
        }
        let points = self
            .reader
            .read(&self.network.outputs)
            .map_err(|e| DetectError::output(self.network.name(), &e))?;
        // A point guessed just outside of the picture is a body that is cut by the border; one
        // far outside was seen by nobody.
        let slack = 0.02 * crop.scale_y * self.spec.input.height as f32;
        let (w, h) = (image.width as f32 - 0.5, image.height as f32 - 0.5);
        let mut keypoints = Keypoints2d { points: [Keypoint::default(); JOINTS], score: 0.0 };
        for (point, [u, v, confidence]) in keypoints.points.iter_mut().zip(points) {
            let (x, y) = crop.to_picture(u, v);
            let on = |p: f32, end: f32| p >= -0.5 - slack && p <= end + slack;
            let confidence = if on(x, w) && on(y, h) { confidence } else { 0.0 };
            *point = Keypoint { x, y, confidence };
        }
        keypoints.score = keypoints.mean_confidence();
        Ok(keypoints)
    }
}

/// A box within the picture; empty if it lies beside it.
fn clip(left: f32, top: f32, right: f32, bottom: f32, image: &ImageView<'_>) -> BoundingBox {
    let (w, h) = (image.width as f32 - 0.5, image.height as f32 - 0.5);
    let (x, y) = (left.clamp(-0.5, w), top.clamp(-0.5, h));
    let (right, bottom) = (right.clamp(-0.5, w), bottom.clamp(-0.5, h));
    BoundingBox { x, y, width: (right - x).max(0.0), height: (bottom - y).max(0.0) }
}

/// The person about its keypoints, within the picture.
fn area_of(keypoints: &Keypoints2d, image: &ImageView<'_>) -> Option<BoundingBox> {
    let b = keypoints.bounding_box(SEEN)?;
    let (cx, cy) = b.centre();
    // Somebody seen from the side, or lying, has a flat box: not flatter than a body is thick.
    let least = 0.25 * b.width.max(b.height);
    let (w, h) = (b.width.max(least) * BODY_MARGIN, b.height.max(least) * BODY_MARGIN);
    let area = clip(cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0, image);
    (area.area() > 0.0).then_some(area)
}

/// Intersection over union, or over the smaller box's area where that one lies almost wholly in
/// the other: the keypoints of half a person against a finder's box of all of it.
fn overlap(a: &BoundingBox, b: &BoundingBox) -> f32 {
    let iou = a.iou(b);
    let both = a.area() + b.area();
    let shared = iou * both / (1.0 + iou);
    let covered = shared / a.area().min(b.area()).max(1.0);
    if covered > 0.9 { iou.max(SAME_BOX_IOU) } else { iou }
}

/// Mean motion of the points seen in both, pixels per second.
fn velocity(before: &Keypoints2d, now: &Keypoints2d, dt: f32) -> (f32, f32) {
    let (mut x, mut y, mut n) = (0.0, 0.0, 0.0);
    for (a, b) in before.points.iter().zip(&now.points) {
        if a.confidence >= SEEN && b.confidence >= SEEN {
            x += b.x - a.x;
            y += b.y - a.y;
            n += 1.0;
        }
    }
    if n < 3.0 || dt <= 0.0 { (0.0, 0.0) } else { (x / (n * dt), y / (n * dt)) }
}

#[cfg(test)]
#[path = "topdown_tests.rs"]
mod tests;
