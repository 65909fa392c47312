//! The GPU's sampling kernel, run on the processor: does it make the very tensors that
//! `detect::preprocess` makes? Compiled by the C++ compiler that is here, with its sanitizers if it
//! has them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use posewire::detect::Crop;
use posewire::detect::preprocess::Preprocessor;
use posewire::engine::spec::{Channels, ImageInput, Letterbox};
use posewire::engine::tensorrt::sampling::Job;
use posewire::frame::{ColorSpace, ImageLayout, PixelFormat};

const FORMATS: [PixelFormat; 11] = [
    PixelFormat::Gray8,
    PixelFormat::Gray16,
    PixelFormat::Rgb8,
    PixelFormat::Bgr8,
    PixelFormat::Yuyv,
    PixelFormat::Uyvy,
    PixelFormat::Nv12,
    PixelFormat::Nv21,
    PixelFormat::I420,
    PixelFormat::I422,
    PixelFormat::I444,
];

/// Numbers without order, the same ones every time (xorshift).
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    fn below(&mut self, end: u32) -> u32 {
        (self.next() >> 8) % end
    }

    fn within(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 8) as f32 / 16_777_216.0
    }
}

/// The kernel as a program; `None` without a C++ compiler.
fn program(folder: &Path) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = root.join("src/engine/tensorrt/sampling/host.cpp");
    let program = folder.join("sample");
    // Products and sums apart, as the kernel has them: on ARM a compiler makes one step of them.
    let plain = ["-std=c++14", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"];
    let watched = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"];
    for more in [&watched[..], &[]] {
        let made = Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".into()))
            .args(plain)
            .args(more)
            .arg(&source)
            .arg("-o")
            .arg(&program)
            .output();
        match made {
            Ok(made) if made.status.success() => return Some(program),
            Ok(made) => eprintln!("{}", String::from_utf8_lossy(&made.stderr)),
            Err(e) => {
                eprintln!("skipped: no C++ compiler ({e})");
                return None;
            }
        }
        eprintln!("without sanitizers:");
    }
    panic!("the kernel does not compile");
}

/// What the program makes of jobs, one after the other.
fn run(program: &Path, jobs: Vec<u8>) -> Vec<f32> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it was just compiled");
    let mut input = child.stdin.take().unwrap();
    // Both pipes are smaller than what goes through them.
    let writer = std::thread::spawn(move || input.write_all(&jobs));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the kernel read or wrote beside its memory");
    writer.join().unwrap().unwrap();
    let (values, rest) = output.stdout.as_chunks::<4>();
    assert!(rest.is_empty());
    values.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect()
}

/// A picture of random bytes, whose last row lacks its padding.
fn picture(format: PixelFormat, random: &mut Random) -> (ImageLayout, Vec<u8>) {
    let (w, h) = match random.below(8) {
        0 => (1 + random.below(3), 1 + random.below(3)),
        _ => (20 + random.below(140), 16 + random.below(110)),
    };
    let bits = random.next();
    let color = ColorSpace { bt709: bits & 1 == 1, full_range: bits & 2 == 2 };
    let mut layout = ImageLayout::packed(w, h, format, color);
    let padding = random.below(20) as usize;
    let mut end = 0;
    for plane in &mut layout.planes {
        let (row, rows) = (plane.stride, plane.len / plane.stride);
        plane.stride += padding;
        plane.offset = end;
        plane.len = plane.stride * (rows - 1) + row;
        end += plane.len;
    }
    // Extremes, too: sums are largest there.
    let bytes = (0..end).map(|_| [0, 255, random.next() as u8][random.below(3) as usize]).collect();
    (layout, bytes)
}

fn input(random: &mut Random) -> ImageInput {
    let channels = [Channels::Rgb, Channels::Bgr, Channels::Gray][random.below(3) as usize];
    let mut three = |low, high| std::array::from_fn(|_| random.within(low, high));
    let (mean, std) = (three(0.0, 130.0), three(1.0, 70.0));
    let (width, height) = (1 + random.below(60) as usize, 1 + random.below(50) as usize);
    ImageInput { name: "x".into(), width, height, channels, mean, std, pad: 114.0 }
}

/// Enlarged or shrunk, within the picture or beyond its borders, or beside it.
fn crop(layout: &ImageLayout, input: &ImageInput, random: &mut Random) -> Crop {
    let (w, h) = (layout.width as f32, layout.height as f32);
    if random.below(4) == 0 {
        let place = [Letterbox::Centre, Letterbox::TopLeft][random.below(2) as usize];
        return Crop::letterbox(layout.width, layout.height, input, place);
    }
    let most = [0.4, 1.2, 5.0, 30.0][random.below(4) as usize];
    Crop {
        left: random.within(-w, w),
        top: random.within(-h, h),
        scale_x: random.within(0.05, most),
        scale_y: random.within(0.05, most),
    }
}

#[test]
fn the_gpus_kernel_makes_the_cpus_tensors_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = program(folder.path()) else { return };
    let mut random = Random(0x2545_f491);
    let (mut jobs, mut wanted, mut cases) = (Vec::new(), Vec::new(), Vec::new());
    for format in FORMATS {
        for _ in 0..60 {
            let (layout, bytes) = picture(format, &mut random);
            let image = layout.picture(&bytes).unwrap();
            let input = input(&mut random);
            let crop = crop(&layout, &input, &mut random);
            let mirrored = random.below(2) == 1;
            let mut preprocessor = Preprocessor::new(&input);
            let plan = preprocessor.plan(&image, &crop).unwrap();
            let mut tensor = vec![f32::NAN; preprocessor.tensor_len()];
            preprocessor.fill(&plan, &image, &mut tensor).unwrap();
            if mirrored {
                tensor.chunks_exact_mut(input.width).for_each(<[f32]>::reverse);
            }
            preprocessor.with_sampling(&plan, &image, mirrored, |sampling| {
                let job = Job::new(*sampling).unwrap();
                let start = jobs.len() + 4;
                jobs.extend(u32::try_from(job.len()).unwrap().to_ne_bytes());
                jobs.resize(start + job.len(), 0xff);
                assert!(job.write(&mut jobs[start..]));
            });
            cases.push((tensor.len(), format!("{format:?} {layout:?} {input:?} {crop:?}")));
            wanted.extend(tensor);
        }
    }
    let made = run(&program, jobs);
    assert_eq!(made.len(), wanted.len());
    let mut at = 0;
    for (len, case) in cases {
        for (n, (a, b)) in made[at..at + len].iter().zip(&wanted[at..at + len]).enumerate() {
            assert_eq!(a.to_bits(), b.to_bits(), "value {n}: {a} and {b} of {case}");
        }
        at += len;
    }
}
