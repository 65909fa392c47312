//! Human3.6M-17 keypoints made from COCO-17, for lifters that want those.
//!
//! The limbs are the same joints. The five joints of the trunk and the head are not in COCO and
//! are approximated by straight lines between what is (mean distance from the real joint over the
//! training part of the mocap file, every tenth frame):
//!
//! | joint | from | off by |
//! |---|---|---|
//! | pelvis | middle of the hips | 0.5 mm |
//! | spine | middle of pelvis and shoulders | 41 mm |
//! | thorax | middle of the shoulders | 50 mm |
//! | neck | 1/10 shoulders, 9/10 middle of the ears | 6 mm |
//! | head | from the shoulders 1.5 times as far as the ears | 25 mm |
//!
//! The mocap file's head is its own convention, so the last two say less about Human3.6M's.

use crate::pose::Keypoint;
use crate::skeleton::{JOINTS, coco, h36m};

/// Human3.6M-17 keypoints of COCO-17 keypoints. A joint whose sources are not all there is
/// missing (confidence 0); of the ears one is enough, or else the nose.
pub fn from_coco(c: &[Keypoint; JOINTS], least: f32) -> [Keypoint; JOINTS] {
    let there = |j: usize| Some(c[j]).filter(|k| k.confidence >= least);
    let middle = |a: usize, b: usize| Some(mix(there(a)?, there(b)?, 0.5));
    let pelvis = middle(coco::LEFT_HIP, coco::RIGHT_HIP);
    let shoulders = middle(coco::LEFT_SHOULDER, coco::RIGHT_SHOULDER);
    let ears = middle(coco::LEFT_EAR, coco::RIGHT_EAR)
        .or(there(coco::LEFT_EAR))
        .or(there(coco::RIGHT_EAR))
        .or(there(coco::NOSE));
    let along = |a: Option<Keypoint>, b: Option<Keypoint>, t: f32| Some(mix(a?, b?, t));
    let mut h = [None; JOINTS];
    h[h36m::PELVIS] = pelvis;
    h[h36m::SPINE] = along(pelvis, shoulders, 0.5);
    h[h36m::THORAX] = shoulders;
    h[h36m::NECK] = along(shoulders, ears, 0.9);
    h[h36m::HEAD] = along(shoulders, ears, 1.5);
    for (to, from) in [
        (h36m::RIGHT_HIP, coco::RIGHT_HIP),
        (h36m::RIGHT_KNEE, coco::RIGHT_KNEE),
        (h36m::RIGHT_ANKLE, coco::RIGHT_ANKLE),
        (h36m::LEFT_HIP, coco::LEFT_HIP),
        (h36m::LEFT_KNEE, coco::LEFT_KNEE),
        (h36m::LEFT_ANKLE, coco::LEFT_ANKLE),
        (h36m::LEFT_SHOULDER, coco::LEFT_SHOULDER),
        (h36m::LEFT_ELBOW, coco::LEFT_ELBOW),
        (h36m::LEFT_WRIST, coco::LEFT_WRIST),
        (h36m::RIGHT_SHOULDER, coco::RIGHT_SHOULDER),
        (h36m::RIGHT_ELBOW, coco::RIGHT_ELBOW),
        (h36m::RIGHT_WRIST, coco::RIGHT_WRIST),
    ] {
        h[to] = there(from);
    }
    h.map(Option::unwrap_or_default)
}

/// The point `t` of the way from `a` to `b`, believed in as the less certain of the two.
fn mix(a: Keypoint, b: Keypoint, t: f32) -> Keypoint {
    Keypoint {
        x: a.x + t * (b.x - a.x),
        y: a.y + t * (b.y - a.y),
        confidence: a.confidence.min(b.confidence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limbs_are_taken_over_and_the_trunk_lies_between() {
        let mut c: [Keypoint; JOINTS] = std::array::from_fn(|j| Keypoint {
            x: j as f32,
            y: 100.0 + j as f32,
            confidence: 0.5 + 0.01 * j as f32,
        });
        let h = from_coco(&c, 0.1);
        assert_eq!(h[h36m::RIGHT_WRIST], c[coco::RIGHT_WRIST]);
        assert_eq!(h[h36m::LEFT_ANKLE], c[coco::LEFT_ANKLE]);
        assert_eq!((h[h36m::PELVIS].x, h[h36m::PELVIS].y), (11.5, 111.5));
        assert_eq!(h[h36m::PELVIS].confidence, c[coco::LEFT_HIP].confidence);
        // Shoulders at 5.5, ears at 3.5.
        assert_eq!(h[h36m::SPINE].x, 8.5);
        assert!((h[h36m::NECK].x - 3.7).abs() < 1e-6 && (h[h36m::HEAD].x - 2.5).abs() < 1e-6);

        c[coco::LEFT_EAR].confidence = 0.0;
        assert_eq!(from_coco(&c, 0.1)[h36m::HEAD].x, 5.5 + 1.5 * (4.0 - 5.5), "the other ear");
        c[coco::RIGHT_EAR].confidence = 0.0;
        assert_eq!(from_coco(&c, 0.1)[h36m::HEAD].x, 5.5 + 1.5 * (0.0 - 5.5), "the nose");
        c[coco::RIGHT_HIP].confidence = 0.05;
        let h = from_coco(&c, 0.1);
        for missing in [h36m::PELVIS, h36m::SPINE, h36m::RIGHT_HIP] {
            assert_eq!(h[missing], Keypoint::default());
        }
    }
}
