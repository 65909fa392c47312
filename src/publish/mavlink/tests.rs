use super::*;

use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::fault::{Fault, Severity};
use crate::time::ManualClock;
use crate::wire::samples;

const CAMERA: Geodetic = Geodetic {
    latitude_degrees: 47.0,
    longitude_degrees: 8.0,
    altitude_metres: 400.0,
    heading_degrees: 90.0,
};

fn listener() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// One person, 4 m ahead of the camera, 1 m to the right and 0.2 m below.
fn frame() -> PoseFrame {
    let mut frame = samples::frame(1);
    frame.persons[0].pose.as_mut().unwrap().root = Some([1.0, 0.2, 4.0]);
    frame
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(seconds)
}

/// Everything that has come.
fn frames(socket: &UdpSocket) -> Vec<Vec<u8>> {
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 300];
    let mut all = Vec::new();
    while let Ok(len) = socket.recv(&mut buffer) {
        all.push(buffer[..len].to_vec());
    }
    all
}

fn id(frame: &[u8]) -> u32 {
    u32::from_le_bytes([frame[7], frame[8], frame[9], 0])
}

/// A publisher whose clock stands, and the socket that it sends to.
fn publisher(query: &str) -> (MavlinkPublisher, UdpSocket, Arc<ManualClock>) {
    let socket = listener();
    let clock = Arc::new(ManualClock::default());
    let settings = PublishSettings {
        clock: clock.clone(),
        gravity: Some([0.0, 1.0, 0.0]),
        geodetic: Some(CAMERA),
        ..Default::default()
    };
    let uri = format!("mavlink:udp://{}?{query}", socket.local_addr().unwrap());
    (MavlinkPublisher::open(&uri, &settings).unwrap(), socket, clock)
}

/// What another reader is to find in them is in `tests/test_bridges.py`.
#[test]
fn mavlink_golden_frames_are_still_the_same() {
    let (mut publisher, socket, _) =
        publisher("messages=tunnel,follow,landing,obstacle&pitch=-30&target=1.1");
    publisher.publish(&frame()).unwrap();
    let all = frames(&socket);
    assert_eq!(all.iter().map(|f| id(f)).collect::<Vec<_>>(), [0, 385, 385, 144, 149, 330]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mavlink/known.bin");
    if std::env::var_os("POSEWIRE_REGENERATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, all.concat()).unwrap();
    }
    assert_eq!(std::fs::read(&path).unwrap(), all.concat(), "POSEWIRE_REGENERATE=1 writes it anew");
}

#[test]
fn a_heartbeat_goes_out_once_a_second_with_frames_and_without() {
    let (mut publisher, socket, clock) = publisher("messages=tunnel");
    let running = StatusMessage { state: State::Running, ..Default::default() };
    let mut with_frames = 0;
    for n in 0..300 {
        clock.set(at(f64::from(n) / 30.0));
        publisher.publish(&frame()).unwrap();
        if n % 30 == 0 {
            publisher.status(&running).unwrap();
        }
        with_frames += frames(&socket).iter().filter(|f| id(f) == 0).count();
    }
    assert!((10..=12).contains(&with_frames), "{with_frames} in ten seconds");
    let mut beats = Vec::new();
    for n in 0..10 {
        // The supervisor's second is never exact.
        clock.set(at(20.0 + f64::from(n) * 0.95));
        publisher.status(&running).unwrap();
        beats.extend(frames(&socket));
    }
    assert_eq!(beats.len(), 10);
    assert!(beats.iter().all(|b| id(b) == 0 && b[10 + 7] == SystemState::Active as u8));
    publisher.finish().unwrap();
    assert_eq!(frames(&socket)[0][10 + 7], SystemState::PowerOff as u8);
}

#[test]
fn places_are_told_ten_times_a_second_and_poses_with_every_frame() {
    let (mut publisher, socket, clock) = publisher("messages=tunnel,follow");
    let mut counts = [0; 2];
    for n in 0..60 {
        clock.set(at(1.0 + f64::from(n) / 60.0));
        publisher.publish(&frame()).unwrap();
        for frame in frames(&socket) {
            counts[0] += usize::from(id(&frame) == 385);
            counts[1] += usize::from(id(&frame) == 144);
        }
    }
    assert_eq!(counts[0], 120, "joints and root");
    assert!((9..=10).contains(&counts[1]), "{}", counts[1]);
}

#[test]
fn without_a_root_nobody_is_said_to_be_anywhere() {
    let (mut publisher, socket, _) = publisher("messages=tunnel,follow,landing,obstacle");
    let mut frame = frame();
    for root in [None, Some([f32::NAN, 0.0, 1.0])] {
        publisher.place_at = Timestamp::ZERO;
        frame.persons[0].pose.as_mut().unwrap().root = root;
        publisher.publish(&frame).unwrap();
        let ids: Vec<_> = frames(&socket).iter().map(|f| id(f)).filter(|&id| id != 0).collect();
        assert_eq!(ids, [385, 330]);
    }
    // Every direction not known, and that is not "free".
    let mut distances = [NOT_KNOWN; SECTORS];
    obstruct(&mut distances, DVec3::new(30.0, 0.0, 0.0));
    assert_eq!(distances, [NOT_KNOWN; SECTORS], "out of range");
}

#[test]
fn the_nearest_of_several_people_counts_in_each_direction() {
    let mut distances = [NOT_KNOWN; SECTORS];
    obstruct(&mut distances, DVec3::new(0.0, -5.0, 0.0));
    obstruct(&mut distances, DVec3::new(0.0, -2.0, 0.4));
    obstruct(&mut distances, DVec3::new(-1.0, 0.0, 0.0));
    assert_eq!(distances[54], 170, "left is 270 degrees");
    assert_eq!(distances[36], 70, "behind");
    assert_eq!(distances[0], NOT_KNOWN);
    obstruct(&mut distances, DVec3::new(0.05, 0.0, 0.0));
    assert_eq!(distances[0], RANGE_CM.0, "closer than it says to measure");
    assert!(distances.iter().filter(|d| **d == RANGE_CM.0).count() >= 36);
}

#[test]
fn a_mounted_cameras_axes_become_the_vehicles() {
    let near = |a: DVec3, b: DVec3| assert!(a.distance(b) < 1e-12, "{a} {b}");
    near(camera_frd([0.0, 0.0, 1.0]), DVec3::X);
    near(body(-90.0, 0.0) * camera_frd([0.0, 0.0, 1.0]), DVec3::Z);
    near(body(0.0, 90.0) * camera_frd([0.0, 0.0, 1.0]), DVec3::Y);
    // Looks to the right and 90 degrees down: the picture's upper edge is to the right.
    near(body(-90.0, 90.0) * camera_frd([0.0, -1.0, 0.0]), DVec3::Y);
}

#[test]
fn a_key_that_is_none_and_a_follow_without_a_place_are_refused() {
    let open = |uri: &str| {
        let Err(e) = MavlinkPublisher::open(uri, &PublishSettings::default()) else {
            panic!("{uri} was accepted");
        };
        assert_eq!(e.severity(), Severity::Fatal);
        e.to_string()
    };
    assert!(open("mavlink:udp://127.0.0.1:1?key=/no/such").contains("cannot be read"));
    assert!(open("mavlink:udp://127.0.0.1:1?messages=follow").contains("geodetic"));
    assert!(open("mavlink:serial:/dev/null").contains("no serial device"));
}

/// The far end of a pseudo terminal, and the near one's path.
fn pty() -> (OwnedFd, String) {
    let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::io::ioctl_fionbio(&far, true).unwrap();
    grantpt(&far).unwrap();
    unlockpt(&far).unwrap();
    let path = ptsname(&far, Vec::new()).unwrap().into_string().unwrap();
    (far, path)
}

fn read(far: &OwnedFd) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 4_096];
    while let Ok(len) = rustix::io::read(far, &mut buffer) {
        if len == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..len]);
    }
    all
}

#[test]
fn a_serial_line_carries_whole_frames_and_heals_when_its_device_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let name = directory.path().join("telemetry");
    let (far, path) = pty();
    std::os::unix::fs::symlink(path, &name).unwrap();
    let clock = Arc::new(ManualClock::default());
    let settings = PublishSettings { clock: clock.clone(), ..Default::default() };
    let uri = format!("mavlink:serial:{}?baud=115200&messages=tunnel", name.display());
    let mut publisher = MavlinkPublisher::open(&uri, &settings).unwrap();
    clock.set(at(1.0));
    publisher.publish(&frame()).unwrap();
    let bytes = read(&far);
    // HEARTBEAT 21, joints 145, root trimmed.
    assert_eq!((bytes[0], bytes[21], bytes[21 + 145]), (0xFD, 0xFD, 0xFD));
    let busy = publisher.busy_until().unwrap();
    let line = Duration::from_micros(bytes.len() as u64 * 10 * 1_000_000 / 115_200);
    assert!(busy > at(1.0) + line / 2 && busy <= at(1.0) + line, "as long as the bytes take");

    drop(far);
    std::fs::remove_file(&name).unwrap();
    clock.set(at(2.0));
    let error = publisher.publish(&frame()).unwrap_err();
    assert_eq!(error.severity(), Severity::Skip, "{error}");
    let (far, path) = pty();
    std::os::unix::fs::symlink(path, &name).unwrap();
    // Two seconds of frames are enough to find it again.
    let healed = (0..60).any(|n| {
        clock.set(at(2.0 + f64::from(n) / 30.0));
        publisher.publish(&frame()).is_ok()
    });
    assert!(healed);
    assert_eq!(read(&far)[0], 0xFD, "and begins with a frame");
}

#[test]
fn a_device_that_is_not_there_yet_is_waited_for_and_named() {
    let uri = "mavlink:serial:/dev/no-such-tty?messages=tunnel";
    let mut publisher = MavlinkPublisher::open(uri, &PublishSettings::default()).unwrap();
    let error = publisher.publish(&frame()).unwrap_err();
    assert_eq!(error.name(), "target-gone");
}
