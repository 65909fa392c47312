//! Camera pictures for the page: small, and only while somebody watches.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::board::{Board, Slot};
use super::feed::event;
use crate::decode::FrameDecoder;
use crate::encode::JpegMaker;
use crate::frame::ImageLayout;
use crate::pose::PoseFrame;
use crate::time::Timestamp;
use crate::wire::json::Line;
use crate::wire::{Header, Message, PoseMessage, PoseOptions};

/// The longest side of a picture on the page is at most twice this, and at least this.
const SIDE: usize = 480;
/// Good enough to see whether keypoints sit where they should.
const QUALITY: u8 = 70;
/// At most ten pictures a second of one camera.
pub const EVERY: Duration = Duration::from_millis(100);

/// Makes pictures for the page, on a thread of its own.
pub struct Previewer {
    board: Arc<Board>,
    decoder: FrameDecoder,
    maker: JpegMaker,
}

impl Previewer {
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self { board, decoder: FrameDecoder::new(), maker: JpegMaker::new(QUALITY) }
    }

    /// The board that pictures are posted on: pictures are wanted while it has watchers.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Posts a frame's picture with what was found in it. `pixels` are packed
    /// ([`crate::recording::frame_record::pack`]). A picture that cannot be read is left out: the
    /// pipeline has counted it.
    pub fn show(&mut self, layout: &ImageLayout, pixels: &[u8], poses: &PoseFrame) {
        let Some(jpeg) = self.jpeg(layout, pixels) else { return };
        let options = PoseOptions { keypoints: true, ..PoseOptions::default() };
        let message = Message::Pose(PoseMessage::from_frame(poses, &options));
        let header = Header::default();
        let Ok(mut value) = serde_json::to_value(Line { header: &header, message: &message })
        else {
            return;
        };
        if let Value::Object(fields) = &mut value {
            fields.insert("jpeg".into(), STANDARD.encode(&jpeg).into());
        }
        if let Some(event) = event("picture", &value) {
            self.board.post(Slot::Picture(poses.camera), event);
        }
    }

    fn jpeg(&mut self, layout: &ImageLayout, pixels: &[u8]) -> Option<Vec<u8>> {
        let image = self.decoder.decode(layout.picture(pixels)?).ok()?;
        let longer = image.width.max(image.height) as usize;
        self.maker.encode_reduced(&image, (longer / SIDE).max(1))
    }
}

/// Whether a camera's next picture is due: a picture every 100 ms at most.
#[derive(Default)]
pub struct Due([Option<Timestamp>; super::MAX_CAMERAS]);

impl Due {
    /// True if it is, which then counts as taken.
    pub fn is(&mut self, camera: u8, now: Timestamp) -> bool {
        let Some(last) = self.0.get_mut(usize::from(camera)) else { return false };
        let due = last.is_none_or(|last| now.since(last) >= EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{ColorSpace, PixelFormat};
    use crate::view::board::SLOTS;

    #[test]
    fn a_picture_is_posted_small_and_with_its_keypoints() {
        let board = Arc::new(Board::new().unwrap());
        let mut previewer = Previewer::new(board.clone());
        let layout = ImageLayout::packed(1920, 1080, PixelFormat::Yuyv, ColorSpace::default());
        let pixels = vec![128; layout.byte_len()];
        let poses = crate::wire::samples::frame(2);
        previewer.show(&layout, &pixels, &poses);
        let mut events = Vec::new();
        board.newer(&mut [0; SLOTS], |e| events.push(e.clone()));
        let text = std::str::from_utf8(&events[0]).unwrap();
        let data = text.strip_prefix("event: picture\ndata: ").unwrap().trim();
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["persons"].as_array().unwrap().len(), poses.persons.len());
        assert!(value["persons"][0]["keypoints"]["nose"].is_array(), "{data}");
        let jpeg = STANDARD.decode(value["jpeg"].as_str().unwrap()).unwrap();
        let coded = ImageLayout::compressed(0, 0, PixelFormat::Jpeg, jpeg.len());
        let mut decoder = crate::decode::JpegDecoder::new();
        let small = decoder.decode(&coded.picture(&jpeg).unwrap()).unwrap();
        assert_eq!((small.width, small.height), (480, 270));
        // As it came from a camera that compresses.
        previewer.show(&coded, &jpeg, &poses);
        events.clear();
        board.newer(&mut [0; SLOTS], |e| events.push(e.clone()));
        assert!(events[0].len() > 1000);
        // A damaged one is left out.
        let newest = events[0].clone();
        previewer.show(&coded, &jpeg[..100], &poses);
        events.clear();
        board.newer(&mut [0; SLOTS], |e| events.push(e.clone()));
        assert_eq!(events[0], newest);
    }

    #[test]
    fn ten_pictures_a_second_of_each_camera_are_due() {
        let mut due = Due::default();
        let at = Timestamp::from_secs_f64;
        assert!(due.is(0, at(1.0)) && due.is(1, at(1.0)));
        assert!(!due.is(0, at(1.09)));
        assert!(due.is(0, at(1.101)) && !due.is(8, at(9.0)));
    }
}
