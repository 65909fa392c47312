//! How hot the machine is: a Jetson that gets hot slows down, and its poses come later.

use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The kernel's thermal zones.
pub struct Thermometer {
    /// Each zone's reading, kept open: reading one costs no search and no allocation.
    zones: Vec<File>,
}

impl Thermometer {
    /// All zones of this machine; none in most virtual ones.
    pub fn of_this_machine() -> Self {
        Self::in_folder(Path::new("/sys/class/thermal"))
    }

    fn in_folder(folder: &Path) -> Self {
        let zones = fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| {
            entry.file_name().to_str().is_some_and(|name| name.starts_with("thermal_zone"))
        });
        Self { zones: zones.filter_map(|z| File::open(z.path().join("temp")).ok()).collect() }
    }

    /// The hottest zone, tenths of a degree Celsius. A zone that is switched off cannot be read,
    /// and is left out.
    pub fn hottest_decicelsius(&self) -> Option<i16> {
        self.zones.iter().filter_map(decicelsius).max()
    }
}

/// A zone gives thousandths of a degree, as a line of text.
fn decicelsius(zone: &File) -> Option<i16> {
    let mut text = [0; 16];
    let len = zone.read_at(&mut text, 0).ok()?;
    let thousandths: i32 = std::str::from_utf8(text.get(..len)?).ok()?.trim().parse().ok()?;
    i16::try_from(thousandths / 100).ok().filter(|t| *t > i16::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_readable_zone_counts() {
        let folder = tempfile::tempdir().unwrap();
        let zone = |name: &str, temp: Option<&str>| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            if let Some(temp) = temp {
                fs::write(path.join("temp"), temp).unwrap();
            }
        };
        assert_eq!(Thermometer::in_folder(folder.path()).hottest_decicelsius(), None);
        zone("thermal_zone0", Some("48500\n"));
        zone("thermal_zone1", Some("61250\n"));
        zone("thermal_zone2", None);
        zone("thermal_zone3", Some("no number\n"));
        zone("cooling_device0", Some("99000\n"));
        let thermometer = Thermometer::in_folder(folder.path());
        assert_eq!(thermometer.hottest_decicelsius(), Some(612));
        // The readings are the present ones.
        fs::write(folder.path().join("thermal_zone0/temp"), "-7000\n").unwrap();
        fs::write(folder.path().join("thermal_zone1/temp"), "-5000\n").unwrap();
        assert_eq!(thermometer.hottest_decicelsius(), Some(-50));
    }

    #[test]
    fn a_machine_without_zones_has_no_temperature() {
        let none = Thermometer::in_folder(Path::new("/no/such/folder"));
        assert_eq!(none.hottest_decicelsius(), None);
    }
}
