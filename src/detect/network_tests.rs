use std::sync::{Arc, Mutex};

use super::*;
use crate::engine::sampling::{Part, Sampling, Taps};
use crate::engine::{Catalog, ModelKind};
use crate::frame::{ColorSpace, ImageLayout, PixelFormat};

/// What a sampling says, to the letter and one value after the other.
fn follow(s: &Sampling<'_>) -> Vec<f32> {
    let weights = |taps: &Taps<'_>, n: usize| taps.weights[n * taps.taps..][..taps.taps].to_vec();
    let component = |part: &Part<'_>, offset: usize, x: usize, y: usize| {
        let (plane, columns, rows) = (&s.planes[part.plane], &part.columns, &part.rows);
        let (left, top) = (columns.first[x] as usize, rows.first[y] as usize);
        let mut sum = 0;
        for (i, across) in weights(columns, x).into_iter().enumerate() {
            let mut blended = 0;
            for (j, down) in weights(rows, y).into_iter().enumerate() {
                let at = (top + j) * plane.stride + (left + i) * part.step + offset;
                let (byte, down) = (u32::from(plane.data[at]), u32::from(down));
                blended += byte * (down >> 8) + ((byte * (down & 255)) >> 8);
            }
            sum += blended * u32::from(across);
        }
        (sum >> 16) as f32
    };
    let mut tensor = Vec::new();
    for c in 0..s.channels {
        for y in 0..s.height {
            let mut row = Vec::new();
            for x in 0..s.width {
                let m = &s.mixing;
                if !(s.columns.0..s.columns.1).contains(&x) || !(s.rows.0..s.rows.1).contains(&y) {
                    row.push(m.padding[c]);
                    continue;
                }
                let mut values = [0.0; 3];
                for part in s.parts {
                    for (k, offset) in part.members {
                        values[*k] = component(part, *offset, x - s.columns.0, y - s.rows.0);
                    }
                }
                let f = m.factor[c];
                let sum = (f[0] * values[0] + f[1] * values[1]) + f[2] * values[2];
                let cut = (m.offset[c] + sum).clamp(0.0, m.limit);
                row.push((cut - m.mean[c]) * m.per_std[c]);
            }
            if s.mirrored {
                row.reverse();
            }
            tensor.extend(row);
        }
    }
    tensor
}

/// How an engine that makes its input itself goes about it.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// It does not.
    Not,
    Always,
    /// The first time only.
    Once,
}

/// An engine that notes its inputs.
struct Noting {
    signature: Signature,
    how: How,
    seen: Arc<Mutex<Vec<Vec<f32>>>>,
}

impl Engine for Noting {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(
        &mut self,
        inputs: &[TensorRef<'_>],
        _: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        self.seen.lock().unwrap().push(inputs[0].data.to_vec());
        Ok(())
    }

    fn run_sampled(
        &mut self,
        sampling: &Sampling<'_>,
        outputs: &mut [TensorMut<'_>],
    ) -> Result<bool, EngineError> {
        if self.how == How::Not {
            return Ok(false);
        }
        if self.how == How::Once {
            self.how = How::Not;
        }
        let shape = self.signature.inputs[0].1.clone();
        self.run(&[TensorRef { shape: &shape, data: &follow(sampling) }], outputs)?;
        Ok(true)
    }
}

fn model() -> ModelSpec {
    let catalog = Catalog::embedded().unwrap();
    catalog.pick(ModelKind::Keypoints, Some("posewire-keypoints-small")).unwrap()
}

/// What such an engine sees of a crop, first as it is and then in a mirror.
fn seen(how: How, image: &ImageView<'_>, crop: &Crop) -> Vec<Vec<f32>> {
    let model = model();
    let pair = |t: crate::engine::spec::TensorSpec| (t.name, t.shape);
    let signature = Signature {
        inputs: model.inputs(1).into_iter().map(pair).collect(),
        outputs: model.outputs(1).into_iter().map(pair).collect(),
    };
    let seen = Arc::default();
    let engine = Noting { signature, how, seen: Arc::clone(&seen) };
    let input = &model.keypoints().unwrap().input;
    let mut network = Network::new(&model, input, Box::new(engine)).unwrap();
    network.look(image, crop).unwrap();
    network.look_mirrored(image, crop).unwrap();
    std::mem::take(&mut seen.lock().unwrap())
}

#[test]
fn an_engine_that_samples_itself_sees_what_the_others_are_given() {
    use PixelFormat::*;
    for format in [Gray8, Gray16, Rgb8, Bgr8, Yuyv, Uyvy, Nv12, Nv21, I420, I422, I444] {
        let layout = ImageLayout::packed(121, 93, format, ColorSpace::default());
        let bytes: Vec<u8> = (0..layout.byte_len()).map(|n| (n * n / 7 + n / 3) as u8).collect();
        let image = layout.picture(&bytes).unwrap();
        for scale in [0.3, 0.9, 2.7] {
            let crop = Crop { left: -9.3, top: 11.2, scale_x: scale, scale_y: scale };
            let given = seen(How::Not, &image, &crop);
            assert_eq!(given.len(), 2);
            assert!(given[0] != given[1], "{format:?}: it was no mirror");
            assert!(seen(How::Always, &image, &crop) == given, "{format:?} {scale}");
            assert!(seen(How::Once, &image, &crop) == given, "{format:?} {scale}");
        }
    }
}
