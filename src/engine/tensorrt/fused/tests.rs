//! The kernels on the processor: do they compute what our evaluator does?

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;
use crate::engine::tract::Tract;
use crate::engine::{Backend, Catalog};

#[test]
fn the_kernels_were_made_of_their_source() {
    let hash: String =
        Sha256::digest(include_bytes!("fused.cu")).iter().map(|b| format!("{b:02x}")).collect();
    for source in [SOURCE, SOURCE_EARLY] {
        assert!(source.contains(&hash), "cross/ptx/ptx.py makes it anew");
        for entry in KERNELS {
            assert!(source.contains(&format!(".visible .entry {entry}(")), "{entry}");
        }
    }
}

/// `host.cpp`, compiled; `None` without a C++ compiler.
fn program(folder: &Path, watched: bool) -> Option<std::path::PathBuf> {
    let made = folder.join("fused");
    let mut compiler = Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".into()));
    // Without fortified jumps: from one thread's stack to another's is what they are for here.
    compiler.args(["-std=c++14", "-O2", "-g", "-w", "-U_FORTIFY_SOURCE"]);
    if watched {
        compiler.args(["-fsanitize=undefined", "-fno-sanitize-recover=undefined"]);
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/tensorrt/fused/host.cpp");
    match compiler.arg(source).arg("-o").arg(&made).output() {
        Ok(done) if done.status.success() => Some(made),
        Ok(_) if watched => {
            eprintln!("without sanitizers");
            program(folder, false)
        }
        Ok(done) => panic!("{}", String::from_utf8_lossy(&done.stderr)),
        Err(e) => {
            eprintln!("skipped: no C++ compiler ({e})");
            None
        }
    }
}

/// What the kernels of a step make of what is given from outside.
fn run(program: &Path, plan: &Plan, step: usize, outside: &[f32]) -> Vec<f32> {
    let launches = &plan.steps[step].1;
    let asked = plan.outside.len - plan.outside.joints;
    let mut given = Vec::new();
    for size in [plan.len, outside.len(), asked, launches.len()] {
        given.extend(u32::try_from(size).unwrap().to_ne_bytes());
    }
    // Not-a-number: what is read before it is written.
    let start = given.len();
    given.resize(start + plan.constants_at, 0xff);
    given.extend(&plan.constants);
    given.extend(outside.iter().flat_map(|v| v.to_ne_bytes()));
    for launch in launches {
        let words = [&[launch.kernel as u32][..], &launch.grid, &[launch.threads], &launch.words];
        given.extend(words.concat().iter().flat_map(|w| w.to_ne_bytes()));
    }
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it was just compiled");
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&given));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    writer.join().unwrap().unwrap();
    output.stdout.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b)).collect()
}

/// Golden windows: keypoints, freshness, context.
fn windows(model: &ModelSpec) -> Vec<(Vec<f32>, f32, Vec<f32>)> {
    fn flat(value: &Value, into: &mut Vec<f32>) {
        match value {
            Value::Array(values) => values.iter().for_each(|v| flat(v, into)),
            other => into.push(other.as_f64().unwrap() as f32),
        }
    }
    let golden: Value = serde_json::from_slice(&model.golden_bytes().unwrap().unwrap()).unwrap();
    let cases = golden["cases"].as_array().unwrap().iter().map(|case| {
        let (mut window, mut context) = (Vec::new(), Vec::new());
        flat(&case["window"], &mut window);
        flat(&case["context"], &mut context);
        (window, case["fresh"].as_f64().unwrap() as f32, context)
    });
    cases.collect()
}

/// Mean and largest distance of joints, in millimetres.
fn apart(a: &[f32], b: &[f32]) -> (f32, f32) {
    let d: Vec<f32> = a
        .chunks_exact(3)
        .zip(b.chunks_exact(3))
        .map(|(a, b)| 1e3 * a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt())
        .collect();
    assert!(d.iter().all(|d| d.is_finite()));
    (d.iter().sum::<f32>() / d.len() as f32, d.iter().copied().fold(0.0, f32::max))
}

#[test]
fn they_compute_what_the_processor_does() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = program(folder.path(), true) else { return };
    let catalog = Catalog::embedded().unwrap();
    for model in catalog.models().filter(|m| m.lifter().is_ok()) {
        let mut processor = Tract.load_lifter(model, Precision::F32, 1).unwrap();
        let cases = windows(model);
        for (precision, limits) in [(Precision::F32, (0.002, 0.01)), (Precision::F16, (0.04, 0.3))]
        {
            let plan = plan_of(model, precision, 2).unwrap();
            let (t, at) = (plan.frames, plan.outside);
            // Of the longer window one is enough to wait for.
            let steps = if t > 27 { &[(0, 1)][..] } else { &[(0, 1), (1, 2)] };
            for &(step, n) in steps {
                let mut outside = vec![0.0; at.len];
                let mut wanted = vec![0.0; n * POSE];
                for (i, (window, fresh, context)) in cases[step..][..n].iter().enumerate() {
                    outside[i * t * POSE..][..t * POSE].copy_from_slice(window);
                    outside[at.fresh + i] = *fresh;
                    outside[at.context + i * CONTEXT..][..CONTEXT].copy_from_slice(context);
                    let mut all = vec![0.0; t];
                    all[0] = *fresh;
                    let mut slots = vec![0.0; t * processor.slot_len()];
                    processor.encode(window, &all, &mut slots).unwrap();
                    processor.lift(&slots, context, &mut wanted[i * POSE..][..POSE]).unwrap();
                }
                let begun = std::time::Instant::now();
                let made = run(&program, &plan, step, &outside);
                let (mean, worst) = apart(&made[..n * POSE], &wanted);
                println!(
                    "{}, {precision:?}, {n}: {mean:.5} and {worst:.5} mm apart, {} kernels, {:.1} s",
                    model.name,
                    plan.steps[step].1.len(),
                    begun.elapsed().as_secs_f64()
                );
                assert!(mean <= limits.0 && worst <= limits.1, "{mean} {worst}");
            }
        }
    }
}
