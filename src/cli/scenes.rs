//! What networks on the GPU are held against the CPU's answers with: pictures of the demo's human.

use std::sync::OnceLock;

use crate::capture::demo::Renderer;
use crate::detect::{Scene, verify};
use crate::engine::exchange::Judge;
use crate::figure::Figure;
use crate::figure::truth::{FRAME_RATE, camera, moment};
use crate::frame::{ColorSpace, ImageLayout, PixelFormat};
use crate::pose::BoundingBox;

/// Which frames of the demo: he stands, walks, turns and gestures in them.
const FRAMES: [u64; 6] = [0, 170, 340, 510, 680, 850];
/// The person around their keypoints.
const MARGIN: f64 = 1.15;

/// Compares networks that see pictures; the pictures are drawn when they are first needed.
pub(super) fn judge() -> Judge {
    let scenes = OnceLock::new();
    Box::new(move |model, precision, reference, candidate| {
        verify(model, precision, scenes.get_or_init(draw), reference, candidate)
    })
}

fn draw() -> Vec<Scene> {
    let (figure, camera) = (Figure::default(), camera());
    let mut renderer = Renderer::new(figure, camera);
    let color = ColorSpace { bt709: false, full_range: false };
    let layout = ImageLayout::packed(camera.width, camera.height, PixelFormat::Yuyv, color);
    let scene = |frame: &u64| {
        let pose = figure.at(moment(*frame, FRAME_RATE));
        let mut pixels = vec![0; renderer.byte_len()];
        renderer.draw(&pose, *frame, &mut pixels);
        let person = around(&figure.project(&pose, &camera).points);
        Scene { pixels, layout: layout.clone(), persons: vec![person] }
    };
    FRAMES.iter().map(scene).collect()
}

fn around(points: &[[f64; 2]]) -> BoundingBox {
    let side = |k: usize| {
        let of = points.iter().map(|p| p[k]);
        let (low, high) = (of.clone().fold(f64::MAX, f64::min), of.fold(f64::MIN, f64::max));
        let length = MARGIN * (high - low);
        ((0.5 * (low + high - length)) as f32, length as f32)
    };
    let ((x, width), (y, height)) = (side(0), side(1));
    BoundingBox { x, y, width, height }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gate::Verdict;
    use crate::engine::sampling::Sampling;
    use crate::engine::tract::Tract;
    use crate::engine::{
        Backend, Catalog, Engine, EngineError, ModelKind, Precision, Signature, TensorMut,
        TensorRef,
    };

    /// The network, a little off.
    struct Off(Box<dyn Engine>, fn(&mut [f32]));

    impl Engine for Off {
        fn signature(&self) -> &Signature {
            self.0.signature()
        }

        fn run(
            &mut self,
            inputs: &[TensorRef<'_>],
            outputs: &mut [TensorMut<'_>],
        ) -> Result<(), EngineError> {
            self.0.run(inputs, outputs)?;
            outputs.iter_mut().for_each(|output| self.1(output.data));
            Ok(())
        }
    }

    /// The network, on an input that it makes itself: a picture in which everything is dark.
    struct Blind(Box<dyn Engine>);

    impl Engine for Blind {
        fn signature(&self) -> &Signature {
            self.0.signature()
        }

        fn run(
            &mut self,
            inputs: &[TensorRef<'_>],
            outputs: &mut [TensorMut<'_>],
        ) -> Result<(), EngineError> {
            self.0.run(inputs, outputs)
        }

        fn run_sampled(
            &mut self,
            sampling: &Sampling<'_>,
            outputs: &mut [TensorMut<'_>],
        ) -> Result<bool, EngineError> {
            let shape = self.signature().inputs[0].1.clone();
            let data = vec![-1.0; sampling.tensor_len()];
            self.run(&[TensorRef { shape: &shape, data: &data }], outputs)?;
            Ok(true)
        }
    }

    #[test]
    fn an_engine_that_samples_pictures_wrongly_is_found_by_its_answers() {
        for (kind, name) in [
            (ModelKind::Finder, "posewire-finder"),
            (ModelKind::Keypoints, "posewire-keypoints-small"),
        ] {
            let model = Catalog::embedded().unwrap().pick(kind, Some(name)).unwrap();
            let load = || Tract.load(&model, Precision::F32, 1).unwrap();
            let mut blind = Blind(load());
            let verdict = judge()(&model, Precision::F16, load().as_mut(), &mut blind).unwrap();
            assert!(!verdict.passed() && verdict.mean > 5.0, "{name}: {verdict}");
        }
    }

    fn judged(kind: ModelKind, name: &str, off: fn(&mut [f32])) -> Verdict {
        let model = Catalog::embedded().unwrap().pick(kind, Some(name)).unwrap();
        let load = || Tract.load(&model, Precision::F32, 1).unwrap();
        let mut candidate = Off(load(), off);
        judge()(&model, Precision::F16, load().as_mut(), &mut candidate).unwrap()
    }

    /// All but the two highest places of each row of cells are where they were.
    fn shifted(data: &mut [f32]) {
        data.rotate_right(2);
    }

    #[test]
    fn the_shipped_networks_see_him_in_every_scene_and_agree_with_themselves() {
        for (kind, name) in [
            (ModelKind::Finder, "posewire-finder"),
            (ModelKind::Keypoints, "posewire-keypoints"),
            (ModelKind::Keypoints, "posewire-keypoints-small"),
        ] {
            let same = judged(kind, name, |_| {});
            assert!(same.passed() && same.worst == 0.0, "{name}: {same}");
            assert_eq!(same.cases, FRAMES.len(), "{name}");
            let other = judged(kind, name, shifted);
            assert!(!other.passed(), "{name}: {other}");
            let nan = judged(kind, name, |data| data[0] = f32::NAN);
            assert!(nan.mean.is_nan() && !nan.passed(), "{name}: {nan}");
        }
    }
}
