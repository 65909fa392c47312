//! Power, where the machine tells: RAPL (Intel, AMD), INA3221 (Jetson), NVIDIA's tool.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// How often NVIDIA's tool is to tell, milliseconds.
const GPU_EVERY_MS: u32 = 200;

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

/// The graphics processor over an interval, other programs included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuUse {
    /// Share of the time in which any kernel ran, percent.
    pub busy_percent: f64,
    /// That share of the interval, seconds.
    pub busy_s: f64,
    /// The most memory that was in use, bytes.
    pub peak_memory_bytes: u64,
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

struct Gpu {
    child: Child,
    text: String,
    /// Of the measured interval.
    watts: Vec<f64>,
    busy: Vec<f64>,
    peak_mib: f64,
    newest: Option<(f64, Option<f64>)>,
}

fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> =
        fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
    all.sort();
    all
}

impl Meters {
    /// Those of this machine; the interval begins.
    pub fn of_this_machine() -> Self {
        Self { gpu: Gpu::start(), ..Self::under(Path::new("/sys/class")) }
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
            gpu.watts.clear();
            gpu.busy.clear();
            gpu.peak_mib = 0.0;
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
        self.gpu.as_ref()?.newest
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
        if let Some(watts) = gpu.and_then(|g| mean(&g.watts)) {
            all.push(energy("nvidia-smi".to_owned(), watts * seconds));
        }
        let used = gpu.and_then(|g| {
            let busy_percent = mean(&g.busy)?;
            let peak_memory_bytes = (g.peak_mib * f64::from(1 << 20)) as u64;
            Some(GpuUse { busy_percent, busy_s: busy_percent / 1e2 * seconds, peak_memory_bytes })
        });
        (all, used)
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
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

impl Gpu {
    /// The tool as a child that tells by itself: to start it for every reading costs 50 ms and more.
    fn start() -> Option<Self> {
        let child = Command::new("nvidia-smi")
            .args([
                "--query-gpu=power.draw,utilization.gpu,memory.used",
                "--format=csv,noheader,nounits",
                "--id=0",
            ])
            .arg(format!("--loop-ms={GPU_EVERY_MS}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let pipe = child.stdout.as_ref();
        let ready = pipe.is_some_and(|pipe| rustix::io::ioctl_fionbio(pipe, true).is_ok());
        let gpu = Self {
            child,
            text: String::new(),
            watts: Vec::new(),
            busy: Vec::new(),
            peak_mib: 0.0,
            newest: None,
        };
        // Dropping it ends the child.
        ready.then_some(gpu)
    }

    fn sample(&mut self) {
        let Some(pipe) = &mut self.child.stdout else { return };
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = pipe.read(&mut bytes) {
            self.text.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
        while let Some(end) = self.text.find('\n') {
            let line: String = self.text.drain(..=end).collect();
            self.heard(&line);
        }
    }

    /// A line "power, busy, memory"; what a card does not tell is "[N/A]".
    fn heard(&mut self, line: &str) {
        let mut values = line.split(',').map(|v| v.trim().parse::<f64>().ok());
        let (watts, busy, mib) =
            (values.next().flatten(), values.next().flatten(), values.next().flatten());
        self.watts.extend(watts);
        self.busy.extend(busy);
        self.peak_mib = self.peak_mib.max(mib.unwrap_or(0.0));
        self.newest = busy.map(|busy| (busy, watts)).or(self.newest);
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // One that has ended already needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
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

    #[test]
    fn what_a_card_does_not_tell_is_left_out() {
        let child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
        let mut gpu = Gpu {
            child,
            text: String::new(),
            watts: Vec::new(),
            busy: Vec::new(),
            peak_mib: 0.0,
            newest: None,
        };
        gpu.heard("75.50, 40, 1024\n");
        gpu.heard("[N/A], 60, 512\n");
        assert_eq!((gpu.watts.as_slice(), gpu.busy.as_slice()), (&[75.5][..], &[40.0, 60.0][..]));
        assert_eq!((gpu.peak_mib, gpu.newest), (1024.0, Some((60.0, None))));
    }
}
