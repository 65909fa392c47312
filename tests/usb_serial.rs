//! A USB serial adapter whose plug is pulled: the real publisher on a real driver (`ftdi_sio`),
//! with udev to name the device. Run in a guest by `tests/guest/cameras.sh`, which joins the lines
//! of two of QEMU's adapters, A and B, and gives the guest the monitor that plugs and unplugs
//! them; skipped where `POSEWIRE_USB_SERIAL` is not set.
//!
//! The guest's time is virtual: what is measured does not depend on the machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod support;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use posewire::fault::{Fault, Severity};
use posewire::publish::serial::port::{Port, SerialTarget};
use posewire::publish::{self, PublishSettings, Publisher};
use posewire::time::{Clock, MonotonicClock};
use posewire::wire::cobs::FrameReader;
use posewire::wire::{Packet, ShortMessage, decode_packet};

use support::pose_frame;

const BAUD: u32 = 115_200;
const LIMIT: Duration = Duration::from_secs(30);
/// What the project promises.
const HEALS_WITHIN: Duration = Duration::from_secs(2);

fn adapter(serial: &str) -> PathBuf {
    format!("/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_{serial}-if00-port0").into()
}

/// Where the name leads to; it may be gone or not there yet.
fn device(name: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(name).ok()
}

/// The publisher at adapter A, and a reader at adapter B.
struct Bench {
    monitor: File,
    publisher: Box<dyn Publisher>,
    sequence: u64,
    due: Instant,
    refused: Vec<&'static str>,
    reader: Port,
    frames: FrameReader,
    /// The number of the last pose that came, and how many did.
    last: Option<u64>,
    heard: u64,
    damaged: u64,
}

impl Bench {
    fn new() -> Self {
        let target = |serial| format!("serial:{}?baud={BAUD}", adapter(serial).display());
        let reader = Port::open(&SerialTarget::parse(&target("B")).unwrap()).unwrap();
        Self {
            monitor: OpenOptions::new().write(true).open("/dev/virtio-ports/monitor").unwrap(),
            publisher: publish::open(&target("A"), &PublishSettings::default()).unwrap(),
            sequence: 0,
            due: Instant::now(),
            refused: Vec::new(),
            reader,
            frames: FrameReader::new(),
            last: None,
            heard: 0,
            damaged: 0,
        }
    }

    fn tell_monitor(&mut self, line: &str) {
        writeln!(self.monitor, "{line}").unwrap();
    }

    fn unplug(&mut self, which: &str) {
        self.tell_monitor(&format!("device_del adapter-{which}"));
    }

    fn plug(&mut self, which: &str) {
        let serial = which.to_uppercase();
        self.tell_monitor(&format!(
            "device_add usb-serial,id=adapter-{which},chardev={which},serial={serial},\
             always-plugged=on,bus=usb.0"
        ));
    }

    /// As the runtime does: sixty frames a second, when the line takes more, the newest.
    fn publish(&mut self) {
        let now = Instant::now();
        if now < self.due || self.publisher.busy_until().unwrap() > MonotonicClock.now() {
            return;
        }
        self.due = now + Duration::from_micros(16_667);
        self.sequence += 1;
        let frame = pose_frame(self.sequence, MonotonicClock.now(), 1);
        if let Err(e) = self.publisher.publish(&frame) {
            assert_eq!(e.severity(), Severity::Skip, "{e}");
            if self.refused.last() != Some(&e.name()) {
                self.refused.push(e.name());
            }
        }
    }

    fn listen(&mut self) {
        if !self.reader.has_input(Duration::from_millis(2)).unwrap() {
            return;
        }
        let mut piece = [0; 4_096];
        let n = self.reader.read(&mut piece).unwrap();
        let mut piece = &piece[..n];
        while let Some(frame) = self.frames.next(&mut piece) {
            let Ok(Ok(Packet::Short(packet))) = frame.map(decode_packet) else {
                self.damaged += 1;
                continue;
            };
            let ShortMessage::Pose(pose) = packet.message else { continue };
            let sequence = u64::from(pose.sequence);
            assert!(self.last.is_none_or(|last| sequence > last), "{sequence} {:?}", self.last);
            let sent = pose_frame(sequence, MonotonicClock.now(), 1).persons[0].pose.unwrap();
            let joints = pose.person.unwrap().body.unwrap().joints();
            for (got, sent) in joints.xyz.iter().zip(sent.joints) {
                assert!(got.iter().zip(sent).all(|(a, b)| (a - b).abs() < 6e-4), "a torn frame");
            }
            self.last = Some(sequence);
            self.heard += 1;
        }
    }

    /// Publishes and listens until `done`; says how long that took.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Duration {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < LIMIT, "{what}: heard {}, {:?}", self.heard, self.refused);
            self.publish();
            self.listen();
        }
        begun.elapsed()
    }
}

#[test]
fn an_unplugged_adapter_heals_within_two_seconds_by_its_id_whatever_its_device_is_called_then() {
    if std::env::var_os("POSEWIRE_USB_SERIAL").is_none() {
        println!("skipped: POSEWIRE_USB_SERIAL is not set: run tests/guest/cameras.sh");
        return;
    }
    let name = adapter("A");
    let mut bench = Bench::new();
    bench.until("poses over the line", |b| b.heard >= 60);
    assert!(bench.refused.is_empty(), "{:?}", bench.refused);
    println!("{} poses over {:?}", bench.heard, device(&name));

    for round in 0..4 {
        let before = device(&name).unwrap();
        let comes_first = adapter("C");
        bench.unplug("a");
        if round % 2 == 0 {
            bench.until("the loss is noticed", |b| !b.refused.is_empty());
            let away = Instant::now();
            bench.until("it stays away", |_| away.elapsed() > Duration::from_secs(3));
        } else {
            // Meanwhile another one takes its device's name.
            bench.until("it is away", |_| device(&name).is_none());
            bench.plug("c");
            bench.until("another one is there", |_| device(&comes_first).is_some());
        }
        assert_eq!(device(&name), None);
        bench.plug("a");
        bench.until("udev names it", |_| device(&name).is_some());
        let (heard, known) = (bench.heard, bench.sequence);
        let took = bench.until("poses come again", |b| {
            b.heard > heard && b.last.is_some_and(|last| last > known)
        });
        println!(
            "round {round}: from {} to {}, poses {} ms after udev named it; {:?}, {} damaged",
            before.display(),
            device(&name).unwrap().display(),
            took.as_millis(),
            bench.refused,
            bench.damaged
        );
        assert!(took <= HEALS_WITHIN, "{took:?}");
        if round % 2 == 1 {
            assert_ne!(device(&name).unwrap(), before, "the other one has that name");
            bench.unplug("c");
            bench.until("the other one is away", |_| device(&comes_first).is_none());
        }
        let heard = bench.heard;
        bench.until("poses go on", |b| b.heard >= heard + 60);
        bench.refused.clear();
    }
    // Each time one message at most was torn.
    assert!(bench.damaged <= 4, "{}", bench.damaged);
}
