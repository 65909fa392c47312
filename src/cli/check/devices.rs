//! Cameras, serial lines, the right to use them, and the bus that they hang on.

use std::fs::OpenOptions;

use super::{Host, Report};

/// Bits per second that USB 2 really carries in isochronous and bulk transfers together.
const USB2_PAYLOAD: f64 = 280e6;

/// Is whoever runs this in the groups that own cameras and serial lines?
pub(super) fn groups(host: &Host<'_>, report: &mut Report) {
    let ours: Vec<u32> = host
        .read("proc/self/status")
        .and_then(|text| {
            let line = text.lines().find_map(|l| l.strip_prefix("Groups:").map(str::to_owned))?;
            Some(line.split_whitespace().filter_map(|g| g.parse().ok()).collect())
        })
        .unwrap_or_default();
    let uid_line = host.read("proc/self/status").unwrap_or_default();
    let root =
        uid_line.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0"));
    let file = host.read("etc/group").unwrap_or_default();
    let missing: Vec<&str> = ["video", "dialout"]
        .into_iter()
        .filter(|name| {
            let id = file.lines().find_map(|line| {
                let mut fields = line.split(':');
                (fields.next() == Some(name)).then(|| fields.nth(1)?.parse::<u32>().ok())?
            });
            // A group that is not here owns nothing here.
            id.is_some_and(|id| !ours.contains(&id))
        })
        .collect();
    if root {
        report.note("groups", "run as root: check as the user that posewire will run as");
    } else if missing.is_empty() {
        report.ok("groups", "video (cameras) and dialout (serial lines)");
    } else {
        let names = missing.join(",");
        report.warn(
            "groups",
            format!("this user is not in {}", missing.join(" and ")),
            format!("usermod -aG {names} USER, and log in anew; the service has them by its unit"),
        );
    }
}

/// Every picture node, and whether it may be opened.
pub(super) fn cameras(host: &Host<'_>, report: &mut Report) {
    let mut found = 0;
    for node in host.list("sys/class/video4linux") {
        let read = |key: &str| host.read(&format!("sys/class/video4linux/{node}/{key}"));
        // A camera's second node is for metadata.
        if !node.starts_with("video") || read("index").is_some_and(|i| i != "0") {
            continue;
        }
        found += 1;
        let name = read("name").unwrap_or_default();
        let path = host.root.join("dev").join(&node);
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(_) => report.ok("camera", format!("/dev/{node}: {name}")),
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => report.error(
                "camera",
                format!("/dev/{node}: {name}: may not be opened"),
                "add the user to the group video: usermod -aG video USER, and log in anew",
            ),
            Err(e) => report.warn(
                "camera",
                format!("/dev/{node}: {name}: {e}"),
                "unplug it and plug it in again; `dmesg` says what the kernel thinks of it",
            ),
        }
    }
    if found == 0 {
        report.warn(
            "camera",
            "the kernel knows no camera",
            "USB: another cable or port (`lsusb`); CSI: its device tree overlay \
             (Jetson: /opt/nvidia/jetson-io/jetson-io.py)",
        );
    }
}

/// Cameras that are put to sleep, and that share a bus that is too slow for them.
pub(super) fn usb(host: &Host<'_>, report: &mut Report) {
    let mut buses: Vec<(String, Vec<String>)> = Vec::new();
    for device in host.list("sys/bus/usb/devices") {
        let read = |key: &str| host.read(&format!("sys/bus/usb/devices/{device}/{key}"));
        let interfaces = host.list(&format!("sys/bus/usb/devices/{device}"));
        let is_camera = interfaces.iter().any(|i| {
            i.starts_with(&format!("{device}:"))
                && host
                    .read(&format!("sys/bus/usb/devices/{device}/{i}/bInterfaceClass"))
                    .is_some_and(|class| class == "0e")
        });
        if !is_camera {
            continue;
        }
        let name = read("product").unwrap_or_else(|| device.clone());
        if read("power/control").is_some_and(|c| c == "auto") {
            report.warn(
                "usb",
                format!("{name} ({device}) may be put to sleep between pictures"),
                format!(
                    "echo on > /sys/bus/usb/devices/{device}/power/control; the package's udev \
                     rule does it"
                ),
            );
        }
        let speed: f64 = read("speed").and_then(|s| s.parse().ok()).unwrap_or(0.0);
        if speed > 0.0 && speed < 480.0 {
            report.warn(
                "usb",
                format!("{name} ({device}) runs at {speed} Mbit/s only"),
                "another cable or port: it is a USB 2 or 3 camera",
            );
        }
        let bus = format!("{} at {speed} Mbit/s", read("busnum").unwrap_or_default());
        match buses.iter_mut().find(|(b, _)| *b == bus) {
            Some((_, cameras)) => cameras.push(name),
            None => buses.push((bus, vec![name])),
        }
    }
    for (bus, cameras) in buses {
        let raw = 640.0 * 480.0 * 16.0 * 30.0;
        if cameras.len() > 1 && bus.ends_with("at 480 Mbit/s") {
            let fit = (USB2_PAYLOAD / raw) as usize;
            report.warn(
                "usb",
                format!("{} cameras share USB bus {bus}: {}", cameras.len(), cameras.join(", ")),
                format!(
                    "it carries {fit} raw pictures of 640x480 at 30 per second: take \
                     ?format=MJPG, or ports of another bus"
                ),
            );
        } else {
            report.ok("usb", format!("bus {bus}: {}", cameras.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::Level;
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn cameras_are_listed_without_their_metadata_nodes() {
        let root = tempfile::tempdir().unwrap();
        for (node, index) in [("video0", "0"), ("video1", "1")] {
            write(root.path(), &format!("sys/class/video4linux/{node}/name"), "C920\n");
            write(root.path(), &format!("sys/class/video4linux/{node}/index"), index);
            write(root.path(), &format!("dev/{node}"), "");
        }
        let mut report = Report::default();
        cameras(&Host { root: root.path() }, &mut report);
        assert_eq!(report.findings.len(), 1);
        assert_eq!(report.findings[0].found, "/dev/video0: C920");
    }

    #[test]
    fn a_machine_without_cameras_is_told_what_to_look_at() {
        let root = tempfile::tempdir().unwrap();
        let mut report = Report::default();
        cameras(&Host { root: root.path() }, &mut report);
        assert_eq!(report.worst(), Level::Warning);
    }

    #[test]
    fn sleeping_and_crowded_usb_cameras_are_found() {
        let root = tempfile::tempdir().unwrap();
        for device in ["1-1", "1-2"] {
            let base = format!("sys/bus/usb/devices/{device}");
            write(root.path(), &format!("{base}/{device}:1.0/bInterfaceClass"), "0e\n");
            write(root.path(), &format!("{base}/product"), "HD cam\n");
            write(root.path(), &format!("{base}/power/control"), "auto\n");
            write(root.path(), &format!("{base}/speed"), "480\n");
            write(root.path(), &format!("{base}/busnum"), "1\n");
        }
        write(root.path(), "sys/bus/usb/devices/1-3/speed", "12\n");
        let mut report = Report::default();
        usb(&Host { root: root.path() }, &mut report);
        let words: Vec<_> = report.findings.iter().map(|f| f.found.as_str()).collect();
        assert_eq!(words.len(), 3, "{words:?}");
        assert!(words[0].contains("sleep") && words[2].contains("2 cameras share"), "{words:?}");
    }

    #[test]
    fn a_group_that_is_missing_is_named() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "etc/group", "root:x:0:\nvideo:x:44:\ndialout:x:20:a\n");
        write(root.path(), "proc/self/status", "Uid:\t1000\t1000\t1000\t1000\nGroups:\t20 1000 \n");
        let mut report = Report::default();
        groups(&Host { root: root.path() }, &mut report);
        assert_eq!(report.findings[0].found, "this user is not in video");
    }
}
