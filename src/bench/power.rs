//! Power, where the machine tells: RAPL (Intel, AMD), INA3221 (Jetson), NVIDIA's tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::gpu::{Gpu, GpuUse};

/// What one meter said of an interval: all of what it measures, other programs included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Which meter: `rapl:package-0`, `ina3221:VDD_IN`, `nvidia-smi`.
    pub meter: String,
    /// Joules in the interval.
    pub joules: f64,
    /// Mean power, watts.
    pub watts: f64,
}

/// All meters that this machine has and lets this user read.
pub struct Meters {
    packages: Vec<Package>,
    rails: Vec<Rail>,
    gpu: Option<Gpu>,
}

/// A counter of energy: it wraps.
struct Package {
    name: String,
    path: PathBuf,
    range_uj: u64,
    last_uj: u64,
    joules: f64,
}

/// A rail of a power monitor: volts times amperes, integrated by us.
struct Rail {
    label: String,
    millivolt: PathBuf,
    milliampere: PathBuf,
    joules: f64,
    last: Instant,
}

pub(super) fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(super) fn folders(path: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> =
        fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
    all.sort();
    all
}

impl Meters {
    /// Those of this machine; the interval begins.
    pub fn of_this_machine() -> Self {
        Self { gpu: Gpu::of_this_machine(), ..Self::under(Path::new("/sys/class")) }
    }

    fn under(class: &Path) -> Self {
        Self {
            packages: folders(&class.join("powercap"))
                .iter()
                .filter_map(|p| Package::open(p))
                .collect(),
            rails: rails(&class.join("hwmon")),
            gpu: None,
        }
    }

    /// Forgets what was measured: the interval begins now.
    pub fn reset(&mut self) {
        self.sample();
        self.packages.iter_mut().for_each(|p| p.joules = 0.0);
        self.rails.iter_mut().for_each(|r| r.joules = 0.0);
        if let Some(gpu) = &mut self.gpu {
            gpu.reset();
        }
    }

    /// Reads all meters; to be called several times a second.
    pub fn sample(&mut self) {
        self.packages.iter_mut().for_each(Package::sample);
        self.rails.iter_mut().for_each(Rail::sample);
        if let Some(gpu) = &mut self.gpu {
            gpu.sample();
        }
    }

    /// The graphics processor's share of the time (percent) and its power (watts), as last told.
    pub fn gpu_now(&self) -> Option<(f64, Option<f64>)> {
        self.gpu.as_ref()?.newest()
    }

    /// What was measured in the interval of `seconds`.
    pub fn finish(&mut self, seconds: f64) -> (Vec<Energy>, Option<GpuUse>) {
        self.sample();
        let energy = |meter: String, joules: f64| Energy {
            meter,
            joules,
            watts: joules / seconds.max(1e-3),
        };
        let packages = self.packages.iter().map(|p| energy(format!("rapl:{}", p.name), p.joules));
        let rails = self.rails.iter().map(|r| energy(format!("ina3221:{}", r.label), r.joules));
        let mut all: Vec<Energy> = packages.chain(rails).collect();
        let gpu = self.gpu.as_ref();
        if let Some(watts) = gpu.and_then(Gpu::watts) {
            all.push(energy("nvidia-smi".to_owned(), watts * seconds));
        }
        let used = gpu.and_then(|g| g.used(seconds));
        (all, used)
    }
}

impl Package {
    /// Sub-zones (`intel-rapl:0:0`) are parts of packages: they would count twice.
    fn open(path: &Path) -> Option<Self> {
        let zone = path.file_name()?.to_str()?.strip_prefix("intel-rapl:")?;
        let counter = path.join("energy_uj");
        let last_uj = number(&counter).filter(|_| !zone.contains(':'))?;
        let name = fs::read_to_string(path.join("name")).ok()?.trim().to_owned();
        // "psys" is the whole platform, the packages among it.
        let range_uj = number(&path.join("max_energy_range_uj")).filter(|_| name != "psys")?;
        Some(Self { name, path: counter, range_uj, last_uj, joules: 0.0 })
    }

    fn sample(&mut self) {
        let Some(now) = number::<u64>(&self.path) else { return };
        let passed = if now >= self.last_uj {
            now - self.last_uj
        } else {
            now + self.range_uj.saturating_sub(self.last_uj)
        };
        self.joules += passed as f64 / 1e6;
        self.last_uj = now;
    }
}

/// The rails of all INA3221s: the one that feeds the whole module where there is one, else all.
fn rails(hwmon: &Path) -> Vec<Rail> {
    let mut all = Vec::new();
    for monitor in folders(hwmon) {
        let name = fs::read_to_string(monitor.join("name")).unwrap_or_default();
        if name.trim() != "ina3221" {
            continue;
        }
        all.extend((1..=3).filter_map(|n| {
            let path = |kind: &str| monitor.join(format!("{kind}{n}_input"));
            let label =
                fs::read_to_string(monitor.join(format!("in{n}_label"))).ok()?.trim().to_owned();
            let rail = Rail {
                label,
                millivolt: path("in"),
                milliampere: path("curr"),
                joules: 0.0,
                last: Instant::now(),
            };
            rail.watts().map(|_| rail)
        }));
    }
    let whole = |rail: &Rail| ["VDD_IN", "POM_5V_IN"].contains(&rail.label.as_str());
    if all.iter().any(whole) {
        all.retain(whole);
    }
    all
}

impl Rail {
    fn watts(&self) -> Option<f64> {
        Some(number::<f64>(&self.millivolt)? * number::<f64>(&self.milliampere)? / 1e6)
    }

    fn sample(&mut self) {
        let passed = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        self.joules += self.watts().unwrap_or(0.0) * passed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn energy_of_packages_is_counted_once_and_over_the_wrap() {
        let class = tempfile::tempdir().unwrap();
        for (zone, name) in
            [("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:1", "psys")]
        {
            let folder = class.path().join("powercap").join(zone);
            write(&folder.join("name"), name);
            write(&folder.join("energy_uj"), "9000000\n");
            write(&folder.join("max_energy_range_uj"), "10000000\n");
        }
        let mut meters = Meters::under(class.path());
        let counter = class.path().join("powercap/intel-rapl:0/energy_uj");
        write(&counter, "9500000\n");
        meters.reset();
        write(&counter, "2500000\n");
        let (energy, gpu) = meters.finish(2.0);
        let joules = 3.0;
        let package = Energy { meter: "rapl:package-0".into(), joules, watts: joules / 2.0 };
        assert_eq!((energy, gpu), (vec![package], None));
    }

    #[test]
    fn the_rail_that_feeds_all_stands_for_all() {
        let class = tempfile::tempdir().unwrap();
        let monitor = class.path().join("hwmon/hwmon3");
        write(&monitor.join("name"), "ina3221\n");
        for (n, label) in [(1, "VDD_IN"), (2, "VDD_CPU_GPU_CV"), (3, "VDD_SOC")] {
            write(&monitor.join(format!("in{n}_label")), label);
            write(&monitor.join(format!("in{n}_input")), "5000\n");
            write(&monitor.join(format!("curr{n}_input")), "2000\n");
        }
        let rails = rails(&class.path().join("hwmon"));
        assert_eq!(rails.iter().map(|r| r.label.as_str()).collect::<Vec<_>>(), ["VDD_IN"]);
        assert_eq!(rails[0].watts(), Some(10.0));
    }
}
