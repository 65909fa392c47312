//! Runs the detector over pictures and draws what it found: to look at, and to score.
//!
//!     detect_pictures MODELS_DIR OUT_DIR [--alone] [--flip|--once] [--finder NAME] [--keypoints NAME]
//!                     [--score THRESHOLD] PICTURE...
//!
//! Pictures (JPEG, or 8-bit RGB PNG) are taken as frames of one recording at 30 per second, or,
//! with `--alone`, each for itself. OUT_DIR receives `NAME.png` with the skeletons drawn and
//! `predictions.json`: a list of {"image", "image_id" (if the file's name is a number),
//! "keypoints": [x, y, confidence] * 17, "score"}, pixels, COCO order.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a tool for developers: a panic says enough"
)]

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrayvec::ArrayVec;
use posewire::detect::{Detector, DetectorSettings, TopDown};
use posewire::engine::tract::Tract;
use posewire::engine::{Catalog, ModelKind, Precision};
use posewire::frame::*;
use posewire::skeleton::Skeleton;
use posewire::time::Timestamp;

struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

fn read(path: &Path) -> Result<Picture, Box<dyn Error>> {
    if path.extension().is_some_and(|e| e == "png") {
        let mut reader =
            png::Decoder::new(std::io::BufReader::new(File::open(path)?)).read_info()?;
        let mut rgb = vec![0; reader.output_buffer_size().ok_or("too large a picture")?];
        let info = reader.next_frame(&mut rgb)?;
        if (info.color_type, info.bit_depth) != (png::ColorType::Rgb, png::BitDepth::Eight) {
            return Err("only 8-bit RGB PNG files are read".into());
        }
        return Ok(Picture { width: info.width, height: info.height, rgb });
    }
    let bytes = std::fs::read(path)?;
    let mut decoder =
        zune_jpeg::JpegDecoder::new(zune_jpeg::zune_core::bytestream::ZCursor::new(&bytes));
    let rgb = decoder.decode()?;
    let (width, height) = decoder.dimensions().ok_or("no size")?;
    let (width, height) = (u32::try_from(width)?, u32::try_from(height)?);
    // Grey files stay grey.
    let rgb = if rgb.len() == (width * height) as usize {
        rgb.into_iter().flat_map(|v| [v; 3]).collect()
    } else {
        rgb
    };
    Ok(Picture { width, height, rgb })
}

fn draw(p: &mut Picture, from: (f32, f32), to: (f32, f32), radius: f32, color: [u8; 3]) {
    let steps = ((to.0 - from.0).hypot(to.1 - from.1).ceil() as usize).max(1);
    for s in 0..=steps {
        let t = s as f32 / steps as f32;
        let (x, y) = (from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1));
        let r = radius.ceil() as i64;
        for dy in -r..=r {
            for dx in -r..=r {
                let (px, py) = (x.round() as i64 + dx, y.round() as i64 + dy);
                let inside =
                    (0..i64::from(p.width)).contains(&px) && (0..i64::from(p.height)).contains(&py);
                if inside && ((dx * dx + dy * dy) as f32) <= radius * radius {
                    let at = 3 * (py * i64::from(p.width) + px) as usize;
                    p.rgb[at..at + 3].copy_from_slice(&color);
                }
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let flip = args.iter().position(|a| a == "--flip").map(|i| args.remove(i)).is_some();
    let once = args.iter().position(|a| a == "--once").map(|i| args.remove(i)).is_some();
    let alone = args.iter().position(|a| a == "--alone").map(|i| args.remove(i)).is_some();
    let mut named = |flag: &str| {
        let at = args.iter().position(|a| a == flag)?;
        args.remove(at);
        Some(args.remove(at))
    };
    let (finder, keypoints) = (named("--finder"), named("--keypoints"));
    let score_threshold = named("--score").map(|text| text.parse()).transpose()?;
    let [models, out, files @ ..] = args.as_slice() else {
        return Err(
            "usage: detect_pictures MODELS_DIR OUT_DIR [--alone] [--flip|--once] PICTURE...".into(),
        );
    };
    let catalog = Catalog::with_dir(Path::new(models))?;
    let finder = catalog.pick(ModelKind::Finder, finder.as_deref())?;
    let keypoints = catalog.pick(ModelKind::Keypoints, keypoints.as_deref())?;
    let settings = DetectorSettings {
        max_persons: 16,
        flip,
        flip_newcomers: !once,
        score_threshold,
        ..DetectorSettings::default()
    };
    let mut detector = TopDown::new(&Tract, &finder, &keypoints, Precision::F32, settings)?;
    println!("{}", detector.describe());
    std::fs::create_dir_all(out)?;
    let mut predictions = Vec::new();
    let mut found = Vec::new();
    let mut times = Vec::new();
    for (n, file) in files.iter().enumerate() {
        let path = Path::new(file);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut picture = read(path)?;
        let (format, color) = (PixelFormat::Rgb8, ColorSpace::default());
        let layout = ImageLayout::packed(picture.width, picture.height, format, color);
        let stamp = FrameStamp {
            camera: 0,
            sequence: n as u64,
            captured: Timestamp::from_secs_f64(n as f64 / 30.0),
            timebase: Timebase::Media,
            dequeued: Timestamp::ZERO,
        };
        let memory: Arc<dyn PixelMemory> = Arc::new(picture.rgb.clone());
        let frame = Frame::new(stamp, layout, ArrayVec::from_iter([memory]), None)?;
        if alone {
            detector.forget();
        }
        found.clear();
        let begin = Instant::now();
        detector.detect(&frame, &frame.image(), &mut found)?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        print!("{stem}: {} persons", found.len());
        let thick = (picture.height as f32 / 200.0).max(1.0);
        for person in &found {
            print!("  {:.2}", person.score);
            for (a, b) in Skeleton::Coco17.bones() {
                let (a, b) = (&person.points[*a], &person.points[*b]);
                if a.confidence.min(b.confidence) >= 0.2 {
                    draw(&mut picture, (a.x, a.y), (b.x, b.y), thick * 0.6, [0, 220, 90]);
                }
            }
            for (k, p) in person.points.iter().enumerate().filter(|(_, p)| p.confidence >= 0.2) {
                // The person's left red, its right blue.
                let color = if k == 0 {
                    [255, 255, 0]
                } else if k % 2 == 1 {
                    [255, 40, 40]
                } else {
                    [50, 90, 255]
                };
                draw(&mut picture, (p.x, p.y), (p.x, p.y), thick * 1.4, color);
            }
            let flat: Vec<f32> =
                person.points.iter().flat_map(|p| [p.x, p.y, p.confidence]).collect();
            predictions.push(serde_json::json!({
                "image": stem, "image_id": stem.parse::<u64>().ok(), "keypoints": flat, "score": person.score,
            }));
        }
        println!();
        let file = File::create(Path::new(out).join(format!("{stem}.png")))?;
        let mut encoder =
            png::Encoder::new(std::io::BufWriter::new(file), picture.width, picture.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header()?.write_image_data(&picture.rgb)?;
    }
    std::fs::write(Path::new(out).join("predictions.json"), serde_json::to_vec(&predictions)?)?;
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!(
        "{} pictures, {} finder runs, median {median:.1} ms",
        files.len(),
        detector.searches()
    );
    Ok(())
}
