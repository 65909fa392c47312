//! What is kept of a slot is what would be computed anew, to the last bit.

use super::*;
use crate::engine::tract::Tract;
use crate::engine::{Backend, Catalog, Precision};

/// The embedded lifters, by our own evaluator.
fn networks() -> Vec<(usize, Box<dyn StreamingLifter>)> {
    let catalog = Catalog::embedded().unwrap();
    let lifters = catalog.models().filter(|m| m.lifter().is_ok());
    lifters
        .map(|model| {
            let network = Tract.load_lifter(model, Precision::F32, 1).unwrap();
            assert!(network.describe().contains("our own"), "{}", network.describe());
            (model.lifter().unwrap().frames, network)
        })
        .collect()
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 % 4099) as f32) / 2050.0 - 1.0).collect()
}

#[test]
fn a_slot_is_the_same_alone_and_among_others() {
    for (_, mut network) in networks() {
        let (n, len) = (SLOTS_AT_ONCE + 13, network.slot_len());
        let (keypoints, fresh) = (numbers(n * 3 * JOINTS), numbers(n));
        let mut together = vec![0.0; n * len];
        network.encode(&keypoints, &fresh, &mut together).unwrap();
        let mut alone = vec![0.0; len];
        for (i, slot) in together.chunks_exact(len).enumerate() {
            let points = &keypoints[i * 3 * JOINTS..][..3 * JOINTS];
            network.encode(points, &fresh[i..=i], &mut alone).unwrap();
            assert_eq!(alone, slot, "slot {i}");
        }
    }
}

#[test]
fn a_window_is_the_same_alone_and_among_others() {
    for (frames, mut network) in networks() {
        let (n, window) = (WINDOWS_AT_ONCE + 1, frames * network.slot_len());
        let slots = numbers(n * window);
        let contexts: Vec<f32> =
            (0..n).flat_map(|i| [0.1 + 0.1 * i as f32, 0.0, 1.0, 0.0, 1.0, 0.0]).collect();
        let mut together = vec![0.0; n * 3 * JOINTS];
        network.lift(&slots, &contexts, &mut together).unwrap();
        let mut alone = vec![0.0; 3 * JOINTS];
        for (i, joints) in together.chunks_exact(3 * JOINTS).enumerate() {
            let context = &contexts[i * CONTEXT..][..CONTEXT];
            network.lift(&slots[i * window..][..window], context, &mut alone).unwrap();
            assert_eq!(alone, joints, "window {i}");
            assert!(joints.iter().any(|x| *x != 0.0) && joints.iter().all(|x| x.is_finite()));
        }
    }
}
