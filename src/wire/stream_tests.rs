//! Losses are counted exactly, whatever the network does.

use proptest::prelude::*;

use super::samples::{datagrams, frame, pose_of};
use super::{Arrival, Assembler, PoseOptions, Sequencer, Tally, decode};

fn tally(packets: impl IntoIterator<Item = u32>) -> Tally {
    let mut s = Sequencer::default();
    for p in packets {
        s.observe(p);
    }
    s.tally()
}

#[test]
fn an_undisturbed_row_counts_nothing_but_arrivals_also_across_the_wrap() {
    let row = (0..10_000u32).map(|n| n.wrapping_sub(5_000));
    assert_eq!(tally(row), Tally { received: 10_000, ..Tally::default() });
}

#[test]
fn each_arrival_is_named() {
    let mut s = Sequencer::default();
    let named: Vec<_> = [7, 8, 11, 9, 9, 8, 6, 12].into_iter().map(|p| s.observe(p)).collect();
    use Arrival::*;
    let expected =
        [InOrder, InOrder, Ahead { missing: 2 }, Late, Duplicate, Duplicate, Late, InOrder];
    assert_eq!(named, expected);
    let tally = s.tally();
    assert_eq!((tally.received, tally.lost), (6, 1));
    assert_eq!((tally.reordered, tally.duplicates), (2, 2));
}

#[test]
fn a_jump_over_the_whole_window_forgets_nothing_and_remembers_nothing_wrong() {
    let mut s = Sequencer::default();
    for p in [0, 1, 2, 5_000] {
        s.observe(p);
    }
    assert_eq!(s.tally().lost, 4_997);
    // In the window, and not there before, although its bit's last owner was.
    assert_eq!(s.observe(5_000 - 1_023), Arrival::Late);
    assert_eq!(s.observe(5_000 - 1_023), Arrival::Duplicate);
    assert_eq!(s.observe(5_000 - 1_024), Arrival::Stale);
    assert_eq!(s.observe(2), Arrival::Stale);
    assert_eq!(s.tally().lost, 4_996);
}

#[test]
fn short_numbers_count_like_long_ones_also_across_their_wraps() {
    let mut s = Sequencer::default();
    for packet in 65_000..200_000_u32 {
        assert_eq!(s.observe_short(packet as u16), Arrival::InOrder, "{packet}");
    }
    assert_eq!(s.observe_short(200_005_u32 as u16), Arrival::Ahead { missing: 5 });
    assert_eq!(s.observe_short(200_003_u32 as u16), Arrival::Late);
    assert_eq!(s.observe_short(200_003_u32 as u16), Arrival::Duplicate);
    assert_eq!(s.tally().lost, 4);
}

#[test]
fn an_overtaken_frame_is_given_up_counted_once_and_its_late_parts_are_dropped() {
    let datagrams = datagrams(&frame(16), &PoseOptions::default());
    let part = |n: usize| (decode(&datagrams[n]).unwrap().header, pose_of(&datagrams[n]));
    let shifted = |n: usize| {
        let (mut header, pose) = part(n);
        header.packet += 100;
        (header, pose)
    };
    let mut a = Assembler::default();
    for (header, pose) in [part(0), part(1), shifted(0), part(2), part(3), shifted(1), shifted(2)] {
        assert!(a.add(&header, pose).is_none());
    }
    assert_eq!(a.incomplete(), 1);
    let (header, pose) = shifted(3);
    assert_eq!(a.add(&header, pose.clone()).unwrap().persons.len(), 16);
    assert!(a.add(&header, pose).is_none());
    assert_eq!(a.incomplete(), 1);
}

proptest! {
    /// A network that drops, doubles and shifts within the window, against a plain recount.
    #[test]
    fn losses_doubles_and_shifts_are_counted_exactly(
        start in any::<u32>(),
        fates in prop::collection::vec((0u8..10, 0usize..200), 2..400),
    ) {
        let mut sent = Vec::new();
        for (n, (fate, delay)) in fates.iter().enumerate() {
            let copies = match fate { 0 | 1 => 0, 2 => 2, _ => 1 };
            for copy in 0..copies {
                sent.push((n + delay * (copy + 1) * usize::from(*fate > 6), n));
            }
        }
        sent.sort_by_key(|&(when, _)| when);
        let arrived: Vec<usize> = sent.into_iter().map(|(_, n)| n).collect();
        let mut distinct = arrived.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let span = distinct.last().zip(distinct.first()).map_or(0, |(b, a)| b - a + 1);
        let mut highest = None;
        let mut seen = std::collections::HashSet::new();
        let mut reordered = 0;
        for &n in &arrived {
            if seen.insert(n) && highest.is_some_and(|h| n < h) { reordered += 1; }
            highest = highest.max(Some(n));
        }
        let expected = Tally {
            received: distinct.len() as u64,
            lost: (span - distinct.len()) as u64,
            reordered,
            duplicates: (arrived.len() - distinct.len()) as u64,
            stale: 0,
        };
        prop_assert_eq!(tally(arrived.iter().map(|&n| start.wrapping_add(n as u32))), expected);
    }
}
