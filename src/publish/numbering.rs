//! One sender's session, packet numbers and stamps.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::PublishSettings;
use crate::time::Clock;
use crate::wire::{ClockState, Header};

/// Makes the header of each datagram in turn.
pub(super) struct Numbering {
    session: u64,
    packet: u32,
    clock: Arc<dyn Clock>,
    state: ClockState,
}

impl Numbering {
    pub fn new(settings: &PublishSettings) -> Self {
        let clock = settings.clock.clone();
        // The standard library's hasher is seeded by the system: as random as a session needs.
        let session = RandomState::new().hash_one(clock.now());
        Self { session, packet: 0, clock, state: settings.clock_state }
    }

    /// The header of the next datagram, stamped with the present. A datagram that then cannot
    /// be sent keeps its number, so that the receiver counts it as lost.
    pub fn next(&mut self) -> Header {
        let packet = self.packet;
        self.packet = packet.wrapping_add(1);
        Header {
            session: self.session,
            packet,
            sent_us: self.clock.now().micros(),
            realtime_offset_us: self.clock.realtime_offset_nanos().div_euclid(1_000),
            clock: self.state,
        }
    }
}
