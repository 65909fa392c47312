//! CUDA's driver and TensorRT as they are in memory.
//!
//! The only folder of this room with `unsafe`, and the Rust twin of `shim/shim.h`. What it exports
//! is safe: a [`Driver`] and a [`Library`] are opened once and never closed (TensorRT's threads
//! outlive its objects); an [`Executor`] owns its engine, its memory and its stream, and whoever
//! reads its outputs does so while nothing runs.
//!
//! - `driver`: CUDA's driver, and the first GPU;
//! - `shim`: the C++ shim's table of functions, and what TensorRT says while they run;
//! - `library`: an opened TensorRT; `build`: what happens while it builds;
//! - `executor`: a loaded engine with its memory;
//! - `sampler`: the kernel that makes an engine's input of a picture; `fused`: those of a lifter.

#![allow(unsafe_code)]

mod build;
mod driver;
mod executor;
mod fused;
mod library;
mod sampler;
mod shim;

use std::ffi::c_void;
use std::path::Path;

pub(super) use build::{BuildError, BuildOptions, Built};
pub(super) use driver::{Driver, Gpu, RunError};
pub(super) use executor::Executor;
pub(super) use fused::FusedExecutor;
pub(super) use library::Library;
pub(super) use sampler::LoneSampler;
pub use shim::leave_if_busy;

type Ptr = *mut c_void;
/// An address in the GPU's memory.
type DevicePtr = u64;

const HOST_ALLOC_PORTABLE_AND_MAPPED: u32 = 1 | 2;
const STREAM_NON_BLOCKING: u32 = 1;

/// # Safety
/// `T` must be the symbol's type.
unsafe fn symbol<T: Copy>(library: &libloading::Library, name: &str) -> Result<T, String> {
    match unsafe { library.get::<T>(name.as_bytes()) } {
        Ok(symbol) => Ok(*symbol),
        Err(_) => Err(format!("it has no {name}")),
    }
}

/// Opens a library and keeps it open.
fn open(path: &Path) -> Result<&'static libloading::Library, String> {
    // SAFETY: what runs while a library is loaded is NVIDIA's own initialisation, which any program
    // that uses it runs.
    let library = unsafe { libloading::Library::new(path) };
    // The loader's own words: it says which file or symbol is missing.
    let library = library.map_err(|e| crate::fault::Chain(&e).to_string())?;
    Ok(Box::leak(Box::new(library)))
}

#[cfg(test)]
mod tests;
