//! Which cameras there are, and what they can do: `posewire devices`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::controls::{self, ControlInfo};
use super::formats::{name, pixel_format};
use super::identity::{Node, links, nodes};
use super::setup::Sizes;
use super::sys::{Device, Kernel};

/// A video node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DeviceInfo {
    /// The kernel's name for it, which may be another's after a reboot.
    pub path: PathBuf,
    /// URIs for `--source`, the most lasting first.
    pub uris: Vec<String>,
    /// What is printed on it, more or less.
    pub card: String,
    /// The kernel's driver.
    pub driver: String,
    /// Where it is attached, as the driver says.
    pub bus: String,
    /// Of a USB device.
    pub serial: Option<String>,
    /// Of a USB device: where it is plugged in.
    pub port: Option<String>,
    /// It gives pictures.
    pub captures: bool,
    /// By the kernel's multi-planar interface.
    pub multi_planar: bool,
    /// Its pixel formats.
    pub formats: Vec<FormatInfo>,
    /// Its controls.
    pub controls: Vec<ControlInfo>,
    /// Why it could not be asked.
    pub problem: Option<String>,
}

/// A pixel format of a camera.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FormatInfo {
    /// The kernel's four letters.
    pub code: String,
    /// The driver's words.
    pub description: String,
    /// posewire reads it.
    pub read: bool,
    /// In which sizes it comes; empty if the driver does not say.
    pub sizes: Vec<SizeInfo>,
}

/// A picture size of a format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SizeInfo {
    /// Pixels; of a range, the largest.
    pub width: u32,
    /// Pixels; of a range, the largest.
    pub height: u32,
    /// Of a range: the smallest.
    pub smallest: Option<(u32, u32)>,
    /// Frames per second, fastest first; of a range, its ends.
    pub rates: Vec<f64>,
}

/// All video nodes of this machine, by number.
pub fn list() -> Vec<DeviceInfo> {
    let mut all = nodes();
    if all.is_empty() {
        // A container may have nodes and no sysfs.
        let names = fs::read_dir("/dev").into_iter().flatten().flatten();
        let paths = names.map(|entry| entry.path());
        let videos = paths.filter(|path| {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            name.is_some_and(|n| n.strip_prefix("video").is_some_and(|n| n.parse::<u32>().is_ok()))
        });
        all = videos.map(|path| Node { path, ..Node::default() }).collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
    }
    all.into_iter().map(describe).collect()
}

fn describe(node: Node) -> DeviceInfo {
    let Node { path, serial, port, .. } = node;
    let mut info = DeviceInfo { serial, port, ..DeviceInfo::default() };
    match Kernel::open(&path) {
        Ok(kernel) => ask(&mut Device::new(Box::new(kernel)), &mut info),
        Err(e) => info.problem = Some(format!("cannot be opened: {e}")),
    }
    info.uris = uris(&path, &info);
    info.path = path;
    info
}

fn uris(path: &Path, info: &DeviceInfo) -> Vec<String> {
    let mut uris = Vec::new();
    for folder in ["by-id", "by-path"] {
        uris.extend(links(folder, path).into_iter().map(|name| format!("v4l2:{folder}/{name}")));
    }
    if let Some(serial) = &info.serial {
        uris.push(format!("v4l2:serial/{serial}"));
    }
    if let Some(port) = &info.port {
        uris.push(format!("v4l2:port/{port}"));
    } else if !info.bus.is_empty() {
        uris.push(format!("v4l2:bus/{}", info.bus));
    }
    uris.push(format!("v4l2:{}", path.display()));
    uris
}

/// Asks a device what it can.
pub(super) fn ask(device: &mut Device, info: &mut DeviceInfo) {
    let identity = match device.identity() {
        Ok(identity) => identity,
        Err(e) => {
            info.problem = Some(format!("is no Video4Linux2 device: {e}"));
            return;
        }
    };
    info.captures = identity.captures();
    info.multi_planar = info.captures && identity.multi_planar();
    (info.card, info.driver, info.bus) = (identity.card, identity.driver, identity.bus);
    if !info.captures {
        return;
    }
    for (code, description) in device.formats().unwrap_or_default() {
        let sizes = device.sizes(code).into_iter().map(|size| {
            let (largest, smallest) = match size {
                Sizes::One(w, h) => ((w, h), None),
                Sizes::Steps(s) => ((s[1], s[4]), Some((s[0], s[3]))),
            };
            let rates = device.rates(code, largest);
            SizeInfo { width: largest.0, height: largest.1, smallest, rates }
        });
        let sizes = sizes.collect();
        let read = pixel_format(code).is_some();
        info.formats.push(FormatInfo { code: name(code), description, read, sizes });
    }
    info.controls = controls::list(device);
}

#[cfg(test)]
mod tests {
    use super::super::double::Bench;
    use super::*;

    #[test]
    fn a_camera_tells_its_formats_sizes_rates_and_controls() {
        let mut info = DeviceInfo::default();
        ask(&mut Bench::new().device().unwrap(), &mut info);
        assert!(info.captures && info.problem.is_none(), "{info:?}");
        assert_eq!(info.formats.len(), 2);
        let yuyv = &info.formats[0];
        assert_eq!((yuyv.code.as_str(), yuyv.read), ("YUYV", true));
        assert_eq!(yuyv.sizes.len(), 2);
        let SizeInfo { width, height, rates, .. } = &yuyv.sizes[0];
        assert_eq!((*width, *height, rates.as_slice()), (64, 48, &[500.0, 30.0][..]));
        assert!(info.controls.iter().any(|c| c.name == "white_balance_automatic"));
        assert!(serde_json::to_string(&info).unwrap().contains("\"gain\""));
    }
}
