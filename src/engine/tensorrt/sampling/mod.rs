//! Pictures become inputs on the GPU.
//!
//! - [`Job`]: what the kernel is given;
//! - `sample.cu`: the kernel's source; `sample.ptx`: what `cross/ptx/ptx.py` has made of it; `host.cpp`:
//!   a program that runs it on the processor, for tests;
//! - [`PixelSampler`]: the kernel without a network.

mod job;

use super::super::sampling::Sampling;
use super::LIMIT;
use super::sys::{Gpu, LoneSampler};
pub use job::Job;

/// The kernel, for the driver to compile.
pub(super) const KERNEL: &str = include_str!("sample.ptx");
/// Its entry.
pub(super) const ENTRY: &str = "pw_sample";

/// The kernel alone, to be tried and timed.
pub struct PixelSampler(LoneSampler);

impl PixelSampler {
    pub(super) fn new(gpu: &'static Gpu, room: usize) -> Result<Self, String> {
        LoneSampler::new(gpu, room).map(Self)
    }

    /// Makes the tensor of a picture; it stays on the GPU.
    ///
    /// # Errors
    /// If there is no such tensor or picture, or the GPU fails.
    pub fn sample(&mut self, sampling: &Sampling<'_>) -> Result<(), String> {
        self.0.sample(&Job::new(*sampling)?, LIMIT)
    }

    /// Copies the latest tensor.
    ///
    /// # Errors
    /// If it is smaller, or the GPU fails.
    pub fn read(&mut self, tensor: &mut [f32]) -> Result<(), String> {
        self.0.read(tensor, LIMIT)
    }
}

#[cfg(test)]
mod tests;
