//! The socket that tells how a service is. It is read-only: whoever connects is sent one JSON
//! object and is hung up on; nothing that they send is read.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Snapshot;

/// The name of the socket in a service's runtime directory.
const NAME: &str = "status.sock";
/// Where instances have theirs, as the unit says.
const RUN: &str = "/run/posewire";
/// Answered in one turn; more wait for the next, a tenth of a second later.
const MOST_AT_ONCE: usize = 8;
/// A status has some two kilobytes.
const MOST_BYTES: u64 = 1 << 20;

/// A socket that waits for those who ask; removed when it is dropped.
pub struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl StatusSocket {
    /// Where systemd says (`RUNTIME_DIRECTORY`); nowhere without it.
    pub fn default_path() -> Option<PathBuf> {
        let folders = std::env::var("RUNTIME_DIRECTORY").ok()?;
        // Of several the last is the most special one.
        Some(Path::new(folders.rsplit(':').next()?).join(NAME))
    }

    /// Opens it. A socket that nobody answers any more (after kill -9) is replaced.
    ///
    /// # Errors
    /// If somebody answers there, or it cannot be made.
    pub fn open(path: &Path) -> io::Result<Self> {
        match UnixStream::connect(path) {
            Ok(_) => {
                let words = "another posewire answers there: one instance for each socket";
                return Err(io::Error::new(ErrorKind::AddrInUse, words));
            }
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        // Connecting needs the right to write; all may ask, since nothing can be changed here.
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers those who wait; `make` is called only if somebody does. Never blocks.
    pub fn serve(&self, make: impl FnOnce() -> Snapshot) {
        let Ok((first, _)) = self.listener.accept() else { return };
        let mut text = serde_json::to_string(&make()).unwrap_or_default();
        text.push('\n');
        answer(first, text.as_bytes());
        for _ in 1..MOST_AT_ONCE {
            let Ok((next, _)) = self.listener.accept() else { return };
            answer(next, text.as_bytes());
        }
    }
}

/// Who does not take it at once (it fits the socket's buffer) gets a part of it.
fn answer(mut to: UnixStream, text: &[u8]) {
    if to.set_nonblocking(true).is_ok() {
        let _ = to.write(text);
        let _ = to.shutdown(Shutdown::Both);
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Asks the service that listens at `path`.
///
/// # Errors
/// If nobody does, or the answer is none of posewire's.
pub fn ask(path: &Path) -> io::Result<Snapshot> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut text = String::new();
    stream.take(MOST_BYTES).read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))
}

/// The sockets of all instances on this machine, with their names.
pub fn default_sockets() -> Vec<(String, PathBuf)> {
    let folders = fs::read_dir(RUN).into_iter().flatten().flatten();
    let mut found: Vec<_> = folders
        .map(|f| (f.file_name().to_string_lossy().into_owned(), f.path().join(NAME)))
        .filter(|(_, path)| path.exists())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_is_told_and_the_file_goes_with_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let socket = StatusSocket::open(&path).unwrap();
        let made = Snapshot { pid: 42, ..Snapshot::default() };
        socket.serve(|| panic!("nobody asked"));
        let asking = std::thread::spawn({
            let path = path.clone();
            move || ask(&path).unwrap()
        });
        while !asking.is_finished() {
            socket.serve(|| made.clone());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(asking.join().unwrap(), made);
        drop(socket);
        assert!(!path.exists());
        assert_eq!(ask(&path).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        drop(UnixListener::bind(&path).unwrap());
        let living = StatusSocket::open(&path).unwrap();
        let error = StatusSocket::open(&path).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        drop(living);
    }

    #[test]
    fn a_crowd_that_never_reads_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let socket = StatusSocket::open(&path).unwrap();
        let crowd: Vec<_> = (0..30).map(|_| UnixStream::connect(&path).unwrap()).collect();
        let mut answered = 0;
        for _ in 0..10 {
            socket.serve(|| {
                answered += 1;
                Snapshot { models: "m".repeat(4_000_000), ..Snapshot::default() }
            });
        }
        assert_eq!(answered, 4, "30 in eights");
        drop(crowd);
    }
}
