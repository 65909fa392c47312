//! Built engines on disk, each under the name of everything that it depends on.
//!
//! A file is a line of JSON that says what it is, and the plan. It is trusted only if the line is the
//! one that is asked for and the plan has the SHA-256 that the line says: what is damaged, cut short,
//! copied from another machine or left by another version is as if it were not there.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MAGIC: &str = "posewire engine 1 ";
const ENDING: &str = "engine";
/// More than any plan of ours.
const MOST: u64 = 1 << 30;

/// All that a plan depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The model's name, for people.
    pub model: String,
    /// SHA-256 of the ONNX file that was built, hexadecimal.
    pub onnx: String,
    /// Which TensorRT, exactly.
    pub library: String,
    /// The GPU's name and architecture.
    pub gpu: String,
    /// CUDA's version that the driver offers.
    pub cuda: i32,
    /// `f32`, `f16` or `int8`.
    pub precision: String,
    /// Smallest, usual and largest number of persons in a call.
    pub batch: [i32; 3],
    /// Version of our shim.
    pub shim: i32,
}

impl Key {
    fn name(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(serde_json::to_vec(self).unwrap_or_default());
        format!("{}-{}-{}.{ENDING}", self.model, self.precision, &hex(&hash.finalize())[..16])
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
    plan: String,
    bytes: u64,
}

/// A folder of engines.
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
    /// What it was built for, or what is wrong with it.
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

    /// The plan that was built for exactly this, if there is one that can be trusted.
    pub fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let path = self.folder.join(key.name());
        match read(&path) {
            Ok((head, plan)) if head.key == *key => Some(plan),
            Ok(_) => {
                log::warn!("{} was built for something else: it is not used", path.display());
                None
            }
            Err(Problem::Absent) => None,
            Err(Problem::Bad(problem)) => {
                log::warn!("{}: {problem}: it is not used", path.display());
                None
            }
        }
    }

    /// Keeps a plan. Whoever reads meanwhile sees the old file or the new one, whole.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put(&self, key: &Key, plan: &[u8]) -> Result<PathBuf, String> {
        let path = self.folder.join(key.name());
        let head =
            Head { key: key.clone(), plan: hex(&Sha256::digest(plan)), bytes: plan.len() as u64 };
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            let new = path.with_extension(format!("{}.new", std::process::id()));
            // What an interrupted build of the same process number left.
            let _ = fs::remove_file(&new);
            let mut file = File::options().write(true).create_new(true).mode(0o644).open(&new)?;
            let written = writeln!(file, "{MAGIC}{}", serde_json::to_string(&head)?)
                .and_then(|()| file.write_all(plan))
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

    /// All engines of the folder, by name, read and checked.
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
        paths.retain(|p| p.extension().is_some_and(|e| e == ENDING || e == "new"));
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
        return Err(bad("it is larger than any engine"));
    }
    let mut all = Vec::new();
    file.take(MOST).read_to_end(&mut all)?;
    let end = all.iter().position(|b| *b == b'\n').ok_or_else(|| bad("it is no engine"))?;
    let line = std::str::from_utf8(&all[..end]).ok().and_then(|l| l.strip_prefix(MAGIC));
    let head = line.and_then(|l| serde_json::from_str::<Head>(l).ok());
    let head = head.ok_or_else(|| bad("it is no engine of this version"))?;
    let plan = all.split_off(end + 1);
    if plan.len() as u64 != head.bytes {
        return Err(bad("it is cut short"));
    }
    if hex(&Sha256::digest(&plan)) != head.plan {
        return Err(bad("it is damaged"));
    }
    Ok((head, plan))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn key() -> Key {
        Key {
            model: "lifter".into(),
            onnx: "ab".repeat(32),
            library: "TensorRT 10.3.0".into(),
            gpu: "Orin, sm 8.7".into(),
            cuda: 12060,
            precision: "f16".into(),
            batch: [1, 1, 8],
            shim: 1,
        }
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
        let others = [
            Key { onnx: "cd".repeat(32), ..key() },
            Key { library: "TensorRT 10.3.1".into(), ..key() },
            Key { gpu: "Orin, sm 8.6".into(), ..key() },
            Key { cuda: 12070, ..key() },
            Key { precision: "f32".into(), ..key() },
            Key { batch: [1, 1, 4], ..key() },
            Key { shim: 2, ..key() },
        ];
        for other in &others {
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
        let other = Key { gpu: "another".into(), ..key() };
        let foreign = cache.put(&other, b"x").unwrap();
        fs::rename(&foreign, &path).unwrap();
        assert_eq!(cache.get(&key()), None);
        assert!(cache.entries().unwrap()[0].key.is_err());
        // And it is replaced.
        cache.put(&key(), b"good").unwrap();
        assert_eq!(cache.get(&key()).as_deref(), Some(&b"good"[..]));
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
