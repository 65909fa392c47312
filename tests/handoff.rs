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
    let (mailbox, alive) = (Arc::new(Latest::new(1)), Arc::new(AtomicU64::new(0)));
    let putter = {
        let (mailbox, alive) = (mailbox.clone(), alive.clone());
        thread::spawn(move || {
            for n in 1..=VALUES {
                mailbox.put(0, Live::new(n, &alive));
            }
            mailbox.close(0);
        })
    };
    let (mut last, mut taken) = (0, 0);
    while let Taken::Value((_, v)) = mailbox.take(LONG) {
        assert!(v.0 > last, "{} after {last}", v.0);
        last = v.0;
        taken += 1;
    }
    putter.join().unwrap();
    assert_eq!(last, VALUES);
    assert_eq!(taken + mailbox.displaced(0), VALUES);
    assert_eq!(alive.load(Ordering::SeqCst), 0, "nothing leaks");
}

#[test]
fn a_putter_that_waits_loses_nothing() {
    let mailbox = Arc::new(Latest::new(1));
    let putter = {
        let mailbox = mailbox.clone();
        thread::spawn(move || {
            for n in 0..20_000u64 {
                assert_eq!(mailbox.put_when_empty(0, n, LONG), Ok(Put::Stored));
            }
            mailbox.close(0);
        })
    };
    for n in 0..20_000 {
        assert_eq!(mailbox.take(LONG), Taken::Value((0, n)));
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

/// How long the stress goes on: `POSEWIRE_STRESS_SECONDS`, or a moment.
fn stress_time() -> Duration {
    let wanted = std::env::var("POSEWIRE_STRESS_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs_f64(wanted.unwrap_or(2.0))
}

/// Four cameras with six buffers each, one perception thread for all: what `runtime` does, as fast
/// as it goes. No buffer is lent twice or lost, no frame comes twice or out of order, every frame
/// is taken or counted, and no camera is left out.
#[test]
fn four_cameras_buffers_all_come_home_and_no_frame_is_doubled_or_reordered() {
    const CAMERAS: usize = 4;
    let until = std::time::Instant::now() + stress_time();
    let leases: Vec<_> = (0..CAMERAS).map(|_| Leases::new(6)).collect();
    let mailbox = Arc::new(Latest::new(CAMERAS));
    // Who holds which buffer: taken by the camera, given up by whoever drops the frame.
    let held: Arc<Vec<AtomicU64>> = Arc::new((0..CAMERAS).map(|_| AtomicU64::new(0)).collect());
    struct Frame {
        camera: usize,
        sequence: u64,
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
    let sources: Vec<_> = leases
        .iter()
        .cloned()
        .enumerate()
        .map(|(camera, leases)| {
            let (held, mailbox) = (held.clone(), mailbox.clone());
            thread::spawn(move || {
                let mut sequence = 0;
                while std::time::Instant::now() < until {
                    let lease = leases.take_within(LONG).expect("a buffer comes home");
                    let bit = 1 << lease.index();
                    let before = held[camera].fetch_or(bit, Ordering::SeqCst);
                    assert_eq!(before & bit, 0, "lent twice");
                    sequence += 1;
                    let frame = Frame { camera, sequence, lease, held: held.clone() };
                    // One of them is a recording: it waits, and loses nothing.
                    if camera == 3 {
                        let put = mailbox.put_when_empty(camera, frame, LONG);
                        assert!(matches!(put, Ok(Put::Stored)));
                    } else {
                        mailbox.put(camera, frame);
                    }
                }
                mailbox.close(camera);
                sequence
            })
        })
        .collect();
    let (mut last, mut taken) = ([0; CAMERAS], [0u64; CAMERAS]);
    while let Taken::Value((camera, frame)) = mailbox.take(LONG) {
        assert_eq!(frame.camera, camera);
        assert!(frame.sequence > last[camera], "{} after {}", frame.sequence, last[camera]);
        last[camera] = frame.sequence;
        taken[camera] += 1;
    }
    for (camera, source) in sources.into_iter().enumerate() {
        let put = source.join().unwrap();
        assert_eq!(taken[camera] + mailbox.displaced(camera), put, "camera {camera}");
        assert_eq!(last[camera], put, "the newest of camera {camera} is never lost");
        println!("camera {camera}: {put} frames, {} of them taken", taken[camera]);
    }
    assert_eq!(mailbox.displaced(3), 0, "the recording lost nothing");
    for (camera, leases) in leases.iter().enumerate() {
        assert_eq!(leases.at_home(), 6, "camera {camera}");
        assert_eq!(held[camera].load(Ordering::SeqCst), 0);
    }
}

/// A taker that is too slow for all gives each source the same share, however often each puts.
#[test]
fn of_several_that_wait_the_one_that_was_served_longest_ago_is_next() {
    let mailbox = Latest::new(3);
    let mut served = [0; 3];
    let mut order = Vec::new();
    for turn in 0..300 {
        for again in 0..10 {
            mailbox.put(0, (turn, again));
        }
        mailbox.put(1, (turn, 0));
        // The third puts every sixth turn only: it is served at once, each time.
        if turn % 6 == 0 {
            mailbox.put(2, (turn, 0));
        }
        let Taken::Value((source, (put, _))) = mailbox.take(Duration::ZERO) else { panic!() };
        assert!(turn - put <= 2, "source {source} waited from turn {put} to {turn}");
        served[source] += 1;
        order.push(source);
    }
    assert_eq!(served[2], 50);
    assert_eq!(served[0], served[1], "{served:?}");
}
