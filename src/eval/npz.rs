//! `.npz`: a ZIP of `.npy` files, also within `.xz`.

use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::path::Path;

use super::EvalError;
use super::array::Array;

/// More than the largest public data set holds in one array: what claims more is no data set.
const MOST_BYTES: u64 = 4 << 30;

/// Something that a ZIP can be read from.
trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// An open `.npz`.
pub struct Npz {
    name: String,
    zip: zip::ZipArchive<Box<dyn Source>>,
}

impl Npz {
    /// Opens a file; one whose name ends in `.xz` is unpacked in memory.
    ///
    /// # Errors
    /// If it cannot be read or is no ZIP.
    pub fn open(path: &Path) -> Result<Self, EvalError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|e| EvalError::data(&name, e))?;
        let source: Box<dyn Source> = if path.extension().is_some_and(|e| e == "xz") {
            let mut bytes = Vec::new();
            lzma_rust2::XzReader::new(file, true)
                .take(MOST_BYTES)
                .read_to_end(&mut bytes)
                .map_err(|e| EvalError::data(&name, format!("cannot be unpacked: {e}")))?;
            Box::new(Cursor::new(bytes))
        } else {
            Box::new(file)
        };
        let zip = zip::ZipArchive::new(source)
            .map_err(|e| EvalError::data(&name, format!("is no .npz file: {e}")))?;
        Ok(Self { name, zip })
    }

    /// The file's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Is there an array of this name?
    pub fn has(&self, array: &str) -> bool {
        self.zip.index_for_name(&format!("{array}.npy")).is_some()
    }

    /// The names of the arrays.
    pub fn arrays(&self) -> Vec<String> {
        let names = self.zip.file_names().filter_map(Result::ok);
        names.map(|n| n.trim_end_matches(".npy").to_owned()).collect()
    }

    /// Reads an array.
    ///
    /// # Errors
    /// If there is none of that name, or it is damaged or of an unknown type.
    pub fn array(&mut self, array: &str) -> Result<Array, EvalError> {
        let there = self.arrays().join(", ");
        let file = &self.name;
        let entry = self.zip.by_name(&format!("{array}.npy")).map_err(|e| {
            EvalError::data(
                file,
                format!("the array {array:?} cannot be read: {e}; there are: {there}"),
            )
        })?;
        let mut bytes = Vec::new();
        entry
            .take(MOST_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|e| EvalError::data(file, format!("the array {array:?} is damaged: {e}")))?;
        Array::read(&bytes).map_err(|e| EvalError::data(file, format!("{array:?} is {e}")))
    }
}
