//! Prints the table of docs/performance.md: nanoseconds per pixel, the least of many runs.

use std::hint::black_box;
use std::time::Instant;

use posewire_pixels::decode::JpegDecoder;
use posewire_pixels::detect::Crop;
use posewire_pixels::detect::preprocess::Preprocessor;
use posewire_pixels::engine::spec::{Channels, ImageInput};
use posewire_pixels::frame::{ColorSpace, ImageLayout, ImageView, PixelFormat, Plane};
use yuv::{
    YuvBiPlanarImage, YuvConversionMode, YuvGrayImage, YuvPackedImage, YuvPlanarImage, YuvRange,
    YuvStandardMatrix,
};
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace as ZuneColor;
use zune_jpeg::zune_core::options::DecoderOptions;

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const PIXELS: f64 = (WIDTH * HEIGHT) as f64;

/// Seconds of the fastest of many runs: other programs only ever add.
fn least(mut run: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut least = f64::INFINITY;
    while begun.elapsed().as_secs_f64() < 1.5 {
        let start = Instant::now();
        run();
        least = least.min(start.elapsed().as_secs_f64());
    }
    least
}

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

/// The whole picture as 8-bit RGB by `yuv`.
fn by_yuv(image: &ImageView<'_>, rgb: &mut [u8]) -> bool {
    let (range, matrix) = (YuvRange::Limited, YuvStandardMatrix::Bt601);
    let (width, height) = (image.width, image.height);
    let p = &image.planes;
    let stride = |i: usize| p[i].stride as u32;
    let done = match image.format {
        PixelFormat::Gray8 => {
            let image = YuvGrayImage { y_plane: p[0].data, y_stride: stride(0), width, height };
            yuv::yuv400_to_rgb(&image, rgb, 3 * width, range, matrix)
        }
        PixelFormat::Yuyv | PixelFormat::Uyvy => {
            let packed = YuvPackedImage { yuy: p[0].data, yuy_stride: stride(0), width, height };
            if image.format == PixelFormat::Yuyv {
                yuv::yuyv422_to_rgb(&packed, rgb, 3 * width, range, matrix)
            } else {
                yuv::uyvy422_to_rgb(&packed, rgb, 3 * width, range, matrix)
            }
        }
        PixelFormat::Nv12 | PixelFormat::Nv21 => {
            let image_nv = YuvBiPlanarImage {
                y_plane: p[0].data,
                y_stride: stride(0),
                uv_plane: p[1].data,
                uv_stride: stride(1),
                width,
                height,
            };
            let mode = YuvConversionMode::Balanced;
            if image.format == PixelFormat::Nv12 {
                yuv::yuv_nv12_to_rgb(&image_nv, rgb, 3 * width, range, matrix, mode)
            } else {
                yuv::yuv_nv21_to_rgb(&image_nv, rgb, 3 * width, range, matrix, mode)
            }
        }
        PixelFormat::I420 | PixelFormat::I422 | PixelFormat::I444 => {
            let planar = YuvPlanarImage {
                y_plane: p[0].data,
                y_stride: stride(0),
                u_plane: p[1].data,
                u_stride: stride(1),
                v_plane: p[2].data,
                v_stride: stride(2),
                width,
                height,
            };
            match image.format {
                PixelFormat::I420 => yuv::yuv420_to_rgb(&planar, rgb, 3 * width, range, matrix),
                PixelFormat::I422 => yuv::yuv422_to_rgb(&planar, rgb, 3 * width, range, matrix),
                _ => yuv::yuv444_to_rgb(&planar, rgb, 3 * width, range, matrix),
            }
        }
        _ => return false,
    };
    done.expect("the picture is as large as it says");
    true
}

fn main() {
    println!(
        "| 1280x720 | `yuv`: whole picture to RGB bytes | ours: whole picture to f32 tensor | ours: crop 468x625 to 192x256 |"
    );
    println!("|---|---|---|---|");
    use PixelFormat::*;
    for format in [Yuyv, Uyvy, Nv12, Nv21, I420, I422, I444, Gray8, Rgb8, Bgr8] {
        let layout = ImageLayout::packed(WIDTH, HEIGHT, format, ColorSpace::default());
        let bytes: Vec<u8> = (0..layout.byte_len()).map(|i| (i * 31 % 251) as u8).collect();
        let image = layout.picture(&bytes).unwrap();
        let mut rgb = vec![0; 3 * (WIDTH * HEIGHT) as usize];
        let theirs = if by_yuv(&image, &mut rgb) {
            let seconds = least(|| {
                by_yuv(black_box(&image), black_box(&mut rgb));
            });
            format!("{:.2} ns", seconds * 1e9 / PIXELS)
        } else {
            "–".into()
        };
        let sample = |width: usize, height: usize, crop: Crop| {
            let mut p = Preprocessor::new(&input(width, height));
            let mut tensor = vec![0.0; p.tensor_len()];
            least(|| p.sample(black_box(&image), &crop, black_box(&mut tensor)).expect("a crop"))
        };
        let whole = Crop { left: -0.5, top: -0.5, scale_x: 1.0, scale_y: 1.0 };
        let whole = sample(WIDTH as usize, HEIGHT as usize, whole) * 1e9 / PIXELS;
        let person = Crop { left: 400.3, top: 40.7, scale_x: 2.44, scale_y: 2.44 };
        let person = sample(192, 256, person) * 1e9 / (192.0 * 2.44 * 256.0 * 2.44);
        println!("| {format:?} | {theirs} | {whole:.2} ns | {person:.2} ns |");
    }

    println!();
    println!("| JPEG | zune-jpeg alone | ours |");
    println!("|---|---|---|");
    for path in std::env::args().skip(1) {
        let data = std::fs::read(&path).expect("a file");
        let mut decoder = JpegDecoder::new();
        let coded = ImageView {
            width: 0,
            height: 0,
            format: Jpeg,
            color: ColorSpace::default(),
            planes: [Plane { data: &data[..], stride: 0 }].into_iter().collect(),
        };
        let image = decoder.decode(&coded).expect("a whole JPEG");
        let pixels = f64::from(image.width) * f64::from(image.height);
        let mut out = vec![0; 3 * pixels as usize];
        let options = DecoderOptions::default().jpeg_set_out_colorspace(ZuneColor::RGB);
        let alone = least(|| {
            zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(black_box(&data)), options)
                .decode_into(black_box(&mut out))
                .expect("a whole JPEG");
        });
        drop(image);
        let ours = least(|| {
            black_box(decoder.decode(black_box(&coded)).expect("a whole JPEG"));
        });
        println!(
            "| {path}, {} bytes | {:.2} ns | {:.2} ns |",
            data.len(),
            alone * 1e9 / pixels,
            ours * 1e9 / pixels
        );
    }
}
