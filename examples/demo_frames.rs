//! Writes frames of `demo:` and their truth to a folder, for looking and for measuring:
//! `cargo run --release --example demo_frames -- FOLDER [EVERY]`
//!
//! `frames.yuyv`: 640×480 YUYV pictures one after the other, every `EVERY`th frame (3) of one
//! period; `truth.jsonl`: a line per picture with its number, the projected COCO-17 keypoints,
//! their visibility, and the Human3.6M-17 joints in metres. Prints what drawing cost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a tool for developers: a panic says enough"
)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Instant;

use posewire::capture::demo::Renderer;
use posewire::figure::truth::{FRAME_RATE, camera, moment};
use posewire::figure::{Figure, PERIOD_NANOS};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("say which folder to write to")?);
    let every: usize = arguments.next().map_or(Ok(3), |a| a.parse())?;
    let mut pictures = BufWriter::new(File::create(folder.join("frames.yuyv"))?);
    let mut lines = BufWriter::new(File::create(folder.join("truth.jsonl"))?);
    let (figure, camera) = (Figure::default(), camera());
    let mut renderer = Renderer::new(figure, camera);
    let mut picture = vec![0; renderer.byte_len()];
    let mut costs = Vec::new();
    let frames = (PERIOD_NANOS as f64 * 1e-9 * FRAME_RATE) as u64;
    for i in (0..frames).step_by(every.max(1)) {
        let begin = Instant::now();
        let pose = figure.at(moment(i, FRAME_RATE));
        renderer.draw(&pose, i, &mut picture);
        costs.push(begin.elapsed().as_secs_f64() * 1e3);
        pictures.write_all(&picture)?;
        let seen = figure.project(&pose, &camera);
        let line = serde_json::json!({
            "frame": i, "points": seen.points, "visibility": seen.visibility, "joints": pose.joints
        });
        writeln!(lines, "{line}")?;
    }
    costs.sort_by(f64::total_cmp);
    let at = |share: f64| costs.get((share * costs.len() as f64) as usize).copied().unwrap_or(0.0);
    println!(
        "{} frames, drawing takes {:.2} ms (p50), {:.2} ms (p99)",
        costs.len(),
        at(0.5),
        at(0.99)
    );
    Ok(())
}
