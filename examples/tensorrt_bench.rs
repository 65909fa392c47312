//! TensorRT and our own kernels against tract on every shipped network: how far apart, and how fast.
//!
//!     POSEWIRE_TENSORRT_DIR=... tensorrt_bench MODELS_DIR [CALLS [DUMP_DIR]] [--only-kernels]
//!
//! Needs an NVIDIA GPU. For every network, precision and number of persons one line of JSON: seconds to
//! build and to load, microseconds of a call (p50, p99 of CALLS, 2000 by default) with everything in a
//! CUDA graph and without, and the difference from tract's f32 on the same input: of joints in mm, of
//! keypoints in pixels of the crop. Into DUMP_DIR go inputs and answers, which benches/peers/float64.py
//! compares with those of double precision.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a tool for developers: a panic says enough"
)]

#[path = "support/time.rs"]
mod time;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use posewire::capture::{self, Next, SourceOptions};
use posewire::detect::Crop;
use posewire::detect::decode::KeypointReader;
use posewire::detect::preprocess::Preprocessor;
use posewire::engine::spec::ImageInput;
use posewire::engine::tensorrt::{Machine, TensorRt};
use posewire::engine::tract::Tract;
use posewire::engine::{
    Backend, Catalog, Engine, ModelKind, ModelSpec, Precision, StreamingLifter, TensorMut,
    TensorRef,
};
use posewire::pose::BoundingBox;
use serde_json::{Value, json};
use time::time;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Outputs of one call.
fn run(engine: &mut dyn Engine, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
    let signature = engine.signature().clone();
    let size = |shape: &[usize]| shape.iter().product::<usize>();
    let mut outputs: Vec<Vec<f32>> =
        signature.outputs.iter().map(|(_, shape)| vec![f32::NAN; size(shape)]).collect();
    let given: Vec<TensorRef<'_>> = inputs
        .iter()
        .zip(&signature.inputs)
        .map(|(data, (_, shape))| TensorRef { shape, data })
        .collect();
    let mut taken: Vec<TensorMut<'_>> = outputs
        .iter_mut()
        .zip(&signature.outputs)
        .map(|(data, (_, shape))| TensorMut { shape, data })
        .collect();
    engine.run(&given, &mut taken)?;
    Ok(outputs)
}

/// Keypoints of a window, freshness of its newest slot, context.
type Window = (Vec<f32>, f32, Vec<f32>);

/// Windows of the model's golden file, `[T][17][3]` and `[6]`.
fn windows(model: &ModelSpec) -> Result<Vec<Window>> {
    let bytes = model.golden_bytes()?.ok_or("no golden file")?;
    let golden: Value = serde_json::from_slice(&bytes)?;
    fn flat(value: &Value, into: &mut Vec<f32>) {
        match value {
            Value::Array(values) => values.iter().for_each(|v| flat(v, into)),
            other => into.push(other.as_f64().unwrap_or_default() as f32),
        }
    }
    let cases = golden["cases"].as_array().ok_or("no cases")?;
    Ok(cases
        .iter()
        .map(|case| {
            let (mut window, mut context) = (Vec::new(), Vec::new());
            flat(&case["window"], &mut window);
            flat(&case["context"], &mut context);
            (window, case["fresh"].as_f64().unwrap_or_default() as f32, context)
        })
        .collect())
}

/// The middle of a frame of the demo, where its person is, as a network is given it.
fn picture(input: &ImageInput) -> Result<Vec<f32>> {
    let mut source = capture::open("demo:1", &SourceOptions::default())?;
    let frame = loop {
        if let Next::Frame(frame) = source.next(Duration::from_secs(1))? {
            break frame;
        }
    };
    let image = frame.image();
    let (w, h) = (image.width as f32, image.height as f32);
    let middle = BoundingBox { x: 0.3 * w, y: 0.05 * h, width: 0.4 * w, height: 0.9 * h };
    let crop = Crop::around(&middle, 1.0, input);
    let mut preprocessor = Preprocessor::new(input);
    let mut tensor = vec![0.0; preprocessor.tensor_len()];
    preprocessor.sample(&image, &crop, &mut tensor)?;
    Ok(tensor)
}

/// Mean and largest distance of triples, in thousandths.
fn distance(a: &[f32], b: &[f32]) -> Value {
    let (mut sum, mut most, mut n) = (0.0f64, 0.0f64, 0);
    for (a, b) in a.chunks(3).zip(b.chunks(3)) {
        let d2: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let d = 1e3 * d2.sqrt();
        sum += d;
        most = if d > most || d.is_nan() { d } else { most };
        n += 1;
    }
    json!({"mean": sum / f64::from(n), "max": most})
}

fn keypoints_apart(model: &ModelSpec, a: &[Vec<f32>], b: &[Vec<f32>]) -> Result<Value> {
    let reader = KeypointReader::new(model.keypoints()?);
    let (a, b) = (reader.read(a)?, reader.read(b)?);
    let d: Vec<f32> = a
        .iter()
        .zip(&b)
        .filter(|(a, _)| a[2] > 0.2)
        .map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1]))
        .collect();
    let most = d.iter().copied().fold(0.0, f32::max);
    Ok(
        json!({"keypoints": d.len(), "mean_px": d.iter().sum::<f32>() / d.len() as f32, "max_px": most}),
    )
}

/// What is measured of every network.
struct Bench {
    calls: usize,
    dump: Option<PathBuf>,
}

impl Bench {
    /// Tensors one behind the other, as they lie in memory.
    fn keep(
        &self,
        model: &ModelSpec,
        batch: usize,
        what: &str,
        tensors: &[Vec<f32>],
    ) -> Result<()> {
        let Some(folder) = &self.dump else { return Ok(()) };
        std::fs::create_dir_all(folder)?;
        let bytes: Vec<u8> = tensors.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        Ok(std::fs::write(folder.join(format!("{}.{batch}.{what}", model.name)), bytes)?)
    }
}

fn one(bench: &Bench, model: &ModelSpec, inputs: &[Vec<f32>], batch: usize) -> Result<()> {
    let calls = bench.calls;
    let mut reference = Tract.load(model, Precision::F32, batch)?;
    let wanted = run(&mut *reference, inputs)?;
    bench.keep(model, batch, "inputs", inputs)?;
    bench.keep(model, batch, "tract-f32", &wanted[..1])?;
    let precisions: &[Precision] = match model.lifter() {
        Ok(_) => &[Precision::F32, Precision::F16, Precision::I8],
        Err(_) => &[Precision::F32, Precision::F16],
    };
    for &precision in precisions {
        let begun = Instant::now();
        let plan = Machine::get().build(model, precision, batch, &mut |_, _, _| true)?;
        let build_s = begun.elapsed().as_secs_f64();
        let mut line = json!({
            "model": model.name, "precision": format!("{precision:?}"), "persons": batch,
            "build_s": build_s, "plan_bytes": plan.len(),
        });
        for capture in [false, true] {
            let begun = Instant::now();
            let mut engine = Machine::get().load(model, &plan, batch, capture)?;
            let load_s = begun.elapsed().as_secs_f64();
            let given = run(&mut engine, inputs)?;
            let name = if capture { "graph" } else { "plain" };
            let signature = engine.signature().clone();
            bench.keep(model, batch, &format!("tensorrt-{}", precision.name()), &given[..1])?;
            let mut outputs = given.clone();
            let us = time(calls, || {
                let given: Vec<TensorRef<'_>> = inputs
                    .iter()
                    .zip(&signature.inputs)
                    .map(|(data, (_, shape))| TensorRef { shape, data })
                    .collect();
                let mut taken: Vec<TensorMut<'_>> = outputs
                    .iter_mut()
                    .zip(&signature.outputs)
                    .map(|(data, (_, shape))| TensorMut { shape, data })
                    .collect();
                Ok(engine.run(&given, &mut taken)?)
            })?;
            line[name] = json!({
                "us": us, "load_s": load_s, "captured": engine.is_graph(),
                "apart": distance(&given[0], &wanted[0]),
                "the_same_again": given == outputs,
            });
            if model.keypoints().is_ok() {
                line[name]["keypoints"] = keypoints_apart(model, &given, &wanted)?;
            }
        }
        println!("{line}");
    }
    Ok(())
}

/// A lifter by our own kernels: whole windows, as `one` has TensorRT compute them.
fn kernels(bench: &Bench, model: &ModelSpec, inputs: &[Vec<f32>], batch: usize) -> Result<()> {
    let (calls, frames) = (bench.calls, model.lifter()?.frames);
    let mut cpu = Tract.load_lifter(model, Precision::F32, 1)?;
    let mut fresh = vec![0.0; batch * frames];
    fresh.iter_mut().step_by(frames).zip(&inputs[1]).for_each(|(to, fresh)| *to = *fresh);
    let answer = |lifter: &mut dyn StreamingLifter| -> Result<(Vec<f32>, Vec<f32>)> {
        let mut slots = vec![0.0; batch * frames * lifter.slot_len()];
        lifter.encode(&inputs[0], &fresh, &mut slots)?;
        let mut joints = vec![f32::NAN; batch * 51];
        lifter.lift(&slots, &inputs[2], &mut joints)?;
        Ok((slots, joints))
    };
    let (_, wanted) = answer(&mut *cpu)?;
    for precision in [Precision::F32, Precision::F16] {
        let begun = Instant::now();
        let mut lifter = Machine::get().fused(model, precision, batch)?;
        let load_s = begun.elapsed().as_secs_f64();
        let (slots, joints) = answer(&mut lifter)?;
        bench.keep(
            model,
            batch,
            &format!("kernels-{}", precision.name()),
            std::slice::from_ref(&joints),
        )?;
        let mut out = vec![0.0; batch * 51];
        let us = time(calls, || Ok(lifter.lift(&slots, &inputs[2], &mut out)?))?;
        let line = json!({
            "model": model.name, "by": lifter.describe(), "precision": format!("{precision:?}"),
            "persons": batch, "load_s": load_s, "us": us, "apart": distance(&joints, &wanted),
            "the_same_again": joints == out,
        });
        println!("{line}");
    }
    Ok(())
}

/// A lifter as the program runs it: two slots that are new, one window lifted.
fn step(bench: &Bench, model: &ModelSpec) -> Result<()> {
    let calls = bench.calls;
    let cases = windows(model)?;
    let (window, fresh, context) = &cases[0];
    let frames = model.lifter()?.frames;
    let mut all = vec![0.0; frames];
    all[0] = *fresh;
    let answer = |lifter: &mut dyn StreamingLifter| -> Result<Vec<f32>> {
        let mut slots = vec![0.0; frames * lifter.slot_len()];
        lifter.encode(window, &all, &mut slots)?;
        let mut joints = vec![0.0; 51];
        lifter.lift(&slots, context, &mut joints)?;
        Ok(joints)
    };
    let mut cpu = Tract.load_lifter(model, Precision::F32, 1)?;
    let wanted = answer(&mut *cpu)?;
    for precision in [Precision::F32, Precision::F16] {
        let mut lifter = TensorRt::default().load_lifter(model, precision, 1)?;
        let joints = answer(&mut *lifter)?;
        let len = lifter.slot_len();
        let (mut slots, mut out) = (vec![0.0; frames * len], vec![0.0; 51]);
        let points = &window[..2 * 51];
        let us = time(calls, || {
            lifter.encode(points, &all[..2], &mut slots[..2 * len])?;
            Ok(lifter.lift(&slots, context, &mut out)?)
        })?;
        println!(
            "{}",
            json!({"step": model.name, "by": lifter.describe(), "precision": format!("{precision:?}"),
                   "us": us, "apart_mm": distance(&joints, &wanted)})
        );
    }
    let len = cpu.slot_len();
    let (mut slots, mut out) = (vec![0.0; frames * len], vec![0.0; 51]);
    let us = time(calls / 10, || {
        cpu.encode(&window[..2 * 51], &all[..2], &mut slots[..2 * len])?;
        Ok(cpu.lift(&slots, context, &mut out)?)
    })?;
    println!("{}", json!({"step": model.name, "by": cpu.describe(), "us": us}));
    Ok(())
}

fn main() -> Result<()> {
    let (options, args): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let only_kernels = options.iter().any(|option| option == "--only-kernels");
    let Some(folder) = args.first() else {
        return Err("usage: tensorrt_bench MODELS_DIR [CALLS [DUMP_DIR]] [--only-kernels]".into());
    };
    let bench = Bench {
        calls: args.get(1).map_or(Ok(2000), |n| n.parse())?,
        dump: args.get(2).map(PathBuf::from),
    };
    println!("{}", json!({"machine": Machine::get().describe()}));
    TensorRt::default().check()?;
    let catalog = Catalog::with_dir(Path::new(folder))?;
    for name in ["pstmo_s_27_live", "pstmo_s_81_live"] {
        let model = catalog.pick(ModelKind::Lifter, Some(name))?;
        let cases = windows(&model)?;
        for batch in [1, 8] {
            let (mut keypoints, mut fresh, mut contexts) = (Vec::new(), Vec::new(), Vec::new());
            for (window, newest, context) in cases.iter().cycle().take(batch) {
                keypoints.extend_from_slice(window);
                fresh.push(*newest);
                contexts.extend_from_slice(context);
            }
            let inputs = [keypoints, fresh, contexts];
            kernels(&bench, &model, &inputs, batch)?;
            if !only_kernels {
                one(&bench, &model, &inputs, batch)?;
            }
        }
        step(&bench, &model)?;
    }
    if only_kernels {
        return Ok(());
    }
    let finder = catalog.pick(ModelKind::Finder, Some("posewire-finder"))?;
    one(&bench, &finder, &[picture(&finder.finder()?.input)?], 1)?;
    for name in ["posewire-keypoints", "posewire-keypoints-small"] {
        let model = catalog.pick(ModelKind::Keypoints, Some(name))?;
        one(&bench, &model, &[picture(&model.keypoints()?.input)?], 1)?;
    }
    Ok(())
}
