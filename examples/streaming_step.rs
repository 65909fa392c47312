//! What one step of a lifter costs, in milliseconds: `cargo run --release --example
//! streaming_step -- [--models DIR] [NAME...]`.
//!
//! For each lifter, on one thread, rounds of
//! - `network`: two slots encoded (the newest, and a grid slot that became final) and the window
//!   lifted from what is kept, by our own evaluator;
//! - `step`: the same by way of `Lifter`, with everything around it: window, virtual camera, root,
//!   bones, smoothing;
//! - `whole`: the whole window's graph in tract.
//!
//! Prints a JSON object a line, for `benches/streaming_onnxruntime.py`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an example may stop with a panic")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::time::Instant;

use arrayvec::ArrayVec;
use posewire::camera::Intrinsics;
use posewire::engine::tract::Tract;
use posewire::engine::{Backend, Catalog, ModelKind, Precision, TensorMut, TensorRef};
use posewire::lift::{LiftSettings, Lifter};
use posewire::pose::TrackId;
use posewire::skeleton::JOINTS;
use posewire::time::Timestamp;

const ROUNDS: usize = 120;

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    let catalog = match arguments.next_if(|a| a == "--models") {
        Some(_) => {
            let dir = arguments.next().expect("--models DIR");
            Catalog::with_dir(&PathBuf::from(dir)).unwrap()
        }
        None => Catalog::embedded().unwrap(),
    };
    let names: Vec<String> = arguments.collect();
    let mut done = Vec::new();
    for model in catalog.models().filter(|m| m.kind() == ModelKind::Lifter) {
        // What the directory holds hides what is embedded under the same name.
        let wanted = names.is_empty() || names.contains(&model.name);
        if !wanted || done.contains(&&model.name) {
            continue;
        }
        done.push(&model.name);
        let spec = model.lifter().unwrap().clone();
        let mut network = Tract.load_lifter(model, Precision::F32, 1).unwrap();
        let len = network.slot_len();
        let keypoints: Vec<f32> =
            (0..2 * 3 * JOINTS).map(|i| (i % 97) as f32 / 48.0 - 1.0).collect();
        let mut two = vec![0.0; 2 * len];
        network.encode(&keypoints, &[-0.4, 0.0], &mut two).unwrap();
        let slots: Vec<f32> = two[len..].repeat(spec.frames);
        let context = [0.2, 0.0, 1.0, 0.0, 1.0, 0.0];
        let context = &context[..spec.context];
        let mut joints = vec![0.0; 3 * JOINTS];
        let by_network = times(|| {
            network.encode(&keypoints, &[-0.4, 0.0], &mut two).unwrap();
            network.lift(&slots, context, &mut joints).unwrap();
        });

        let mut lifter =
            Lifter::new(&Tract, model, Precision::F32, &LiftSettings::default()).unwrap();
        let camera = Intrinsics::from_fov(1280, 720, 65.0);
        let (mut n, mut lifted) = (0u32, ArrayVec::new());
        let by_step = times(|| {
            n += 1;
            let at = Timestamp::from_secs_f64(f64::from(n) / 30.0);
            let x = 640.0 + 20.0 * (n as f32 * 0.1).sin();
            lifter.observe(TrackId(1), at, &support::person(x, 100.0), &camera).unwrap();
            lifter.lift(&[TrackId(1)], &mut lifted).unwrap();
        });

        let mut whole = Tract.load(model, Precision::F32, 1).unwrap();
        let signature = whole.signature().clone();
        let data: Vec<Vec<f32>> = signature
            .inputs
            .iter()
            .map(|(_, s)| (0..s.iter().product()).map(|i| (i % 97) as f32 / 48.0 - 1.0).collect())
            .collect();
        let inputs: Vec<_> = signature
            .inputs
            .iter()
            .zip(&data)
            .map(|((_, shape), data)| TensorRef { shape, data })
            .collect();
        let by_tract = times(|| {
            let output = TensorMut { shape: &[1, JOINTS, 3], data: &mut joints };
            whole.run(&inputs, &mut [output]).unwrap();
        });
        println!(
            "{{\"model\": \"{}\", \"by\": \"{}\", \"network\": {}, \"step\": {}, \"whole_tract\": {}}}",
            model.name,
            network.describe(),
            tell(by_network),
            tell(by_step),
            tell(by_tract)
        );
    }
}

/// Seconds of each round, sorted.
fn times(mut run: impl FnMut()) -> Vec<f64> {
    (0..10).for_each(|_| run());
    let mut all: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            run();
            begin.elapsed().as_secs_f64()
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all
}

fn tell(sorted: Vec<f64>) -> String {
    let (least, median) = (sorted[0] * 1e3, sorted[sorted.len() / 2] * 1e3);
    format!("{{\"min_ms\": {least:.4}, \"median_ms\": {median:.4}}}")
}
