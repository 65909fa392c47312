//! Detection, stage by stage: `cargo bench --bench detect`.
//!
//! Floors on one core at about 3 GHz, for comparison:
//! - a 192x256 crop writes 3 * 192 * 256 f32 = 590 kB: 0.06 ms at 10 GB/s;
//! - a 320x256 letterbox of 1280x720 reads 1.84 MB of YUYV (1.38 MB of NV12) and writes 983 kB:
//!   0.28 ms (0.24 ms) at 10 GB/s;
//! - 17 heatmaps of 64x48 are 209 kB, which an argmax reads in 0.02 ms.

use std::hint::black_box;

use arrayvec::ArrayVec;
use criterion::{Criterion, criterion_group, criterion_main};
use posewire::detect::Crop;
use posewire::detect::preprocess::Preprocessor;
use posewire::engine::spec::{Channels, ImageInput, Letterbox};
use posewire::frame::{ColorSpace, ImageLayout, ImageView, PixelFormat, Plane};

fn input(width: usize, height: usize) -> ImageInput {
    ImageInput {
        name: "image".into(),
        width,
        height,
        channels: Channels::Rgb,
        mean: [118.0; 3],
        std: [60.0; 3],
        pad: 114.0,
    }
}

fn picture(layout: &ImageLayout) -> Vec<u8> {
    (0..layout.byte_len()).map(|i| (i * 31 % 251) as u8).collect()
}

fn view<'a>(layout: &ImageLayout, bytes: &'a [u8]) -> ImageView<'a> {
    let planes: ArrayVec<_, 3> = layout
        .planes
        .iter()
        .map(|p| Plane { data: &bytes[p.offset..p.offset + p.len], stride: p.stride })
        .collect();
    let (width, height) = (layout.width, layout.height);
    ImageView { width, height, format: layout.format, color: layout.color, planes }
}

fn preprocess(c: &mut Criterion) {
    use PixelFormat::*;
    for format in [Yuyv, Nv12, I420, Rgb8, Gray8] {
        let layout = ImageLayout::packed(1280, 720, format, ColorSpace::default());
        let bytes = picture(&layout);
        let image = view(&layout, &bytes);
        let mut run = |name: &str, input: &ImageInput, crop: Crop| {
            let mut p = Preprocessor::new(input);
            let mut tensor = vec![0.0; p.tensor_len()];
            c.bench_function(&format!("preprocess/{format:?}/{name}"), |b| {
                b.iter(|| p.sample(black_box(&image), &crop, black_box(&mut tensor)));
            });
        };
        // A person of 500 pixels with its margin: 625 rows shrunk to 256.
        let small = input(192, 256);
        let person = Crop { left: 400.3, top: 40.7, scale_x: 2.44, scale_y: 2.44 };
        let half = Crop { scale_x: 1.3, scale_y: 1.3, ..person };
        run("crop 192x256 of 468x625", &small, person);
        run("crop 192x256 of 250x333", &small, half);
        let large = input(320, 256);
        run("letterbox 320x256", &large, Crop::letterbox(1280, 720, &large, Letterbox::TopLeft));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30);
    targets = preprocess
}
criterion_main!(benches);
