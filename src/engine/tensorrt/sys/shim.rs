//! The C++ shim's table of functions, and what TensorRT says while they run.

use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::super::version::Family;
use super::{DevicePtr, Ptr};

/// How many threads are in a call of a library that may take long.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// Counts its thread, while it lives.
pub(super) struct Inside;

impl Inside {
    pub(super) fn enter() -> Self {
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

#[repr(C)]
pub(super) struct RawBuild {
    pub(super) create_builder: Ptr,
    pub(super) create_parser: Ptr,
    pub(super) onnx: *const u8,
    pub(super) onnx_length: usize,
    pub(super) batch: [i32; 3],
    pub(super) f16: i32,
    pub(super) i8: i32,
    pub(super) tf32: i32,
    pub(super) level: i32,
    pub(super) workspace: usize,
    pub(super) timing: *const u8,
    pub(super) timing_length: usize,
    pub(super) log_context: Ptr,
    pub(super) log: extern "C" fn(Ptr, i32, *const c_char),
    pub(super) context: Ptr,
    pub(super) progress: extern "C" fn(Ptr, *const c_char, i32, i32) -> i32,
    pub(super) plan: extern "C" fn(Ptr, *const u8, usize),
    pub(super) new_timing: extern "C" fn(Ptr, *const u8, usize),
}

#[repr(C)]
pub(super) struct RawTensor {
    pub(super) name: *const c_char,
    pub(super) is_input: i32,
    pub(super) kind: i32,
    pub(super) rank: i32,
    pub(super) dims: [i64; 8],
}

#[repr(C)]
pub(super) struct Api {
    pub(super) shim_version: i32,
    pub(super) header_version: i32,
    pub(super) build: unsafe extern "C" fn(*const RawBuild) -> i32,
    pub(super) load: unsafe extern "C" fn(
        Ptr,
        *const u8,
        usize,
        Ptr,
        extern "C" fn(Ptr, i32, *const c_char),
    ) -> Ptr,
    pub(super) unload: unsafe extern "C" fn(Ptr),
    pub(super) tensors: unsafe extern "C" fn(Ptr) -> i32,
    pub(super) tensor: unsafe extern "C" fn(Ptr, i32, *mut RawTensor) -> i32,
    pub(super) set_shape: unsafe extern "C" fn(Ptr, *const c_char, i32, *const i64) -> i32,
    pub(super) bind: unsafe extern "C" fn(Ptr, *const c_char, DevicePtr) -> i32,
    pub(super) enqueue: unsafe extern "C" fn(Ptr, Ptr) -> i32,
}

macro_rules! families {
    ($($name:literal $symbol:ident $family:ident;)*) => {
        $(#[cfg(tensorrt = $name)]
        unsafe extern "C" { static $symbol: Api; })*

        /// The shim of a family, if it was compiled in.
        pub(super) fn api(family: Family) -> Option<&'static Api> {
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
pub(super) struct Voice {
    errors: Mutex<Vec<String>>,
}

impl Voice {
    pub(super) fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    /// Forgets earlier errors: they are not the reason of what comes.
    pub(super) fn clear(&self) {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) extern "C" fn hear(voice: Ptr, severity: i32, text: *const c_char) {
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

    pub(super) fn words(&self) -> String {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.is_empty() { "it does not say why".into() } else { errors.join("; ") }
    }
}
