//! The kernels on the processor: do they compute what our evaluator does?

use std::path::Path;

use sha2::{Digest, Sha256};

use super::super::native;
use super::*;
use crate::engine::tract::Tract;
use crate::engine::{Backend, Catalog, gate};

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
    native::run(program, given)
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
    let program = folder.path().join("fused");
    // Without fortified jumps: from one thread's stack to another's is what they are for here.
    let options = ["-O2", "-w", "-U_FORTIFY_SOURCE"];
    let source = "src/engine/tensorrt/fused/host.cpp";
    if !native::compile_watched(source, &program, &options, "undefined").unwrap() {
        return;
    }
    let catalog = Catalog::embedded().unwrap();
    for model in catalog.models().filter(|m| m.lifter().is_ok()) {
        let mut processor = Tract.load_lifter(model, Precision::F32, 1).unwrap();
        let cases = gate::golden(model).unwrap().unwrap();
        for (precision, limits) in [(Precision::F32, (0.002, 0.01)), (Precision::F16, (0.04, 0.3))]
        {
            let plan = plan_of(model, precision, 2).unwrap();
            let (t, at) = (plan.frames, plan.outside);
            // Of the longer window one is enough to wait for.
            let steps = if t > 27 { &[(0, 1)][..] } else { &[(0, 1), (1, 2)] };
            for &(step, n) in steps {
                let mut outside = vec![0.0; at.len];
                let mut wanted = vec![0.0; n * POSE];
                for (i, case) in cases[step..][..n].iter().enumerate() {
                    let (window, fresh, context) = (&case.keypoints(), &case.fresh, &case.context);
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
