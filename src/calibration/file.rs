//! `calib/<camera>.toml`: what is known of one camera.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::import::{self, ImportError};
use super::pose::Extrinsics;
use super::verdict::Quality;
use crate::camera::{Intrinsics, IntrinsicsError};

/// A file of ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraFile {
    /// Name of the camera.
    pub camera: String,
    /// Where the numbers come from, in words.
    #[serde(default)]
    pub origin: String,
    /// The lens.
    pub intrinsics: Intrinsics,
    /// How well it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// Where the camera is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extrinsics: Option<Extrinsics>,
}

/// Why a calibration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not readable or writable.
    #[error("calibration {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not of our form.
    #[error("calibration {path}: {problem}")]
    Form {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another program's file that is not understood.
    #[error("calibration {path}: {source}")]
    Import {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: ImportError,
    },
    /// Numbers that cannot be a camera's.
    #[error("calibration {path}: {source}")]
    Intrinsics {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: IntrinsicsError,
    },
}

/// No calibration is larger.
const MAX_BYTES: u64 = 1 << 20;

impl CameraFile {
    /// Reads a file of ours (`.toml`), or one of OpenCV, ROS or Kalibr (`.yaml`, `.yml`).
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let io = |source| FileError::Io { path: path.to_owned(), source };
        let about = fs::metadata(path).map_err(io)?;
        let form = |problem: String| FileError::Form { path: path.to_owned(), problem };
        // Reading a pipe or a terminal would wait for ever.
        if !about.is_file() {
            return Err(form("it is no file".into()));
        }
        let length = about.len();
        if length > MAX_BYTES {
            return Err(form(format!("{length} bytes are too many for a calibration")));
        }
        let text = fs::read_to_string(path).map_err(io)?;
        let yaml = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("yaml") || e.eq_ignore_ascii_case("yml"));
        let read = if yaml {
            let imported = import::parse(&text)
                .map_err(|source| FileError::Import { path: path.to_owned(), source })?;
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Self {
                camera: imported.camera.unwrap_or(stem),
                origin: format!("{}, read from {}", imported.kind, path.display()),
                intrinsics: imported.intrinsics,
                quality: None,
                extrinsics: None,
            }
        } else {
            toml::from_str::<Self>(&text).map_err(|e| form(e.to_string().trim().to_owned()))?
        };
        let wrong = |source| FileError::Intrinsics { path: path.to_owned(), source };
        read.intrinsics.check().map_err(wrong)?;
        if let Some(extrinsics) = &read.extrinsics {
            extrinsics.check().map_err(form)?;
        }
        Ok(read)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let io = |source| FileError::Io { path: path.to_owned(), source };
        let body = toml::to_string(self)
            .map_err(|e| FileError::Form { path: path.to_owned(), problem: e.to_string() })?;
        let text = format!(
            "# A camera of posewire (docs/calibration.md). Lengths of the picture in pixels, the \
             centre of the\n# top-left pixel is (0, 0); distortion = [k1, k2, p1, p2, k3] as \
             OpenCV orders them.\n{body}"
        );
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(io)?;
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".part");
        fs::write(&temporary, text).map_err(io)?;
        fs::rename(&temporary, path).map_err(io)
    }
}
