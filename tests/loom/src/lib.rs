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
        let mailbox = Arc::new(Latest::new());
        let putter = {
            let (mailbox, drops) = (mailbox.clone(), drops.clone());
            thread::spawn(move || {
                let mut displaced = 0;
                for i in 1..=3 {
                    displaced +=
                        u64::from(mailbox.put(Counted(i, drops.clone())) == Put::Displaced);
                }
                mailbox.close();
                displaced
            })
        };
        let (mut last, mut taken) = (0, 0);
        while let Taken::Value(v) = mailbox.take(FOREVER) {
            assert!(v.0 > last, "values never go back and never come twice");
            last = v.0;
            taken += 1;
        }
        let displaced = putter.join().unwrap();
        assert_eq!(last, 3, "the newest value is never lost");
        assert_eq!(displaced, mailbox.displaced());
        assert_eq!(taken + displaced, 3, "every value is taken or counted");
        assert_eq!(drops.load(Ordering::SeqCst), 3, "every value is freed once");
    });
}

#[test]
fn latest_loses_nothing_when_the_putter_waits() {
    loom::model(|| {
        let mailbox = Arc::new(Latest::new());
        let putter = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                for i in 1..=3 {
                    assert_eq!(mailbox.put_when_empty(i, FOREVER), Ok(Put::Stored));
                }
                mailbox.close();
            })
        };
        for i in 1..=3 {
            assert_eq!(mailbox.take(FOREVER), Taken::Value(i));
        }
        assert_eq!(mailbox.take(FOREVER), Taken::Closed);
        putter.join().unwrap();
    });
}

#[test]
fn closing_latest_wakes_a_waiting_putter() {
    loom::model(|| {
        let mailbox = Arc::new(Latest::new());
        assert_eq!(mailbox.put(1), Put::Stored);
        let closer = {
            let mailbox = mailbox.clone();
            thread::spawn(move || mailbox.close())
        };
        assert_eq!(mailbox.put_when_empty(2, FOREVER), Ok(Put::Closed));
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
        let mailbox = Arc::new(Latest::new());
        let perception = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                while let Taken::Value(lease) = mailbox.take(FOREVER) {
                    drop(lease);
                }
            })
        };
        for _ in 0..3 {
            mailbox.put(leases.take_within(FOREVER).expect("a buffer comes home"));
        }
        mailbox.close();
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
