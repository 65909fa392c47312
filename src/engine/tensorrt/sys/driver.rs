//! CUDA's driver, and the first GPU.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::super::{fused, sampling};
use super::shim::Inside;
use super::{DevicePtr, Ptr, open, symbol};

const MULTIPROCESSOR_MAJOR: i32 = 75;
const MULTIPROCESSOR_MINOR: i32 = 76;
const INTEGRATED: i32 = 18;
const NOT_READY: i32 = 600;
const CAPTURE_THREAD_LOCAL: i32 = 1;

/// A table of C functions that return a status.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($field:ident = $symbol:literal ($($arg:ty),*);)* }) => {
        $(#[$doc])*
        pub(super) struct $name { $(pub(super) $field: unsafe extern "C" fn($($arg),*) -> i32,)* }

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
        load_module = "cuModuleLoadData" (*mut Ptr, *const c_void);
        function = "cuModuleGetFunction" (*mut Ptr, Ptr, *const c_char);
        start = "cuLaunchKernel" (
            Ptr, u32, u32, u32, u32, u32, u32, u32, Ptr, *mut *mut c_void, *mut *mut c_void
        );
        error_name = "cuGetErrorName" (i32, *mut *const c_char);
    }
}

/// `CUlaunchAttribute`: that a kernel may begin before the one ahead of it has ended.
#[repr(C, align(8))]
pub(super) struct Early {
    which: u32,
    padding: u32,
    allowed: i32,
    rest: [u32; 15],
}

impl Early {
    pub(super) const ALLOWED: Self = Self { which: 6, padding: 0, allowed: 1, rest: [0; 15] };
}

/// `CUlaunchConfig`
#[repr(C)]
pub(super) struct LaunchConfig {
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) shared_bytes: u32,
    pub(super) stream: Ptr,
    pub(super) attributes: *const Early,
    pub(super) attribute_count: u32,
}

/// `cuLaunchKernelEx`, which came with CUDA 11.8.
pub(super) type LaunchEx =
    unsafe extern "C" fn(*const LaunchConfig, Ptr, *mut *mut c_void, *mut *mut c_void) -> i32;

/// CUDA's version from which graphs take such kernels, and the GPUs that do.
const EARLY_CUDA: i32 = 12_030;
const EARLY_SM: (i32, i32) = (9, 0);

/// The GPU's driver.
pub struct Driver {
    cuda: Cuda,
    launch_ex: Option<LaunchEx>,
}

/// A GPU, ready to be used.
pub struct Gpu {
    driver: &'static Driver,
    context: usize,
    /// The function that samples pictures, compiled when it is first asked for.
    sampling: OnceLock<Result<[usize; 1], String>>,
    /// The functions of a lifter, likewise; and those that begin early.
    fused: [OnceLock<Result<[usize; fused::KERNELS.len()], String>>; 2],
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
    pub fn open(path: &Path) -> Result<&'static Self, String> {
        let library = open(path)?;
        // SAFETY: names and arguments are those of cuda.h of CUDA 11.4 and newer.
        let cuda = unsafe { Cuda::of(library) }.map_err(|e| format!("too old a driver: {e}"))?;
        // SAFETY: likewise.
        let launch_ex = unsafe { symbol(library, "cuLaunchKernelEx") }.ok();
        Ok(Box::leak(Box::new(Self { cuda, launch_ex })))
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
    pub fn gpu(&'static self) -> Result<Gpu, String> {
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
        Ok(Gpu {
            driver: self,
            context: context as usize,
            sampling: OnceLock::new(),
            fused: Default::default(),
            name,
            sm,
            integrated,
            cuda: version,
        })
    }
}

impl Gpu {
    pub(super) fn check(&self, status: i32, what: &str) -> Result<(), String> {
        self.driver.check(status, what)
    }

    /// Makes this thread's calls go to it.
    pub(super) fn enter(&self) -> Result<&'static Cuda, String> {
        let cuda = &self.driver.cuda;
        // SAFETY: the context is retained as long as the program runs.
        self.check(unsafe { (cuda.set_context)(self.context as Ptr) }, "turning to the GPU")?;
        Ok(cuda)
    }

    /// Functions of a module, compiled now. They stay loaded as long as the program runs.
    fn functions<const N: usize>(
        &self,
        source: &str,
        entries: [&str; N],
    ) -> Result<[usize; N], String> {
        let cuda = self.enter()?;
        let zero = |text: &str| CString::new(text).map_err(|e| e.to_string());
        let source = zero(source)?;
        let mut module = ptr::null_mut();
        // Seconds on a small processor, as long as a build may be left behind for.
        let inside = Inside::enter();
        // SAFETY: the text ends with a zero, and one pointer is written.
        let status = unsafe { (cuda.load_module)(&mut module, source.as_ptr().cast()) };
        drop(inside);
        self.check(status, "compiling kernels")?;
        let mut functions = [0; N];
        for (function, entry) in functions.iter_mut().zip(entries) {
            let (name, mut found) = (zero(entry)?, ptr::null_mut());
            // SAFETY: likewise.
            let status = unsafe { (cuda.function)(&mut found, module, name.as_ptr()) };
            self.check(status, entry)?;
            *function = found as usize;
        }
        Ok(functions)
    }

    /// The function that samples pictures.
    pub(super) fn sampling(&self) -> Result<Ptr, String> {
        let load = || self.functions(sampling::KERNEL, [sampling::ENTRY]);
        self.sampling.get_or_init(load).clone().map(|[function]| function as Ptr)
    }

    /// How to begin kernels before the ones ahead of them have ended; `None` if that cannot be.
    pub(super) fn early(&self) -> Option<LaunchEx> {
        let can = self.sm >= EARLY_SM && self.cuda >= EARLY_CUDA;
        self.driver.launch_ex.filter(|_| can)
    }

    /// The functions of a lifter, in the order of [`fused::KERNELS`]; those that begin `early`, or those
    /// for any GPU.
    pub(super) fn fused(&self, early: bool) -> Result<[usize; fused::KERNELS.len()], String> {
        let source = if early { fused::SOURCE_EARLY } else { fused::SOURCE };
        let load = || self.functions(source, fused::KERNELS);
        self.fused[usize::from(early)].get_or_init(load).clone()
    }

    /// Makes a CUDA graph of what `enqueue` puts into the stream, which is not carried out now. A graph
    /// refers to memory and engines, which must outlive it.
    pub(super) fn capture(
        &self,
        stream: Ptr,
        enqueue: impl FnOnce() -> Result<(), String>,
    ) -> Result<Ptr, String> {
        let c = self.enter()?;
        let (mut graph, mut instance) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the caller's stream, of this GPU; every object is made by the call before.
        unsafe {
            self.check((c.begin_capture)(stream, CAPTURE_THREAD_LOCAL), "recording a call")?;
            let queued = enqueue();
            let ended = self.check((c.end_capture)(stream, &mut graph), "recording a call");
            let made = queued.and(ended).and_then(|()| {
                let status = (c.instantiate)(&mut instance, graph, 0);
                self.check(status, "making a CUDA graph of it")
            });
            if !graph.is_null() {
                (c.graph_free)(graph);
            }
            made?;
        }
        Ok(instance)
    }

    /// Waits for what was put into a stream. `lost` is raised if that fails, or if not all of it could
    /// be put there: a part may be under way, and nobody waits for it.
    pub(super) fn settle(
        &self,
        stream: Ptr,
        queued: Result<(), String>,
        limit: Duration,
        lost: &mut bool,
    ) -> Result<(), RunError> {
        let done = queued.map_err(RunError::Failed).and_then(|()| self.wait(stream, limit));
        *lost |= done.is_err();
        done
    }

    /// Waits until all of a stream is done. An error of time: it may still be under way.
    fn wait(&self, stream: Ptr, limit: Duration) -> Result<(), RunError> {
        let begun = Instant::now();
        loop {
            // SAFETY: the caller's stream, of this GPU.
            match unsafe { (self.driver.cuda.stream_query)(stream) } {
                NOT_READY => {}
                status => return Ok(self.check(status, "computing")?),
            }
            let waited = begun.elapsed();
            if waited > limit {
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
}

/// Why a call gave nothing.
pub enum RunError {
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

impl RunError {
    /// In words.
    pub(super) fn words(self) -> String {
        match self {
            Self::Hung(after) => format!("no answer for {:.0} s", after.as_secs_f64()),
            Self::Failed(words) => words,
        }
    }
}
