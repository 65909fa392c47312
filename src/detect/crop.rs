//! The rectangle of a picture that becomes a network's input, and the way back.

use crate::engine::spec::{ImageInput, Letterbox};
use crate::pose::BoundingBox;

/// An axis-aligned rectangle of the picture that is stretched over a whole input tensor. May
/// reach beyond the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crop {
    /// The rectangle's left edge, in picture pixels (pixel centres at whole numbers, so that the
    /// picture's left edge is -0.5).
    pub left: f32,
    /// Its top edge.
    pub top: f32,
    /// Picture pixels per tensor pixel, to the right.
    pub scale_x: f32,
    /// Picture pixels per tensor pixel, downwards.
    pub scale_y: f32,
}

impl Crop {
    /// The whole picture, scaled evenly until it fits into the tensor.
    pub fn letterbox(width: u32, height: u32, input: &ImageInput, place: Letterbox) -> Self {
        let (w, h) = (width as f32, height as f32);
        let scale = (w / input.width as f32).max(h / input.height as f32);
        let (left, top) = match place {
            Letterbox::TopLeft => (-0.5, -0.5),
            Letterbox::Centre => (
                -0.5 - (input.width as f32 * scale - w) / 2.0,
                -0.5 - (input.height as f32 * scale - h) / 2.0,
            ),
        };
        Self { left, top, scale_x: scale, scale_y: scale }
    }

    /// A person's box enlarged by `factor` about its centre, then widened or heightened to the
    /// tensor's aspect.
    pub fn around(person: &BoundingBox, factor: f32, input: &ImageInput) -> Self {
        let (w, h) = (input.width as f32, input.height as f32);
        let scale = factor * (person.width / w).max(person.height / h);
        let (cx, cy) = person.centre();
        Self {
            left: cx - scale * w / 2.0,
            top: cy - scale * h / 2.0,
            scale_x: scale,
            scale_y: scale,
        }
    }

    /// The picture point that lies under the tensor point (`u`, `v`), both counted in tensor
    /// pixels from the tensor's left and top edges.
    pub fn to_picture(&self, u: f32, v: f32) -> (f32, f32) {
        (self.left + u * self.scale_x, self.top + v * self.scale_y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::spec::Channels;

    fn input(width: usize, height: usize) -> ImageInput {
        let name = "x".to_owned();
        let (mean, std) = ([0.0; 3], [1.0; 3]);
        ImageInput { name, width, height, channels: Channels::Rgb, mean, std, pad: 0.0 }
    }

    #[test]
    fn a_letterboxed_picture_touches_the_tensor_on_its_long_side() {
        let top_left = Crop::letterbox(1280, 720, &input(320, 256), Letterbox::TopLeft);
        assert_eq!(top_left.to_picture(0.0, 0.0), (-0.5, -0.5));
        assert_eq!(top_left.to_picture(320.0, 180.0), (1279.5, 719.5));
        let centre = Crop::letterbox(480, 640, &input(320, 320), Letterbox::Centre);
        assert_eq!(centre.to_picture(160.0, 160.0), (239.5, 319.5));
        assert_eq!(centre.to_picture(40.0, 0.0), (-0.5, -0.5));
    }

    #[test]
    fn a_person_lies_in_the_middle_of_its_crop_with_the_asked_margin() {
        let person = BoundingBox { x: 100.0, y: 50.0, width: 30.0, height: 200.0 };
        let crop = Crop::around(&person, 1.25, &input(192, 256));
        assert_eq!(crop.scale_x, crop.scale_y);
        let (left, top) = crop.to_picture(0.0, 0.0);
        let (right, bottom) = crop.to_picture(192.0, 256.0);
        assert!((bottom - top - 250.0).abs() < 1e-3 && (right - left - 187.5).abs() < 1e-3);
        assert!(((left + right) / 2.0 - 115.0).abs() < 1e-3);
        assert!(((top + bottom) / 2.0 - 150.0).abs() < 1e-3);
    }
}
