//! Reading a key from its file.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::wire::auth::Key;

/// More than any key has.
const LONGEST: u64 = 4_096;

/// Reads the key in `path`: one line of hexadecimal digits, readable by its owner alone.
///
/// # Errors
/// What is wrong with the file, and what to do.
pub fn read(path: &Path) -> Result<Key, String> {
    let name = path.display();
    let unreadable = |e| {
        format!(
            "the key file {name} cannot be read ({e}): check its path and that this user owns it"
        )
    };
    let file = File::open(path).map_err(unreadable)?;
    // Of the opened file, so that it cannot be another one by then.
    let facts = file.metadata().map_err(unreadable)?;
    if !facts.is_file() {
        return Err(format!("the key file {name} is no regular file"));
    }
    let mode = facts.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "the key file {name} may be read or changed by others (mode {mode:03o}, owner {}): \
             chmod 600 {name}, and make a new key if they have",
            facts.uid()
        ));
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(unreadable)?;
    Key::from_hex(&text).map_err(|problem| format!("the key file {name}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(content: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    #[test]
    fn a_key_of_its_owner_alone_is_read() {
        let text = "0123456789abcdef".repeat(4) + "\n";
        for mode in [0o600, 0o400] {
            let (_directory, path) = file(&text, mode);
            assert_eq!(read(&path).unwrap().id(), Key::from_hex(&text).unwrap().id());
        }
    }

    #[test]
    fn each_unusable_file_says_what_to_do_and_never_what_is_in_it() {
        let good = "5a".repeat(32);
        for (content, mode, words) in [
            (good.as_str(), 0o644, "chmod 600"),
            (good.as_str(), 0o620, "chmod 600"),
            ("5a5a", 0o600, "at least 32"),
            ("secret passphrase", 0o600, "openssl rand -hex 32"),
            ("", 0o600, "at least 32"),
        ] {
            let (_directory, path) = file(content, mode);
            let problem = read(&path).unwrap_err();
            assert!(problem.contains(words), "{problem}");
            assert!(content.is_empty() || !problem.contains(content), "{problem}");
        }
        let (directory, path) = file("", 0o600);
        assert!(read(directory.path()).unwrap_err().contains("no regular file"));
        assert!(read(&path.with_extension("no")).unwrap_err().contains("cannot be read"));
    }
}
