//! One sender's session, packet numbers and stamps.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::PublishSettings;
use crate::time::{Clock, Timestamp};
use crate::wire::{ClockState, Header};

/// systemd-timesyncd makes this file when it has set the clock, and touches it whenever it does.
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";
/// How often the file is looked for: a machine may be on the air for long before its network is.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Makes the header of each datagram in turn.
pub(super) struct Numbering {
    session: u64,
    packet: u32,
    clock: Arc<dyn Clock>,
    discipline: Discipline,
}

/// How the realtime clock is disciplined.
struct Discipline {
    /// As the configuration says.
    told: ClockState,
    found: ClockState,
    look_at: Timestamp,
    file: PathBuf,
}

impl Discipline {
    fn new(told: ClockState, file: &str) -> Self {
        let found = ClockState::Unknown;
        Self { told, found, look_at: Timestamp::from_nanos(i64::MIN), file: file.into() }
    }

    fn now(&mut self, now: Timestamp) -> ClockState {
        if self.told != ClockState::Unknown {
            return self.told;
        }
        if now >= self.look_at {
            self.look_at = now + LOOK_EVERY;
            // Without the file there may be another program that keeps the time.
            let synchronized = Path::exists(&self.file);
            self.found = if synchronized { ClockState::Ntp } else { ClockState::Unknown };
        }
        self.found
    }
}

impl Numbering {
    pub fn new(settings: &PublishSettings) -> Self {
        let clock = settings.clock.clone();
        // The standard library's hasher is seeded by the system: as random as a session needs.
        let session = RandomState::new().hash_one(clock.now());
        let discipline = Discipline::new(settings.clock_state, SYNCHRONIZED);
        Self { session, packet: 0, clock, discipline }
    }

    /// The header of the next datagram, stamped with the present. A datagram that then cannot
    /// be sent keeps its number, so that the receiver counts it as lost.
    pub fn next(&mut self) -> Header {
        let packet = self.packet;
        self.packet = packet.wrapping_add(1);
        let now = self.clock.now();
        Header {
            session: self.session,
            packet,
            sent_us: now.micros(),
            realtime_offset_us: self.clock.realtime_offset_nanos().div_euclid(1_000),
            clock: self.discipline.now(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_says_goes_first() {
        let mut told = Discipline::new(ClockState::Ptp, "/");
        assert_eq!(told.now(Timestamp::ZERO), ClockState::Ptp);
    }

    #[test]
    fn a_clock_that_is_set_later_is_noticed_within_ten_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("synchronized");
        let mut discipline = Discipline::new(ClockState::Unknown, file.to_str().unwrap());
        let at = Timestamp::from_secs_f64;
        assert_eq!(discipline.now(at(1.0)), ClockState::Unknown);
        std::fs::write(&file, "").unwrap();
        assert_eq!(discipline.now(at(10.9)), ClockState::Unknown);
        assert_eq!(discipline.now(at(11.0)), ClockState::Ntp);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(discipline.now(at(21.0)), ClockState::Unknown);
    }
}
