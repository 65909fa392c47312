//! The GPU backend: TensorRT, opened at run time if it is there.
//!
//! - `shim/`: its C++ interface as a C one, compiled by `build.rs`; `sys`: that and CUDA's driver, all
//!   `unsafe` of this room;
//! - [`version`]: which TensorRTs are served;
//! - [`sampling`]: pictures become inputs on the GPU;
//! - [`cache`]: engines once built, on disk; `file`: what is built, in which precision;
//! - [`Machine`]: what of all that is here.
//!
//! An engine is built on the device from the model's ONNX file, in `f32` (without TF32) or, made by
//! [`half_typed`](super::half_typed), in `f16`, or, made by [`quantise`](super::quantise), in 8
//! bits, for one number of persons in a call: that is faster than one for several numbers, and a
//! lifter has two anyway (for one person, and for many).

pub mod cache;
mod engine;
mod file;
pub mod sampling;
mod sys;
pub mod version;

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::spec::Task;
use super::{Backend, Engine, EngineError, ModelSpec, Precision, StreamingLifter, streaming};
use crate::handoff::Stop;
use crate::memory::available_kib;
use cache::{Cache, Key};
pub use engine::TensorRtEngine;
use file::{settled, typed};
pub use sampling::PixelSampler;
pub use sys::leave_if_busy;
use version::{COMPILED_IN, Family};

/// Folder of TensorRT's libraries; by default where the system's libraries are.
pub const FOLDER: &str = "POSEWIRE_TENSORRT_DIR";
/// NVIDIA's libraries compute `f32` in fewer bits unless it is 0; a plan that was built with one value
/// is refused with another.
const TF32: &str = "NVIDIA_TF32_OVERRIDE";
/// CUDA's driver.
const DRIVER: &str = "libcuda.so.1";
/// A GPU that does not answer for so long is taken for hung.
const LIMIT: Duration = Duration::from_secs(2);
const NAME: &str = "tensorrt";
/// Working memory of a build at most.
const WORKSPACE: usize = 1 << 29;
/// Beside a run, a build begins only if so much memory is free: a build takes its workspace twice
/// and a library that is itself hundreds of megabytes, and the run must not be killed for it.
const LEAST_FREE: u64 = 3 << 29;

/// Is there a GPU? By its device nodes: nothing is opened.
fn has_gpu() -> bool {
    let nodes = ["/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvgpu/igpu0"];
    nodes.iter().any(|node| Path::new(node).exists())
}

/// Is it worth looking for TensorRT? Opens nothing.
pub fn may_be_here() -> bool {
    !COMPILED_IN.is_empty() && has_gpu()
}

/// For whoever computes on the CPU though they did not ask for it.
pub fn advice() -> &'static str {
    if has_gpu() {
        " (there is an NVIDIA GPU: run and demo change over to it once its engines are built, \
         backend = \"tensorrt\" begins with it)"
    } else {
        ""
    }
}

/// What of TensorRT is on this machine, or why there is none.
pub struct Machine {
    library: Result<sys::Library, String>,
    driver: Result<&'static sys::Driver, String>,
    /// Found when it is first asked for: its context costs memory, for nothing without a library.
    gpu: OnceLock<Result<&'static sys::Gpu, String>>,
}

impl Machine {
    /// Looks once; what was opened stays open.
    pub fn get() -> &'static Self {
        static MACHINE: OnceLock<Machine> = OnceLock::new();
        MACHINE.get_or_init(|| {
            let folder = std::env::var_os(FOLDER).filter(|f| !f.is_empty());
            Self::look(folder.as_deref().map(Path::new), Path::new(DRIVER))
        })
    }

    pub(super) fn look(folder: Option<&Path>, driver: &Path) -> Self {
        // First the driver: without one some versions of TensorRT crash where they should refuse.
        let driver = sys::Driver::open(driver).map_err(|e| format!("no NVIDIA driver: {e}"));
        Self { library: library(folder), driver, gpu: OnceLock::new() }
    }

    fn first_gpu(&self) -> Result<&'static sys::Gpu, String> {
        let look = || Ok(&*Box::leak(Box::new(self.driver.clone()?.gpu()?)));
        self.gpu.get_or_init(look).clone()
    }

    /// The library in words: its version and where it is.
    ///
    /// # Errors
    /// Why there is none.
    pub fn library(&self) -> Result<String, String> {
        let library = self.library.as_ref().map_err(String::clone)?;
        Ok(format!("{} ({})", library.version, library.path.display()))
    }

    /// The GPU in words: its name, architecture and driver.
    ///
    /// # Errors
    /// Why there is none.
    pub fn gpu(&self) -> Result<String, String> {
        let g = self.first_gpu()?;
        let shared = if g.integrated { ", memory shared with the processor" } else { "" };
        let cuda = format!("{}.{}", g.cuda / 1000, g.cuda % 1000 / 10);
        Ok(format!("{}, sm {}.{}{shared}, driver for CUDA {cuda}", g.name, g.sm.0, g.sm.1))
    }

    /// Library and GPU in words, or why there are none.
    pub fn describe(&self) -> String {
        match (self.library(), self.gpu()) {
            (Ok(library), Ok(gpu)) => format!("{library} on {gpu}"),
            (Err(e), _) | (_, Err(e)) => e,
        }
    }

    /// The kernel that samples pictures, without a network: for tensors of `room` values at most.
    ///
    /// # Errors
    /// If there is no GPU, or its driver does not take the kernel.
    pub fn sampler(&self, room: usize) -> Result<PixelSampler, String> {
        PixelSampler::new(self.first_gpu()?, room)
    }

    fn both(&self) -> Result<(&sys::Library, &'static sys::Gpu), EngineError> {
        let unavailable = |problem: &String| {
            let problem = format!("{problem}; use backend = \"tract\" or \"auto\"");
            EngineError::of_gpu(problem, |problem| EngineError::Unavailable {
                backend: NAME,
                problem,
            })
        };
        self.driver.as_ref().map_err(unavailable)?;
        let library = self.library.as_ref().map_err(unavailable)?;
        Ok((library, self.first_gpu().map_err(|problem| unavailable(&problem))?))
    }

    /// What an engine of this model is kept under.
    ///
    /// # Errors
    /// If there is no TensorRT or no GPU, or the model's file cannot be used.
    pub fn key(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
    ) -> Result<Key, EngineError> {
        let (library, gpu) = self.both()?;
        // Of what is built: how half-typed networks are made may change while their file does not.
        // And an 8-bit one has its table of ranges in it.
        let precision = settled(precision, model);
        let onnx = match precision {
            Precision::F32 => model.sha256,
            _ => Sha256::digest(typed(library, model, precision)?).into(),
        };
        Ok(Key {
            model: model.name.clone(),
            onnx: cache::hex(&onnx),
            library: library_name(library, std::env::var(TF32).ok().as_deref()),
            gpu: gpu_name(gpu),
            cuda: gpu.cuda,
            precision: precision.name().to_owned(),
            batch: fixed(batch, model)?,
            shim: library.shim_version(),
        })
    }

    /// Why an engine that was built under `key` cannot be used here; `None` if it can.
    pub fn unfit(&self, key: &Key) -> Option<String> {
        let (library, gpu) = match self.both() {
            Ok(both) => both,
            Err(_) => return Some(self.describe()),
        };
        let here = Key {
            library: library_name(library, std::env::var(TF32).ok().as_deref()),
            gpu: gpu_name(gpu),
            cuda: gpu.cuda,
            shim: library.shim_version(),
            ..key.clone()
        };
        (here != *key).then(|| "built by another version, or for another GPU or driver".into())
    }

    /// Builds a plan. `progress` is told of phases, steps done and steps in all, and may cancel by
    /// answering false. Plain TensorRT needs a GPU for it; TensorRT for RTX does not.
    ///
    /// # Errors
    /// If the network cannot be read or built, with the library's reasons.
    pub fn build(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
        progress: &mut dyn FnMut(&str, u32, u32) -> bool,
    ) -> Result<Vec<u8>, EngineError> {
        let library = match &self.library {
            Ok(library) if library.family == Family::Rtx => library,
            _ => self.both()?.0,
        };
        let typed = typed(library, model, precision)?;
        let options = sys::BuildOptions {
            batch: fixed(batch, model)?,
            f16: precision != Precision::F32,
            i8: settled(precision, model) == Precision::I8,
            level: None,
            workspace: Some(WORKSPACE),
            timing: &[],
        };
        let built = library.build(&typed, &options, progress);
        Ok(built.map_err(|e| model.problem(format!("{}: {e}", library.version)))?.plan)
    }

    /// The model's plan: from `cache`, or built and kept there. `beside` a run that goes on, a build
    /// ends when that is raised and does not begin while memory is short.
    ///
    /// # Errors
    /// If it cannot be built. That it cannot be kept is a warning.
    pub fn plan(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
        cache: &Result<Cache, String>,
        beside: Option<&Stop>,
    ) -> Result<Vec<u8>, EngineError> {
        let key = self.key(model, precision, batch)?;
        if let Some(plan) = cache.as_ref().ok().and_then(|cache| cache.get(&key)) {
            return Ok(plan);
        }
        if beside.is_some()
            && let Some(free) = free_memory().filter(|free| *free < LEAST_FREE)
        {
            return Err(model.problem(format!(
                "{} MB of memory are free, a build wants {}: posewire engines build, before the run",
                free >> 20,
                LEAST_FREE >> 20
            )));
        }
        log::info!("building an engine for {} in {} (once)", model.name, key.precision);
        let begun = Instant::now();
        let goes_on = || !beside.is_some_and(Stop::is_raised);
        let plan = self.build(model, precision, batch, &mut |_, _, _| goes_on())?;
        log::info!("built in {:.1} s", begun.elapsed().as_secs_f64());
        let kept = cache.as_ref().map_err(String::clone).and_then(|cache| cache.put(&key, &plan));
        if let Err(e) = kept {
            log::warn!("{e}; it will be built again at the next start");
        }
        Ok(plan)
    }

    /// Loads a plan.
    ///
    /// # Errors
    /// If it does not fit this machine or the model.
    pub fn load(
        &self,
        model: &ModelSpec,
        plan: &[u8],
        batch: usize,
        capture: bool,
    ) -> Result<TensorRtEngine, EngineError> {
        let (library, gpu) = self.both()?;
        let executor = sys::Executor::load(library, gpu, plan, batch, capture);
        let mut executor = executor.map_err(|e| {
            EngineError::of_gpu(format!("{}: {e}", library.version), |e| model.problem(e))
        })?;
        if model.kind().sees_pictures()
            && let Err(e) = executor.sample_pictures()
        {
            log::warn!("{}: the processor samples its pictures: {e}", model.name);
        }
        TensorRtEngine::new(model, batch, executor)
    }
}

/// The version, and what else of the environment its plans depend on.
fn library_name(library: &sys::Library, tf32: Option<&str>) -> String {
    match tf32 {
        Some(value) if !value.is_empty() => format!("{}, {TF32}={value}", library.version),
        _ => library.version.to_string(),
    }
}

fn gpu_name(gpu: &sys::Gpu) -> String {
    format!("{}, sm {}.{}", gpu.name, gpu.sm.0, gpu.sm.1)
}

/// The first TensorRT that is here.
fn library(folder: Option<&Path>) -> Result<sys::Library, String> {
    if COMPILED_IN.is_empty() {
        return Err("this posewire was built without TensorRT's headers (docs/tensorrt.md)".into());
    }
    let mut refused = None;
    for family in Family::ALL {
        match sys::Library::open(family, folder) {
            Ok(Some(library)) => return Ok(library),
            Ok(None) => {}
            Err(e) => refused = refused.or(Some(e)),
        }
    }
    Err(refused.unwrap_or_else(|| {
        let place =
            folder.map_or("the system's library folders".into(), |f| f.display().to_string());
        format!("no TensorRT library in {place}; this posewire serves {COMPILED_IN}")
    }))
}

/// The batch as a builder is told it.
fn fixed(batch: usize, model: &ModelSpec) -> Result<[i32; 3], EngineError> {
    match i32::try_from(batch) {
        Ok(batch @ 1..) => Ok([batch; 3]),
        _ => Err(model.problem(format!("no engine for {batch} persons in a call"))),
    }
}

/// What the kernel says can be taken without swapping, bytes.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    available_kib(&text).map(|kib| kib << 10)
}

/// TensorRT on the first GPU.
#[derive(Clone, Debug, Default)]
pub struct TensorRt {
    /// Builds happen beside a run: they end when this is raised, and do not begin while memory is
    /// short.
    pub beside: Option<Stop>,
}

impl Backend for TensorRt {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self) -> Result<(), EngineError> {
        Machine::get().both().map(|_| ())
    }

    fn load(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        let machine = Machine::get();
        let cache = Cache::usual();
        let plan = machine.plan(model, precision, batch, &cache, self.beside.as_ref())?;
        Ok(Box::new(machine.load(model, &plan, batch, true)?))
    }

    fn precision(&self, model: &ModelSpec, asked: Precision) -> Precision {
        settled(asked, model)
    }

    /// As whole windows: a GPU is done with all frames of a window sooner than with a second call, and
    /// the 8 bits' table of ranges is that graph's.
    fn load_lifter(
        &self,
        model: &ModelSpec,
        precision: Precision,
        persons: usize,
    ) -> Result<Box<dyn StreamingLifter>, EngineError> {
        let mut model = model.clone();
        if let Task::Lifter(spec) = &mut model.task {
            spec.streaming = None;
        }
        streaming::load(|part, batch| self.load(part, precision, batch), &model, persons)
    }
}

#[cfg(test)]
mod tests;
