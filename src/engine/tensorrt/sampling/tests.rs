use sha2::{Digest, Sha256};

use super::super::super::sampling::{Mixing, Part, Taps};
use super::*;
use crate::frame::Plane;

#[test]
fn the_kernel_was_made_of_its_source() {
    let hash: String =
        Sha256::digest(include_bytes!("sample.cu")).iter().map(|b| format!("{b:02x}")).collect();
    assert!(KERNEL.contains(&hash), "cross/ptx/ptx.py makes it anew");
    assert!(KERNEL.contains(&format!(".visible .entry {ENTRY}(")));
}

/// Spoils a job, and the word that is said of it.
type Wrong<'a> = (&'static str, &'a dyn Fn(&mut Sampling<'_>, &mut Part<'_>));

/// A grey picture of 5 x 4 pixels, of which the middle becomes a tensor of 2 x 2.
struct Grey {
    bytes: [u8; 20],
    first: [u32; 2],
    weights: [u16; 4],
}

impl Grey {
    fn new() -> Self {
        Self { bytes: std::array::from_fn(|n| n as u8), first: [1, 2], weights: [32768; 4] }
    }

    fn try_with(
        &self,
        change: impl FnOnce(&mut Sampling<'_>, &mut Part<'_>),
    ) -> Result<usize, String> {
        let taps = Taps { first: &self.first, weights: &self.weights, taps: 2 };
        let planes = [Plane { data: &self.bytes, stride: 5 }];
        let mut part = Part { plane: 0, step: 1, members: &[(0, 0)], columns: taps, rows: taps };
        let mut sampling = Sampling {
            width: 2,
            height: 2,
            channels: 1,
            columns: (0, 2),
            rows: (0, 2),
            mirrored: false,
            planes: &planes,
            parts: &[],
            mixing: Mixing::default(),
        };
        change(&mut sampling, &mut part);
        let parts = [part];
        let job = Job::new(Sampling { parts: &parts, ..sampling })?;
        assert!(!job.write(&mut vec![0; job.len() - 1]), "it was written beside its memory");
        assert!(job.write(&mut vec![0; job.len()]));
        Ok(job.len())
    }
}

#[test]
fn only_the_pixels_under_the_crop_are_taken_along() {
    let grey = Grey::new();
    // A header of 58 words, two tables along each axis, 3 x 3 pixels.
    assert_eq!(grey.try_with(|_, _| {}), Ok(58 * 4 + 2 * (8 + 8) + 12));
}

#[test]
fn what_would_be_read_or_written_beside_its_memory_is_no_job() {
    let bytes = [0; 20];
    let short = [Plane { data: &bytes[..17], stride: 5 }];
    let narrow = [Plane { data: &bytes, stride: 3 }];
    let beside = Taps { first: &[1, u32::MAX], weights: &[0; 4], taps: 2 };
    let few = Taps { first: &[1, 2], weights: &[0; 3], taps: 2 };
    let wrong: [Wrong<'_>; 13] = [
        ("no tensor", &|s, _| s.width = 0),
        ("no tensor", &|s, _| s.channels = 2),
        ("no tensor", &|s, _| s.height = 1 << 20),
        ("beside the tensor", &|s, _| s.columns = (1, 3)),
        ("beside the tensor", &|s, _| s.rows = (2, 1)),
        ("not as long", &|s, _| s.rows = (0, 1)),
        ("not as long", &|_, p| p.rows = few),
        ("shorter than", &|_, p| p.columns = beside),
        ("smaller than", &|_, p| p.rows = beside),
        ("not there", &|_, p| p.plane = 1),
        ("not there", &|_, p| p.members = &[(0, 1)]),
        ("components", &|_, p| p.members = &[(0, 0), (1, 0)]),
        ("component 0", &|_, p| p.members = &[(0, 0), (0, 0)]),
    ];
    let grey = Grey::new();
    for (n, (words, change)) in wrong.into_iter().enumerate() {
        let said = grey.try_with(change).unwrap_err();
        assert!(said.contains(words), "{n}: {said}");
    }
    // Lifetimes keep these two apart from the others.
    for (planes, words) in [(&short, "smaller than"), (&narrow, "shorter than")] {
        let taps = Taps { first: &grey.first, weights: &grey.weights, taps: 2 };
        let parts = [Part { plane: 0, step: 1, members: &[(0, 0)], columns: taps, rows: taps }];
        let sampling = Sampling {
            width: 2,
            height: 2,
            channels: 1,
            columns: (0, 2),
            rows: (0, 2),
            mirrored: false,
            planes,
            parts: &parts,
            mixing: Mixing::default(),
        };
        let Err(said) = Job::new(sampling) else { panic!("{words}: it is a job") };
        assert!(said.contains(words), "{said}");
    }
}
