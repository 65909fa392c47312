//! UDP in a network of its own: no route, a route that comes, an address that changes, groups.
//!
//! Each test runs itself again inside a new network namespace (`unshare --net`), which needs root;
//! where that is not possible it says so and is skipped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod support;

use std::net::{Ipv6Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use posewire::fault::{Fault, Severity};
use posewire::publish::{self, PublishSettings, Publisher};
use posewire::time::{ManualClock, Timestamp};
use posewire::wire::{Datagram, decode};

use support::pose_frame;

const INSIDE: &str = "POSEWIRE_TEST_IN_NAMESPACE";

/// True inside of the new network; otherwise runs the test there and gives false.
fn in_a_network_of_its_own(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        // What is mounted there still tells of the old network.
        let mounted = Command::new("mount").args(["-t", "sysfs", "sysfs", "/sys"]).status();
        assert!(mounted.unwrap().success());
        ip("link set lo up");
        return true;
    }
    let possible = Command::new("unshare")
        .args(["--net", "--mount", "mount", "-t", "sysfs", "sysfs", "/sys"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
        && Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_ok();
    if !possible {
        println!("skipped: no network namespaces here (needs unshare, ip, and root)");
        return false;
    }
    let done = Command::new("unshare")
        .args(["--net", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
    println!("{said}");
    false
}

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}

fn listener(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Datagram {
    let mut buffer = [0; 2_000];
    let len = socket.recv(&mut buffer).unwrap();
    decode(&buffer[..len]).unwrap()
}

/// A publisher whose clock a test moves.
struct Bench {
    publisher: Box<dyn Publisher>,
    clock: Arc<ManualClock>,
    seconds: f64,
}

impl Bench {
    fn open(uri: &str) -> Self {
        let clock = Arc::new(ManualClock::default());
        let settings = PublishSettings { clock: clock.clone(), ..Default::default() };
        Self { publisher: publish::open(uri, &settings).unwrap(), clock, seconds: 0.0 }
    }

    /// One frame, a thirtieth of a second later; the name of what went wrong.
    fn publish(&mut self) -> Result<(), &'static str> {
        self.seconds += 1.0 / 30.0;
        let now = Timestamp::from_secs_f64(self.seconds);
        self.clock.set(now);
        self.publisher.publish(&pose_frame(1, now, 1)).map_err(|e| {
            assert_eq!(e.severity(), Severity::Skip, "{e}");
            e.name()
        })
    }

    /// How many frames were lost before one was sent: at most two seconds' worth.
    fn frames_until_it_heals(&mut self) -> usize {
        (0..60).position(|_| self.publish().is_ok()).expect("not within two seconds")
    }
}

#[test]
fn a_network_that_comes_up_late_or_goes_away_heals_by_itself() {
    if !in_a_network_of_its_own("a_network_that_comes_up_late_or_goes_away_heals_by_itself") {
        return;
    }
    let mut bench = Bench::open("udp://192.0.2.1:7777");
    for _ in 0..20 {
        assert_eq!(bench.publish(), Err("target-unreachable"));
    }
    // The network comes, with an address; a listener, too.
    ip("addr add 192.0.2.1/32 dev lo");
    let socket = listener("192.0.2.1:7777");
    let lost = bench.frames_until_it_heals();
    assert_eq!(receive(&socket).header.packet, 20 + lost as u32, "refused datagrams are numbered");
    for _ in 0..10 {
        assert_eq!(bench.publish(), Ok(()));
        receive(&socket);
    }
    // It goes away, and comes back: as a cable that is pulled, or a lease that ends.
    ip("addr del 192.0.2.1/32 dev lo");
    for _ in 0..20 {
        assert!(bench.publish().is_err());
    }
    ip("addr add 192.0.2.1/32 dev lo");
    let lost = bench.frames_until_it_heals();
    println!("healed after {lost} frames");
    assert_eq!(bench.publish(), Ok(()));
    receive(&socket);
}

/// A connected socket keeps the address that it had: it must find out that this machine has
/// another one now.
#[test]
fn another_address_of_this_machine_is_taken_up() {
    if !in_a_network_of_its_own("another_address_of_this_machine_is_taken_up") {
        return;
    }
    ip("addr add 192.0.2.1/32 dev lo");
    ip("addr add 198.51.100.1/32 dev lo");
    ip("route replace local 192.0.2.1/32 dev lo src 198.51.100.1 table local");
    let socket = listener("192.0.2.1:7777");
    let mut bench = Bench::open("udp://192.0.2.1:7777");
    let from = |bench: &mut Bench| {
        bench.frames_until_it_heals();
        let mut buffer = [0; 2_000];
        socket.recv_from(&mut buffer).unwrap().1.ip().to_string()
    };
    assert_eq!(from(&mut bench), "198.51.100.1");
    ip("addr add 203.0.113.1/32 dev lo");
    ip("addr del 198.51.100.1/32 dev lo");
    ip("route replace local 192.0.2.1/32 dev lo src 203.0.113.1 table local");
    assert_eq!(from(&mut bench), "203.0.113.1");
}

#[test]
fn groups_of_both_versions_are_reached_through_the_named_interface() {
    if !in_a_network_of_its_own("groups_of_both_versions_are_reached_through_the_named_interface") {
        return;
    }
    ip("link add veth-a type veth peer name veth-b");
    for name in ["veth-a", "veth-b"] {
        ip(&format!("link set {name} up"));
    }
    ip("addr add 10.9.0.1/24 dev veth-a");
    ip("-6 addr add fe80::a/64 dev veth-a nodad");
    // Version 4, by the interface's name and by its address. What this machine sends to a group,
    // its own members get, too.
    let socket = listener("0.0.0.0:7777");
    let own = "10.9.0.1".parse().unwrap();
    socket.join_multicast_v4(&"239.1.2.3".parse().unwrap(), &own).unwrap();
    for interface in ["veth-a", "10.9.0.1"] {
        let uri = format!("udp://239.1.2.3:7777?interface={interface}&ttl=2&dscp=46");
        assert_eq!(Bench::open(&uri).publish(), Ok(()));
        receive(&socket);
    }
    // Version 6: link-local groups mean nothing without an interface.
    let socket = listener("[::]:7778");
    let index = std::fs::read_to_string("/sys/class/net/veth-a/ifindex").unwrap();
    let group: Ipv6Addr = "ff02::4242".parse().unwrap();
    socket.join_multicast_v6(&group, index.trim().parse().unwrap()).unwrap();
    let uri = "udp://[ff02::4242]:7778?interface=veth-a&ttl=1&dscp=34";
    assert_eq!(Bench::open(uri).publish(), Ok(()));
    receive(&socket);
    // An interface that goes away is a fault that heals.
    let mut bench = Bench::open("udp://239.1.2.3:7777?interface=veth-a");
    ip("link set veth-a down");
    assert!(bench.publish().is_err());
    ip("link set veth-a up");
    bench.frames_until_it_heals();
}
