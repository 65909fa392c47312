//! The network that says where persons are.

use super::decode::{BoxDecoder, FoundBox};
use super::network::Network;
use super::{Crop, DetectError};
use crate::engine::spec::FinderSpec;
use crate::engine::{Engine, ModelSpec};
use crate::frame::ImageView;
use crate::pose::{BoundingBox, MAX_PERSONS};

/// Boxes that the finder may propose at once; those of followed persons are among them.
pub(super) const MOST_BOXES: usize = 2 * MAX_PERSONS;

/// A finder, loaded.
pub(super) struct Finder {
    pub(super) spec: FinderSpec,
    pub(super) network: Network,
    decoder: BoxDecoder,
    /// What the last [`find`](Self::find) found, in pixels of the picture, best first.
    pub(super) boxes: Vec<FoundBox>,
}

impl Finder {
    /// # Errors
    /// If the model is of another kind, or the engine has other tensors than its manifest.
    pub(super) fn new(model: &ModelSpec, engine: Box<dyn Engine>) -> Result<Self, DetectError> {
        let spec = model.finder()?.clone();
        Ok(Self {
            network: Network::new(model, &spec.input, engine)?,
            decoder: BoxDecoder::new(&spec),
            boxes: Vec::with_capacity(MOST_BOXES),
            spec,
        })
    }

    /// Fills `boxes`.
    pub(super) fn find(&mut self, image: &ImageView<'_>) -> Result<(), DetectError> {
        let input = &self.spec.input;
        let crop = Crop::letterbox(image.width, image.height, input, self.spec.letterbox);
        self.network.look(image, &crop)?;
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

/// A box within the picture; empty if it lies beside it.
pub(super) fn clip(
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
    image: &ImageView<'_>,
) -> BoundingBox {
    let (w, h) = (image.width as f32 - 0.5, image.height as f32 - 0.5);
    let (x, y) = (left.clamp(-0.5, w), top.clamp(-0.5, h));
    let (right, bottom) = (right.clamp(-0.5, w), bottom.clamp(-0.5, h));
    BoundingBox { x, y, width: (right - x).max(0.0), height: (bottom - y).max(0.0) }
}
