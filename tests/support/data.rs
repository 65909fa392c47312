//! Recordings and models that are not ours.

use std::path::{Path, PathBuf};

/// One of them: in `$POSEWIRE_DATA`, or `../shared/data`. `None`, with a word, where it is not.
pub fn data(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("POSEWIRE_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let found = root.join(path);
    if found.exists() {
        return Some(found);
    }
    println!("skipped: {} is not there (set POSEWIRE_DATA)", found.display());
    None
}
