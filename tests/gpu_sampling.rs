//! The GPU's sampling kernel, run on the processor: does it make the very tensors that
//! `detect::preprocess` makes? Compiled by the C++ compiler that is here, with its sanitizers if it
//! has them; and behind a library that stands in for CUDA's driver, for whatever calls that.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "support/native.rs"]
mod native;
#[path = "support/noise.rs"]
mod noise;

use std::process::Command;

use native::{compile, compile_watched, run};
use noise::{Random, crop};
use posewire::detect::Crop;
use posewire::detect::preprocess::{FORMATS, Preprocessor};
use posewire::engine::sampling::Sampling;
use posewire::engine::spec::ImageInput;
use posewire::engine::tensorrt::Machine;
use posewire::engine::tensorrt::sampling::Job;
use posewire::frame::{ImageLayout, PixelFormat};

/// A small picture.
fn picture(format: PixelFormat, random: &mut Random) -> (ImageLayout, Vec<u8>) {
    let (w, h) = match random.below(8) {
        0 => (1 + random.below(3), 1 + random.below(3)),
        _ => (20 + random.below(140), 16 + random.below(110)),
    };
    noise::picture(w, h, format, random)
}

/// A small network's input.
fn input(random: &mut Random) -> ImageInput {
    noise::input(random, |r| (1 + r.below(60) as usize, 1 + r.below(50) as usize))
}

/// A crop of a picture, what makes its input, and what the processor makes of it.
struct Case {
    layout: ImageLayout,
    bytes: Vec<u8>,
    input: ImageInput,
    crop: Crop,
    mirrored: bool,
    tensor: Vec<f32>,
}

impl Case {
    fn new(format: PixelFormat, random: &mut Random) -> Self {
        let (layout, bytes) = picture(format, random);
        let input = input(random);
        let crop = crop(&layout, &input, random);
        let mirrored = random.below(2) == 1;
        let mut preprocessor = Preprocessor::new(&input);
        let mut tensor = vec![f32::NAN; preprocessor.tensor_len()];
        preprocessor.sample(&layout.picture(&bytes).unwrap(), &crop, &mut tensor).unwrap();
        if mirrored {
            tensor.chunks_exact_mut(input.width).for_each(<[f32]>::reverse);
        }
        Self { layout, bytes, input, crop, mirrored, tensor }
    }

    fn with_sampling<T>(&self, act: impl FnOnce(&Sampling<'_>) -> T) -> T {
        let image = self.layout.picture(&self.bytes).unwrap();
        let mut preprocessor = Preprocessor::new(&self.input);
        let plan = preprocessor.plan(&image, &self.crop).unwrap();
        preprocessor.with_sampling(&plan, &image, self.mirrored, act)
    }

    fn check(&self, made: &[f32]) {
        let Self { layout, input, crop, .. } = self;
        for (n, (a, b)) in made.iter().zip(&self.tensor).enumerate() {
            assert_eq!(
                a.to_bits(),
                b.to_bits(),
                "{n}: {a}, not {b}: {layout:?} {input:?} {crop:?}"
            );
        }
    }
}

#[test]
fn the_gpus_kernel_makes_the_cpus_tensors_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("sample");
    let strict = ["-Wall", "-Wextra", "-Werror"];
    let source = "src/engine/tensorrt/sampling/host.cpp";
    let made = compile_watched(source, &program, &strict, "address,undefined");
    if !made.unwrap() {
        return;
    }
    let mut random = Random(0x2545_f491);
    let (mut jobs, mut cases) = (Vec::new(), Vec::new());
    for format in FORMATS {
        for _ in 0..60 {
            let case = Case::new(format, &mut random);
            case.with_sampling(|sampling| {
                let job = Job::new(*sampling).unwrap();
                let start = jobs.len() + 4;
                jobs.extend(u32::try_from(job.len()).unwrap().to_ne_bytes());
                jobs.resize(start + job.len(), 0xff);
                assert!(job.write(&mut jobs[start..]));
            });
            cases.push(case);
        }
    }
    let made = run(&program, jobs);
    let mut rest = &made[..];
    for case in cases {
        let (its, others) = rest.split_at(case.tensor.len());
        case.check(its);
        rest = others;
    }
    assert!(rest.is_empty());
}

/// Says to the test that it runs itself, with the stand-in as its driver.
const INSIDE: &str = "POSEWIRE_TEST_STAND_IN";

#[test]
fn the_driver_is_called_as_it_wants_to_be_and_memory_is_allocated_once() {
    if std::env::var_os(INSIDE).is_some() {
        let mut sampler = Machine::get().sampler(3 * 64 * 64).unwrap();
        let mut random = Random(0x1234_5678);
        for format in FORMATS.repeat(8) {
            let case = Case::new(format, &mut random);
            let mut made = vec![f32::NAN; case.tensor.len()];
            case.with_sampling(|sampling| sampler.sample(sampling)).unwrap();
            sampler.read(&mut made).unwrap();
            case.check(&made);
        }
        let said = Machine::get().sampler(1).err().unwrap_or_default();
        assert!(
            said.contains("OUT_OF_MEMORY"),
            "more may be allocated than the test thinks: {said}"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libcuda.so.1");
    let source = "tests/support/standing_in_for_cuda.cpp";
    if !compile(source, &library, &["-w", "-U_FORTIFY_SOURCE", "-shared", "-fPIC"]).unwrap() {
        return;
    }
    let name = "the_driver_is_called_as_it_wants_to_be_and_memory_is_allocated_once";
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .env("LD_LIBRARY_PATH", folder.path())
        // A tensor; and a job's, on either side.
        .env("ALLOCATIONS", "3")
        .output()
        .unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
}
