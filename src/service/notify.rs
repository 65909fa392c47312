//! What is told to systemd: the protocol of `sd_notify(3)`, lines in a datagram.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::{Duration, Instant};

/// The way to systemd; without one (`NOTIFY_SOCKET` is not set) everything is said to nobody.
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// From the environment that systemd made.
    pub fn from_env() -> Self {
        let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Self { socket: None } };
        match Self::to(path.as_encoded_bytes()) {
            Ok(notifier) => notifier,
            Err(e) => {
                log::warn!("NOTIFY_SOCKET={}: {e}; systemd is told nothing", path.display());
                Self { socket: None }
            }
        }
    }

    /// To the socket of this path, or of this abstract name if it begins with `@`.
    ///
    /// # Errors
    /// If that is no name of a socket.
    pub fn to(name: &[u8]) -> io::Result<Self> {
        let address = match name {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            path => SocketAddr::from_pathname(Path::new(
                std::str::from_utf8(path).map_err(io::Error::other)?,
            ))?,
        };
        let socket = UnixDatagram::unbound()?;
        // A full queue must not hold up the one thread that says that all is well.
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some((socket, address)) })
    }

    /// Is anybody told?
    pub fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// Everything has begun.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// The configuration is being read again; [`ready`](Self::ready) follows.
    pub fn reloading(&self) {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = t.tv_sec.saturating_mul(1_000_000).saturating_add(t.tv_nsec / 1_000);
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// It ends on request.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// One line for `systemctl status`.
    pub fn status(&self, line: &str) {
        self.say(&format!("STATUS={}", line.replace('\n', " ")));
    }

    fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, words: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(e) = socket.send_to_addr(words.as_bytes(), address) {
            log::debug!("systemd was not told {words:?}: {e}");
        }
    }
}

/// Keeps systemd's watchdog (`WatchdogSec=`) calm as long as there is progress, and only then.
pub struct Watchdog {
    /// Without a word for so long, systemd starts the service anew.
    patience: Option<Duration>,
    last: Option<Instant>,
    withheld: bool,
}

impl Watchdog {
    /// From the environment that systemd made.
    pub fn from_env() -> Self {
        let number = |name| env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let micros = number("WATCHDOG_USEC").filter(|&us| ours && us > 0);
        Self::new(micros.map(Duration::from_micros))
    }

    /// With systemd's patience.
    pub fn new(patience: Option<Duration>) -> Self {
        Self { patience, last: None, withheld: false }
    }

    /// A stage that has not come round for so long keeps the word from being given: half of
    /// systemd's patience.
    pub fn limit(&self) -> Option<Duration> {
        self.patience.map(|p| p / 2)
    }

    /// Is it time for a word?
    pub fn is_due(&self, now: Instant) -> bool {
        let Some(patience) = self.patience else { return false };
        self.last.is_none_or(|last| now.duration_since(last) >= patience / 4)
    }

    /// Gives the word, or withholds it and says why: `stuck` names a stage without progress.
    pub fn tell(&mut self, notifier: &Notifier, now: Instant, stuck: Option<&str>) {
        match stuck {
            None => {
                notifier.alive();
                self.last = Some(now);
                self.withheld = false;
            }
            Some(words) => {
                if !std::mem::replace(&mut self.withheld, true) {
                    log::error!("{words}: the watchdog is not fed any more, a new start follows");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (tempfile::TempDir, UnixDatagram, Notifier) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let notifier = Notifier::to(path.to_str().unwrap().as_bytes()).unwrap();
        (folder, socket, notifier)
    }

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 256];
        let len = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..len].to_vec()).unwrap())
    }

    #[test]
    fn systemd_hears_what_is_said_a_datagram_each() {
        let (_folder, socket, notifier) = listener();
        notifier.ready();
        notifier.status("all\nis well");
        notifier.reloading();
        assert_eq!(heard(&socket).unwrap(), "READY=1");
        assert_eq!(heard(&socket).unwrap(), "STATUS=all is well");
        let reloading = heard(&socket).unwrap();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    }

    #[test]
    fn an_abstract_name_is_reached_too() {
        let name = format!("posewire-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::to(format!("@{name}").as_bytes()).unwrap().ready();
        assert_eq!(heard(&socket).unwrap(), "READY=1");
    }

    #[test]
    fn the_watchdog_is_fed_in_time_and_not_while_a_stage_is_stuck() {
        let (_folder, socket, notifier) = listener();
        let mut watchdog = Watchdog::new(Some(Duration::from_secs(20)));
        let begin = Instant::now();
        let at = |s| begin + Duration::from_secs(s);
        assert!(watchdog.is_due(begin));
        watchdog.tell(&notifier, begin, None);
        assert_eq!(heard(&socket).unwrap(), "WATCHDOG=1");
        assert!(!watchdog.is_due(at(4)));
        assert!(watchdog.is_due(at(5)));
        watchdog.tell(&notifier, at(5), Some("perception hangs"));
        assert_eq!(heard(&socket), None);
        assert!(watchdog.is_due(at(6)), "it is fed as soon as there is progress");
        watchdog.tell(&notifier, at(6), None);
        assert_eq!(heard(&socket).unwrap(), "WATCHDOG=1");
    }

    #[test]
    fn without_systemd_nothing_is_due_and_nothing_is_said() {
        let notifier = Notifier { socket: None };
        notifier.ready();
        assert!(!Watchdog::new(None).is_due(Instant::now()));
    }
}
