//! Every interleaving of posewire's hand-off queues, up to loom's preemption bound.
//!
//! In the model a wait has no time limit, so a wake-up that is lost shows as a deadlock, which
//! loom reports as a failure.
#![cfg(all(test, loom))]

#[path = "../../../src/handoff/mod.rs"]
#[allow(dead_code, unused_imports)]
mod handoff;

use std::time::Duration;

use handoff::{Latest, Leases, Put, Ring, Taken};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Models with two threads beside the main one, or with three frames in flight, have too many
/// interleavings to walk in full; three preemptions are what loom's authors found to show nearly
/// every bug.
fn bounded(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

const FOREVER: Duration = Duration::from_secs(3_600);

/// Counts its own drops, so that a value lost or freed twice is seen.
struct Counted(u32, Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn latest_gives_values_in_order_never_twice_and_always_the_last() {
    loom::model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let mailbox = Arc::new(Latest::new(1));
        let putter = {
            let (mailbox, drops) = (mailbox.clone(), drops.clone());
            thread::spawn(move || {
                let mut displaced = 0;
                for i in 1..=3 {
                    displaced +=
                        u64::from(mailbox.put(0, Counted(i, drops.clone())) == Put::Displaced);
                }
                mailbox.close(0);
                displaced
            })
        };
        let (mut last, mut taken) = (0, 0);
        while let Taken::Value((_, v)) = mailbox.take(FOREVER) {
            assert!(v.0 > last, "values never go back and never come twice");
            last = v.0;
            taken += 1;
        }
        let displaced = putter.join().unwrap();
        assert_eq!(last, 3, "the newest value is never lost");
        assert_eq!(displaced, mailbox.displaced(0));
        assert_eq!(taken + displaced, 3, "every value is taken or counted");
        assert_eq!(drops.load(Ordering::SeqCst), 3, "every value is freed once");
    });
}

#[test]
fn latest_loses_nothing_when_the_putter_waits() {
    loom::model(|| {
        let mailbox = Arc::new(Latest::new(1));
        let putter = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                for i in 1..=3 {
                    assert_eq!(mailbox.put_when_empty(0, i, FOREVER), Ok(Put::Stored));
                }
                mailbox.close(0);
            })
        };
        for i in 1..=3 {
            assert_eq!(mailbox.take(FOREVER), Taken::Value((0, i)));
        }
        assert_eq!(mailbox.take(FOREVER), Taken::Closed);
        putter.join().unwrap();
    });
}

#[test]
fn closing_latest_wakes_a_waiting_putter() {
    loom::model(|| {
        let mailbox = Arc::new(Latest::new(1));
        assert_eq!(mailbox.put(0, 1), Put::Stored);
        let closer = {
            let mailbox = mailbox.clone();
            thread::spawn(move || mailbox.close(0))
        };
        assert_eq!(mailbox.put_when_empty(0, 2, FOREVER), Ok(Put::Closed));
        closer.join().unwrap();
    });
}

#[test]
fn a_lease_dropped_elsewhere_wakes_the_waiting_source_and_orders_the_memory() {
    loom::model(|| {
        let leases = Leases::new(1);
        // Stands for the pixels: written by the holder before the drop, read by the next taker.
        let pixels = Arc::new(AtomicUsize::new(0));
        let lease = leases.take().unwrap();
        let holder = {
            let pixels = pixels.clone();
            thread::spawn(move || {
                pixels.store(7, Ordering::Relaxed);
                drop(lease);
            })
        };
        let again = leases.take_within(FOREVER).expect("the buffer comes home");
        assert_eq!(again.index(), 0);
        assert_eq!(pixels.load(Ordering::Relaxed), 7, "the holder's writes are visible");
        assert!(leases.take().is_none(), "a buffer is never lent twice");
        holder.join().unwrap();
    });
}

#[test]
fn two_leases_dropped_at_once_both_come_home() {
    bounded(|| {
        let leases = Leases::new(2);
        let (a, b) = (leases.take().unwrap(), leases.take().unwrap());
        assert_ne!(a.index(), b.index());
        let one = thread::spawn(move || drop(a));
        let two = thread::spawn(move || drop(b));
        let x = leases.take_within(FOREVER).unwrap();
        let y = leases.take_within(FOREVER).unwrap();
        assert_ne!(x.index(), y.index());
        one.join().unwrap();
        two.join().unwrap();
    });
}

#[test]
fn a_frame_passes_from_the_source_through_the_mailbox_and_its_buffer_comes_home() {
    bounded(|| {
        let leases = Leases::new(2);
        let mailbox = Arc::new(Latest::new(1));
        let perception = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                while let Taken::Value((_, lease)) = mailbox.take(FOREVER) {
                    drop(lease);
                }
            })
        };
        for _ in 0..3 {
            mailbox.put(0, leases.take_within(FOREVER).expect("a buffer comes home"));
        }
        mailbox.close(0);
        perception.join().unwrap();
        assert_eq!(leases.at_home(), 2, "no buffer is lost");
    });
}

#[test]
fn a_ring_keeps_order_counts_what_falls_out_and_wakes_its_taker() {
    loom::model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let ring = Arc::new(Ring::new(2));
        let pusher = {
            let (ring, drops) = (ring.clone(), drops.clone());
            thread::spawn(move || {
                for i in 1..=3 {
                    assert_ne!(ring.push(Counted(i, drops.clone())), Put::Closed);
                }
                ring.close();
            })
        };
        let (mut last, mut taken) = (0, 0);
        while let Taken::Value(v) = ring.take(FOREVER) {
            assert!(v.0 > last);
            last = v.0;
            taken += 1;
        }
        pusher.join().unwrap();
        assert_eq!(last, 3);
        assert_eq!(taken + ring.displaced(), 3);
        assert_eq!(drops.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn two_sources_share_a_taker_and_each_ends_with_its_newest() {
    bounded(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let mailbox = Arc::new(Latest::new(2));
        let putters: Vec<_> = (0..2)
            .map(|source| {
                let (mailbox, drops) = (mailbox.clone(), drops.clone());
                thread::spawn(move || {
                    for i in 1..=2 {
                        mailbox.put(source, Counted(i, drops.clone()));
                    }
                    mailbox.close(source);
                })
            })
            .collect();
        let (mut last, mut taken) = ([0; 2], 0);
        while let Taken::Value((source, v)) = mailbox.take(FOREVER) {
            assert!(v.0 > last[source], "values of a source never go back and never come twice");
            last[source] = v.0;
            taken += 1;
        }
        for putter in putters {
            putter.join().unwrap();
        }
        assert_eq!(last, [2, 2], "the newest value of neither is lost");
        assert_eq!(taken + mailbox.displaced(0) + mailbox.displaced(1), 4);
        assert_eq!(drops.load(Ordering::SeqCst), 4, "every value is freed once");
    });
}

#[test]
fn a_source_that_waits_for_room_is_woken_though_another_source_puts_and_ends() {
    bounded(|| {
        let mailbox = Arc::new(Latest::new(2));
        let waiting = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                for i in 1..=2 {
                    assert_eq!(mailbox.put_when_empty(0, i, FOREVER), Ok(Put::Stored));
                }
                mailbox.close(0);
            })
        };
        let other = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                mailbox.put(1, 7);
                mailbox.close(1);
            })
        };
        let mut got = [0; 2];
        while let Taken::Value((source, _)) = mailbox.take(FOREVER) {
            got[source] += 1;
        }
        assert_eq!(got, [2, 1]);
        waiting.join().unwrap();
        other.join().unwrap();
    });
}
