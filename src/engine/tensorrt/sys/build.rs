//! A build that is under way, and what is asked of it.

use std::ffi::{CStr, c_char};
use std::sync::{Mutex, PoisonError};

use super::Ptr;

/// What is asked of a build.
pub struct BuildOptions<'a> {
    /// Smallest, usual and largest number of persons in a call.
    pub batch: [i32; 3],
    /// Allow f16, int8 (where the file's types do not say).
    pub f16: bool,
    pub i8: bool,
    /// The builder's effort, 0 to 5.
    pub level: Option<i32>,
    /// Bytes of working memory at most.
    pub workspace: Option<usize>,
    /// Measured times of an earlier build, or nothing.
    pub timing: &'a [u8],
}

/// What a build gives.
#[derive(Default)]
pub struct Built {
    pub plan: Vec<u8>,
    /// Measured times, those that were given among them; nothing where nothing is measured.
    pub timing: Vec<u8>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// As its progress was answered.
    #[error("cancelled")]
    Cancelled,
    /// The file cannot be built, whatever was measured.
    #[error("{0}")]
    File(String),
    /// The library refused or gave up; the reason may be the times that it was given.
    #[error("{0}")]
    Library(String),
}

/// Told of a phase of a build: its name, steps done, steps in all (0: over). False cancels the build.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u32, u32) -> bool;

/// A build that is under way. Its callbacks may come from several threads.
pub(super) struct Building<'a> {
    pub(super) state: Mutex<State<'a>>,
}

pub(super) struct State<'a> {
    pub(super) progress: Progress<'a>,
    pub(super) cancelled: bool,
    pub(super) built: Built,
}

impl Building<'_> {
    /// # Safety
    /// `this` must be what `Library::build` gave together with the callback.
    unsafe fn with<R>(this: Ptr, act: impl FnOnce(&mut State<'_>) -> R) -> R {
        let this = unsafe { &*(this as *const Self) };
        act(&mut this.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) extern "C" fn step(this: Ptr, phase: *const c_char, step: i32, steps: i32) -> i32 {
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

    pub(super) extern "C" fn plan(this: Ptr, bytes: *const u8, length: usize) {
        // SAFETY: as `with`; the bytes are valid during the call.
        unsafe {
            let bytes = std::slice::from_raw_parts(bytes, length);
            Self::with(this, |state| state.built.plan = bytes.to_vec());
        }
    }

    pub(super) extern "C" fn timing(this: Ptr, bytes: *const u8, length: usize) {
        // SAFETY: as above.
        unsafe {
            let bytes = std::slice::from_raw_parts(bytes, length);
            Self::with(this, |state| state.built.timing = bytes.to_vec());
        }
    }
}
