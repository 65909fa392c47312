//! A loaded engine with its memory, ready to be run.

use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};
use std::time::Duration;

use super::super::sampling::Job;
use super::driver::{Cuda, Gpu, RunError};
use super::library::Library;
use super::sampler::Sampler;
use super::shim::{Api, Inside, RawTensor, Voice};
use super::{DevicePtr, HOST_ALLOC_PORTABLE_AND_MAPPED, Ptr, STREAM_NON_BLOCKING};

/// Memory that both the processor and the GPU see, or a pair of which one is copied to the other.
struct Slot {
    name: CString,
    shape: Vec<usize>,
    host: NonNull<f32>,
    len: usize,
    device: DevicePtr,
    copied: bool,
}

/// What makes an input of a picture.
struct Sampling {
    sampler: Sampler,
    /// A call without the copies of inputs; null where [`Executor::graph`] has none either.
    graph: Ptr,
}

/// An engine with its memory, ready to be run.
pub struct Executor {
    gpu: &'static Gpu,
    cuda: &'static Cuda,
    api: &'static Api,
    engine: Ptr,
    stream: Ptr,
    graph: Ptr,
    /// For a network whose only input may be made of a picture.
    sampling: Option<Sampling>,
    inputs: Vec<Slot>,
    outputs: Vec<Slot>,
    /// The GPU did not answer: it may still write into the memory.
    lost: bool,
    voice: &'static Voice,
}

// SAFETY: its pointers are its own; CUDA's and TensorRT's objects may be used by one thread after
// another, and every call turns to the GPU's context first.
unsafe impl Send for Executor {}

impl Executor {
    /// Loads a plan for `batch` persons; `capture` makes one CUDA graph of all that a call does.
    pub fn load(
        library: &Library,
        gpu: &'static Gpu,
        plan: &[u8],
        batch: usize,
        capture: bool,
    ) -> Result<Self, String> {
        let cuda = gpu.enter()?;
        let api = library.api;
        let voice = Voice::new();
        let mut executor = Self {
            gpu,
            cuda,
            api,
            engine: ptr::null_mut(),
            stream: ptr::null_mut(),
            graph: ptr::null_mut(),
            sampling: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            lost: false,
            voice,
        };
        let context = ptr::from_ref(voice).cast_mut().cast();
        let inside = Inside::enter();
        // SAFETY: the plan is valid during the call, and the voice lives as long as the engine.
        executor.engine = unsafe {
            let runtime = library.runtime as Ptr;
            (api.load)(runtime, plan.as_ptr(), plan.len(), context, Voice::hear)
        };
        drop(inside);
        if executor.engine.is_null() {
            return Err(format!("the plan is refused: {}", executor.voice.words()));
        }
        // SAFETY: writes one pointer.
        let status = unsafe { (cuda.stream)(&mut executor.stream, STREAM_NON_BLOCKING) };
        gpu.check(status, "making a stream")?;
        executor.make_slots(batch)?;
        // The first run prepares what a capture may not: it loads kernels.
        executor.run(Duration::from_secs(120)).map_err(RunError::words)?;
        if capture {
            executor.graph = executor.capture(true);
        }
        Ok(executor)
    }

    fn make_slots(&mut self, batch: usize) -> Result<(), String> {
        // SAFETY (all calls of the shim here): the engine is loaded, names are the engine's own or end
        // with a zero, and the arrays have the length that is told.
        let count = unsafe { (self.api.tensors)(self.engine) };
        for index in 0..count {
            let mut raw =
                RawTensor { name: ptr::null(), is_input: 0, kind: 0, rank: 0, dims: [0; 8] };
            if unsafe { (self.api.tensor)(self.engine, index, &mut raw) } == 0 {
                return Err(format!("tensor {index} has a shape of too many dimensions"));
            }
            let name = unsafe { CStr::from_ptr(raw.name) }.to_owned();
            if raw.kind != 0 {
                return Err(format!("tensor {name:?} is not of 32-bit floats"));
            }
            let rank = usize::try_from(raw.rank).unwrap_or_default();
            let batch = i64::try_from(batch).map_err(|e| e.to_string())?;
            let dims = raw.dims.map(|d| if d < 0 { batch } else { d });
            let shape: Vec<usize> =
                dims[..rank].iter().map(|d| usize::try_from(*d).unwrap_or_default()).collect();
            if raw.is_input != 0 {
                let set = unsafe {
                    (self.api.set_shape)(self.engine, name.as_ptr(), raw.rank, dims.as_ptr())
                };
                if set == 0 {
                    let words = self.voice.words();
                    return Err(format!("{name:?} cannot have the shape {shape:?}: {words}"));
                }
            }
            let slot = self.slot(name, shape)?;
            let bound = unsafe { (self.api.bind)(self.engine, slot.name.as_ptr(), slot.device) };
            let name = slot.name.clone();
            if raw.is_input != 0 { &mut self.inputs } else { &mut self.outputs }.push(slot);
            if bound == 0 {
                return Err(format!("{name:?} cannot be bound: {}", self.voice.words()));
            }
        }
        Ok(())
    }

    fn slot(&self, name: CString, shape: Vec<usize>) -> Result<Slot, String> {
        let len: usize = shape.iter().product();
        let bytes = len * size_of::<f32>();
        let (mut host, mut device) = (ptr::null_mut(), 0);
        let gpu = self.gpu;
        // SAFETY: each writes one pointer.
        unsafe {
            let status = (self.cuda.host_alloc)(&mut host, bytes, HOST_ALLOC_PORTABLE_AND_MAPPED);
            gpu.check(status, "allocating memory that the GPU sees")?;
        }
        let host = NonNull::new(host.cast::<f32>()).ok_or("CUDA gave no memory")?;
        // SAFETY: `bytes` of it were just allocated.
        unsafe { host.as_ptr().write_bytes(0, len) };
        let copied = !gpu.integrated;
        // From here on `slot` frees what it has when it is dropped by `Executor::drop`; an error before
        // that leaks, once, at start.
        // SAFETY: as above.
        let status = unsafe {
            if copied {
                (self.cuda.alloc)(&mut device, bytes)
            } else {
                (self.cuda.host_device)(&mut device, host.as_ptr().cast(), 0)
            }
        };
        gpu.check(status, "allocating the GPU's memory")?;
        Ok(Slot { name, shape, host, len, device, copied })
    }

    /// Makes it able to have its only input made of a picture; without, pictures are sampled by the
    /// processor.
    pub fn sample_pictures(&mut self) -> Result<(), String> {
        let sampler = Sampler::new(self.gpu)?;
        let graph = match self.is_graph() && self.copies() {
            true => self.capture(false),
            false => ptr::null_mut(),
        };
        self.sampling = Some(Sampling { sampler, graph });
        Ok(())
    }

    /// Puts all that a call does into the stream; `copies`: of inputs, too.
    fn enqueue(&self, copies: bool) -> Result<(), String> {
        let bytes = |slot: &Slot| slot.len * size_of::<f32>();
        // SAFETY: both ends of each copy have that many bytes, and live as long as `self`, which waits
        // for the end or is lost.
        unsafe {
            for s in self.inputs.iter().filter(|s| s.copied && copies) {
                let from = s.host.as_ptr().cast_const().cast();
                let status = (self.cuda.to_device)(s.device, from, bytes(s), self.stream);
                self.gpu.check(status, "copying inputs")?;
            }
            if (self.api.enqueue)(self.engine, self.stream) == 0 {
                return Err(format!("TensorRT: {}", self.voice.words()));
            }
            for s in self.outputs.iter().filter(|s| s.copied) {
                let to = s.host.as_ptr().cast();
                let status = (self.cuda.to_host)(to, s.device, bytes(s), self.stream);
                self.gpu.check(status, "copying outputs")?;
            }
        }
        Ok(())
    }

    /// Makes a CUDA graph of it, null if that fails: without one it runs, too.
    fn capture(&mut self, copies: bool) -> Ptr {
        self.gpu.capture(self.stream, || self.enqueue(copies)).unwrap_or_else(|e| {
            log::info!("no CUDA graph: {e}");
            ptr::null_mut()
        })
    }

    /// True if a call is one CUDA graph.
    pub fn is_graph(&self) -> bool {
        !self.graph.is_null()
    }

    /// Has the GPU inputs of its own, which the processor's are copied to?
    fn copies(&self) -> bool {
        self.inputs.iter().any(|slot| slot.copied)
    }

    /// Computes the outputs from the inputs. After an error of time nothing can be computed any more.
    pub fn run(&mut self, limit: Duration) -> Result<(), RunError> {
        self.begin()?;
        let queued = self.launch(self.graph, true);
        if self.is_graph() {
            // One that was not launched leaves nothing under way.
            queued?;
            return self.end(Ok(()), limit);
        }
        self.end(queued, limit)
    }

    /// The same from a picture; false if that cannot be done, and nothing was computed.
    pub fn run_sampled(&mut self, job: &Job<'_>, limit: Duration) -> Result<bool, RunError> {
        let [input] = &self.inputs[..] else { return Ok(false) };
        if self.sampling.is_none() || job.tensor_len() != input.len {
            return Ok(false);
        }
        let tensor = input.device;
        self.begin()?;
        let prepared = self.sampling.as_mut().map(|sampling| sampling.sampler.prepare(job));
        if let Some(Err(e)) = prepared {
            log::warn!("the processor samples pictures from here on: {e}");
            self.stop_sampling();
        }
        let Some(Sampling { sampler, graph }) = &self.sampling else { return Ok(false) };
        let graph = if self.copies() { *graph } else { self.graph };
        // SAFETY: it was just prepared, the input has as many values, and `end` waits for it or all is
        // lost.
        let queued = unsafe { sampler.enqueue(job, tensor, self.stream) };
        let queued = queued.and_then(|()| self.launch(graph, false));
        self.end(queued, limit)?;
        Ok(true)
    }

    /// Gives back what samples pictures. Nothing may be under way.
    fn stop_sampling(&mut self) {
        let Some(mut sampling) = self.sampling.take() else { return };
        sampling.sampler.free();
        if !sampling.graph.is_null() {
            // SAFETY: it is ours, and nobody else has it.
            unsafe { (self.cuda.instance_free)(sampling.graph) };
        }
    }

    fn begin(&mut self) -> Result<(), RunError> {
        if self.lost {
            return Err(RunError::Failed("an earlier call failed on the GPU".into()));
        }
        self.voice.clear();
        self.gpu.enter()?;
        Ok(())
    }

    /// Puts a call into the stream: `graph`, or what it would have in it.
    fn launch(&self, graph: Ptr, copies: bool) -> Result<(), String> {
        if graph.is_null() {
            return self.enqueue(copies);
        }
        // SAFETY: both are ours.
        let status = unsafe { (self.cuda.launch)(graph, self.stream) };
        self.gpu.check(status, "launching")
    }

    /// Waits for what was put into the stream.
    fn end(&mut self, queued: Result<(), String>, limit: Duration) -> Result<(), RunError> {
        self.gpu.settle(self.stream, queued, limit, &mut self.lost)
    }

    /// Names and shapes of inputs and of outputs, in the engine's order.
    pub fn tensors(&self) -> [Vec<(String, Vec<usize>)>; 2] {
        [&self.inputs, &self.outputs].map(|slots| {
            let name = |s: &Slot| s.name.to_string_lossy().into_owned();
            slots.iter().map(|s| (name(s), s.shape.clone())).collect()
        })
    }

    /// What the next run reads as its input `index`.
    pub fn input(&mut self, index: usize) -> &mut [f32] {
        let s = &self.inputs[index];
        // SAFETY: `len` floats; the GPU reads them in `run` only, which borrows `self`.
        unsafe { std::slice::from_raw_parts_mut(s.host.as_ptr(), s.len) }
    }

    /// What the last run wrote as its output `index`; nothing once the GPU is lost.
    pub fn output(&self, index: usize) -> &[f32] {
        let s = &self.outputs[index];
        let len = if self.lost { 0 } else { s.len };
        // SAFETY: `len` floats, all written; nothing runs outside of `run`.
        unsafe { std::slice::from_raw_parts(s.host.as_ptr(), len) }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // A lost GPU may still write: what it writes to stays.
        if self.lost || self.gpu.enter().is_err() {
            return;
        }
        self.stop_sampling();
        let c = self.cuda;
        // SAFETY: all of it is ours, and nothing runs.
        unsafe {
            if !self.graph.is_null() {
                (c.instance_free)(self.graph);
            }
            if !self.engine.is_null() {
                (self.api.unload)(self.engine);
            }
            for slot in self.inputs.iter().chain(&self.outputs) {
                if slot.copied {
                    (c.free)(slot.device);
                }
                (c.host_free)(slot.host.as_ptr().cast());
            }
            if !self.stream.is_null() {
                (c.stream_free)(self.stream);
            }
        }
    }
}
