//! A file from the network: resumed where an earlier attempt ended, bounded in size, whole or not
//! there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use ureq::{Agent, Body, http::Response};

/// What a download may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Larger files are refused.
    pub bytes: u64,
    /// How long the server may take to answer, and to send anything at all while it sends.
    pub silence: Duration,
}

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// No server, no answer, or an answer that is no file.
    #[error("{url} cannot be fetched: {problem}")]
    Refused {
        /// What was asked for.
        url: String,
        /// What happened, and what to do.
        problem: String,
    },
    /// The connection ended early; what came is kept.
    #[error(
        "{url} broke off after {got} bytes{}: {problem}; the same command goes on from there",
        .of.map(|n| format!(" of {n}")).unwrap_or_default()
    )]
    Broken {
        /// What was asked for.
        url: String,
        /// Bytes on disk.
        got: u64,
        /// Bytes of the whole file, if the server said.
        of: Option<u64>,
        /// What happened.
        problem: String,
    },
    /// The file is larger than allowed.
    #[error(
        "{url} is larger than {limit} bytes, the most that is fetched; allow more if it is meant to be"
    )]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// The disk would not have it.
    #[error("{} cannot be written: {source}", .path.display())]
    Disk {
        /// Where it was to go.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Fetches `url` into `path`. Until it is complete it lies beside it as `path` + `.part`, with
/// what identifies the server's version in `.part.tag`, so that a resumed file is of one piece.
/// `progress` is told bytes so far and in all.
///
/// # Errors
/// See [`DownloadError`].
pub fn fetch(
    url: &str,
    path: &Path,
    limits: Limits,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(), DownloadError> {
    let part = beside(path, ".part");
    let tag = beside(path, ".part.tag");
    let disk = |path: &Path| {
        let path = path.to_owned();
        move |source| DownloadError::Disk { path, source }
    };
    let refused = |problem: String| DownloadError::Refused { url: url.to_owned(), problem };
    let agent: Agent = Agent::config_builder()
        // No step down from https on the way through redirects.
        .https_only(url.starts_with("https:"))
        .http_status_as_error(false)
        .timeout_connect(Some(limits.silence))
        .timeout_recv_response(Some(limits.silence))
        .timeout_per_read(Some(limits.silence))
        .user_agent(concat!("posewire/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut have = fs::metadata(&part).map_or(0, |m| m.len());
    let known = fs::read_to_string(&tag).ok();
    let mut request = agent.get(url);
    if let (true, Some(known)) = (have > 0, &known) {
        request = request.header(RANGE, format!("bytes={have}-")).header(IF_RANGE, known);
    } else {
        have = 0;
    }
    let mut response = request.call().map_err(|e| refused(e.to_string()))?;
    let status = response.status().as_u16();
    let total = match status {
        206 if continues(&response, have) => length(&response).map(|n| n + have),
        // The server starts again, or its file has changed.
        200 => {
            have = 0;
            length(&response)
        }
        206 | 416 => {
            // What lies here is no beginning of what lies there.
            let _ = fs::remove_file(&part);
            return Err(refused(
                "it does not fit what was fetched before, which is now deleted; try again"
                    .to_owned(),
            ));
        }
        404 | 410 => {
            return Err(refused(format!(
                "the server has no such file (HTTP {status}); it may have moved"
            )));
        }
        other => return Err(refused(format!("the server answered HTTP {other}"))),
    };
    let too_large = || DownloadError::TooLarge { url: url.to_owned(), limit: limits.bytes };
    if total.is_some_and(|n| n > limits.bytes) {
        return Err(too_large());
    }
    let mut file =
        if have > 0 { OpenOptions::new().append(true).open(&part) } else { File::create(&part) }
            .map_err(disk(&part))?;
    if have == 0 {
        match version(&response) {
            Some(version) => fs::write(&tag, version).map_err(disk(&tag))?,
            None => drop(fs::remove_file(&tag)),
        }
    }
    let mut body = response.body_mut().as_reader();
    let mut buffer = vec![0; 64 << 10];
    let broken = |got: u64, problem: String| DownloadError::Broken {
        url: url.to_owned(),
        got,
        of: total,
        problem,
    };
    progress(have, total);
    loop {
        let n = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(broken(have, e.to_string())),
        };
        have += n as u64;
        if have > limits.bytes {
            drop(file);
            let _ = fs::remove_file(&part);
            return Err(too_large());
        }
        file.write_all(&buffer[..n]).map_err(disk(&part))?;
        progress(have, total);
    }
    if total.is_some_and(|n| n != have) {
        return Err(broken(have, "the connection was closed".to_owned()));
    }
    file.sync_all().map_err(disk(&part))?;
    drop(file);
    fs::rename(&part, path).map_err(disk(path))?;
    let _ = fs::remove_file(&tag);
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn text(response: &Response<Body>, name: ureq::http::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// Bytes of this answer.
fn length(response: &Response<Body>) -> Option<u64> {
    text(response, CONTENT_LENGTH)?.trim().parse().ok()
}

/// Does a partial answer begin where we are?
fn continues(response: &Response<Body>, have: u64) -> bool {
    have > 0
        && text(response, CONTENT_RANGE)
            .is_some_and(|r| r.trim().starts_with(&format!("bytes {have}-")))
}

/// What tells this version of the file from another one. A weak tag does not promise equal bytes.
fn version(response: &Response<Body>) -> Option<&str> {
    text(response, ETAG).filter(|t| !t.starts_with("W/")).or_else(|| text(response, LAST_MODIFIED))
}

#[cfg(test)]
mod tests;
