//! Over many datagrams: what was lost, late or doubled, and the parts of a frame together.

use super::{Header, PoseMessage};

/// How far back a late datagram is still told from a doubled one.
const WINDOW: u64 = 1_024;
/// Where the extended numbering begins, so that what precedes the first datagram has a number.
const ORIGIN: u64 = 1 << 32;

/// What a datagram's number says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The first of its session, or the one after the newest.
    InOrder,
    /// Newer than expected: this many before it are missing so far.
    Ahead {
        /// How many.
        missing: u32,
    },
    /// Overtaken by newer ones: out of order, but new.
    Late,
    /// It was here before: do not use it again.
    Duplicate,
    /// So old that it may or may not have been here before: do not use it.
    Stale,
}

/// What was counted of one session's datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams of different numbers.
    pub received: u64,
    /// Numbers between the lowest and the highest that did not come (yet).
    pub lost: u64,
    /// Datagrams that newer ones had overtaken.
    pub reordered: u64,
    /// Datagrams that came again.
    pub duplicates: u64,
    /// Datagrams too old to say.
    pub stale: u64,
}

/// Counts the datagrams of one session by their packet numbers. Exact as long as nothing is
/// overtaken by 1,024 others or more.
#[derive(Clone)]
pub struct Sequencer {
    /// (lowest, highest) extended number that came.
    span: Option<(u64, u64)>,
    /// Bit n % WINDOW: number n came, for n in the window that ends with the highest.
    seen: [u64; (WINDOW / 64) as usize],
    tally: Tally,
}

impl Default for Sequencer {
    fn default() -> Self {
        Self { span: None, seen: [0; (WINDOW / 64) as usize], tally: Tally::default() }
    }
}

impl Sequencer {
    /// Counts the datagram numbered `packet`.
    pub fn observe(&mut self, packet: u32) -> Arrival {
        // The nearest number to the highest whose lower 32 bits are `packet`.
        self.count(u64::from(packet), |highest| {
            i64::from(packet.wrapping_sub(highest as u32) as i32)
        })
    }

    /// Counts the datagram whose number's lower 16 bits are `packet`. On a line that carries
    /// short headers, use it for the full ones, too: whoever joins late knows no more of the
    /// count. Exact as long as fewer than 32,768 in a row are lost.
    pub fn observe_short(&mut self, packet: u16) -> Arrival {
        self.count(u64::from(packet), |highest| {
            i64::from(packet.wrapping_sub(highest as u16) as i16)
        })
    }

    /// `step` says how far the number is from the highest so far.
    fn count(&mut self, first: u64, step: impl FnOnce(u64) -> i64) -> Arrival {
        let Some((lowest, highest)) = self.span else {
            let number = ORIGIN + first;
            self.span = Some((number, number));
            self.mark(number);
            self.tally.received = 1;
            return Arrival::InOrder;
        };
        let number = highest.saturating_add_signed(step(highest));
        if number > highest {
            let missing = number - highest - 1;
            for skipped in (highest + 1..number).take(WINDOW as usize) {
                self.clear(skipped);
            }
            // More than a window was skipped: the loop above has cleared every bit.
            self.mark(number);
            self.span = Some((lowest, number));
            self.tally.received += 1;
            self.tally.lost += missing;
            return match u32::try_from(missing) {
                Ok(missing) if missing > 0 => Arrival::Ahead { missing },
                _ => Arrival::InOrder,
            };
        }
        if highest - number >= WINDOW {
            self.tally.stale += 1;
            return Arrival::Stale;
        }
        if self.is_marked(number) {
            self.tally.duplicates += 1;
            return Arrival::Duplicate;
        }
        self.mark(number);
        self.tally.received += 1;
        self.tally.reordered += 1;
        if number < lowest {
            // It was sent before the first that came: the span grows to it.
            self.tally.lost += lowest - number - 1;
            self.span = Some((number, highest));
        } else {
            self.tally.lost -= 1;
        }
        Arrival::Late
    }

    /// What was counted so far.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    fn slot(number: u64) -> (usize, u64) {
        let bit = number % WINDOW;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    fn mark(&mut self, number: u64) {
        let (word, bit) = Self::slot(number);
        self.seen[word] |= bit;
    }

    fn clear(&mut self, number: u64) {
        let (word, bit) = Self::slot(number);
        self.seen[word] &= !bit;
    }

    fn is_marked(&self, number: u64) -> bool {
        let (word, bit) = Self::slot(number);
        self.seen[word] & bit != 0
    }
}

/// Puts the parts of one camera's frames together. It holds one frame: when a part of a newer one
/// comes first, what was incomplete is given up and counted, and its late parts are dropped.
///
/// Use one per session and camera, behind a [`Sequencer`]. A consumer that cares for single
/// persons needs none of this: each part stands by itself.
#[derive(Default)]
pub struct Assembler {
    newest: Option<u32>,
    held: Option<Held>,
    incomplete: u64,
}

struct Held {
    /// Bit n: part n is here.
    parts_here: [u64; 4],
    count: u8,
    message: PoseMessage,
}

impl Assembler {
    /// Adds a part; gives the whole frame, as one message, with the part that completes it. Its
    /// persons come in the parts' order of arrival.
    pub fn add(&mut self, header: &Header, part: PoseMessage) -> Option<PoseMessage> {
        let group = header.group(part.part);
        let age = self.newest.map_or(-1, |n| n.wrapping_sub(group) as i32);
        if age < 0 {
            self.incomplete += u64::from(self.held.take().is_some());
            self.newest = Some(group);
        }
        if part.parts == 1 {
            return Some(part);
        }
        let (word, bit) = (usize::from(part.part / 64), 1u64 << (part.part % 64));
        if age < 0 {
            let mut parts_here = [0; 4];
            parts_here[word] = bit;
            self.held = Some(Held { parts_here, count: 1, message: part });
            return None;
        }
        let held = self.held.as_mut().filter(|h| age == 0 && h.parts_here[word] & bit == 0)?;
        held.parts_here[word] |= bit;
        held.count += 1;
        let room = held.message.persons.remaining_capacity();
        held.message.persons.extend(part.persons.into_iter().take(room));
        let complete = held.count == held.message.parts;
        let mut message = self.held.take_if(|_| complete)?.message;
        (message.part, message.parts) = (0, 1);
        Some(message)
    }

    /// Frames of which parts are missing for good.
    pub const fn incomplete(&self) -> u64 {
        self.incomplete
    }
}
