//! Who may look.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use subtle::ConstantTimeEq;

use super::request::Request;
use super::settings::ViewError;

/// The shortest token that is taken.
const MIN_TOKEN: usize = 16;
/// The longest.
const MAX_TOKEN: usize = 256;

/// Who may look.
pub enum Access {
    /// Whoever is on this machine. A page of another site that has its name resolve to this
    /// machine (DNS rebinding) is kept out by the name.
    Loopback,
    /// Whoever knows this.
    Token {
        /// Letters, digits and little else.
        token: String,
        /// For this run, rather than read from a file.
        made: bool,
    },
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is answered.
    Welcome,
    /// The token is right; it is to move from the address into a cookie.
    TakeCookie,
    /// No token, or a wrong one.
    Unknown,
    /// The browser believes to speak to somebody else.
    WrongHost,
}

impl Access {
    /// To the page at `address`.
    ///
    /// # Errors
    /// If the token is missing where one is needed, or cannot be read.
    pub fn to(address: SocketAddr, token_file: Option<&Path>) -> Result<Self, ViewError> {
        if let Some(path) = token_file {
            return token_in(path).map(|token| Self::Token { token, made: false });
        }
        if address.ip().is_loopback() {
            return Ok(Self::Loopback);
        }
        // What is not a terminal is a journal or a file: a token in it is none.
        if !std::io::stderr().is_terminal() {
            return Err(ViewError::NoToken(address));
        }
        Ok(Self::Token { token: new_token()?, made: true })
    }

    pub(super) fn judge(&self, request: &Request) -> Verdict {
        match self {
            Self::Loopback => {
                let ours = request.host.as_deref().is_none_or(is_this_machine);
                if ours { Verdict::Welcome } else { Verdict::WrongHost }
            }
            Self::Token { token, .. } => {
                let given = request.token.as_deref().unwrap_or_default();
                // Its length is no secret.
                if !bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
                    Verdict::Unknown
                } else if request.token_in_address {
                    Verdict::TakeCookie
                } else {
                    Verdict::Welcome
                }
            }
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|a| a.is_loopback())
}

/// 128 random bits, in letters and digits.
fn new_token() -> Result<String, ViewError> {
    let mut bits = [0u8; 16];
    let got = rustix::rand::getrandom(&mut bits[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|e| ViewError::System(e.into()))?;
    if got < bits.len() {
        return Err(ViewError::System(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bits.iter().map(|b| format!("{b:02x}")).collect())
}

/// The first line of a file that others cannot read.
fn token_in(path: &Path) -> Result<String, ViewError> {
    let wrong = |problem: String| ViewError::Token { path: path.to_owned(), problem };
    let mut text = String::new();
    let file = File::open(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let mode = file.metadata().map_err(|e| wrong(format!("cannot be read: {e}")))?.mode();
    if mode & 0o007 != 0 {
        return Err(wrong("everybody may read it: chmod 640, or 600".to_owned()));
    }
    file.take(4096).read_to_string(&mut text).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let token = text.lines().next().unwrap_or_default().trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    if !token.chars().all(plain) || !(MIN_TOKEN..=MAX_TOKEN).contains(&token.len()) {
        return Err(wrong(format!(
            "its first line must be {MIN_TOKEN} to {MAX_TOKEN} letters, digits and - . _ ~ \
             (openssl rand -hex 16)"
        )));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn from(host: Option<&str>, token: Option<&str>, in_address: bool) -> Request {
        Request {
            host: host.map(str::to_owned),
            token: token.map(str::to_owned),
            token_in_address: in_address,
            ..Request::default()
        }
    }

    #[test]
    fn on_loopback_only_this_machines_names_are_answered() {
        let access = Access::Loopback;
        for host in [None, Some("localhost"), Some("127.0.0.1"), Some("[::1]"), Some("127.3.2.1")] {
            assert_eq!(access.judge(&from(host, None, false)), Verdict::Welcome, "{host:?}");
        }
        for host in ["evil.example", "10.0.0.1", "localhost.evil.example", ""] {
            assert_eq!(access.judge(&from(Some(host), None, false)), Verdict::WrongHost, "{host}");
        }
    }

    #[test]
    fn a_token_opens_from_anywhere_and_nothing_else_does() {
        let access = Access::Token { token: "0123456789abcdef".to_owned(), made: false };
        let judge = |token, address| access.judge(&from(Some("bench"), token, address));
        assert_eq!(judge(Some("0123456789abcdef"), false), Verdict::Welcome);
        assert_eq!(judge(Some("0123456789abcdef"), true), Verdict::TakeCookie);
        for wrong in [None, Some(""), Some("0123456789abcdee"), Some("0123456789abcdef0")] {
            assert_eq!(judge(wrong, false), Verdict::Unknown);
        }
    }

    #[test]
    fn made_tokens_are_long_and_never_the_same() {
        let (a, b) = (new_token().unwrap(), new_token().unwrap());
        assert!(a.len() == 32 && a != b, "{a} {b}");
    }

    #[test]
    fn token_files_are_private_and_their_tokens_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            token_in(&path).map_err(|e| e.to_string())
        };
        assert_eq!(read("0123456789abcdef\nmore\n", 0o640).unwrap(), "0123456789abcdef");
        assert!(read("0123456789abcdef\n", 0o644).unwrap_err().contains("chmod"));
        assert!(read("short\n", 0o600).unwrap_err().contains("16"));
        assert!(read("0123456789 abcdef\n", 0o600).unwrap_err().contains("letters"));
        let missing = Some(Path::new("/no/such"));
        let error = Access::to(([127, 0, 0, 1], 80).into(), missing).err().unwrap();
        assert!(error.to_string().contains("/no/such"), "{error}");
    }
}
