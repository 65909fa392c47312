//! Progress bars, for work that somebody waits for: on standard error, and only where that is a
//! terminal.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use indicatif::{ProgressBar, ProgressBarIter, ProgressFinish, ProgressStyle};

use super::Failure;
use super::recover::{BUFFER_BYTES, open_file, trouble};

/// Steps of which the number becomes known.
pub(super) fn steps() -> ProgressBar {
    styled("{prefix} {msg} {bar:30} {pos} of {len}")
}

/// Bytes of which the number may become known.
pub(super) fn bytes() -> ProgressBar {
    styled("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta}")
}

/// A recording opened for reading, and the bar that shows how much of it was read.
pub(super) fn open(
    path: &Path,
) -> Result<(ProgressBar, BufReader<ProgressBarIter<File>>), Failure> {
    let file = open_file(path)?;
    let bar = bytes();
    // A pipe has no length: then only what was read is shown.
    let length = file.metadata().map_err(|e| trouble(path, e))?.len();
    if length > 0 {
        bar.set_length(length);
    }
    let read = BufReader::with_capacity(BUFFER_BYTES, bar.wrap_read(file));
    Ok((bar, read))
}

fn styled(template: &str) -> ProgressBar {
    // Gone when it is dropped, on whatever way out.
    let bar = ProgressBar::no_length().with_finish(ProgressFinish::AndClear);
    // A template that is no template leaves the plain bar.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_bar_of_a_file_follows_what_is_read_of_it() {
        let path = std::env::temp_dir().join(format!("posewire-progress-{}", std::process::id()));
        std::fs::write(&path, vec![7; 3 * BUFFER_BYTES]).unwrap();
        let (bar, mut file) = open(&path).unwrap();
        assert_eq!((bar.position(), bar.length()), (0, Some(3 * BUFFER_BYTES as u64)));
        let mut one = [0];
        file.read_exact(&mut one).unwrap();
        assert_eq!(bar.position(), BUFFER_BYTES as u64);
        file.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(bar.position(), 3 * BUFFER_BYTES as u64);
        std::fs::remove_file(&path).unwrap();
        assert!(open(&path).is_err());
    }
}
