//! Which node is which camera: names that hold over a replug and a reboot.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::sys::{Device, Kernel};
use crate::time::{Clock as _, MonotonicClock};

const SYSFS: &str = "/sys/class/video4linux";

/// Why there is no node for a name.
#[derive(Debug, PartialEq)]
pub(super) enum NotFound {
    /// There may be one later.
    Absent(String),
    /// The name is no name, or that of several.
    Wrong(String),
}

/// A video node as sysfs describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Node {
    pub path: PathBuf,
    /// Which of its device's nodes: 0 is usually the one that gives pictures.
    pub index: u32,
    /// Of the USB device.
    pub serial: Option<String>,
    /// Where it is plugged in: `1-1.2` is bus 1, port 1 and there, on a hub, port 2.
    pub port: Option<String>,
}

/// The node that `name` (what follows `v4l2:`) means.
pub(super) fn find(name: &Path) -> Result<PathBuf, NotFound> {
    find_in(name, Path::new(SYSFS), Path::new("/dev"), bus_of)
}

/// May udev still be at work on this node's owner and rights? If the node is newer than a few
/// seconds, or so is the machine's start: its clock may be set by hours then, and ages mean nothing.
pub(super) fn may_be_settling(node: &Path) -> bool {
    let Ok(meta) = fs::metadata(node) else { return true };
    let changed = Duration::from_secs(u64::try_from(meta.ctime()).unwrap_or_default());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let up = Duration::from_nanos(u64::try_from(MonotonicClock.now().nanos()).unwrap_or_default());
    is_young(changed, now, up)
}

/// The node last `changed`, and it is `now`, since 1970; the machine is `up` for so long.
fn is_young(changed: Duration, now: Duration, up: Duration) -> bool {
    up < Duration::from_secs(60)
        || now.checked_sub(changed).is_some_and(|age| age < Duration::from_secs(10))
}

fn bus_of(node: &Path) -> Option<String> {
    let kernel = Kernel::open(node).ok()?;
    Device::new(Box::new(kernel)).identity().ok().map(|identity| identity.bus)
}

fn find_in(
    name: &Path,
    sysfs: &Path,
    dev: &Path,
    bus_of: impl Fn(&Path) -> Option<String>,
) -> Result<PathBuf, NotFound> {
    if name.is_absolute() {
        return Ok(name.to_owned());
    }
    let words = name.to_string_lossy();
    let (what, which) = words.split_once('/').unwrap_or((words.as_ref(), ""));
    if which.is_empty() {
        return Err(NotFound::Wrong(format!(
            "{words:?} names no camera: write v4l2:/dev/video0, v4l2:by-id/NAME, \
             v4l2:by-path/NAME, v4l2:serial/SERIAL, v4l2:port/1-1.2 or v4l2:bus/NAME (posewire \
             devices lists them)"
        )));
    }
    let wanted: Vec<Node> = match what {
        "by-id" | "by-path" => return Ok(dev.join("v4l").join(&*words)),
        "serial" => matching(sysfs, dev, |node| node.serial.as_deref() == Some(which)),
        "port" => matching(sysfs, dev, |node| node.port.as_deref() == Some(which)),
        "bus" => matching(sysfs, dev, |node| bus_of(&node.path).as_deref() == Some(which)),
        _ => {
            let known = "by-id, by-path, serial, port and bus";
            return Err(NotFound::Wrong(format!(
                "{what}/ is no way to name a camera: {known} are"
            )));
        }
    };
    let mut ports: Vec<_> = wanted.iter().filter_map(|node| node.port.as_deref()).collect();
    ports.dedup();
    if ports.len() > 1 {
        let list: Vec<_> = ports.iter().map(|port| format!("v4l2:port/{port}")).collect();
        return Err(NotFound::Wrong(format!(
            "{} cameras have the {what} {which}: tell them apart by where they are plugged in: {}",
            ports.len(),
            list.join(", ")
        )));
    }
    match wanted.into_iter().next() {
        Some(node) => Ok(node.path),
        None => Err(NotFound::Absent(format!("no camera with the {what} {which} is plugged in"))),
    }
}

/// The nodes that are meant, by port and then by index.
fn matching(sysfs: &Path, dev: &Path, is_meant: impl Fn(&Node) -> bool) -> Vec<Node> {
    let mut nodes: Vec<Node> = nodes_in(sysfs, dev).into_iter().filter(|n| is_meant(n)).collect();
    nodes.sort_by(|a, b| (&a.port, a.index, &a.path).cmp(&(&b.port, b.index, &b.path)));
    nodes
}

/// All video nodes, by number.
pub(super) fn nodes() -> Vec<Node> {
    nodes_in(Path::new(SYSFS), Path::new("/dev"))
}

fn nodes_in(sysfs: &Path, dev: &Path) -> Vec<Node> {
    let read = |path: PathBuf| {
        fs::read_to_string(path).ok().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty())
    };
    let mut found: Vec<(u32, Node)> = Vec::new();
    for entry in fs::read_dir(sysfs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(number) = name.strip_prefix("video").and_then(|n| n.parse().ok()) else {
            continue;
        };
        let index = read(entry.path().join("index")).and_then(|i| i.parse().ok());
        let mut node = Node { path: dev.join(&name), index: index.unwrap_or(0), ..Node::default() };
        // The node's device is an interface of the USB device.
        let device = fs::canonicalize(entry.path().join("device")).unwrap_or_default();
        if let Some(usb) = device.ancestors().find(|dir| dir.join("idVendor").exists()) {
            node.serial = read(usb.join("serial"));
            node.port = usb.file_name().map(|name| name.to_string_lossy().into_owned());
        }
        found.push((number, node));
    }
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, node)| node).collect()
}

/// The names that udev gave to a node under `/dev/v4l/{by-id,by-path}`.
pub(super) fn links(folder: &str, node: &Path) -> Vec<String> {
    let Ok(node) = fs::canonicalize(node) else { return Vec::new() };
    let entries = fs::read_dir(Path::new("/dev/v4l").join(folder)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| fs::canonicalize(entry.path()).is_ok_and(|target| target == node))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_new_node_and_a_machine_that_starts_are_given_time() {
        let s = Duration::from_secs;
        let (day, now) = (s(86_400), s(1_800_000_000));
        assert!(is_young(now - s(3), now, day));
        assert!(!is_young(now - s(11), now, day));
        assert!(is_young(now - day, now, s(20)), "ages mean nothing yet");
        assert!(!is_young(now + day, now, day), "the clock was set back: no excuse for ever");
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(may_be_settling(file.path()));
        assert!(may_be_settling(&file.path().join("gone")));
    }

    /// Two cameras of a kind with the same serial number at two ports of a hub, each with a node
    /// for metadata; another one of its own serial number; a platform device.
    fn machine() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let class = dir.path().join("class");
        fs::create_dir_all(&class).unwrap();
        let usb = [("1-1.2", "ABC", 0), ("1-1.3", "ABC", 2), ("2-1", "XYZ", 4)];
        for (port, serial, number) in usb {
            let device = dir.path().join("devices/pci/usb").join(port);
            let interface = device.join(format!("{port}:1.0"));
            fs::create_dir_all(&interface).unwrap();
            fs::write(device.join("idVendor"), "046d\n").unwrap();
            fs::write(device.join("serial"), format!("{serial}\n")).unwrap();
            for index in 0..2 {
                let entry = class.join(format!("video{}", number + index));
                fs::create_dir_all(&entry).unwrap();
                // The kernel numbers them in the order in which drivers come: here metadata first.
                fs::write(entry.join("index"), format!("{}\n", 1 - index)).unwrap();
                symlink(&interface, entry.join("device")).unwrap();
            }
        }
        let platform = dir.path().join("devices/platform/vi");
        fs::create_dir_all(&platform).unwrap();
        fs::create_dir_all(class.join("video10")).unwrap();
        symlink(&platform, class.join("video10/device")).unwrap();
        dir
    }

    fn look(dir: &tempfile::TempDir, name: &str) -> Result<String, NotFound> {
        let bus =
            |node: &Path| (node == Path::new("/dev/video10")).then(|| "platform:vi".to_owned());
        let class = dir.path().join("class");
        find_in(Path::new(name), &class, Path::new("/dev"), bus).map(|p| p.display().to_string())
    }

    #[test]
    fn a_camera_is_found_by_serial_number_port_bus_or_path_and_its_picture_node_is_taken() {
        let dir = machine();
        assert_eq!(look(&dir, "serial/XYZ"), Ok("/dev/video5".into()));
        assert_eq!(look(&dir, "port/2-1"), Ok("/dev/video5".into()));
        assert_eq!(look(&dir, "bus/platform:vi"), Ok("/dev/video10".into()));
        assert_eq!(look(&dir, "/dev/video7"), Ok("/dev/video7".into()));
        assert_eq!(look(&dir, "by-id/usb-x"), Ok("/dev/v4l/by-id/usb-x".into()));
    }

    #[test]
    fn two_of_a_kind_are_told_apart_by_their_port() {
        let dir = machine();
        let Err(NotFound::Wrong(both)) = look(&dir, "serial/ABC") else { panic!("it chose one") };
        assert!(both.contains("v4l2:port/1-1.2, v4l2:port/1-1.3"), "{both}");
        assert_eq!(look(&dir, "port/1-1.2"), Ok("/dev/video1".into()));
        assert_eq!(look(&dir, "port/1-1.3"), Ok("/dev/video3".into()));
    }

    #[test]
    fn what_is_not_there_may_come_and_what_is_no_name_is_said_to_be_none() {
        let dir = machine();
        assert!(matches!(look(&dir, "serial/NONE"), Err(NotFound::Absent(_))));
        assert!(matches!(look(&dir, "port/9-9"), Err(NotFound::Absent(_))));
        for wrong in ["video0", "", "serial/", "colour/red"] {
            assert!(matches!(look(&dir, wrong), Err(NotFound::Wrong(_))), "{wrong}");
        }
    }
}
