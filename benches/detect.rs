//! Detection, stage by stage: `cargo bench --bench detect`.
//!
//! Floors on one core at about 3 GHz, for comparison:
//! - a 192x256 crop writes 3 * 192 * 256 f32 = 590 kB: 0.06 ms at 10 GB/s;
//! - a 320x256 letterbox of 1280x720 reads 1.84 MB of YUYV (1.38 MB of NV12) and writes 983 kB:
//!   0.28 ms (0.24 ms) at 10 GB/s;
//! - 17 heatmaps of 64x48 are 209 kB, which an argmax reads in 0.02 ms.
//!
//! The networks themselves, and the whole way of a frame: `benches/pipeline.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a tool for developers: a panic says enough"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use posewire::detect::Crop;
use posewire::detect::decode::{BoxDecoder, KeypointReader};
use posewire::detect::preprocess::Preprocessor;
use posewire::engine::spec::{
    Activation, AnchorFreeDecoder, AnchorFreeLevel, Channels, DistanceUnit, FinderDecoder,
    FinderSpec, HeatmapDecoder, ImageInput, KeypointsDecoder, KeypointsSpec, Letterbox, Refine,
};
use posewire::engine::tensorrt::sampling::Job;
use posewire::frame::{ColorSpace, ImageLayout, PixelFormat};
use posewire::skeleton::Skeleton;

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

fn preprocess(c: &mut Criterion) {
    use PixelFormat::*;
    for format in [Yuyv, Nv12, I420, Rgb8, Gray8] {
        let layout = ImageLayout::packed(1280, 720, format, ColorSpace::default());
        let bytes = picture(&layout);
        let image = layout.picture(&bytes).unwrap();
        let mut run = |name: &str, input: &ImageInput, crop: Crop| {
            let mut p = Preprocessor::new(input);
            let mut tensor = vec![0.0; p.tensor_len()];
            c.bench_function(&format!("preprocess/{format:?}/{name}"), |b| {
                b.iter(|| p.sample(black_box(&image), &crop, black_box(&mut tensor)));
            });
            // What is left to do here where the GPU samples.
            let mut memory = vec![0; 4 << 20];
            c.bench_function(&format!("job/{format:?}/{name}"), |b| {
                b.iter(|| {
                    let plan = p.plan(black_box(&image), &crop).unwrap();
                    p.with_sampling(&plan, &image, false, |sampling| {
                        Job::new(*sampling).is_ok_and(|job| job.write(black_box(&mut memory)))
                    })
                });
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

fn decode(c: &mut Criterion) {
    let maps: Vec<f32> = (0..17 * 64 * 48)
        .map(|i| {
            let (x, y) = ((i % 48) as f32 - 20.3, (i / 48 % 64) as f32 - 31.6);
            0.8 * (-(x * x + y * y) / 8.0).exp()
        })
        .collect();
    let outputs = [maps];
    for (refine, blur) in [(Refine::None, 0), (Refine::Dark, 0), (Refine::Dark, 11)] {
        let spec = KeypointsSpec {
            input: input(192, 256),
            skeleton: Skeleton::Coco17,
            crop_scale: 1.25,
            decoder: KeypointsDecoder::Heatmap(HeatmapDecoder {
                heatmaps: "heatmaps".into(),
                stride: 4,
                refine,
                blur,
                activation: Activation::None,
                cell_offset: 0.5,
                score_threshold: 0.3,
            }),
        };
        let reader = KeypointReader::new(&spec);
        c.bench_function(&format!("decode/heatmaps 64x48 {refine:?} blur {blur}"), |b| {
            b.iter(|| reader.read(black_box(&outputs)));
        });
    }
    let level = |stride| AnchorFreeLevel { stride, scores: "s".into(), boxes: "b".into() };
    let spec = FinderSpec {
        input: input(320, 320),
        letterbox: Letterbox::TopLeft,
        decoder: FinderDecoder::AnchorFree(AnchorFreeDecoder {
            levels: vec![level(8), level(16), level(32)],
            distances: DistanceUnit::Pixels,
            activation: Activation::Sigmoid,
            classes: 1,
            person: 0,
            cell_offset: 0.0,
            score_threshold: 0.3,
            nms_iou: 0.6,
        }),
    };
    let cells = [1600, 400, 100];
    // One cell of 20 claims a person: 105 candidates.
    let scores = cells.map(|n| (0..n).map(|i| if i % 20 == 0 { 1.0 } else { -5.0 }).collect());
    let boxes = cells.map(|n| vec![30.0; 4 * n]);
    let outputs: Vec<Vec<f32>> = scores.into_iter().chain(boxes).collect();
    let mut decoder = BoxDecoder::new(&spec);
    let mut found = Vec::with_capacity(32);
    c.bench_function("decode/anchor-free 320x320, 105 candidates", |b| {
        b.iter(|| decoder.read(black_box(&outputs), 32, &mut found));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30);
    targets = preprocess, decode
}
criterion_main!(benches);
