//! Places themselves: y, x and confidence per keypoint (MoveNet SinglePose).

use super::NotFinite;
use crate::engine::spec::{CoordinatesDecoder, ImageInput};
use crate::skeleton::{JOINTS, Skeleton};

#[derive(Clone, Debug)]
pub(super) struct Coordinates {
    output: String,
    width: f32,
    height: f32,
}

impl Coordinates {
    pub fn new(d: &CoordinatesDecoder, input: &ImageInput) -> Self {
        let (width, height) = (input.width as f32, input.height as f32);
        Self { output: d.keypoints.clone(), width, height }
    }

    /// See [`KeypointReader::average_mirrored`](super::KeypointReader::average_mirrored): a share of
    /// the width counts from the other side in a mirror.
    pub fn average_mirrored(&self, outputs: &mut [Vec<f32>], mirrored: &[Vec<f32>]) {
        let (Some(plain), Some(mirrored)) = (outputs.first_mut(), mirrored.first()) else { return };
        let (plain, _) = plain.as_chunks_mut::<3>();
        let (mirrored, _) = mirrored.as_chunks::<3>();
        for (point, &partner) in plain.iter_mut().zip(Skeleton::Coco17.mirror()) {
            let Some(&[y, x, confidence]) = mirrored.get(partner) else { return };
            for (value, other) in point.iter_mut().zip([y, 1.0 - x, confidence]) {
                *value = 0.5 * (*value + other);
            }
        }
    }

    pub fn read(&self, outputs: &[Vec<f32>]) -> Result<[[f32; 3]; JOINTS], NotFinite> {
        let failed = || NotFinite { output: self.output.clone() };
        let values = outputs.first().map_or(&[][..], |o| o.as_slice());
        let mut points = values.as_chunks::<3>().0.iter();
        let mut keypoints = [[0.0; 3]; JOINTS];
        for keypoint in &mut keypoints {
            let [y, x, confidence] = points.next().ok_or_else(failed)?;
            if !(x + y + confidence).is_finite() {
                return Err(failed());
            }
            *keypoint = [x * self.width, y * self.height, confidence.clamp(0.0, 1.0)];
        }
        Ok(keypoints)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::spec::Channels;

    fn decoder() -> Coordinates {
        let d = CoordinatesDecoder { keypoints: "k".into(), score_threshold: 0.2 };
        let input = ImageInput {
            name: "i".into(),
            width: 192,
            height: 256,
            channels: Channels::Rgb,
            mean: [0.0; 3],
            std: [1.0; 3],
            pad: 0.0,
        };
        Coordinates::new(&d, &input)
    }

    #[test]
    fn shares_of_the_input_become_pixels_and_down_comes_before_right() {
        let mut values = [0.25, 0.5, 0.75].repeat(JOINTS);
        values[3..6].copy_from_slice(&[1.0, 0.0, 1.5]);
        let read = decoder().read(&[values.clone()]).unwrap();
        assert_eq!(read[0], [96.0, 64.0, 0.75]);
        assert_eq!(read[1], [0.0, 256.0, 1.0]);
        for at in 0..3 {
            let mut bad = values.clone();
            bad[48 + at] = f32::NAN;
            assert_eq!(decoder().read(&[bad]).unwrap_err().output, "k");
        }
        assert!(decoder().read(&[values[..50].to_vec()]).is_err());
        assert!(decoder().read(&[]).is_err());
    }

    #[test]
    fn a_mirrored_answer_is_turned_back_before_it_is_averaged() {
        let partners = Skeleton::Coco17.mirror();
        let plain: Vec<f32> = (0..3 * JOINTS).map(|i| (i * 37 % 101) as f32 / 128.0).collect();
        let mut mirrored = vec![0.0; 3 * JOINTS];
        for j in 0..JOINTS {
            let [y, x, c] = [plain[3 * j], plain[3 * j + 1], plain[3 * j + 2]];
            mirrored[3 * partners[j]..][..3].copy_from_slice(&[y, 1.0 - x, c]);
        }
        let mut same = [plain.clone()];
        decoder().average_mirrored(&mut same, &[mirrored.clone()]);
        assert_eq!(same[0], plain);
        // The left wrist (9), as it was seen in the mirror as the right one (10).
        mirrored[30] += 0.5;
        decoder().average_mirrored(&mut same, &[mirrored]);
        assert_eq!(same[0][27], plain[27] + 0.25);
    }
}
