//! JSON lines to standard output or to the end of a file.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use super::numbering::Numbering;
use super::{PublishError, PublishSettings, Publisher, unusable};
use crate::pose::PoseFrame;
use crate::wire::json::Line;
use crate::wire::{Message, PoseMessage, PoseOptions, State, StatusMessage};

/// One line a frame, with what its datagrams would have said.
pub struct JsonLines {
    uri: Arc<str>,
    out: BufWriter<Box<dyn Write + Send>>,
    numbering: Numbering,
    options: PoseOptions,
}

impl JsonLines {
    pub fn open(uri: &str, path: &str, settings: &PublishSettings) -> Result<Self, PublishError> {
        let out: Box<dyn Write + Send> = match path {
            "" => return Err(unusable(uri, "give jsonl:PATH, or jsonl:- for standard output")),
            "-" => Box::new(io::stdout()),
            path => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                Box::new(file.map_err(|e| {
                    unusable(
                        uri,
                        format!("the file cannot be opened ({e}): check its directory and rights"),
                    )
                })?)
            }
        };
        Ok(Self {
            uri: uri.into(),
            out: BufWriter::with_capacity(64 << 10, out),
            numbering: Numbering::new(settings),
            options: PoseOptions {
                keypoints: true,
                degraded: false,
                engine: settings.engine,
                precision: settings.precision,
            },
        })
    }

    fn write(&mut self, message: &Message) -> Result<(), PublishError> {
        let header = self.numbering.next();
        let line = Line { header: &header, message };
        let written = serde_json::to_writer(&mut self.out, &line)
            .map_err(io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"))
            .and_then(|()| self.out.flush());
        written.map_err(|cause| {
            if cause.kind() == io::ErrorKind::BrokenPipe {
                unusable(&self.uri, "whoever read it has gone")
            } else {
                PublishError::NotSent { uri: self.uri.clone(), cause }
            }
        })
    }
}

impl Publisher for JsonLines {
    fn publish(&mut self, frame: &PoseFrame) -> Result<(), PublishError> {
        self.write(&Message::Pose(PoseMessage::from_frame(frame, &self.options)))
    }

    fn status(&mut self, status: &StatusMessage) -> Result<(), PublishError> {
        self.options.degraded = matches!(status.state, State::Degraded | State::Failed);
        self.write(&Message::Status(status.clone()))
    }

    fn describe(&self) -> &str {
        &self.uri
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrayvec::ArrayVec;

    use crate::pose::StageStamps;
    use crate::time::Timestamp;

    #[test]
    fn each_frame_is_one_line_and_a_second_run_appends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("poses.jsonl");
        let uri = format!("jsonl:{}", path.display());
        let frame = PoseFrame {
            camera: 3,
            sequence: 12,
            captured: Timestamp::from_secs_f64(1.5),
            media_time: true,
            stamps: StageStamps::default(),
            image_size: (640, 480),
            persons: ArrayVec::new(),
            model: 7,
            computed: None,
        };
        for _ in 0..2 {
            let mut publisher = super::super::open(&uri, &PublishSettings::default()).unwrap();
            publisher.publish(&frame).unwrap();
            publisher.status(&StatusMessage::default()).unwrap();
            publisher.finish().unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0]["captured_us"], 1_500_000);
        assert_eq!(lines[0]["persons"], serde_json::json!([]));
        assert_eq!(lines[1]["type"], "status");
        assert_ne!(lines[0]["session"], lines[2]["session"]);
    }
}
