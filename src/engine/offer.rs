//! Public models that posewire knows where to get: their manifests say a `[source]`.

use super::catalog::Beside;
use super::spec::{ModelSpec, Source, hex};
use super::{EngineError, manifest};
use std::path::Path;

/// Manifests of files that can be fetched: one line each.
static OFFERED: &[(&str, &str)] = &[
    ("models/offered/rtmpose_t.toml", include_str!("../../models/offered/rtmpose_t.toml")),
    ("models/offered/rtmpose_s.toml", include_str!("../../models/offered/rtmpose_s.toml")),
    ("models/offered/rtmpose_m.toml", include_str!("../../models/offered/rtmpose_m.toml")),
];

/// In a manifest that is offered, in place of a digest: nobody publishes one, so the first file
/// decides.
const FIRST_USE: &str = "\"first-use\"";

/// A model that can be fetched.
#[derive(Clone, Debug)]
pub struct Offer {
    text: String,
    /// What its manifest says. Where [`pinned`](Self::pinned) is not, its digest is all zeros.
    pub spec: ModelSpec,
    /// Where it comes from.
    pub source: Source,
    /// Is the file's digest known before it is fetched?
    pub pinned: bool,
}

/// Everything that can be fetched.
///
/// # Errors
/// If a manifest is wrong, which a test rules out.
pub fn offers() -> Result<Vec<Offer>, EngineError> {
    OFFERED.iter().map(|(file, text)| Offer::read(file, text)).collect()
}

impl Offer {
    fn read(file: &str, text: &str) -> Result<Self, EngineError> {
        let pinned = !text.contains(FIRST_USE);
        let zeros = format!("{:?}", hex(&[0; 32]));
        let readable = text.replace(FIRST_USE, &zeros);
        let spec = manifest::read(file, &readable, &Beside(Path::new("")))?;
        let source = spec.source.clone().ok_or_else(|| EngineError::Manifest {
            file: file.to_owned(),
            problem: "key `source`: is missing: say where the file comes from".to_owned(),
        })?;
        Ok(Self { text: text.to_owned(), spec, source, pinned })
    }

    /// Its manifest, with the digest of the file that was fetched.
    pub fn manifest(&self, digest: &[u8; 32]) -> String {
        self.text.replace(FIRST_USE, &format!("{:?}", hex(digest)))
    }
}

/// Reads the manifest `text` of a file that lies in `directory`.
///
/// # Errors
/// If it is wrong.
pub fn read_manifest(path: &Path) -> Result<ModelSpec, EngineError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| EngineError::Manifest {
        file: file.clone(),
        problem: format!("cannot be read: {e}"),
    })?;
    manifest::read(&file, &text, &Beside(path.parent().unwrap_or(Path::new("."))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offer_is_whole_and_becomes_a_manifest_with_its_digest() {
        let offers = offers().unwrap();
        assert_eq!(offers.len(), OFFERED.len());
        for offer in offers {
            assert!(offer.source.url.starts_with("https://"), "{}", offer.source.url);
            let text = offer.manifest(&[7; 32]);
            let spec = manifest::read("x.toml", &text, &Beside(Path::new(""))).unwrap();
            assert_eq!(spec.sha256, if offer.pinned { offer.spec.sha256 } else { [7; 32] });
        }
    }
}
