//! When things happened, in Unix time: what a viewer's time line shows.

use super::unix;
use crate::frame::{FrameStamp, Timebase};
use crate::time::Clock;

/// Turns frames' times into Unix time. A recording's own times begin at the moment when its first
/// frame came, and then go at their own speed: so that it looks the same however fast it was read.
#[derive(Default)]
pub(super) struct Timeline {
    /// A recording's own time, and the Unix time that it stands for.
    anchor: Option<(i64, u64)>,
    newest: Option<u64>,
}

impl Timeline {
    pub fn unix(&mut self, stamp: &FrameStamp, clock: &dyn Clock) -> u64 {
        let time = match stamp.timebase {
            Timebase::Monotonic => {
                self.newest = None;
                return unix(stamp.captured, clock);
            }
            Timebase::Media => {
                let media = stamp.captured.nanos();
                let (zero, from) = *self.anchor.get_or_insert((media, unix(clock.now(), clock)));
                from.saturating_add_signed(media.saturating_sub(zero))
            }
        };
        self.newest = Some(time);
        time
    }

    /// The present: of a recording, where it is.
    pub fn newest(&self, clock: &dyn Clock) -> u64 {
        self.newest.unwrap_or_else(|| unix(clock.now(), clock))
    }
}
