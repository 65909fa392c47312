//! Built engines on disk, each under the name of everything that it depends on, the times that their
//! builders measured, and which precision was the fastest.
//!
//! A file is a line of JSON that says what it is, and its content: a plan, times, or a precision's name. It is trusted
//! only if the line is the one that is asked for and the content has the SHA-256 that the line says:
//! what is damaged, cut short, copied from another machine or left by another version is as if it
//! were not there.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MAGIC: &str = "posewire engine 2 ";
const ENGINE: &str = "engine";
const TIMES: &str = "times";
const CHOICE: &str = "choice";
/// More than any plan of ours.
const MOST: u64 = 1 << 30;

/// All that the content of a file depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What it is.
    pub what: What,
    /// Where it can be used.
    pub place: Place,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum What {
    /// A plan.
    Engine {
        /// The model's name, for people.
        model: String,
        /// SHA-256 of the ONNX file that was built, hexadecimal.
        onnx: String,
        /// `f32`, `f16` or `int8`.
        precision: String,
        /// Smallest, usual and largest number of persons in a call.
        batch: [i32; 3],
    },
    /// What builders measured, of whatever model: a layer takes as long in any of them.
    Times,
    /// The precision in which a network was right and fastest.
    Choice {
        /// The model's name, for people.
        model: String,
        /// SHA-256 of its ONNX file, hexadecimal.
        onnx: String,
        /// The posewire that measured it: another one may have other kernels.
        posewire: String,
    },
}

/// What a build depends on of the machine that it happens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Which TensorRT, exactly.
    pub library: String,
    /// The GPU's name and architecture.
    pub gpu: String,
    /// CUDA's version that the driver offers.
    pub cuda: i32,
    /// Version of our shim.
    pub shim: i32,
}

impl Key {
    fn name(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(serde_json::to_vec(self).unwrap_or_default());
        let hash = &hex(&hash.finalize())[..16];
        match &self.what {
            What::Engine { model, precision, .. } => format!("{model}-{precision}-{hash}.{ENGINE}"),
            What::Times => format!("{hash}.{TIMES}"),
            What::Choice { model, .. } => format!("{model}-{hash}.{CHOICE}"),
        }
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    key: Key,
    sha256: String,
    bytes: u64,
}

/// A folder of engines and times.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// A file of the folder.
#[derive(Debug)]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What it is, or what is wrong with it.
    pub key: Result<Key, String>,
}

impl Cache {
    /// In that folder, which is made when it is needed.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// `$POSEWIRE_ENGINES`; else `engines` in what systemd keeps for the service; else in the user's
    /// cache.
    ///
    /// # Errors
    /// If there is no place.
    pub fn usual() -> Result<Self, String> {
        let named = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        named("POSEWIRE_ENGINES")
            .or_else(|| Some(named("STATE_DIRECTORY")?.join("engines")))
            .or_else(|| Some(named("XDG_CACHE_HOME")?.join("posewire/engines")))
            .or_else(|| Some(named("HOME")?.join(".cache/posewire/engines")))
            .map(Self::new)
            .ok_or_else(|| "no place for engines: set POSEWIRE_ENGINES to a folder".into())
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was kept under exactly this key, if it can be trusted.
    pub fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let path = self.folder.join(key.name());
        match read(&path) {
            Ok((head, content)) if head.key == *key => Some(content),
            Ok(_) => {
                log::warn!("{} is of something else: it is not used", path.display());
                None
            }
            Err(Problem::Absent) => None,
            Err(Problem::Bad(problem)) => {
                log::warn!("{}: {problem}: it is not used", path.display());
                None
            }
        }
    }

    /// Keeps a plan, or times. Whoever reads meanwhile sees the old file or the new one, whole.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put(&self, key: &Key, content: &[u8]) -> Result<PathBuf, String> {
        let path = self.folder.join(key.name());
        let sha256 = hex(&Sha256::digest(content));
        let head = Head { key: key.clone(), sha256, bytes: content.len() as u64 };
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            let new = path.with_extension(format!("{}.new", std::process::id()));
            // What an interrupted build of the same process number left.
            let _ = fs::remove_file(&new);
            let mut file = File::options().write(true).create_new(true).mode(0o644).open(&new)?;
            let written = writeln!(file, "{MAGIC}{}", serde_json::to_string(&head)?)
                .and_then(|()| file.write_all(content))
                .and_then(|()| file.sync_all())
                .and_then(|()| fs::rename(&new, &path));
            if written.is_err() {
                let _ = fs::remove_file(&new);
            }
            written
        };
        write().map_err(|e| format!("cannot keep {}: {e}", path.display()))?;
        Ok(path)
    }

    /// All that is in the folder, by name, read and checked.
    ///
    /// # Errors
    /// If the folder cannot be read; one that does not exist is empty.
    pub fn entries(&self) -> Result<Vec<Entry>, String> {
        let listing = match fs::read_dir(&self.folder) {
            Ok(listing) => listing,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(format!("cannot read {}: {e}", self.folder.display())),
        };
        let mut paths: Vec<_> = listing.flatten().map(|e| e.path()).collect();
        let kept = [ENGINE, TIMES, CHOICE, "new"];
        paths.retain(|p| p.extension().is_some_and(|e| kept.iter().any(|k| e == *k)));
        paths.sort();
        Ok(paths
            .into_iter()
            .map(|path| {
                let key = match read(&path) {
                    Ok((head, _)) if path.file_name().is_some_and(|n| n == &*head.key.name()) => {
                        Ok(head.key)
                    }
                    Ok(_) => Err("it has another name than its content".into()),
                    Err(Problem::Absent) => Err("it is gone".into()),
                    Err(Problem::Bad(problem)) => Err(problem),
                };
                let bytes = fs::metadata(&path).map_or(0, |m| m.len());
                Entry { path, bytes, key }
            })
            .collect())
    }
}

enum Problem {
    Absent,
    Bad(String),
}

impl From<io::Error> for Problem {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::NotFound => Self::Absent,
            _ => Self::Bad(e.to_string()),
        }
    }
}

fn read(path: &Path) -> Result<(Head, Vec<u8>), Problem> {
    let bad = |problem: &str| Problem::Bad(problem.to_owned());
    let file = File::open(path)?;
    if file.metadata()?.len() > MOST {
        return Err(bad("it is larger than anything kept here"));
    }
    let mut all = Vec::new();
    file.take(MOST).read_to_end(&mut all)?;
    let end = all.iter().position(|b| *b == b'\n').ok_or_else(|| bad("it is no engine"))?;
    let line = std::str::from_utf8(&all[..end]).ok().and_then(|l| l.strip_prefix(MAGIC));
    let head = line.and_then(|l| serde_json::from_str::<Head>(l).ok());
    let head = head.ok_or_else(|| bad("it is no engine of this version"))?;
    let content = all.split_off(end + 1);
    if content.len() as u64 != head.bytes {
        return Err(bad("it is cut short"));
    }
    if hex(&Sha256::digest(&content)) != head.sha256 {
        return Err(bad("it is damaged"));
    }
    Ok((head, content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn key() -> Key {
        engine("lifter", &"ab".repeat(32), "f16", [1, 1, 8])
    }

    fn engine(model: &str, onnx: &str, precision: &str, batch: [i32; 3]) -> Key {
        let [model, onnx, precision] = [model, onnx, precision].map(str::to_owned);
        Key { what: What::Engine { model, onnx, precision, batch }, place: place() }
    }

    fn place() -> Place {
        let (library, gpu) = ("TensorRT 10.3.0".into(), "Orin, sm 8.7".into());
        Place { library, gpu, cuda: 12060, shim: 1 }
    }

    /// Everything that a machine may have otherwise.
    fn other_places() -> [Place; 4] {
        [
            Place { library: "TensorRT 10.3.1".into(), ..place() },
            Place { gpu: "Orin, sm 8.6".into(), ..place() },
            Place { cuda: 12070, ..place() },
            Place { shim: 2, ..place() },
        ]
    }

    #[test]
    fn an_engine_is_found_again_for_exactly_what_it_was_built_for() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("made/when/needed"));
        assert!(cache.entries().unwrap().is_empty());
        assert_eq!(cache.get(&key()), None);
        let path = cache.put(&key(), b"plan").unwrap();
        assert_eq!(cache.get(&key()).as_deref(), Some(&b"plan"[..]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o644, 0);
        // Anything else that it depends on is another engine.
        let (onnx, changed) = ("ab".repeat(32), "cd".repeat(32));
        let others = [
            engine("lifter", &changed, "f16", [1, 1, 8]),
            engine("lifter", &onnx, "f32", [1, 1, 8]),
            engine("lifter", &onnx, "f16", [1, 1, 4]),
            Key { what: What::Times, ..key() },
            Key {
                what: What::Choice {
                    model: "lifter".into(),
                    onnx: "ab".repeat(32),
                    posewire: "1".into(),
                },
                ..key()
            },
        ];
        let elsewhere = other_places().map(|place| Key { place, ..key() });
        for other in others.iter().chain(&elsewhere) {
            assert_eq!(cache.get(other), None, "{other:?}");
        }
        cache.put(&key(), b"newer plan").unwrap();
        assert_eq!(cache.get(&key()).as_deref(), Some(&b"newer plan"[..]));
        assert_eq!(cache.entries().unwrap().len(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_damaged_cut_foreign_or_renamed_file_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned());
        let path = cache.put(&key(), &[7; 1000]).unwrap();
        let good = fs::read(&path).unwrap();
        let flipped = {
            let mut bytes = good.clone();
            *bytes.last_mut().unwrap() ^= 1;
            bytes
        };
        let bad: [(&[u8], &str); 5] = [
            (&flipped, "damaged"),
            (&good[..good.len() - 1], "cut short"),
            (&good[..40], "no engine"),
            (b"", "no engine"),
            (b"some other file\nwith lines", "no engine"),
        ];
        for (bytes, why) in bad {
            fs::write(&path, bytes).unwrap();
            assert_eq!(cache.get(&key()), None, "{why}");
            let entries = cache.entries().unwrap();
            let problem = entries[0].key.as_ref().unwrap_err();
            assert!(problem.contains(why), "{problem}");
        }
        // Of another machine, under the name that is looked for.
        let other = Key { place: Place { gpu: "another".into(), ..place() }, ..key() };
        let foreign = cache.put(&other, b"x").unwrap();
        fs::rename(&foreign, &path).unwrap();
        assert_eq!(cache.get(&key()), None);
        assert!(cache.entries().unwrap()[0].key.is_err());
        // And it is replaced.
        cache.put(&key(), b"good").unwrap();
        assert_eq!(cache.get(&key()).as_deref(), Some(&b"good"[..]));
    }

    #[test]
    fn times_are_of_a_machine_and_of_no_model_and_trusted_as_little_as_engines() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned());
        let times = Key { what: What::Times, place: place() };
        let path = cache.put(&times, b"measured").unwrap();
        cache.put(&key(), b"plan").unwrap();
        assert_eq!(cache.get(&times).as_deref(), Some(&b"measured"[..]));
        for place in other_places() {
            assert_eq!(cache.get(&Key { what: What::Times, place }), None);
        }
        let mut listed: Vec<_> =
            cache.entries().unwrap().into_iter().map(|entry| entry.key.unwrap()).collect();
        listed.sort_by_key(|key| key.what != What::Times);
        assert_eq!(listed, [times.clone(), key()]);

        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(cache.get(&times), None);
        assert_eq!(cache.entries().unwrap().iter().filter(|entry| entry.key.is_err()).count(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_clear_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let cache = Cache::new(file.join("engines"));
        let error = cache.put(&key(), b"x").unwrap_err();
        assert!(error.contains("cannot keep"), "{error}");
    }
}
