//! The live page's threads and the ways to them.
//!
//! ```text
//! perception ──Ring──▶ feed ───────┐
//! perception ──channel──▶ preview ──▶ board ◀── server ◀── browsers
//!      ▲──── empty buffers ───┘
//! ```
//!
//! Perception copies a picture only while somebody watches, ten times a second at most, and never
//! when the one before has not been taken yet. Full: there is no picture of this frame. Empty: the
//! thread waits.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::upkeep::Told;
use super::{Shared, TURN};
use crate::frame::{Frame, ImageLayout};
use crate::handoff::{Ring, Taken};
use crate::pose::PoseFrame;
use crate::recording::frame_record;
use crate::time::Timestamp;
use crate::view::{Board, Due, Feed, Previewer};

/// A frame's pixels, which belong to nobody else, and what was found in it.
struct Snapshot {
    layout: ImageLayout,
    pixels: Vec<u8>,
    poses: PoseFrame,
}

/// Perception's end of the way to the previewer.
pub(super) struct Eye {
    board: Arc<Board>,
    due: Due,
    full: Sender<Snapshot>,
    spare: Receiver<Vec<u8>>,
}

/// The previewer's end.
pub(super) struct Outlet {
    full: Receiver<Snapshot>,
    spare: Sender<Vec<u8>>,
}

/// The way from perception to `previewer`.
pub(super) fn way(previewer: &Previewer) -> (Eye, Outlet) {
    let (full, taken) = bounded(1);
    let (back, spare) = bounded(2);
    let eye = Eye { board: previewer.board().clone(), due: Due::default(), full, spare };
    (eye, Outlet { full: taken, spare: back })
}

impl Eye {
    /// Whether a picture of `frame` is to be shown.
    pub fn wants(&mut self, frame: &Frame, now: Timestamp) -> bool {
        self.board.watchers() > 0 && !self.full.is_full() && self.due.is(frame.camera, now)
    }

    /// Sends a picture, if there is room for it.
    pub fn offer(&self, frame: &Frame, poses: &PoseFrame) {
        let mut pixels = self.spare.try_recv().unwrap_or_default();
        pixels.clear();
        frame_record::pack(frame, &mut pixels);
        let layout = frame_record::packed_layout(frame);
        // Gone: its thread has ended, and says why.
        let _ = self.full.try_send(Snapshot { layout, pixels, poses: poses.clone() });
    }
}

/// The previewer's thread.
pub(super) fn preview(mut previewer: Previewer, way: &Outlet) {
    while let Ok(Snapshot { layout, pixels, poses }) = way.full.recv() {
        previewer.show(&layout, &pixels, &poses);
        // Full: there are enough of them.
        let _ = way.spare.try_send(pixels);
    }
}

/// The feed's thread.
pub(super) fn feed(shared: &Shared, ring: &Ring<PoseFrame>, mut feed: Feed) {
    let mut told = Told::default();
    loop {
        if let Some(status) = told.due(shared) {
            feed.status(&status);
        }
        match ring.take(TURN) {
            Taken::Value(poses) => feed.publish(&poses),
            Taken::TimedOut => {}
            Taken::Closed => break,
        }
    }
    feed.finish();
}
