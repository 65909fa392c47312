//! CUDA's driver and TensorRT as they are in memory.
//!
//! The only file of this room with `unsafe`, and the Rust twin of `shim/shim.h`. What it exports is
//! safe: a [`Driver`] and a [`Library`] are opened once and never closed (TensorRT's threads outlive
//! its objects); an [`Executor`] owns its engine, its memory and its stream, and whoever reads its
//! outputs does so while nothing runs.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::version::{Family, Version};

type Ptr = *mut c_void;
/// An address in the GPU's memory.
type DevicePtr = u64;

const NOT_READY: i32 = 600;
const MULTIPROCESSOR_MAJOR: i32 = 75;
const MULTIPROCESSOR_MINOR: i32 = 76;
const INTEGRATED: i32 = 18;
const HOST_ALLOC_PORTABLE_AND_MAPPED: u32 = 1 | 2;
const STREAM_NON_BLOCKING: u32 = 1;
const CAPTURE_THREAD_LOCAL: i32 = 1;

/// How many threads are in a call of a library that may take long.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// Counts its thread, while it lives.
struct Inside;

impl Inside {
    fn enter() -> Self {
        INSIDE.fetch_add(1, Ordering::AcqRel);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Ends the process here and now if a build was left behind that is still under way: what the
/// libraries clean up when a process ends as usual, such a thread still uses (TensorRT for RTX
/// 1.6.1 ended with SIGSEGV). To be called last, with the exit code.
pub fn leave_if_busy(code: u8) {
    unsafe extern "C" {
        fn _exit(code: i32) -> !;
    }
    if INSIDE.load(Ordering::Acquire) > 0 {
        // SAFETY: takes a number, and nothing of ours runs after it.
        unsafe { _exit(code.into()) }
    }
}

/// A table of C functions that return a status.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($field:ident = $symbol:literal ($($arg:ty),*);)* }) => {
        $(#[$doc])*
        struct $name { $($field: unsafe extern "C" fn($($arg),*) -> i32,)* }

        impl $name {
            /// # Safety
            /// The library's functions of these names must have these arguments.
            unsafe fn of(library: &libloading::Library) -> Result<Self, String> {
                Ok(Self { $($field: unsafe { symbol(library, $symbol)? },)* })
            }
        }
    };
}

table! {
    /// `cuda.h`
    Cuda {
        init = "cuInit" (u32);
        version = "cuDriverGetVersion" (*mut i32);
        device_count = "cuDeviceGetCount" (*mut i32);
        device = "cuDeviceGet" (*mut i32, i32);
        device_name = "cuDeviceGetName" (*mut c_char, i32, i32);
        attribute = "cuDeviceGetAttribute" (*mut i32, i32, i32);
        retain_context = "cuDevicePrimaryCtxRetain" (*mut Ptr, i32);
        set_context = "cuCtxSetCurrent" (Ptr);
        alloc = "cuMemAlloc_v2" (*mut DevicePtr, usize);
        free = "cuMemFree_v2" (DevicePtr);
        host_alloc = "cuMemHostAlloc" (*mut Ptr, usize, u32);
        host_free = "cuMemFreeHost" (Ptr);
        host_device = "cuMemHostGetDevicePointer_v2" (*mut DevicePtr, Ptr, u32);
        to_device = "cuMemcpyHtoDAsync_v2" (DevicePtr, *const c_void, usize, Ptr);
        to_host = "cuMemcpyDtoHAsync_v2" (Ptr, DevicePtr, usize, Ptr);
        stream = "cuStreamCreate" (*mut Ptr, u32);
        stream_free = "cuStreamDestroy_v2" (Ptr);
        stream_query = "cuStreamQuery" (Ptr);
        begin_capture = "cuStreamBeginCapture_v2" (Ptr, i32);
        end_capture = "cuStreamEndCapture" (Ptr, *mut Ptr);
        instantiate = "cuGraphInstantiateWithFlags" (*mut Ptr, Ptr, u64);
        launch = "cuGraphLaunch" (Ptr, Ptr);
        graph_free = "cuGraphDestroy" (Ptr);
        instance_free = "cuGraphExecDestroy" (Ptr);
        error_name = "cuGetErrorName" (i32, *mut *const c_char);
    }
}

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

/// The GPU's driver.
pub(super) struct Driver {
    cuda: Cuda,
}

/// A GPU, ready to be used.
pub(super) struct Gpu {
    driver: &'static Driver,
    context: usize,
    /// As its maker calls it.
    pub name: String,
    /// Its architecture, "compute capability".
    pub sm: (i32, i32),
    /// It shares its memory with the processor, as a Jetson's does.
    pub integrated: bool,
    /// CUDA's version that the driver offers, 12060 for 12.6.
    pub cuda: i32,
}

impl Driver {
    /// The driver in a file, or by that name.
    pub(super) fn open(path: &Path) -> Result<&'static Self, String> {
        let library = open(path)?;
        // SAFETY: names and arguments are those of cuda.h of CUDA 11.4 and newer.
        let cuda = unsafe { Cuda::of(library) }.map_err(|e| format!("too old a driver: {e}"))?;
        Ok(Box::leak(Box::new(Self { cuda })))
    }

    fn check(&self, status: i32, what: &str) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        let mut name = ptr::null();
        // SAFETY: gives a static string, or none.
        let known = unsafe { (self.cuda.error_name)(status, &mut name) } == 0 && !name.is_null();
        let name =
            if known { unsafe { CStr::from_ptr(name) }.to_string_lossy() } else { "?".into() };
        Err(format!("{what}: CUDA error {status} ({name})"))
    }

    /// The first GPU.
    pub(super) fn gpu(&'static self) -> Result<Gpu, String> {
        let c = &self.cuda;
        let (mut count, mut device, mut version) = (0, 0, 0);
        let mut name = [0 as c_char; 256];
        let mut context = ptr::null_mut();
        // SAFETY: every pointer is to a variable of the type that is written, and the name's length
        // is given.
        unsafe {
            self.check((c.init)(0), "no GPU can be used")?;
            self.check((c.device_count)(&mut count), "counting GPUs")?;
            if count < 1 {
                return Err("the driver knows of no GPU".into());
            }
            self.check((c.version)(&mut version), "asking for the driver's version")?;
            self.check((c.device)(&mut device, 0), "opening the GPU")?;
            self.check((c.device_name)(name.as_mut_ptr(), 255, device), "asking for its name")?;
        }
        let attribute = |which| {
            let mut value = 0;
            // SAFETY: as above.
            let status = unsafe { (c.attribute)(&mut value, which, device) };
            self.check(status, "asking what the GPU is").map(|()| value)
        };
        let sm = (attribute(MULTIPROCESSOR_MAJOR)?, attribute(MULTIPROCESSOR_MINOR)?);
        let integrated = attribute(INTEGRATED)? != 0;
        // SAFETY: as above.
        let status = unsafe { (c.retain_context)(&mut context, device) };
        self.check(status, "starting to use the GPU")?;
        // SAFETY: 255 bytes at most were written into 256 that were zero.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        Ok(Gpu { driver: self, context: context as usize, name, sm, integrated, cuda: version })
    }
}

impl Gpu {
    fn check(&self, status: i32, what: &str) -> Result<(), String> {
        self.driver.check(status, what)
    }

    /// Makes this thread's calls go to it.
    fn enter(&self) -> Result<&'static Cuda, String> {
        let cuda = &self.driver.cuda;
        // SAFETY: the context is retained as long as the program runs.
        self.check(unsafe { (cuda.set_context)(self.context as Ptr) }, "turning to the GPU")?;
        Ok(cuda)
    }
}

#[repr(C)]
struct RawBuild {
    create_builder: Ptr,
    create_parser: Ptr,
    onnx: *const u8,
    onnx_length: usize,
    batch: [i32; 3],
    f16: i32,
    i8: i32,
    tf32: i32,
    level: i32,
    workspace: usize,
    timing: *const u8,
    timing_length: usize,
    log_context: Ptr,
    log: extern "C" fn(Ptr, i32, *const c_char),
    context: Ptr,
    progress: extern "C" fn(Ptr, *const c_char, i32, i32) -> i32,
    plan: extern "C" fn(Ptr, *const u8, usize),
    new_timing: extern "C" fn(Ptr, *const u8, usize),
}

#[repr(C)]
struct RawTensor {
    name: *const c_char,
    is_input: i32,
    kind: i32,
    rank: i32,
    dims: [i64; 8],
}

#[repr(C)]
struct Api {
    shim_version: i32,
    header_version: i32,
    build: unsafe extern "C" fn(*const RawBuild) -> i32,
    load: unsafe extern "C" fn(
        Ptr,
        *const u8,
        usize,
        Ptr,
        extern "C" fn(Ptr, i32, *const c_char),
    ) -> Ptr,
    unload: unsafe extern "C" fn(Ptr),
    tensors: unsafe extern "C" fn(Ptr) -> i32,
    tensor: unsafe extern "C" fn(Ptr, i32, *mut RawTensor) -> i32,
    set_shape: unsafe extern "C" fn(Ptr, *const c_char, i32, *const i64) -> i32,
    bind: unsafe extern "C" fn(Ptr, *const c_char, DevicePtr) -> i32,
    enqueue: unsafe extern "C" fn(Ptr, Ptr) -> i32,
}

macro_rules! families {
    ($($name:literal $symbol:ident $family:ident;)*) => {
        $(#[cfg(tensorrt = $name)]
        unsafe extern "C" { static $symbol: Api; })*

        /// The shim of a family, if it was compiled in.
        fn api(family: Family) -> Option<&'static Api> {
            match family {
                $(#[cfg(tensorrt = $name)]
                // SAFETY: a constant table, compiled from the header that the type repeats.
                Family::$family => Some(unsafe { &$symbol }),)*
                #[allow(unreachable_patterns, reason = "all of them may be compiled in")]
                _ => None,
            }
        }
    };
}

families! {
    "trt8" pw_api_trt8 Trt8;
    "trt10" pw_api_trt10 Trt10;
    "trt11" pw_api_trt11 Trt11;
    "rtx" pw_api_rtx Rtx;
}

/// What the library says, by severity; its errors are kept for ours. TensorRT speaks to the first one
/// that it was given when that is long out of use: it is never freed.
#[derive(Default)]
struct Voice {
    errors: Mutex<Vec<String>>,
}

impl Voice {
    fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    /// Forgets earlier errors: they are not the reason of what comes.
    fn clear(&self) {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    extern "C" fn hear(voice: Ptr, severity: i32, text: *const c_char) {
        if voice.is_null() || text.is_null() {
            return;
        }
        // SAFETY: `voice` is the one that was given with this function, and outlives what it was given
        // to; the text ends with a zero.
        let (voice, text) = unsafe { (&*(voice as *const Self), CStr::from_ptr(text)) };
        let text = text.to_string_lossy();
        match severity {
            0 | 1 => {
                log::debug!("TensorRT: {text}");
                let mut errors = voice.errors.lock().unwrap_or_else(PoisonError::into_inner);
                // The first ones are the cause.
                if errors.len() < 4 {
                    errors.push(text.into_owned());
                }
            }
            2 => log::debug!("TensorRT warns: {text}"),
            _ => log::trace!("TensorRT: {text}"),
        }
    }

    fn words(&self) -> String {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.is_empty() { "it does not say why".into() } else { errors.join("; ") }
    }
}

/// An opened TensorRT.
pub(super) struct Library {
    api: &'static Api,
    builder: usize,
    runtime: usize,
    parser: usize,
    pub family: Family,
    pub version: Version,
    pub path: PathBuf,
}

/// What is asked of a build.
pub(super) struct BuildOptions<'a> {
    /// Smallest, usual and largest number of persons in a call.
    pub batch: [i32; 3],
    /// Allow f16, int8 (where the file's types do not say).
    pub f16: bool,
    pub i8: bool,
    /// The builder's effort, 0 to 5.
    pub level: Option<i32>,
    /// Bytes of working memory at most.
    pub workspace: Option<usize>,
    /// Measured times of an earlier build.
    pub timing: &'a [u8],
}

/// What a build gives.
#[derive(Default)]
pub(super) struct Built {
    pub plan: Vec<u8>,
    pub timing: Vec<u8>,
}

/// Told of a phase of a build: its name, steps done, steps in all (0: over). False cancels the build.
pub(super) type Progress<'a> = &'a mut dyn FnMut(&str, u32, u32) -> bool;

/// A build that is under way. Its callbacks may come from several threads.
struct Building<'a> {
    state: Mutex<State<'a>>,
}

struct State<'a> {
    progress: Progress<'a>,
    cancelled: bool,
    built: Built,
}

impl Building<'_> {
    /// # Safety
    /// `this` must be what `Library::build` gave together with the callback.
    unsafe fn with<R>(this: Ptr, act: impl FnOnce(&mut State<'_>) -> R) -> R {
        let this = unsafe { &*(this as *const Self) };
        act(&mut this.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    extern "C" fn step(this: Ptr, phase: *const c_char, step: i32, steps: i32) -> i32 {
        // SAFETY: the name ends with a zero.
        let phase = unsafe { CStr::from_ptr(phase) }.to_string_lossy();
        let unsigned = |n: i32| u32::try_from(n).unwrap_or_default();
        // SAFETY: as `with`.
        unsafe {
            Self::with(this, |state| {
                state.cancelled |= !(state.progress)(&phase, unsigned(step), unsigned(steps));
                i32::from(!state.cancelled)
            })
        }
    }

    extern "C" fn plan(this: Ptr, bytes: *const u8, length: usize) {
        // SAFETY: as `with`; the bytes are valid during the call.
        unsafe {
            let bytes = std::slice::from_raw_parts(bytes, length);
            Self::with(this, |state| state.built.plan = bytes.to_vec());
        }
    }

    extern "C" fn timing(this: Ptr, bytes: *const u8, length: usize) {
        // SAFETY: as above.
        unsafe {
            let bytes = std::slice::from_raw_parts(bytes, length);
            Self::with(this, |state| state.built.timing = bytes.to_vec());
        }
    }
}

impl Library {
    /// The shim's version, part of what a plan depends on.
    pub(super) fn shim_version(&self) -> i32 {
        self.api.shim_version
    }

    /// Opens a family's library and its parser in `folder`, or where the system's libraries are.
    /// `Ok(None)`: there is none.
    pub(super) fn open(family: Family, folder: Option<&Path>) -> Result<Option<Self>, String> {
        let place = |name: &str| folder.map_or_else(|| PathBuf::from(name), |f| f.join(name));
        let [core, parser] = family.files().map(place);
        if folder.is_some() && !core.exists() {
            return Ok(None);
        }
        let library = match open(&core) {
            Ok(library) => library,
            // The loader names what it did not find: this file, or another one that it needs.
            Err(e) if e.contains(&format!("{}: cannot open", core.display())) => return Ok(None),
            Err(e) => return Err(format!("{}: {e}", core.display())),
        };
        let wrong = |problem: String| format!("{}: {problem}", core.display());
        // SAFETY: NvInferRuntime.h declares it so in all versions.
        let version = unsafe {
            let version: unsafe extern "C" fn() -> i32 =
                symbol(library, "getInferLibVersion").map_err(wrong)?;
            version()
        };
        let version = Version::of(family, version).map_err(wrong)?;
        let Some(api) = api(family) else {
            return Err(wrong(format!(
                "{version} is here, but this program was built without its headers ({})",
                super::version::COMPILED_IN
            )));
        };
        let parsers = open(&parser).map_err(|e| format!("{}: {e}", parser.display()))?;
        // SAFETY: only their addresses are taken; the shim knows their types.
        let (builder, runtime, parser) = unsafe {
            (
                symbol::<usize>(library, "createInferBuilder_INTERNAL").map_err(wrong)?,
                symbol::<usize>(library, "createInferRuntime_INTERNAL").map_err(wrong)?,
                symbol::<usize>(parsers, "createNvOnnxParser_INTERNAL").map_err(wrong)?,
            )
        };
        Ok(Some(Self { api, builder, runtime, parser, family, version, path: core }))
    }

    /// An ONNX file to a plan.
    pub(super) fn build(
        &self,
        onnx: &[u8],
        options: &BuildOptions<'_>,
        progress: Progress<'_>,
    ) -> Result<Built, String> {
        let state = State { progress, cancelled: false, built: Built::default() };
        let voice = Voice::new();
        let building = Building { state: Mutex::new(state) };
        let raw = RawBuild {
            create_builder: self.builder as Ptr,
            create_parser: self.parser as Ptr,
            onnx: onnx.as_ptr(),
            onnx_length: onnx.len(),
            batch: options.batch,
            f16: options.f16.into(),
            i8: options.i8.into(),
            tf32: 0,
            level: options.level.unwrap_or(-1),
            workspace: options.workspace.unwrap_or(0),
            timing: options.timing.as_ptr(),
            timing_length: options.timing.len(),
            log_context: ptr::from_ref(voice).cast_mut().cast(),
            log: Voice::hear,
            context: (&raw const building) as Ptr,
            progress: Building::step,
            plan: Building::plan,
            new_timing: Building::timing,
        };
        let inside = Inside::enter();
        // SAFETY: everything that `raw` points to outlives the call.
        let status = unsafe { (self.api.build)(&raw) };
        drop(inside);
        let words = voice.words();
        let state = building.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if state.cancelled {
            return Err("cancelled".into());
        }
        match status {
            0 => Ok(state.built),
            1 => Err(format!("it would not begin: {words}")),
            2 => Err(format!("it cannot read the ONNX file: {words}")),
            3 => Err("an input has an unknown size besides its batch".into()),
            _ => Err(format!("it cannot build an engine: {words}")),
        }
    }
}

/// Memory that both the processor and the GPU see, or a pair of which one is copied to the other.
struct Slot {
    name: CString,
    shape: Vec<usize>,
    host: NonNull<f32>,
    len: usize,
    device: DevicePtr,
    copied: bool,
}

/// Why a call gave nothing.
pub(super) enum RunError {
    /// The GPU did not answer for so long.
    Hung(Duration),
    /// In CUDA's or TensorRT's words.
    Failed(String),
}

impl From<String> for RunError {
    fn from(words: String) -> Self {
        Self::Failed(words)
    }
}

/// An engine with its memory, ready to be run.
pub(super) struct Executor {
    gpu: &'static Gpu,
    cuda: &'static Cuda,
    api: &'static Api,
    engine: Ptr,
    stream: Ptr,
    graph: Ptr,
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
    pub(super) fn load(
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
        executor.run(Duration::from_secs(120)).map_err(|e| match e {
            RunError::Hung(after) => format!("no answer for {:.0} s", after.as_secs_f64()),
            RunError::Failed(words) => words,
        })?;
        if capture {
            executor.capture();
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

    /// Puts all that a call does into the stream.
    fn enqueue(&self) -> Result<(), String> {
        let bytes = |slot: &Slot| slot.len * size_of::<f32>();
        // SAFETY: both ends of each copy have that many bytes, and live as long as `self`, which waits
        // for the end or is lost.
        unsafe {
            for s in self.inputs.iter().filter(|s| s.copied) {
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

    /// Makes a CUDA graph of it; without one it runs, too.
    fn capture(&mut self) {
        let (c, mut graph, mut instance) = (self.cuda, ptr::null_mut(), ptr::null_mut());
        // SAFETY: a graph refers to the memory and the engine of `self`, which outlive it.
        let made = unsafe {
            let begun = (c.begin_capture)(self.stream, CAPTURE_THREAD_LOCAL);
            let queued = begun == 0 && self.enqueue().is_ok();
            let ended = begun == 0 && (c.end_capture)(self.stream, &mut graph) == 0;
            let made = queued
                && ended
                && !graph.is_null()
                && (c.instantiate)(&mut instance, graph, 0) == 0;
            if !graph.is_null() {
                (c.graph_free)(graph);
            }
            made
        };
        if made {
            self.graph = instance;
        } else {
            log::info!("no CUDA graph: {}", self.voice.words());
        }
    }

    /// True if a call is one CUDA graph.
    pub(super) fn is_graph(&self) -> bool {
        !self.graph.is_null()
    }

    /// Computes the outputs from the inputs. After an error of time nothing can be computed any more.
    pub(super) fn run(&mut self, limit: Duration) -> Result<(), RunError> {
        if self.lost {
            return Err(RunError::Failed("an earlier call failed on the GPU".into()));
        }
        self.voice.clear();
        self.gpu.enter()?;
        if self.graph.is_null() {
            let queued = self.enqueue();
            // A part of it may be under way, and nobody waits for it.
            self.lost |= queued.is_err();
            queued?;
        } else {
            // SAFETY: both are ours.
            let status = unsafe { (self.cuda.launch)(self.graph, self.stream) };
            self.gpu.check(status, "launching")?;
        }
        let begun = Instant::now();
        loop {
            // SAFETY: the stream is ours.
            match unsafe { (self.cuda.stream_query)(self.stream) } {
                NOT_READY => {}
                status => {
                    self.lost |= status != 0;
                    return Ok(self.gpu.check(status, "computing")?);
                }
            }
            let waited = begun.elapsed();
            if waited > limit {
                self.lost = true;
                return Err(RunError::Hung(waited));
            }
            // Most calls are over within a millisecond; a sleep is longer than it is asked to be.
            if waited > Duration::from_millis(2) {
                std::thread::sleep(Duration::from_micros(200));
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// Names and shapes of inputs and of outputs, in the engine's order.
    pub(super) fn tensors(&self) -> [Vec<(String, Vec<usize>)>; 2] {
        [&self.inputs, &self.outputs].map(|slots| {
            let name = |s: &Slot| s.name.to_string_lossy().into_owned();
            slots.iter().map(|s| (name(s), s.shape.clone())).collect()
        })
    }

    /// What the next run reads as its input `index`.
    pub(super) fn input(&mut self, index: usize) -> &mut [f32] {
        let s = &self.inputs[index];
        // SAFETY: `len` floats; the GPU reads them in `run` only, which borrows `self`.
        unsafe { std::slice::from_raw_parts_mut(s.host.as_ptr(), s.len) }
    }

    /// What the last run wrote as its output `index`; nothing once the GPU is lost.
    pub(super) fn output(&self, index: usize) -> &[f32] {
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
