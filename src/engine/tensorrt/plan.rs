//! Plans: found in the folder of engines, or built.
//!
//! Most of a build with plain TensorRT is timing: the builder runs each layer's kernels and takes the
//! fastest. What it measured is kept beside the engines, and the next build begins with it, whatever
//! its model is.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::cache::{self, Cache, Key, Place, What};
use super::file::{settled, typed};
use super::sys::{BuildError, BuildOptions, Built};
use super::version::Family;
use super::{Machine, sys};
use crate::engine::{EngineError, ModelSpec, Precision};
use crate::handoff::Stop;
use crate::memory::available_kib;

/// Working memory of a build at most.
const WORKSPACE: usize = 1 << 29;
/// Beside a run, a build begins only if so much memory is free: a build takes its workspace twice
/// and a library that is itself hundreds of megabytes, and the run must not be killed for it.
const LEAST_FREE: u64 = 3 << 29;

/// A model's plan.
#[derive(Debug)]
pub struct Planned {
    /// What [`Machine::load`] takes.
    pub plan: Vec<u8>,
    /// `None` if it was there; of one that was built, where it is kept, or why it is not.
    pub kept: Option<Result<PathBuf, String>>,
}

/// What is built for a precision, in it.
struct Order<'a> {
    model: &'a ModelSpec,
    precision: Precision,
    batch: [i32; 3],
    /// The file, if it had to be made to know what it is.
    made: Option<Cow<'static, [u8]>>,
}

impl<'a> Order<'a> {
    fn new(model: &'a ModelSpec, precision: Precision, batch: usize) -> Result<Self, EngineError> {
        let batch = match i32::try_from(batch) {
            Ok(batch @ 1..) => [batch; 3],
            _ => return Err(model.problem(format!("no engine for {batch} persons in a call"))),
        };
        Ok(Self { model, precision: settled(precision, model), batch, made: None })
    }

    /// What its engine is kept under at `place`.
    fn key(&mut self, library: &sys::Library, place: Place) -> Result<Key, EngineError> {
        // Of what is built: how half-typed networks are made may change while their file does not.
        // And an 8-bit one has its table of ranges in it.
        let onnx = match self.precision {
            Precision::F32 => self.model.sha256,
            _ => {
                let made = typed(library, self.model, self.precision)?;
                let digest = Sha256::digest(&made).into();
                self.made = Some(made);
                digest
            }
        };
        let what = What::Engine {
            model: self.model.name.clone(),
            onnx: cache::hex(&onnx),
            precision: self.precision.name().to_owned(),
            batch: self.batch,
        };
        Ok(Key { what, place })
    }

    /// `times`: in which cache the times of builds at which place are, if there is one.
    fn build(
        self,
        library: &sys::Library,
        times: Option<(&Cache, &Place)>,
        progress: &mut dyn FnMut(&str, u32, u32) -> bool,
    ) -> Result<Vec<u8>, EngineError> {
        let onnx = match self.made {
            Some(made) => made,
            None => typed(library, self.model, self.precision)?,
        };
        let built = with_times(times, &mut |timing| {
            let options = BuildOptions {
                batch: self.batch,
                f16: self.precision != Precision::F32,
                i8: self.precision == Precision::I8,
                level: None,
                workspace: Some(WORKSPACE),
                timing,
            };
            library.build(&onnx, &options, &mut *progress)
        });
        built.map_err(|e| self.model.problem(format!("{}: {e}", library.version)))
    }
}

impl Machine {
    /// What an engine of this model is kept under.
    ///
    /// # Errors
    /// If there is no TensorRT or no GPU, or the model's file cannot be used.
    pub fn key(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
    ) -> Result<Key, EngineError> {
        let (library, _) = self.both()?;
        Order::new(model, precision, batch)?.key(library, self.place()?)
    }

    /// Builds a plan, with nothing kept. `progress` is told of phases, steps done and steps in all,
    /// and may cancel by answering false. Plain TensorRT needs a GPU for it; TensorRT for RTX does
    /// not.
    ///
    /// # Errors
    /// If the network cannot be read or built, with the library's reasons.
    pub fn build(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
        progress: &mut dyn FnMut(&str, u32, u32) -> bool,
    ) -> Result<Vec<u8>, EngineError> {
        let library = match &self.library {
            Ok(library) if library.family == Family::Rtx => library,
            _ => self.both()?.0,
        };
        Order::new(model, precision, batch)?.build(library, None, progress)
    }

    /// The model's plan: from `cache`, or built and kept there. `beside` a run that goes on, a build
    /// ends when that is raised and does not begin while memory is short. `progress` as for
    /// [`Machine::build`].
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn plan(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
        cache: Result<&Cache, &str>,
        beside: Option<&Stop>,
        progress: &mut dyn FnMut(&str, u32, u32) -> bool,
    ) -> Result<Planned, EngineError> {
        let (library, _) = self.both()?;
        let mut order = Order::new(model, precision, batch)?;
        let key = order.key(library, self.place()?)?;
        if let Some(plan) = cache.ok().and_then(|cache| cache.get(&key)) {
            return Ok(Planned { plan, kept: None });
        }
        if beside.is_some()
            && let Some(free) = free_memory().filter(|free| *free < LEAST_FREE)
        {
            return Err(model.problem(format!(
                "{} MB of memory are free, a build wants {}: posewire engines build, before the run",
                free >> 20,
                LEAST_FREE >> 20
            )));
        }
        log::info!("building an engine for {} in {} (once)", model.name, order.precision.name());
        let begun = Instant::now();
        let mut goes_on = |phase: &str, step, steps| {
            !beside.is_some_and(Stop::is_raised) && progress(phase, step, steps)
        };
        let times = cache.ok().map(|cache| (cache, &key.place));
        let plan = order.build(library, times, &mut goes_on)?;
        log::info!("built in {:.1} s", begun.elapsed().as_secs_f64());
        let kept = cache.map_err(str::to_owned).and_then(|cache| cache.put(&key, &plan));
        Ok(Planned { plan, kept: Some(kept) })
    }
}

/// Builds with what earlier builds measured, and keeps what they and this one did. Times that the
/// library does not like cost the build nothing but time.
fn with_times(
    times: Option<(&Cache, &Place)>,
    build: &mut dyn FnMut(&[u8]) -> Result<Built, BuildError>,
) -> Result<Vec<u8>, BuildError> {
    let Some((cache, place)) = times else { return build(&[]).map(|built| built.plan) };
    let key = Key { what: What::Times, place: place.clone() };
    let before = cache.get(&key).unwrap_or_default();
    let built = match build(&before) {
        Err(BuildError::Library(e)) if !before.is_empty() => {
            log::warn!("{e}: it is built again without the times of earlier builds");
            build(&[])?
        }
        built => built?,
    };
    if !built.timing.is_empty()
        && built.timing != before
        && let Err(e) = cache.put(&key, &built.timing)
    {
        log::warn!("{e}: the next build measures again");
    }
    Ok(built.plan)
}

/// What the kernel says can be taken without swapping, bytes.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    available_kib(&text).map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(gpu: &str) -> Place {
        Place { library: "TensorRT 10.3.0".into(), gpu: gpu.into(), cuda: 12060, shim: 4 }
    }

    fn kept(cache: &Cache, place: &Place) -> Option<Vec<u8>> {
        cache.get(&Key { what: What::Times, place: place.clone() })
    }

    /// A builder that measures `layers`, unless it is given them, and lists those that it measured.
    fn measuring(
        times: Option<(&Cache, &Place)>,
        layers: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), BuildError> {
        let mut measured = Vec::new();
        let plan = with_times(times, &mut |given| {
            let new = layers.iter().filter(|layer| !given.contains(layer));
            measured = new.copied().collect();
            Ok(Built { plan: layers.to_vec(), timing: [given, &measured].concat() })
        })?;
        Ok((plan, measured))
    }

    #[test]
    fn a_layer_is_measured_once_on_a_machine_whatever_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned());
        let (here, elsewhere) = (place("Orin"), place("Thor"));
        let build = |place, layers: &[u8]| measuring(Some((&cache, place)), layers).unwrap();
        assert_eq!(build(&here, b"abc"), (b"abc".to_vec(), b"abc".to_vec()));
        assert_eq!(build(&here, b"bcd"), (b"bcd".to_vec(), b"d".to_vec()), "another model");
        assert_eq!(build(&elsewhere, b"ab"), (b"ab".to_vec(), b"ab".to_vec()), "another GPU");
        assert_eq!(kept(&cache, &here).as_deref(), Some(&b"abcd"[..]));
        // What brings nothing new is not written again.
        std::fs::remove_dir_all(folder.path()).unwrap();
        cache.put(&Key { what: What::Times, place: here.clone() }, b"abcd").unwrap();
        let path = cache.entries().unwrap().remove(0).path;
        let modified = || std::fs::metadata(&path).unwrap().modified().unwrap();
        let before = modified();
        assert_eq!(build(&here, b"ad").1, b"");
        assert_eq!(modified(), before);
        // Damaged: measured anew, and replaced.
        std::fs::write(&path, "damaged").unwrap();
        assert_eq!(build(&here, b"ad").1, b"ad");
        assert_eq!(kept(&cache, &here).as_deref(), Some(&b"ad"[..]));
        // No cache, or none that can be written: built all the same.
        assert_eq!(measuring(None, b"ab").unwrap().1, b"ab");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let nowhere = Cache::new(file.join("engines"));
        assert_eq!(measuring(Some((&nowhere, &here)), b"ab").unwrap().1, b"ab");
    }

    #[test]
    fn times_that_the_library_refuses_are_left_away_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned());
        let here = place("Orin");
        cache.put(&Key { what: What::Times, place: here.clone() }, b"foreign").unwrap();
        let mut given = Vec::new();
        let mut picky = |times: &[u8]| {
            given.push(times.to_vec());
            match times {
                b"foreign" => Err(BuildError::Library("it does not take the times".into())),
                _ => Ok(Built { plan: b"plan".to_vec(), timing: b"mine".to_vec() }),
            }
        };
        let plan = with_times(Some((&cache, &here)), &mut picky);
        assert_eq!(plan.unwrap(), b"plan");
        assert_eq!(given, [&b"foreign"[..], b""]);
        assert_eq!(kept(&cache, &here).as_deref(), Some(&b"mine"[..]));
    }

    #[test]
    fn a_build_is_not_tried_again_where_times_are_not_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned());
        let here = place("Orin");
        let key = Key { what: What::Times, place: here.clone() };
        let mut tried = 0;
        let mut fails = |cache, error: fn() -> BuildError| {
            tried = 0;
            let failed = with_times(Some((cache, &here)), &mut |_| {
                tried += 1;
                Err(error())
            });
            assert!(failed.is_err());
            tried
        };
        assert_eq!(fails(&cache, || BuildError::Library("no memory".into())), 1, "no times");
        cache.put(&key, b"times").unwrap();
        assert_eq!(fails(&cache, || BuildError::Cancelled), 1);
        assert_eq!(fails(&cache, || BuildError::File("words".into())), 1);
        assert_eq!(fails(&cache, || BuildError::Library("no memory".into())), 2);
        assert_eq!(cache.get(&key).as_deref(), Some(&b"times"[..]), "they may be good");
    }

    #[test]
    fn a_builder_that_measures_nothing_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned());
        let mut build = |_: &[u8]| Ok(Built { plan: b"plan".to_vec(), timing: Vec::new() });
        with_times(Some((&cache, &place("RTX"))), &mut build).unwrap();
        assert!(cache.entries().unwrap().is_empty());
    }
}
