//! The newest of everything, ready to be sent.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};

use super::MAX_CAMERAS;

/// A server-sent event, encoded once for all viewers.
pub type Event = Arc<[u8]>;

/// How many kinds of events there are: see [`Slot`].
pub(super) const SLOTS: usize = 1 + 2 * MAX_CAMERAS;

/// Where on the board an event belongs. A newer one of the same slot replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// How the sender is.
    Status,
    /// A camera's newest poses.
    Pose(u8),
    /// A camera's newest picture, with the keypoints that were found in it.
    Picture(u8),
}

impl Slot {
    /// `None` for a camera that the page does not show.
    fn index(self) -> Option<usize> {
        let of = |first: usize, camera: u8| {
            let camera = usize::from(camera);
            (camera < MAX_CAMERAS).then_some(first + camera)
        };
        match self {
            Self::Status => Some(0),
            Self::Pose(camera) => of(1, camera),
            Self::Picture(camera) => of(1 + MAX_CAMERAS, camera),
        }
    }
}

/// What programs ask for by name, rather than follow.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// `/api/status`.
    pub status: Arc<[u8]>,
    /// `/healthz`.
    pub health: Arc<[u8]>,
    /// Whether the sensor does its work, as far as it can.
    pub healthy: bool,
    /// What of `/metrics` the feed knows: lines in Prometheus's text format.
    pub metrics: Arc<str>,
}

#[derive(Default)]
struct Inner {
    /// Each with the number of its posting.
    events: [Option<(u64, Event)>; SLOTS],
    posted: u64,
    answers: Answers,
    closed: bool,
}

/// What [`Feed`](super::Feed) and [`Previewer`](super::Previewer) post and
/// [`Server`](super::Server) reads. Posting never waits for a viewer.
pub struct Board {
    inner: Mutex<Inner>,
    /// Readable while something was posted that the server has not looked at.
    wake: OwnedFd,
    watchers: AtomicUsize,
}

impl Board {
    /// An empty one.
    ///
    /// # Errors
    /// If the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { inner: Mutex::default(), wake, watchers: AtomicUsize::new(0) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change is a whole one: a poisoned board is a valid board.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `event` where the older one was.
    pub fn post(&self, slot: Slot, event: Event) {
        let Some(index) = slot.index() else { return };
        {
            let mut inner = self.inner();
            inner.posted += 1;
            let number = inner.posted;
            inner.events[index] = Some((number, event));
        }
        self.ring();
    }

    /// Replaces what is answered to programs.
    pub fn answer(&self, answers: Answers) {
        self.inner().answers = answers;
    }

    /// What is answered to programs.
    pub fn answers(&self) -> Answers {
        self.inner().answers.clone()
    }

    /// Nothing more will be posted: the server sends what there is and ends.
    pub fn close(&self) {
        self.inner().closed = true;
        self.ring();
    }

    /// True after [`close`](Self::close).
    pub fn is_closed(&self) -> bool {
        self.inner().closed
    }

    /// How many viewers follow events now: without any, nothing need be made for them.
    pub fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed)
    }

    pub(super) fn set_watchers(&self, n: usize) {
        self.watchers.store(n, Ordering::Relaxed);
    }

    /// Calls `take` with every event that is newer than `seen` says, and brings `seen` up to date.
    pub(super) fn newer(&self, seen: &mut [u64; SLOTS], mut take: impl FnMut(&Event)) {
        let inner = self.inner();
        for (seen, event) in seen.iter_mut().zip(&inner.events) {
            if let Some((number, event)) = event
                && *number > *seen
            {
                *seen = *number;
                take(event);
            }
        }
    }

    fn ring(&self) {
        // Full: it rings already.
        let _ = write(&self.wake, &1u64.to_ne_bytes());
    }

    /// What to wait for.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Silences the bell.
    pub(super) fn heard(&self) {
        let _ = read(&self.wake, &mut [0u8; 8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        text.as_bytes().into()
    }

    #[test]
    fn a_reader_gets_the_newest_of_each_slot_once() {
        let board = Board::new().unwrap();
        let mut seen = [0; SLOTS];
        let mut read = |board: &Board| {
            let mut got = Vec::new();
            board.newer(&mut seen, |e| got.push(String::from_utf8(e.to_vec()).unwrap()));
            got
        };
        assert!(read(&board).is_empty());
        board.post(Slot::Pose(0), event("old"));
        board.post(Slot::Pose(0), event("new"));
        board.post(Slot::Picture(7), event("picture"));
        board.post(Slot::Picture(8), event("a camera that is not shown"));
        board.post(Slot::Status, event("status"));
        assert_eq!(read(&board), ["status", "new", "picture"]);
        assert!(read(&board).is_empty());
        board.post(Slot::Pose(0), event("newer"));
        assert_eq!(read(&board), ["newer"]);
    }

    #[test]
    fn the_bell_rings_until_it_was_heard() {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let board = Board::new().unwrap();
        let rings = |board: &Board| {
            let bell = board.bell();
            let mut fds = [PollFd::new(&bell, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec::default())).unwrap() == 1
        };
        assert!(!rings(&board));
        board.post(Slot::Status, event("a"));
        board.post(Slot::Status, event("b"));
        assert!(rings(&board));
        board.heard();
        assert!(!rings(&board));
        board.close();
        assert!(rings(&board) && board.is_closed());
    }
}
