//! With Zenoh: the packets of `docs/wire.md` on `posewire/<host>/<camera>/pose` and `…/status`.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use super::door::Door;
use crate::pose::PoseFrame;
use crate::publish::numbering::Numbering;
use crate::publish::query::pairs;
use crate::publish::{PublishError, PublishSettings, Publisher, unusable};
use crate::wire::{
    MAX_MESSAGE, Message, PoseMessage, PoseOptions, Split, State, StatusMessage, encode,
};

/// Zenoh's own memory is allocated for every message.
pub struct ZenohPublisher {
    uri: Arc<str>,
    door: Door,
    host: String,
    key: String,
    camera: u8,
    numbering: Numbering,
    options: PoseOptions,
    buffer: [u8; MAX_MESSAGE],
    last_status: Option<StatusMessage>,
}

/// Opens `zenoh:ENDPOINT?host=…&mode=…&keypoints=…`.
///
/// # Errors
/// [`PublishError::Unusable`] if the URI is not understood or Zenoh does not take it.
pub fn open(uri: &str, settings: &PublishSettings) -> Result<Box<dyn Publisher>, PublishError> {
    let rest = uri.strip_prefix("zenoh:").unwrap_or_default();
    let (endpoint, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (mut host, mut mode, mut keypoints) = (host_name(), "peer", false);
    for pair in pairs(query) {
        match pair {
            ("host", name) if is_key_part(name) => host = name.to_owned(),
            ("host", _) => return Err(unusable(uri, "host must be without / * $ ? and #")),
            ("mode", name @ ("peer" | "client")) => mode = name,
            ("mode", _) => return Err(unusable(uri, "mode must be peer or client")),
            ("keypoints", "yes") => keypoints = true,
            ("keypoints", "no") => keypoints = false,
            ("keypoints", _) => return Err(unusable(uri, "keypoints must be yes or no")),
            (key, _) => {
                let problem = format!("{key:?} is not known: use host, mode or keypoints");
                return Err(unusable(uri, problem));
            }
        }
    }
    let connect: &[&str] = if endpoint.is_empty() { &[] } else { &[endpoint] };
    let door = Door::open(mode, connect, &[]).map_err(|problem| unusable(uri, problem))?;
    Ok(Box::new(ZenohPublisher {
        uri: uri.into(),
        door,
        host,
        key: String::with_capacity(128),
        camera: 0,
        numbering: Numbering::new(settings),
        options: PoseOptions {
            keypoints,
            degraded: false,
            engine: settings.engine,
            precision: settings.precision,
        },
        buffer: [0; MAX_MESSAGE],
        last_status: None,
    }))
}

/// May this be a part of a key?
fn is_key_part(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '*', '$', '?', '#'])
}

/// What the machine is called.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if is_key_part(name) { name.to_owned() } else { "unnamed".to_owned() }
}

impl ZenohPublisher {
    fn put(&mut self, what: &str, len: usize) -> io::Result<()> {
        self.key.clear();
        // Writing into a String cannot fail.
        let _ = write!(self.key, "posewire/{}/{}/{what}", self.host, self.camera);
        let bytes = self.buffer.get(..len).unwrap_or_default();
        self.door.put(&self.key, bytes).map_err(io::Error::other)
    }

    fn not_sent(&self, cause: io::Error) -> PublishError {
        PublishError::NotSent { uri: self.uri.clone(), cause }
    }

    fn send_status(&mut self, status: StatusMessage) -> Result<(), PublishError> {
        let message = Message::Status(status);
        let sent = encode(&self.numbering.next(), &message, &mut self.buffer)
            .map_err(io::Error::other)
            .and_then(|len| self.put("status", len));
        if let Message::Status(status) = message {
            self.last_status = Some(status);
        }
        sent.map_err(|e| self.not_sent(e))
    }
}

impl Publisher for ZenohPublisher {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        self.camera = frame.camera;
        let message = PoseMessage::from_frame(frame, &self.options);
        let mut parts = Split::new(&message);
        let mut first_failure = None;
        for _ in 0..parts.parts() {
            let part = parts.next(&self.numbering.next(), &mut self.buffer);
            let sent = match part.map(|d| d.map(<[u8]>::len)) {
                Ok(Some(len)) => self.put("pose", len),
                Ok(None) => break,
                Err(e) => Err(io::Error::other(e)),
            };
            first_failure = first_failure.or(sent.err());
        }
        first_failure.map_or(Ok(()), |e| Err(self.not_sent(e)))
    }

    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        self.options.degraded = matches!(status.state, State::Degraded | State::Failed);
        self.send_status(status.clone())
    }

    fn finish(&mut self) -> Result<(), PublishError> {
        if let Some(status) = self.last_status.take() {
            self.send_status(StatusMessage { state: State::Stopping, ..status })?;
        }
        self.door.close().map_err(|e| self.not_sent(io::Error::other(e)))
    }

    fn describe(&self) -> &str {
        &self.uri
    }
}
