//! An opened TensorRT.

use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use super::super::version::{COMPILED_IN, Family, Version};
use super::build::{BuildError, BuildOptions, Building, Built, Progress, State};
use super::shim::{Api, Inside, RawBuild, Voice, api};
use super::{Ptr, open, symbol};

/// An opened TensorRT.
pub struct Library {
    pub(super) api: &'static Api,
    builder: usize,
    pub(super) runtime: usize,
    parser: usize,
    pub family: Family,
    pub version: Version,
    pub path: PathBuf,
}

impl Library {
    /// For tests: nothing is opened, and nothing can be built.
    #[cfg(test)]
    pub(super) fn of(api: &'static Api) -> Result<Self, String> {
        let (family, none) = (Family::Rtx, 0);
        let (version, path) = (Version::of(family, 10601)?, PathBuf::new());
        Ok(Self { api, builder: none, runtime: none, parser: none, family, version, path })
    }

    /// The shim's version, part of what a plan depends on.
    pub fn shim_version(&self) -> i32 {
        self.api.shim_version
    }

    /// Opens a family's library and its parser in `folder`, or where the system's libraries are.
    /// `Ok(None)`: there is none.
    pub fn open(family: Family, folder: Option<&Path>) -> Result<Option<Self>, String> {
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
                COMPILED_IN
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
    pub fn build(
        &self,
        onnx: &[u8],
        options: &BuildOptions<'_>,
        progress: Progress<'_>,
    ) -> Result<Built, BuildError> {
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
            return Err(BuildError::Cancelled);
        }
        let file = |problem| Err(BuildError::File(problem));
        let library = |problem| Err(BuildError::Library(problem));
        match status {
            0 => Ok(state.built),
            1 => library(format!("it would not begin: {words}")),
            2 => file(format!("it cannot read the ONNX file: {words}")),
            3 => file("an input has an unknown size besides its batch".into()),
            5 => library(format!("it does not take the times of earlier builds: {words}")),
            _ => library(format!("it cannot build an engine: {words}")),
        }
    }
}
