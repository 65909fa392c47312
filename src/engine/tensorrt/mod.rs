//! The GPU backend: TensorRT, opened at run time if it is there.
//!
//! - `shim/`: its C++ interface as a C one, compiled by `build.rs`; `sys`: that and CUDA's driver, all
//!   `unsafe` of this room;
//! - [`version`]: which TensorRTs are served;
//! - [`sampling`]: pictures become inputs on the GPU; [`fused`]: a lifter in kernels of our own, which
//!   are taken where they know the network and the GPU;
//! - [`cache`]: engines once built and what was measured for it, on disk; `file`: what is built, in
//!   which precision; `plan`: found or built;
//! - [`Machine`]: what of all that is here.
//!
//! An engine is built on the device from the model's ONNX file, in `f32` (without TF32) or, made by
//! [`half_typed`](super::half_typed), in `f16`, or, made by [`quantise`](super::quantise), in 8
//! bits, for one number of persons in a call: that is faster than one for several numbers, and a
//! lifter has two anyway (for one person, and for many).

pub mod cache;
mod engine;
mod file;
pub mod fused;
mod plan;
pub mod sampling;
mod sys;
pub mod version;

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use super::spec::Task;
use super::{Backend, Engine, EngineError, ModelSpec, Precision, StreamingLifter, gate, streaming};
use crate::handoff::Stop;
use cache::{Cache, Key, Place, What, hex};
pub use engine::TensorRtEngine;
use file::settled;
use fused::Fused;
pub use plan::Planned;
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
/// This program's.
const VERSION: &str = env!("CARGO_PKG_VERSION");

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

    /// A lifter by our own kernels, held against its golden windows.
    ///
    /// # Errors
    /// Why it is not for them: the network, its precision or the GPU, or what they answer.
    pub fn fused(
        &self,
        model: &ModelSpec,
        precision: Precision,
        persons: usize,
    ) -> Result<Fused, EngineError> {
        let (_, gpu) = self.both()?;
        let mut fused = Fused::load(model, precision, persons, gpu)?;
        let verdict = gate::verify_lifter(model, &mut fused, gate::budget(model, precision)?)?;
        match verdict {
            Some(wrong) if !wrong.passed() => {
                Err(model.problem(format!("our own kernels are {wrong}")))
            }
            _ => Ok(fused),
        }
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

    /// What a build here depends on of this machine.
    fn place(&self) -> Result<Place, EngineError> {
        let (library, gpu) = self.both()?;
        Ok(Place {
            library: library_name(library, std::env::var(TF32).ok().as_deref()),
            gpu: gpu_name(gpu),
            cuda: gpu.cuda,
            shim: library.shim_version(),
        })
    }

    /// Where the fastest precision of a model is kept.
    fn choice(&self, model: &ModelSpec) -> Option<Key> {
        let what = What::Choice {
            model: model.name.clone(),
            onnx: hex(&model.sha256),
            posewire: VERSION.to_owned(),
        };
        Some(Key { what, place: self.place().ok()? })
    }

    /// Why what is kept under `key` cannot be used here; `None` if it can.
    pub fn unfit(&self, key: &Key) -> Option<String> {
        if let What::Choice { posewire, .. } = &key.what
            && posewire != VERSION
        {
            return Some("of another posewire".into());
        }
        match self.place() {
            Ok(here) if here == key.place => None,
            Ok(_) => Some("of another version, or for another GPU or driver".into()),
            Err(_) => Some(self.describe()),
        }
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

/// Why a call of `model` gave nothing.
fn run_error(model: &str, error: sys::RunError) -> EngineError {
    let model = model.to_owned();
    match error {
        sys::RunError::Failed(problem) => EngineError::Run { model, problem },
        sys::RunError::Hung(after) => {
            EngineError::Hung { model, backend: NAME, seconds: after.as_secs_f64() }
        }
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
        let cache = cache.as_ref().map_err(String::as_str);
        let beside = self.beside.as_ref();
        let made = machine.plan(model, precision, batch, cache, beside, &mut |_, _, _| true)?;
        if let Some(Err(e)) = &made.kept {
            log::warn!("{e}; it will be built again at the next start");
        }
        Ok(Box::new(machine.load(model, &made.plan, batch, true)?))
    }

    fn precision(&self, model: &ModelSpec, asked: Precision) -> Precision {
        settled(asked, model)
    }

    fn kept_choice(&self, model: &ModelSpec) -> Option<Precision> {
        let name = Cache::usual().ok()?.get(&Machine::get().choice(model)?)?;
        Precision::named(std::str::from_utf8(&name).ok()?)
    }

    fn keep_choice(&self, model: &ModelSpec, precision: Precision) {
        let Some(key) = Machine::get().choice(model) else { return };
        let kept = Cache::usual().and_then(|cache| cache.put(&key, precision.name().as_bytes()));
        if let Err(e) = kept {
            log::warn!("{e}; the next start looks for the fastest precision again");
        }
    }

    /// By our own kernels where they can. By TensorRT as whole windows: a GPU is done with all frames of
    /// a window sooner than with a second call, and the 8 bits' table of ranges is that graph's.
    fn load_lifter(
        &self,
        model: &ModelSpec,
        precision: Precision,
        persons: usize,
    ) -> Result<Box<dyn StreamingLifter>, EngineError> {
        match Machine::get().fused(model, precision, persons) {
            Ok(fused) => return Ok(Box::new(fused)),
            Err(e @ (EngineError::Exhausted { .. } | EngineError::Unavailable { .. })) => {
                return Err(e);
            }
            Err(e) => log::info!("TensorRT computes it: {e}"),
        }
        let mut model = model.clone();
        if let Task::Lifter(spec) = &mut model.task {
            spec.streaming = None;
        }
        streaming::load(|part, batch| self.load(part, precision, batch), &model, persons)
    }
}

#[cfg(test)]
#[path = "../../../tests/support/native.rs"]
mod native;
#[cfg(test)]
mod tests;
