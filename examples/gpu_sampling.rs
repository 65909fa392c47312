//! The kernel that samples pictures on the GPU: is it right, and is it fast?
//!
//!     gpu_sampling --only-kernel [CROPS]
//!     POSEWIRE_TENSORRT_DIR=... gpu_sampling MODELS_DIR [CALLS]
//!
//! Needs an NVIDIA GPU; the first form needs nothing else, and is what compute-sanitizer is given. It
//! holds the kernel against the processor's code on CROPS (200 by default) crops of pictures of noise,
//! for every pixel format: how many values differ in any bit, and by how many levels of 255 at most.
//! It fails if any does by more than one. The second form times a crop of a person and a whole picture
//! of the demo's, as a camera of 1280 x 720 would give them in each format: microseconds (p50, p99 of
//! CALLS, 2000 by default) of sampling on the processor, of the kernel with its copy, and of the
//! network's whole call with either.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a tool for developers: a panic says enough"
)]

#[path = "../tests/support/noise.rs"]
mod noise;
#[path = "support/time.rs"]
mod time;

use std::error::Error;
use std::path::Path;

use noise::Random;
use posewire::detect::Crop;
use posewire::detect::preprocess::{FORMATS, Preprocessor};
use posewire::engine::spec::ImageInput;
use posewire::engine::tensorrt::{Machine, TensorRt};
use posewire::engine::{Backend, Catalog, ModelKind, ModelSpec, Precision, TensorMut, TensorRef};
use posewire::frame::{ImageLayout, ImageView, PixelFormat};
use posewire::pose::BoundingBox;
use serde_json::json;
use time::time;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Picture {
    layout: ImageLayout,
    bytes: Vec<u8>,
}

impl Picture {
    fn noise(width: u32, height: u32, format: PixelFormat, random: &mut Random) -> Self {
        let (layout, bytes) = noise::picture(width, height, format, random);
        Self { layout, bytes }
    }

    fn view(&self) -> ImageView<'_> {
        self.layout.picture(&self.bytes).unwrap()
    }
}

/// A network's input like those of the shipped ones, or any other.
fn some_input(random: &mut Random) -> ImageInput {
    noise::input(random, |r| match r.below(3) {
        0 => (192, 256),
        1 => (320, 256),
        _ => (1 + r.below(200) as usize, 1 + r.below(200) as usize),
    })
}

/// The kernel against the processor. True if no value is more than a level apart.
fn compare(crops: usize) -> Result<bool> {
    let mut random = Random(0x2545_f491);
    let mut sampler = Machine::get().sampler(3 * 320 * 256)?;
    let mut good = true;
    for format in FORMATS {
        let (mut values, mut differ, mut worst) = (0_usize, 0_usize, 0.0_f32);
        for _ in 0..crops {
            let (w, h) = match random.below(8) {
                0 => (1 + random.below(3), 1 + random.below(3)),
                _ => (20 + random.below(700), 16 + random.below(500)),
            };
            let picture = Picture::noise(w, h, format, &mut random);
            let (image, input) = (picture.view(), some_input(&mut random));
            let crop = noise::crop(&picture.layout, &input, &mut random);
            let mirrored = random.below(2) == 1;
            let mut preprocessor = Preprocessor::new(&input);
            let plan = preprocessor.plan(&image, &crop)?;
            let mut wanted = vec![0.0; preprocessor.tensor_len()];
            preprocessor.fill(&plan, &image, &mut wanted)?;
            if mirrored {
                wanted.chunks_exact_mut(input.width).for_each(<[f32]>::reverse);
            }
            let mut given = vec![f32::NAN; wanted.len()];
            preprocessor.with_sampling(&plan, &image, mirrored, |s| sampler.sample(s))?;
            sampler.read(&mut given)?;
            values += wanted.len();
            let plane = input.width * input.height;
            for (n, (a, b)) in wanted.iter().zip(&given).enumerate() {
                differ += usize::from(a.to_bits() != b.to_bits());
                let levels = (a - b).abs() * input.std[n / plane];
                worst = if levels > worst || levels.is_nan() { levels } else { worst };
            }
        }
        println!(
            "{}",
            json!({"format": format!("{format:?}"), "crops": crops, "values": values,
                   "differ": differ, "worst_levels": worst})
        );
        // A NaN is not within.
        good &= worst <= 1.0;
    }
    Ok(good)
}

/// One network's calls, with its input made here and there.
fn one(
    model: &ModelSpec,
    input: &ImageInput,
    calls: usize,
    crop: impl Fn(&ImageView<'_>) -> Crop,
) -> Result<()> {
    let mut engine = TensorRt::default().load(model, Precision::F16, 1)?;
    let signature = engine.signature().clone();
    let room = || -> Vec<Vec<f32>> {
        let len = |shape: &Vec<usize>| shape.iter().product();
        signature.outputs.iter().map(|(_, shape)| vec![0.0; len(shape)]).collect()
    };
    fn outputs<'a>(
        shapes: &'a [(String, Vec<usize>)],
        to: &'a mut [Vec<f32>],
    ) -> Vec<TensorMut<'a>> {
        shapes.iter().zip(to).map(|((_, shape), data)| TensorMut { shape, data }).collect()
    }
    let mut sampler = Machine::get().sampler(3 * input.width * input.height)?;
    for format in [
        PixelFormat::Yuyv,
        PixelFormat::Nv12,
        PixelFormat::I420,
        PixelFormat::Rgb8,
        PixelFormat::Gray8,
    ] {
        let picture = Picture::noise(1280, 720, format, &mut Random(1));
        let image = picture.view();
        let crop = crop(&image);
        let mut preprocessor = Preprocessor::new(input);
        let mut tensor = vec![0.0; preprocessor.tensor_len()];
        let processor = time(calls, || Ok(preprocessor.sample(&image, &crop, &mut tensor)?))?;
        let kernel = time(calls, || {
            let plan = preprocessor.plan(&image, &crop)?;
            Ok(preprocessor.with_sampling(&plan, &image, false, |s| sampler.sample(s))?)
        })?;
        let (mut wanted, mut given) = (room(), room());
        let shape = &signature.inputs[0].1;
        let with_tensor = time(calls, || {
            preprocessor.sample(&image, &crop, &mut tensor)?;
            let inputs = [TensorRef { shape, data: &tensor }];
            Ok(engine.run(&inputs, &mut outputs(&signature.outputs, &mut wanted))?)
        })?;
        let with_picture = time(calls, || {
            let plan = preprocessor.plan(&image, &crop)?;
            let mut to = outputs(&signature.outputs, &mut given);
            let done = preprocessor
                .with_sampling(&plan, &image, false, |s| engine.run_sampled(s, &mut to))?;
            if done { Ok(()) } else { Err("the engine does not sample".into()) }
        })?;
        println!(
            "{}",
            json!({"model": model.name, "format": format!("{format:?}"),
                   "sampling_us": {"processor": processor, "kernel": kernel},
                   "whole_call_us": {"processor": with_tensor, "kernel": with_picture},
                   "same_answers": wanted == given})
        );
    }
    Ok(())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |usual| args.get(1).map_or(Ok(usual), |n| n.parse());
    let Some(first) = args.first() else {
        return Err("usage: gpu_sampling --only-kernel [CROPS] | MODELS_DIR [CALLS]".into());
    };
    println!("{}", json!({"gpu": Machine::get().gpu()?}));
    if first == "--only-kernel" {
        let good = compare(number(200)?)?;
        return if good { Ok(()) } else { Err("they are apart".into()) };
    }
    let calls = number(2000)?;
    let catalog = Catalog::with_dir(Path::new(first))?;
    let finder = catalog.pick(ModelKind::Finder, Some("posewire-finder"))?;
    let spec = finder.finder()?;
    one(&finder, &spec.input, calls, |image| {
        Crop::letterbox(image.width, image.height, &spec.input, spec.letterbox)
    })?;
    let keypoints = catalog.pick(ModelKind::Keypoints, Some("posewire-keypoints"))?;
    let spec = keypoints.keypoints()?;
    let person = BoundingBox { x: 520.0, y: 90.0, width: 220.0, height: 540.0 };
    one(&keypoints, &spec.input, calls, |_| Crop::around(&person, spec.crop_scale, &spec.input))
}
