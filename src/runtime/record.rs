//! The recorder's thread and the way to it.
//!
//! ```text
//! perception ──bounded channel──▶ recorder
//!      ▲────── empty buffers ────────┘
//! ```
//!
//! Perception copies a frame's pixels after its poses are on their way, so that the camera's
//! buffer goes home at once and no packet waits for a copy. Full (too many bytes of pixels wait):
//! the frame is recorded without its picture, and counted; of a recording that is read as fast as
//! it is processed, perception waits, as no frame of it may be lost. Empty: the recorder waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::health::Living;
use super::upkeep::Told;
use super::{RECORDER, Shared, TURN};
use crate::frame::{Frame, FrameStamp};
use crate::pose::PoseFrame;
use crate::record::{Recorder, Taken, Trigger};
use crate::recording::{Picture, frame_record};

/// Frames that wait for the recorder, with or without pixels: four seconds at 60 per second.
const CAPACITY: usize = 256;

/// Perception's end of the way to the recorder.
pub(super) struct Intake {
    full: Sender<Taken>,
    spare: Receiver<Vec<u8>>,
    /// Bytes of pixels on the way.
    waiting: Arc<AtomicUsize>,
    limit: usize,
    pixels: bool,
    /// Frames that were not even recorded without their picture.
    lost: Arc<AtomicU64>,
}

/// The recorder's end.
pub(super) struct Outlet {
    full: Receiver<Taken>,
    spare: Sender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

/// The way from perception to `recorder`.
pub(super) fn way(recorder: &Recorder) -> (Intake, Outlet) {
    let (full, taken) = bounded(CAPACITY);
    let (back, spare) = bounded(CAPACITY);
    let (waiting, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let intake = Intake {
        full,
        spare,
        waiting: waiting.clone(),
        limit: recorder.queue_bytes(),
        pixels: recorder.wants_pixels(),
        lost: lost.clone(),
    };
    (intake, Outlet { full: taken, spare: back, waiting, lost })
}

impl Intake {
    /// Sends a frame and what was seen in it.
    pub fn offer(&mut self, shared: &Shared, camera: usize, frame: &Frame, poses: &PoseFrame) {
        let live = shared.cameras.get(camera).is_none_or(|c| c.live.load(Ordering::Relaxed));
        let patient = !live;
        let (mut picture, mut pixels) = (Picture::None, Vec::new());
        if self.pixels {
            let bytes = frame.layout.planes.iter().map(|p| p.len).sum();
            match self.buffer(shared, bytes, patient) {
                Some(buffer) => {
                    pixels = buffer;
                    frame_record::pack(frame, &mut pixels);
                    picture = Picture::Exact;
                }
                None => picture = Picture::Dropped,
            }
        }
        self.waiting.fetch_add(pixels.len(), Ordering::AcqRel);
        let Frame { camera, sequence, captured, timebase, dequeued, .. } = *frame;
        let stamp = FrameStamp { camera, sequence, captured, timebase, dequeued };
        let layout = frame.layout.clone();
        let mut taken = Taken { stamp, layout, picture, pixels, poses: poses.clone() };
        loop {
            taken = match self.full.try_send(taken) {
                Ok(()) => return,
                Err(TrySendError::Full(back)) if patient && !shared.stop.is_raised() => back,
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => {
                    self.waiting.fetch_sub(back.pixels.len(), Ordering::AcqRel);
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            };
            // The recorder gives a buffer back for every frame that it has taken.
            let _ = self.spare.recv_timeout(TURN);
        }
    }

    /// An empty buffer, if `bytes` more may wait.
    fn buffer(&self, shared: &Shared, bytes: usize, patient: bool) -> Option<Vec<u8>> {
        loop {
            let waiting = self.waiting.load(Ordering::Acquire);
            if waiting == 0 || waiting + bytes <= self.limit {
                return Some(self.spare.try_recv().unwrap_or_default());
            }
            if !patient || shared.stop.is_raised() {
                return None;
            }
            match self.spare.recv_timeout(TURN) {
                Err(RecvTimeoutError::Disconnected) => return None,
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// The recorder's thread.
pub(super) fn record(shared: &Shared, mut recorder: Recorder, way: &Outlet) {
    let mut told = Told::default();
    let mut frames_lost = 0;
    let living = Living(shared.health.stage(RECORDER, false));
    loop {
        living.0.turn();
        match way.full.recv_timeout(TURN) {
            Ok(taken) => {
                let bytes = taken.pixels.len();
                let buffer = recorder.take(taken);
                way.waiting.fetch_sub(bytes, Ordering::AcqRel);
                // Full: there are enough of them.
                let _ = way.spare.try_send(buffer);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if let Some(status) = told.due(shared) {
            recorder.status(&status);
            let lost = way.lost.load(Ordering::Relaxed);
            if lost > frames_lost {
                log::warn!("recording: {} frames lost: the disk is too slow", lost - frames_lost);
                frames_lost = lost;
            }
        }
        if shared.dump.take() {
            recorder.trigger(&Trigger::Signal);
        }
        recorder.tick();
        shared.recorder_is(recorder.fault());
    }
    if shared.failed.is_raised() {
        recorder.trigger(&Trigger::Failure);
    }
    if shared.dump.take() {
        recorder.trigger(&Trigger::Signal);
    }
    let done = recorder.finish();
    shared.recorder_is(recorder.fault());
    log::info!(
        "recorded {} frames ({} without their picture, {} not at all), {:.1} MB in {} file(s), \
         {} message(s) lost to a full or failed disk, {} flight recording(s)",
        done.frames,
        done.pictures_dropped,
        way.lost.load(Ordering::Relaxed),
        done.bytes as f64 / 1e6,
        done.files,
        done.lost,
        done.dumps,
    );
}
