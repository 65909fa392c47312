//! Every file of the Motion-JPEG corpus (tests/data/jpeg/corpus/make.py) gives a frame or a
//! counted skip.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use posewire::decode::{JpegDecoder, JpegHeader};
use posewire::fault::{Fault, Severity};
use posewire::frame::{ColorSpace, ImageView, PixelFormat, Plane};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn corpus() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(ROOT).join("tests/data/jpeg/corpus");
    let files: BTreeMap<_, _> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "jpg"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    assert!(files.len() > 80, "{} files", files.len());
    files
}

fn view(data: &[u8]) -> ImageView<'_> {
    ImageView {
        width: 0,
        height: 0,
        format: PixelFormat::Jpeg,
        color: ColorSpace::default(),
        planes: [Plane { data, stride: 0 }].into_iter().collect(),
    }
}

#[test]
fn every_file_gives_a_frame_or_a_skip_and_the_next_frame_is_whole() {
    let files = corpus();
    let whole = &files["ok_422"];
    let mut decoder = JpegDecoder::new();
    let wanted = decoder.decode(&view(whole)).unwrap().planes[0].data.to_vec();
    let (mut frames, mut skips, mut wrong) = (0, 0, Vec::new());
    for (name, data) in &files {
        let kind = name.split('_').next().unwrap();
        match decoder.decode(&view(data)) {
            Ok(image) => {
                frames += 1;
                let header = JpegHeader::parse(data).unwrap();
                assert_eq!((image.width, image.height), (header.width, header.height), "{name}");
                let channels = if image.format == PixelFormat::Gray8 { 1 } else { 3 };
                let len = (image.width * image.height) as usize * channels;
                assert_eq!(image.planes[0].data.len(), len, "{name}");
                if kind == "bad" {
                    wrong.push(format!("{name} gave a frame"));
                }
            }
            Err(e) => {
                skips += 1;
                assert_eq!(e.severity(), Severity::Skip, "{name}");
                if kind == "ok" {
                    wrong.push(format!("{name}: {e}"));
                }
            }
        }
        let next = decoder.decode(&view(whole)).unwrap();
        assert_eq!(next.planes[0].data, wanted, "after {name}");
    }
    println!("{} files: {frames} frames, {skips} skips", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn whole_frames_have_the_pixels_that_went_in() {
    let files = corpus();
    let mut decoder = JpegDecoder::new();
    for (name, data) in files.iter().filter(|(name, _)| name.starts_with("ok_4")) {
        let image = decoder.decode(&view(data)).unwrap();
        let plane = image.planes[0];
        // As make.py draws it; chroma is smooth, so that luma tells enough.
        let (mut sum, mut count) = (0.0, 0.0);
        for y in 0..image.height as usize {
            for x in 0..image.width as usize {
                let edge = if (x / 9 + y / 7) % 2 == 1 { 90 } else { 0 };
                let drawn = [(5 * x + edge) % 256, (4 * y + 40) % 256, (2 * x + 3 * y) % 256];
                let got = &plane.data[y * plane.stride + 3 * x..][..3];
                let luma = |c: [f64; 3]| 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2];
                let difference = luma(drawn.map(|v| v as f64))
                    - luma([got[0].into(), got[1].into(), got[2].into()]);
                sum += difference.abs();
                count += 1.0;
            }
        }
        assert!(sum / count < 12.0, "{name}: {} grey levels off on average", sum / count);
    }
}

#[test]
fn decoded_pixels_are_those_of_the_definition_within_two_levels_and_three_for_4_2_0() {
    let files = corpus();
    let folder = Path::new(ROOT).join("tests/data/jpeg/corpus");
    let mut decoder = JpegDecoder::new();
    let mut compared = 0;
    for (name, data) in &files {
        // Of reference.py: T.81 in double precision.
        let Ok(reference) = fs::read(folder.join(format!("{name}.reference"))) else { continue };
        let image = decoder.decode(&view(data)).unwrap();
        let pixels = image.planes[0].data;
        assert_eq!(pixels.len(), reference.len(), "{name}");
        let worst = pixels.iter().zip(&reference).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        println!("{name}: {worst} levels at most");
        // Of chroma at half size both ways, the decoder rounds twice.
        let limit = if name == "ok_420" { 3 } else { 2 };
        assert!(worst <= limit, "{name}: {worst} levels");
        compared += 1;
    }
    assert!(compared >= 6);
}

#[test]
fn a_run_over_the_whole_corpus_counts_its_skips_and_ends_well() {
    let files = corpus();
    let folder = tempfile::tempdir().unwrap();
    for (name, data) in &files {
        fs::write(folder.path().join(format!("{name}.jpg")), data).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_posewire"))
        .args(["run", "--source"])
        .arg(folder.path())
        .args(["--models", &format!("{ROOT}/tests/data/models")])
        .env_remove("JOURNAL_STREAM")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    let mut decoder = JpegDecoder::new();
    let whole = files.values().filter(|data| decoder.decode(&view(data)).is_ok()).count();
    let last = said.lines().rfind(|l| l.contains("frames in")).unwrap_or_default();
    assert!(last.contains(&format!("{whole} out")), "{whole} whole frames; {last}");
    assert!(said.contains(&format!("{} bad", files.len() - whole)), "{said}");
    println!("{last}");
}
