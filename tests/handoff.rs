//! The hand-off queues under load: real threads, many values, nothing lost, doubled or reordered.
//!
//! `tests/loom` walks every interleaving of a few steps; this runs millions of steps of a few
//! interleavings, with the real primitives.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use posewire::handoff::{Latest, Lease, Leases, Put, Ring, Taken};

const LONG: Duration = Duration::from_secs(30);
const VALUES: u64 = 200_000;

/// A value that counts those of its kind that are alive.
struct Live(u64, Arc<AtomicU64>);

impl Live {
    fn new(n: u64, alive: &Arc<AtomicU64>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self(n, alive.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn the_newest_wins_and_every_value_is_taken_or_counted() {
    let (mailbox, alive) = (Arc::new(Latest::new()), Arc::new(AtomicU64::new(0)));
    let putter = {
        let (mailbox, alive) = (mailbox.clone(), alive.clone());
        thread::spawn(move || {
            for n in 1..=VALUES {
                mailbox.put(Live::new(n, &alive));
            }
            mailbox.close();
        })
    };
    let (mut last, mut taken) = (0, 0);
    while let Taken::Value(v) = mailbox.take(LONG) {
        assert!(v.0 > last, "{} after {last}", v.0);
        last = v.0;
        taken += 1;
    }
    putter.join().unwrap();
    assert_eq!(last, VALUES);
    assert_eq!(taken + mailbox.displaced(), VALUES);
    assert_eq!(alive.load(Ordering::SeqCst), 0, "nothing leaks");
}

#[test]
fn a_putter_that_waits_loses_nothing() {
    let mailbox = Arc::new(Latest::new());
    let putter = {
        let mailbox = mailbox.clone();
        thread::spawn(move || {
            for n in 0..20_000u64 {
                assert_eq!(mailbox.put_when_empty(n, LONG), Ok(Put::Stored));
            }
            mailbox.close();
        })
    };
    for n in 0..20_000 {
        assert_eq!(mailbox.take(LONG), Taken::Value(n));
    }
    assert_eq!(mailbox.take(LONG), Taken::Closed);
    putter.join().unwrap();
}

#[test]
fn rings_keep_order_and_count_what_falls_out() {
    let ring = Arc::new(Ring::new(32));
    let alive = Arc::new(AtomicU64::new(0));
    let pusher = {
        let (ring, alive) = (ring.clone(), alive.clone());
        thread::spawn(move || {
            for n in 1..=VALUES {
                assert_ne!(ring.push(Live::new(n, &alive)), Put::Closed);
            }
            ring.close();
        })
    };
    let (mut last, mut taken) = (0, 0);
    while let Taken::Value(v) = ring.take(LONG) {
        assert!(v.0 > last);
        last = v.0;
        taken += 1;
    }
    pusher.join().unwrap();
    assert_eq!(last, VALUES);
    assert_eq!(taken + ring.displaced(), VALUES);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

/// Four cameras, each with its own mailbox and six buffers, one perception thread for all.
#[test]
fn four_cameras_buffers_all_come_home_and_none_is_lent_twice() {
    const FRAMES: u64 = 30_000;
    let cameras: Vec<_> = (0..4).map(|_| (Leases::new(6), Arc::new(Latest::new()))).collect();
    // Who holds which buffer: taken by the camera, given up by whoever drops the frame.
    let held: Arc<Vec<AtomicU64>> = Arc::new((0..4).map(|_| AtomicU64::new(0)).collect());
    struct Frame {
        camera: usize,
        lease: Lease,
        held: Arc<Vec<AtomicU64>>,
    }
    impl Drop for Frame {
        fn drop(&mut self) {
            let bit = 1 << self.lease.index();
            let before = self.held[self.camera].fetch_and(!bit, Ordering::SeqCst);
            assert_ne!(before & bit, 0, "given up twice");
        }
    }
    let sources: Vec<_> = cameras
        .iter()
        .cloned()
        .enumerate()
        .map(|(camera, (leases, mailbox))| {
            let held = held.clone();
            thread::spawn(move || {
                for _ in 0..FRAMES {
                    let lease = leases.take_within(LONG).expect("a buffer comes home");
                    let bit = 1 << lease.index();
                    let before = held[camera].fetch_or(bit, Ordering::SeqCst);
                    assert_eq!(before & bit, 0, "lent twice");
                    mailbox.put(Frame { camera, lease, held: held.clone() });
                }
                mailbox.close();
            })
        })
        .collect();
    let mut open = [true; 4];
    while open.contains(&true) {
        for (camera, (_, mailbox)) in cameras.iter().enumerate() {
            if open[camera] {
                match mailbox.take(Duration::from_millis(1)) {
                    Taken::Value(frame) => drop(frame),
                    Taken::TimedOut => {}
                    Taken::Closed => open[camera] = false,
                }
            }
        }
    }
    for source in sources {
        source.join().unwrap();
    }
    for (camera, (leases, _)) in cameras.iter().enumerate() {
        assert_eq!(leases.at_home(), 6, "camera {camera}");
        assert_eq!(held[camera].load(Ordering::SeqCst), 0);
    }
}
