//! An executor on a stand-in for CUDA's driver, with an engine that hands on half of what it reads.

use std::ffi::{CStr, c_char};
use std::sync::Mutex;
use std::time::Duration;

use super::super::fused::Fused;
use super::super::native;
use super::super::sampling::Job;
use super::driver::Cuda;
use super::shim::{Api, RawBuild, RawTensor};
use super::*;
use crate::engine::gate::{self, Budget};
use crate::engine::sampling::{Mixing, Part, Sampling, Taps};
use crate::engine::{Catalog, EngineError, ModelKind, Precision, StreamingLifter};
use crate::frame::Plane;

const SIDE: usize = 4;
const VALUES: usize = SIDE * SIDE;
const LIMIT: Duration = Duration::from_secs(2);

/// Where input and output are, and the driver: of the one engine that there is at a time.
static ENGINE: Mutex<(DevicePtr, DevicePtr, usize)> = Mutex::new((0, 0, 0));

/// Refuses times that are not its own, and measures one thing more than it is given.
unsafe extern "C" fn build(asked: *const RawBuild) -> i32 {
    // SAFETY: the caller's own, as long as the call.
    let (asked, given) = unsafe {
        let asked = &*asked;
        (asked, std::slice::from_raw_parts(asked.timing, asked.timing_length))
    };
    if given.iter().any(|time| *time != b't') {
        return 5;
    }
    (asked.plan)(asked.context, b"plan".as_ptr(), 4);
    let times = [given, b"t"].concat();
    (asked.new_timing)(asked.context, times.as_ptr(), times.len());
    0
}

unsafe extern "C" fn load(
    _: Ptr,
    _: *const u8,
    _: usize,
    _: Ptr,
    _: extern "C" fn(Ptr, i32, *const c_char),
) -> Ptr {
    (&raw const ENGINE).cast_mut().cast()
}

unsafe extern "C" fn unload(_: Ptr) {}

unsafe extern "C" fn tensors(_: Ptr) -> i32 {
    2
}

unsafe extern "C" fn tensor(_: Ptr, index: i32, to: *mut RawTensor) -> i32 {
    let name = if index == 0 { c"in" } else { c"out" }.as_ptr();
    let dims = [1, 1, SIDE as i64, SIDE as i64, 0, 0, 0, 0];
    // SAFETY: the caller's own.
    unsafe {
        to.write(RawTensor { name, is_input: i32::from(index == 0), kind: 0, rank: 4, dims })
    };
    1
}

unsafe extern "C" fn set_shape(_: Ptr, _: *const c_char, _: i32, _: *const i64) -> i32 {
    1
}

unsafe extern "C" fn bind(_: Ptr, name: *const c_char, address: DevicePtr) -> i32 {
    let mut engine = ENGINE.lock().unwrap();
    // SAFETY: names are those of `tensor`.
    if unsafe { CStr::from_ptr(name) } == c"in" {
        engine.0 = address
    } else {
        engine.1 = address
    }
    1
}

/// The first half of the output is the input's second half: copies, which the stand-in does in their
/// turn.
unsafe extern "C" fn enqueue(_: Ptr, stream: Ptr) -> i32 {
    let (input, output, cuda) = *ENGINE.lock().unwrap();
    let half = VALUES / 2 * size_of::<f32>();
    // SAFETY: the stand-in's memory is the processor's, and the driver stays open.
    unsafe {
        let cuda = &*(cuda as *const Cuda);
        let from = (input as usize + half) as *const std::ffi::c_void;
        i32::from((cuda.to_device)(output, from, half, stream) == 0)
    }
}

static API: Api = Api {
    shim_version: 0,
    header_version: 0,
    build,
    load,
    unload,
    tensors,
    tensor,
    set_shape,
    bind,
    enqueue,
};

/// A driver that stands in; `None` without a C++ compiler.
fn stand_in(folder: &Path) -> Option<&'static Driver> {
    let made = folder.join("libcuda-standing-in.so");
    let options = ["-O2", "-w", "-U_FORTIFY_SOURCE", "-shared", "-fPIC"];
    if !native::compile("tests/support/standing_in_for_cuda.cpp", &made, &options).unwrap() {
        return None;
    }
    Some(Driver::open(&made).unwrap())
}

/// Runs a picture whose pixels are `first`, `first` + 1 and so on; what is answered, and should be.
fn from_picture(executor: &mut Executor, first: u8) -> Option<(Vec<f32>, Vec<f32>)> {
    let bytes: Vec<u8> = (0..VALUES as u8).map(|n| first + n).collect();
    let places = [0, 1, 2, 3];
    let taps = Taps { first: &places, weights: &[65535; SIDE], taps: 1 };
    let parts = [Part { plane: 0, step: 1, members: &[(0, 0)], columns: taps, rows: taps }];
    let mut mixing = Mixing { limit: f32::MAX, per_std: [1.0; 3], ..Mixing::default() };
    mixing.factor[0][0] = 1.0;
    let sampling = Sampling {
        width: SIDE,
        height: SIDE,
        channels: 1,
        columns: (0, SIDE),
        rows: (0, SIDE),
        mirrored: false,
        planes: &[Plane { data: &bytes, stride: SIDE }],
        parts: &parts,
        mixing,
    };
    let sampled = executor.run_sampled(&Job::new(sampling).unwrap(), LIMIT);
    sampled.map_err(driver::RunError::words).unwrap().then(|| {
        let value = |b: &u8| {
            let b = u32::from(*b);
            (((b * 255 + ((b * 255) >> 8)) * 65535) >> 16) as f32
        };
        (half_of(executor), bytes[VALUES / 2..].iter().map(value).collect())
    })
}

fn half_of(executor: &Executor) -> Vec<f32> {
    executor.output(0)[..VALUES / 2].to_vec()
}

fn from_tensor(executor: &mut Executor, first: f32) -> (Vec<f32>, Vec<f32>) {
    let tensor: Vec<f32> = (0..VALUES).map(|n| first + n as f32).collect();
    executor.input(0).copy_from_slice(&tensor);
    executor.run(LIMIT).map_err(driver::RunError::words).unwrap();
    (half_of(executor), tensor[VALUES / 2..].to_vec())
}

#[test]
fn a_build_is_given_the_times_of_earlier_ones_and_gives_its_own() {
    let library = Library::of(&API).unwrap();
    let build = |timing: &[u8]| {
        let options = BuildOptions {
            batch: [1; 3],
            f16: false,
            i8: false,
            level: None,
            workspace: None,
            timing,
        };
        library.build(b"file", &options, &mut |_, _, _| true)
    };
    let built = [&b""[..], b"tt"].map(|times| build(times).unwrap());
    assert_eq!(
        built.map(|b| (b.plan, b.timing)),
        [b"t", &b"ttt"[..]].map(|t| (b"plan".to_vec(), t.to_vec()))
    );
    let Err(error) = build(b"foreign") else { panic!("it took them") };
    assert!(matches!(&error, BuildError::Library(e) if e.contains("times")), "{error}");
}

#[test]
fn an_engine_is_run_from_tensors_and_from_pictures_by_turns() {
    let folder = tempfile::tempdir().unwrap();
    let Some(driver) = stand_in(folder.path()) else { return };
    for (integrated, graphs) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut gpu = driver.gpu().unwrap();
        gpu.integrated = integrated;
        let gpu: &'static Gpu = Box::leak(Box::new(gpu));
        let cuda: *const Cuda = gpu.enter().unwrap();
        ENGINE.lock().unwrap().2 = cuda as usize;
        let library = Library::of(&API).unwrap();
        let mut executor = Executor::load(&library, gpu, &[0], 1, graphs).unwrap();
        assert_eq!(executor.is_graph(), graphs);
        assert_eq!(from_picture(&mut executor, 7), None, "nobody said that it sees pictures");
        executor.sample_pictures().unwrap();
        for n in 0..3_u8 {
            let what = format!("integrated: {integrated}, graphs: {graphs}, turn {n}");
            let (given, wanted) = from_tensor(&mut executor, 100.0 + f32::from(n));
            assert_eq!(given, wanted, "{what}");
            for first in [200 + n, 30 + n] {
                let (given, wanted) = from_picture(&mut executor, first).unwrap();
                assert_eq!(given, wanted, "{what}");
            }
        }
    }
}

#[test]
fn a_lifters_kernels_are_launched_as_planned_and_memory_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let Some(driver) = stand_in(folder.path()) else { return };
    let catalog = Catalog::embedded().unwrap();
    let model = catalog.pick(ModelKind::Lifter, Some("pstmo_s_27_live")).unwrap();
    // One kernel after the other; or each before the one ahead of it has ended, as newer GPUs can.
    for (sm, cuda) in [((8, 0), 11_040), ((9, 0), 12_030)] {
        let mut gpu = driver.gpu().unwrap();
        let early = sm >= (9, 0);
        (gpu.sm, gpu.cuda) = (sm, cuda);
        let gpu: &'static Gpu = Box::leak(Box::new(gpu));
        assert_eq!(gpu.early().is_some(), early);
        let mut fused = Fused::load(&model, Precision::F16, 2, gpu).unwrap();
        let budget = Budget::lifter(Precision::F16);
        let verdict = gate::verify_lifter(&model, &mut fused, budget).unwrap().unwrap();
        assert!(verdict.passed(), "{verdict}");
        // Three windows are a call for two and one for one, in which nothing is left of the others.
        let (slots, context) = (vec![0.25; 27 * fused.slot_len()], [0.4, 0.0, 1.0, 0.0, 1.0, 0.3]);
        let mut alone = vec![0.0; 51];
        fused.lift(&slots, &context, &mut alone).unwrap();
        let mut three = vec![0.0; 3 * 51];
        fused.lift(&slots.repeat(3), &context.repeat(3), &mut three).unwrap();
        assert_eq!(three, alone.repeat(3));
        assert!(fused.lift(&slots[1..], &context, &mut alone).is_err());
        // One that is not waited for is hung, and nothing is computed on it any more.
        let error = fused.lift_within(&slots, &context, &mut alone, Duration::ZERO).unwrap_err();
        assert!(matches!(error, EngineError::Hung { .. }), "{error}");
        for _ in 0..2 {
            let error = fused.lift(&slots, &context, &mut alone).unwrap_err();
            assert!(error.to_string().contains("an earlier call"), "{error}");
        }
    }
    let mut old = driver.gpu().unwrap();
    old.sm = (7, 2);
    let said = Fused::load(&model, Precision::F16, 1, Box::leak(Box::new(old))).err().unwrap();
    assert!(said.to_string().contains("sm 8.0"), "{said}");
    assert!(
        Fused::load(&model, Precision::I8, 1, Box::leak(Box::new(driver.gpu().unwrap()))).is_err()
    );
}
