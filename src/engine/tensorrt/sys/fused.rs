//! Our own kernels of a lifter, with their memory, ready to be run.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::time::Duration;

use super::super::fused::{KERNELS, Launch, Plan};
use super::driver::{Cuda, Early, Gpu, LaunchConfig, LaunchEx, RunError};
use super::{DevicePtr, HOST_ALLOC_PORTABLE_AND_MAPPED, Ptr, STREAM_NON_BLOCKING};

/// A lifter's kernels with their memory.
///
/// What comes and goes lies in the processor's memory, which the GPU reads and writes where it is:
/// there are a few kilobytes of it, read once, and a copy would cost more than that.
pub struct FusedExecutor {
    gpu: &'static Gpu,
    cuda: &'static Cuda,
    stream: Ptr,
    memory: DevicePtr,
    outside: NonNull<f32>,
    len: usize,
    /// One for each of the plan's steps.
    graphs: Vec<Ptr>,
    /// The GPU did not answer: it may still write into the memory.
    lost: bool,
}

// SAFETY: its pointers are its own; CUDA's objects may be used by one thread after another, and every
// call turns to the GPU's context first.
unsafe impl Send for FusedExecutor {}

/// Functions in the order of [`KERNELS`], and how they are begun.
struct Kernels {
    functions: [usize; KERNELS.len()],
    early: Option<LaunchEx>,
}

impl FusedExecutor {
    /// Lays out memory as planned, and makes one CUDA graph of each step.
    pub fn load(gpu: &'static Gpu, plan: &Plan) -> Result<Self, String> {
        if let Some(launch) = gpu.early() {
            match Self::load_as(gpu, plan, Some(launch)) {
                Ok(executor) => return Ok(executor),
                Err(e) => log::info!("kernels begin one after the other: {e}"),
            }
        }
        Self::load_as(gpu, plan, None)
    }

    /// `early`: how kernels begin before the ones ahead of them have ended.
    fn load_as(gpu: &'static Gpu, plan: &Plan, early: Option<LaunchEx>) -> Result<Self, String> {
        let kernels = Kernels { functions: gpu.fused(early.is_some())?, early };
        let cuda = gpu.enter()?;
        let mut host = ptr::null_mut();
        let bytes = plan.outside.len * size_of::<f32>();
        // SAFETY: writes one pointer.
        let status = unsafe { (cuda.host_alloc)(&mut host, bytes, HOST_ALLOC_PORTABLE_AND_MAPPED) };
        gpu.check(status, "allocating memory that the GPU sees")?;
        let outside = NonNull::new(host.cast::<f32>()).ok_or("CUDA gave no memory")?;
        // SAFETY: `bytes` of it were just allocated.
        unsafe { host.cast::<u8>().write_bytes(0, bytes) };
        // What is made from here on is given back by `drop`.
        let mut executor = Self {
            gpu,
            cuda,
            stream: ptr::null_mut(),
            memory: 0,
            outside,
            len: plan.outside.len,
            graphs: Vec::new(),
            lost: false,
        };
        let mut seen: DevicePtr = 0;
        let constants = plan.constants.as_slice();
        // SAFETY: each writes one pointer or number; constants lie within the memory that was just
        // allocated, and are read before the copy returns, as they are in no page-locked memory.
        unsafe {
            gpu.check((cuda.host_device)(&mut seen, host, 0), "looking at memory from the GPU")?;
            let status = (cuda.stream)(&mut executor.stream, STREAM_NON_BLOCKING);
            gpu.check(status, "making a stream")?;
            let status = (cuda.alloc)(&mut executor.memory, plan.len);
            gpu.check(status, "allocating the GPU's memory")?;
            let status = (cuda.to_device)(
                executor.memory + plan.constants_at as u64,
                constants.as_ptr().cast(),
                constants.len(),
                executor.stream,
            );
            gpu.check(status, "copying weights")?;
        }
        executor.wait(Ok(()), Duration::from_secs(60)).map_err(RunError::words)?;
        for (_, launches) in &plan.steps {
            // Once by themselves: a capture may not load what they need.
            let queued = executor.enqueue(&kernels, launches, seen);
            executor.wait(queued, Duration::from_secs(60)).map_err(RunError::words)?;
            let graph =
                gpu.capture(executor.stream, || executor.enqueue(&kernels, launches, seen))?;
            executor.graphs.push(graph);
        }
        Ok(executor)
    }

    /// Puts the kernels of a step into the stream.
    fn enqueue(
        &self,
        kernels: &Kernels,
        launches: &[Launch],
        outside: DevicePtr,
    ) -> Result<(), String> {
        let (mut memory, mut outside) = (self.memory, outside);
        for launch in launches {
            let (mut words, [x, y, z], threads) = (launch.words, launch.grid, launch.threads);
            let function = kernels.functions[launch.kernel] as Ptr;
            let mut given: [*mut c_void; 3] =
                [(&raw mut memory).cast(), (&raw mut outside).cast(), words.as_mut_ptr().cast()];
            // SAFETY: every kernel takes two pointers and a structure of at most as many words, which the
            // call copies; the plan has laid out all that they read and write.
            let status = unsafe {
                match kernels.early {
                    Some(launch) => {
                        let config = LaunchConfig {
                            grid: [x, y, z],
                            block: [threads, 1, 1],
                            shared_bytes: 0,
                            stream: self.stream,
                            attributes: &Early::ALLOWED,
                            attribute_count: 1,
                        };
                        launch(&config, function, given.as_mut_ptr(), ptr::null_mut())
                    }
                    None => (self.cuda.start)(
                        function,
                        x,
                        y,
                        z,
                        threads,
                        1,
                        1,
                        0,
                        self.stream,
                        given.as_mut_ptr(),
                        ptr::null_mut(),
                    ),
                }
            };
            self.gpu.check(status, KERNELS[launch.kernel])?;
        }
        Ok(())
    }

    /// Computes the plan's step of that number. After an error nothing can be computed any more.
    pub fn run(&mut self, step: usize, limit: Duration) -> Result<(), RunError> {
        self.begin()?;
        self.gpu.enter()?;
        // SAFETY: both are ours.
        let status = unsafe { (self.cuda.launch)(self.graphs[step], self.stream) };
        let queued = self.gpu.check(status, "launching");
        self.wait(queued, limit)
    }

    fn wait(&mut self, queued: Result<(), String>, limit: Duration) -> Result<(), RunError> {
        self.gpu.settle(self.stream, queued, limit, &mut self.lost)
    }

    /// What comes and goes; an error once the GPU is lost, which may still write there.
    pub fn outside(&mut self) -> Result<&mut [f32], RunError> {
        self.begin()?;
        // SAFETY: `len` floats, all written at first; the GPU sees them in `run` only, which borrows
        // `self`.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.outside.as_ptr(), self.len) })
    }

    fn begin(&self) -> Result<(), RunError> {
        if self.lost {
            return Err(RunError::Failed("an earlier call failed on the GPU".into()));
        }
        Ok(())
    }
}

impl Drop for FusedExecutor {
    fn drop(&mut self) {
        // A lost GPU may still write: what it writes to stays.
        if self.lost || self.gpu.enter().is_err() {
            return;
        }
        let c = self.cuda;
        // SAFETY: all of it is ours, and nothing runs.
        unsafe {
            for graph in &self.graphs {
                (c.instance_free)(*graph);
            }
            if self.memory != 0 {
                (c.free)(self.memory);
            }
            (c.host_free)(self.outside.as_ptr().cast());
            if !self.stream.is_null() {
                (c.stream_free)(self.stream);
            }
        }
    }
}
