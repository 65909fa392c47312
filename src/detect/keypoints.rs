//! The network that reads one person's keypoints.

use super::decode::KeypointReader;
use super::network::Network;
use super::{Crop, DetectError};
use crate::engine::spec::KeypointsSpec;
use crate::engine::{Engine, EngineError, ModelSpec};
use crate::frame::ImageView;
use crate::pose::{BoundingBox, Keypoint, Keypoints2d};
use crate::skeleton::{JOINTS, Skeleton};

/// When a crop is looked at a second time, in a mirror, and the mean of both answers taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum SecondLook {
    Never,
    Always,
    /// If the first look's score is at least this.
    From(f32),
}

/// A keypoint network, loaded.
pub(super) struct KeypointNetwork {
    pub(super) spec: KeypointsSpec,
    pub(super) network: Network,
    pub(super) reader: KeypointReader,
    /// Outputs for the crop as it is, while it is looked at in a mirror; empty if it never is.
    plain: Vec<Vec<f32>>,
}

impl KeypointNetwork {
    /// `mirrored`: there may be second looks.
    ///
    /// # Errors
    /// If the model is of another kind or has another skeleton than COCO-17, or the engine has
    /// other tensors than its manifest.
    pub(super) fn new(
        model: &ModelSpec,
        engine: Box<dyn Engine>,
        mirrored: bool,
    ) -> Result<Self, DetectError> {
        let spec = model.keypoints()?.clone();
        if spec.skeleton != Skeleton::Coco17 {
            return Err(DetectError::Engine(EngineError::Model {
                model: model.name.clone(),
                problem: format!("its skeleton is {}, coco17 is needed", spec.skeleton),
            }));
        }
        let network = Network::new(model, &spec.input, engine)?;
        Ok(Self {
            plain: if mirrored { network.outputs.clone() } else { Vec::new() },
            network,
            reader: KeypointReader::new(&spec),
            spec,
        })
    }

    /// The keypoints in `area`, pixels of the picture, whoever or whatever is there.
    pub(super) fn read(
        &mut self,
        image: &ImageView<'_>,
        area: &BoundingBox,
        second: SecondLook,
    ) -> Result<Keypoints2d, DetectError> {
        let crop = Crop::around(area, self.spec.crop_scale, &self.spec.input);
        self.network.look(image, &crop)?;
        match second {
            SecondLook::Never => return self.in_picture(image, &crop),
            SecondLook::Always => {}
            SecondLook::From(score) => {
                let first = self.in_picture(image, &crop)?;
                if first.score < score {
                    return Ok(first);
                }
            }
        }
        std::mem::swap(&mut self.plain, &mut self.network.outputs);
        let ran = self.network.look_mirrored(image, &crop);
        std::mem::swap(&mut self.plain, &mut self.network.outputs);
        ran?;
        self.reader.average_mirrored(&mut self.network.outputs, &self.plain);
        self.in_picture(image, &crop)
    }

    /// What the outputs say of `crop`, in pixels of the picture.
    fn in_picture(
        &mut self,
        image: &ImageView<'_>,
        crop: &Crop,
    ) -> Result<Keypoints2d, DetectError> {
        let points = self
            .reader
            .read(&self.network.outputs)
            .map_err(|e| DetectError::output(self.network.name(), &e))?;
        let slack = 0.02 * crop.scale_y * self.spec.input.height as f32;
        let points = placed(&points, crop, 0.0, image, slack);
        let mut keypoints = Keypoints2d { points, score: 0.0 };
        keypoints.score = keypoints.mean_confidence();
        Ok(keypoints)
    }
}

/// Points of a crop's tensor, (u, v, confidence), as keypoints of the picture, moved by `shift` pixels
/// to the right and downwards.
pub(super) fn placed(
    points: &[[f32; 3]; JOINTS],
    crop: &Crop,
    shift: f32,
    image: &ImageView<'_>,
    slack: f32,
) -> [Keypoint; JOINTS] {
    let (w, h) = (image.width as f32 - 0.5, image.height as f32 - 0.5);
    points.map(|[u, v, confidence]| {
        let (x, y) = crop.to_picture(u, v);
        let (x, y) = (x + shift, y + shift);
        // A point guessed just outside of the picture is a body that is cut by the border; one far
        // outside was seen by nobody.
        let on = |p: f32, end: f32| p >= -0.5 - slack && p <= end + slack;
        let confidence = if on(x, w) && on(y, h) { confidence } else { 0.0 };
        Keypoint { x, y, confidence }
    })
}
