//! The kernel that samples pictures, with the memory of its jobs.

use std::ffi::c_void;
use std::ptr;
use std::time::Duration;

use super::super::sampling::Job;
use super::driver::{Gpu, RunError};
use super::{DevicePtr, HOST_ALLOC_PORTABLE_AND_MAPPED, Ptr, STREAM_NON_BLOCKING};

/// Threads of a block, to the right and downwards: neighbours read neighbouring bytes.
const BLOCK: (u32, u32) = (32, 8);
/// Rounding up what is allocated: crops grow and shrink from frame to frame.
const GRAIN: usize = 1 << 20;

/// Samples pictures into tensors of the GPU's memory.
///
/// A job is written to memory that the GPU can be sent from without another copy, and is copied to
/// its own, on a Jetson, too: there, its caches do not hold what it shares with the processor, and
/// the kernel reads every pixel for several of the tensor's.
pub struct Sampler {
    gpu: &'static Gpu,
    function: Ptr,
    host: Ptr,
    device: DevicePtr,
    room: usize,
}

impl Sampler {
    /// Compiles the kernel, unless another one has.
    pub fn new(gpu: &'static Gpu) -> Result<Self, String> {
        let function = gpu.sampling()?;
        Ok(Self { gpu, function, host: ptr::null_mut(), device: 0, room: 0 })
    }

    /// Makes room for `bytes`; keeps what there is if it is enough. Nothing may be under way.
    fn reserve(&mut self, bytes: usize) -> Result<(), String> {
        if bytes <= self.room {
            return Ok(());
        }
        let cuda = self.gpu.enter()?;
        self.free();
        let room = bytes.next_multiple_of(GRAIN);
        // SAFETY: each writes one pointer.
        unsafe {
            let status = (cuda.host_alloc)(&mut self.host, room, HOST_ALLOC_PORTABLE_AND_MAPPED);
            self.gpu.check(status, "allocating memory for pictures")?;
            if self.host.is_null() {
                return Err("CUDA gave no memory".into());
            }
            let status = (cuda.alloc)(&mut self.device, room);
            self.gpu.check(status, "allocating the GPU's memory for pictures")?;
        }
        // SAFETY: as many bytes were just allocated.
        unsafe { self.host.cast::<u8>().write_bytes(0, room) };
        self.room = room;
        Ok(())
    }

    /// Writes a job to memory, making room for it first if it is the largest so far. Nothing of an
    /// earlier one may be under way.
    pub(super) fn prepare(&mut self, job: &Job<'_>) -> Result<(), String> {
        self.reserve(job.len())?;
        // SAFETY: `room` bytes are ours, were written when they were allocated, and nothing reads them
        // now. There is room, so there is memory.
        let memory = unsafe { std::slice::from_raw_parts_mut(self.host.cast::<u8>(), self.room) };
        if job.write(memory) { Ok(()) } else { Err("the picture is larger than its room".into()) }
    }

    /// Puts the job that was prepared into a stream.
    ///
    /// # Safety
    /// It must be the one that was prepared last, `tensor` must have room for all its values, and
    /// both must stay as they are until the stream has done it.
    pub(super) unsafe fn enqueue(
        &self,
        job: &Job<'_>,
        tensor: DevicePtr,
        stream: Ptr,
    ) -> Result<(), String> {
        let cuda = self.gpu.enter()?;
        let (width, height) = job.size();
        let blocks = |n: usize, of: u32| u32::try_from(n).unwrap_or_default().div_ceil(of);
        let (mut job_at, mut tensor_at) = (self.device, tensor);
        let mut given: [*mut c_void; 2] = [(&raw mut job_at).cast(), (&raw mut tensor_at).cast()];
        // SAFETY: both ends of the copy have as many bytes as the job; the kernel takes two pointers,
        // which are copied by the call; it reads the job alone, which `Job` has checked, and writes
        // the tensor.
        unsafe {
            let status = (cuda.to_device)(self.device, self.host, job.len(), stream);
            self.gpu.check(status, "copying a picture")?;
            let status = (cuda.start)(
                self.function,
                blocks(width, BLOCK.0),
                blocks(height, BLOCK.1),
                1,
                BLOCK.0,
                BLOCK.1,
                1,
                0,
                stream,
                given.as_mut_ptr(),
                ptr::null_mut(),
            );
            self.gpu.check(status, "sampling a picture")
        }
    }

    /// Gives its memory back. Nothing may be under way.
    pub(super) fn free(&mut self) {
        let Ok(cuda) = self.gpu.enter() else { return };
        // SAFETY: all of it is ours, and nobody else has it.
        unsafe {
            if self.device != 0 {
                (cuda.free)(self.device);
            }
            if !self.host.is_null() {
                (cuda.host_free)(self.host);
            }
        }
        (self.host, self.device, self.room) = (ptr::null_mut(), 0, 0);
    }
}

/// The kernel alone, with a tensor: to be tried and timed without a network.
pub struct LoneSampler {
    sampler: Sampler,
    stream: Ptr,
    tensor: DevicePtr,
    room: usize,
    /// The GPU did not answer: it may still write into the memory.
    lost: bool,
}

// SAFETY: its pointers are its own, may be used by one thread after another, and every call turns to
// the GPU's context first.
unsafe impl Send for LoneSampler {}

impl LoneSampler {
    /// For tensors of `room` values at most.
    pub fn new(gpu: &'static Gpu, room: usize) -> Result<Self, String> {
        let sampler = Sampler::new(gpu)?;
        let cuda = gpu.enter()?;
        let (mut stream, mut tensor) = (ptr::null_mut(), 0);
        // SAFETY: each writes one pointer. An error leaks, once, at start.
        unsafe {
            gpu.check((cuda.stream)(&mut stream, STREAM_NON_BLOCKING), "making a stream")?;
            let bytes = room.max(1) * size_of::<f32>();
            gpu.check((cuda.alloc)(&mut tensor, bytes), "allocating a tensor")?;
        }
        Ok(Self { sampler, stream, tensor, room, lost: false })
    }

    /// Makes the tensor; it stays in the GPU's memory.
    pub fn sample(&mut self, job: &Job<'_>, limit: Duration) -> Result<(), String> {
        if self.lost || job.tensor_len() > self.room {
            return Err("the GPU is lost, or the tensor is larger than its room".into());
        }
        self.sampler.prepare(job)?;
        // SAFETY: it was just prepared, the tensor has the room, and this waits for the end or is lost.
        let queued = unsafe { self.sampler.enqueue(job, self.tensor, self.stream) };
        self.wait(queued, limit)
    }

    /// What is in the tensor, from its start.
    pub fn read(&mut self, values: &mut [f32], limit: Duration) -> Result<(), String> {
        if self.lost || values.len() > self.room {
            return Err("the GPU is lost, or there are fewer values".into());
        }
        let cuda = self.sampler.gpu.enter()?;
        let (to, bytes) = (values.as_mut_ptr().cast(), size_of_val(values));
        // SAFETY: both ends have as many bytes; memory that is no page-locked one is written before the
        // call returns.
        let status = unsafe { (cuda.to_host)(to, self.tensor, bytes, self.stream) };
        let queued = self.sampler.gpu.check(status, "copying a tensor");
        self.wait(queued, limit)
    }

    fn wait(&mut self, queued: Result<(), String>, limit: Duration) -> Result<(), String> {
        let gpu = self.sampler.gpu;
        gpu.settle(self.stream, queued, limit, &mut self.lost).map_err(RunError::words)
    }
}

impl Drop for LoneSampler {
    fn drop(&mut self) {
        // A lost GPU may still write: what it writes to stays.
        let Ok(cuda) = self.sampler.gpu.enter() else { return };
        if self.lost {
            return;
        }
        self.sampler.free();
        // SAFETY: all of it is ours, and nothing runs.
        unsafe {
            (cuda.free)(self.tensor);
            (cuda.stream_free)(self.stream);
        }
    }
}
