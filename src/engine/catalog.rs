//! Which networks there are.
//!
//! Three sources, in the order in which [`Catalog::pick`] asks them: the manifests of a
//! directory, bare ONNX files of that directory that a *known* manifest describes (public models
//! that posewire understands and does not ship), and what is in the binary.

use std::path::{Path, PathBuf};

use super::manifest::{self, Files};
use super::spec::{Asset, hex, sha256};
use super::{EngineError, ModelKind, ModelSpec};

/// A model inside of the binary.
struct Embedded {
    file: &'static str,
    manifest: &'static str,
    assets: &'static [(&'static str, &'static [u8])],
}

/// `embedded!("name")`: models/name.toml and models/name.onnx; further files by their names.
macro_rules! embedded {
    ($name:literal $(, $extra:literal)*) => {
        Embedded {
            file: concat!("models/", $name, ".toml"),
            manifest: include_str!(concat!("../../models/", $name, ".toml")),
            assets: &[
                (concat!($name, ".onnx"), include_bytes!(concat!("../../models/", $name, ".onnx"))),
                $(($extra, include_bytes!(concat!("../../models/", $extra))),)*
            ],
        }
    };
}

/// The models that are shipped: one line each. Of several that do the same job, the first is
/// taken where nobody says which. Lifters without their per-frame and per-window graphs: the
/// evaluator of `engine::pstmo` reads all that is needed from the whole window's.
static EMBEDDED: &[Embedded] = &[
    embedded!("posewire-finder"),
    embedded!("posewire-keypoints"),
    embedded!("posewire-keypoints-small"),
    embedded!("pstmo_s_27_live", "pstmo_s_27_live.golden.json"),
    embedded!("pstmo_s_81_live", "pstmo_s_81_live.golden.json"),
];

/// Manifests of public files that are not shipped, best first: of several that fit the files of
/// a directory, the first is taken.
static KNOWN: &[(&str, &str)] = &[
    (
        "models/known/rtmdet_nano_HW140701.toml",
        include_str!("../../models/known/rtmdet_nano_HW140701.toml"),
    ),
    (
        "models/known/rtmdetnp_morgan322.toml",
        include_str!("../../models/known/rtmdetnp_morgan322.toml"),
    ),
    (
        "models/known/tinypose_256_192.toml",
        include_str!("../../models/known/tinypose_256_192.toml"),
    ),
];

impl Files for &[(&'static str, &'static [u8])] {
    fn asset(&self, name: &str) -> Option<Asset> {
        self.iter().find(|(n, _)| *n == name).map(|(_, bytes)| Asset::Embedded(bytes))
    }
}

/// Files beside the manifest. Whether they exist shows when they are read: a directory may
/// describe more than it holds.
pub(super) struct Beside<'a>(pub(super) &'a Path);

impl Files for Beside<'_> {
    fn asset(&self, name: &str) -> Option<Asset> {
        Some(Asset::File(self.0.join(name)))
    }
}

/// A file that was found by its hash, whatever its name.
struct Found(PathBuf);

impl Files for Found {
    fn asset(&self, _name: &str) -> Option<Asset> {
        Some(Asset::File(self.0.clone()))
    }
}

/// The networks to choose from.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    directory: Option<PathBuf>,
    /// From manifests in the directory.
    listed: Vec<ModelSpec>,
    /// From known manifests, for files in the directory.
    recognised: Vec<ModelSpec>,
    embedded: Vec<ModelSpec>,
}

/// Names of the models that a detector is made of, where they are given.
#[derive(Clone, Copy, Debug, Default)]
pub struct DetectorNames<'a> {
    /// The finder's.
    pub finder: Option<&'a str>,
    /// The keypoint network's.
    pub keypoints: Option<&'a str>,
    /// The one-stage network's.
    pub one_stage: Option<&'a str>,
}

/// What a detector is made of.
#[derive(Clone, Debug)]
pub enum DetectorModels {
    /// One network finds persons, another looks at each of them.
    TopDown {
        /// Finds persons.
        finder: Box<ModelSpec>,
        /// Looks at each of them.
        keypoints: Box<ModelSpec>,
    },
    /// One network does it all.
    OneStage(Box<ModelSpec>),
}

impl DetectorModels {
    /// Its networks.
    pub fn all(&self) -> impl Iterator<Item = &ModelSpec> {
        let (first, second) = match self {
            Self::TopDown { finder, keypoints } => (finder, Some(keypoints)),
            Self::OneStage(model) => (model, None),
        };
        std::iter::once(first).chain(second).map(AsRef::as_ref)
    }
}

impl Catalog {
    /// What is in the binary.
    ///
    /// # Errors
    /// If an embedded manifest is wrong, which a test rules out.
    pub fn embedded() -> Result<Self, EngineError> {
        let embedded = EMBEDDED
            .iter()
            .map(|e| manifest::read(e.file, e.manifest, &e.assets))
            .collect::<Result<_, _>>()?;
        Ok(Self { embedded, ..Self::default() })
    }

    /// What is in the binary, and in front of it what is in `directory`: every `*.toml` is a
    /// manifest; every `*.onnx` that no manifest names is compared by SHA-256 with the known ones.
    ///
    /// # Errors
    /// If the directory cannot be read, holds nothing usable, or a manifest in it is wrong.
    pub fn with_dir(directory: &Path) -> Result<Self, EngineError> {
        let mut catalog = Self::embedded()?;
        let trouble = |problem: String| EngineError::Manifest {
            file: directory.display().to_string(),
            problem,
        };
        let entries = std::fs::read_dir(directory)
            .map_err(|e| trouble(format!("the directory cannot be read: {e}")))?;
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(|e| trouble(format!("cannot be listed: {e}")))?.path());
        }
        // The order of a directory is nobody's promise.
        paths.sort();
        let with_extension =
            |wanted| paths.iter().filter(move |p| p.extension().is_some_and(|e| e == wanted));
        for path in with_extension("toml") {
            let file = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|e| EngineError::Manifest {
                file: file.clone(),
                problem: format!("cannot be read: {e}"),
            })?;
            catalog.listed.push(manifest::read(&file, &text, &Beside(directory))?);
        }
        let mut bare = Vec::new();
        for path in with_extension("onnx") {
            if catalog.listed.iter().any(|m| m.weights == Asset::File(path.clone())) {
                continue;
            }
            let bytes = std::fs::read(path)
                .map_err(|e| trouble(format!("{} cannot be read: {e}", path.display())))?;
            bare.push((hex(&sha256(&bytes)), path));
        }
        for (file, text) in KNOWN {
            for (digest, path) in &bare {
                // Cheaper than parsing, and exact: a digest occurs nowhere else.
                if text.contains(digest.as_str()) {
                    let spec = manifest::read(file, text, &Found(path.to_path_buf()))?;
                    catalog.recognised.push(spec);
                }
            }
        }
        if catalog.listed.is_empty() && catalog.recognised.is_empty() {
            return Err(trouble(format!(
                "holds no manifest (*.toml), and none of its {} ONNX files is a known public \
                 model; write a manifest beside the file, as those in models/ are",
                bare.len()
            )));
        }
        catalog.directory = Some(directory.to_owned());
        Ok(catalog)
    }

    /// Every model, in the order in which [`pick`](Self::pick) prefers them.
    pub fn models(&self) -> impl Iterator<Item = &ModelSpec> {
        self.listed.iter().chain(&self.recognised).chain(&self.embedded)
    }

    /// The model for a job: by name, or the only one of the directory, or else the first of the
    /// embedded ones.
    ///
    /// # Errors
    /// If there is none, or if several manifests of the same place do the job and no name says
    /// which.
    pub fn pick(&self, kind: ModelKind, name: Option<&str>) -> Result<ModelSpec, EngineError> {
        if let Some(name) = name {
            return match self.models().find(|m| m.name == name) {
                Some(m) if m.kind() == kind => Ok(m.clone()),
                Some(m) => Err(m.problem(format!(
                    "it is a {} model where a {kind} model is needed; name one of: {}",
                    m.kind(),
                    self.names(kind)
                ))),
                None => Err(EngineError::Choice {
                    kind,
                    problem: format!(
                        "none is called {name:?}; there are: {}{}",
                        self.names(kind),
                        self.hint()
                    ),
                }),
            };
        }
        if let Some(spec) = only(&self.listed, kind)? {
            return Ok(spec.clone());
        }
        if let Some(known) = self.recognised.iter().find(|m| m.kind() == kind) {
            return Ok(known.clone());
        }
        if let Some(embedded) = self.embedded.iter().find(|m| m.kind() == kind) {
            return Ok(embedded.clone());
        }
        Err(EngineError::Choice { kind, problem: format!("there is none{}", self.hint()) })
    }

    /// The models of the detector: the one-stage network of that name, or the finder and the keypoint
    /// network of those names. Where no name is given, a directory that adds one-stage networks and
    /// nothing else that sees pictures asks for one of them.
    ///
    /// # Errors
    /// As [`pick`](Self::pick); or if names for both ways are given.
    pub fn detector(&self, names: DetectorNames<'_>) -> Result<DetectorModels, EngineError> {
        let DetectorNames { finder, keypoints, one_stage } = names;
        let top_down = finder.is_some() || keypoints.is_some();
        if let (Some(name), true) = (one_stage, top_down) {
            return Err(EngineError::Choice {
                kind: ModelKind::OneStage,
                problem: format!(
                    "{name:?} needs no finder and no keypoint network; name either it or them"
                ),
            });
        }
        let added = |kind| self.listed.iter().chain(&self.recognised).any(|m| m.kind() == kind);
        let alone = !added(ModelKind::Finder) && !added(ModelKind::Keypoints);
        if one_stage.is_some() || !top_down && alone && added(ModelKind::OneStage) {
            let model = self.pick(ModelKind::OneStage, one_stage)?;
            return Ok(DetectorModels::OneStage(Box::new(model)));
        }
        Ok(DetectorModels::TopDown {
            finder: Box::new(self.pick(ModelKind::Finder, finder)?),
            keypoints: Box::new(self.pick(ModelKind::Keypoints, keypoints)?),
        })
    }

    fn names(&self, kind: ModelKind) -> String {
        let names: Vec<_> =
            self.models().filter(|m| m.kind() == kind).map(|m| m.name.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    fn hint(&self) -> String {
        match &self.directory {
            None => "; point --models at a directory with an ONNX file and its manifest".to_owned(),
            Some(dir) => format!("; add an ONNX file and its manifest to {}", dir.display()),
        }
    }
}

/// The one model of a kind; none is no error, two are.
fn only(models: &[ModelSpec], kind: ModelKind) -> Result<Option<&ModelSpec>, EngineError> {
    let mut of_kind = models.iter().filter(|m| m.kind() == kind);
    let first = of_kind.next();
    if let (Some(first), Some(second)) = (first, of_kind.next()) {
        let names: Vec<_> =
            [first, second].into_iter().chain(of_kind).map(|m| m.name.as_str()).collect();
        return Err(EngineError::Choice {
            kind,
            problem: format!("there are several, name one: {}", names.join(", ")),
        });
    }
    Ok(first)
}

#[cfg(test)]
mod tests;
