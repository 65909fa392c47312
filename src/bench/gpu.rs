//! The graphics processor: NVIDIA's tool on a PC, the kernel's own file on a Jetson.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use super::power::{folders, number};

/// How often NVIDIA's tool is to tell, milliseconds.
const EVERY_MS: u32 = 200;
/// What a Jetson's graphics processor is called among the kernel's devices, after its address:
/// Nano and Orin (JetPack 6), Orin (JetPack 5), Xavier, TX2.
const JETSONS: [&str; 4] = [".gpu", ".ga10b", ".gv11b", ".gp10b"];

/// The graphics processor over an interval, other programs included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuUse {
    /// Share of the time in which any kernel ran, percent.
    pub busy_percent: f64,
    /// That share of the interval, seconds.
    pub busy_s: f64,
    /// The most memory that was in use, bytes; `None` where it is the machine's own memory.
    pub peak_memory_bytes: Option<u64>,
}

/// Whatever tells of it, and what was told in the measured interval.
pub(super) struct Gpu {
    tool: Option<Tool>,
    /// A Jetson's file: thousandths of the time.
    load: Option<PathBuf>,
    watts: Vec<f64>,
    busy: Vec<f64>,
    peak_mib: Option<f64>,
    newest: Option<(f64, Option<f64>)>,
}

impl Gpu {
    /// The first one of this machine, if there is one that tells.
    pub(super) fn of_this_machine() -> Option<Self> {
        Self::new(Tool::start(), jetson(Path::new("/sys/devices")))
    }

    fn new(tool: Option<Tool>, load: Option<PathBuf>) -> Option<Self> {
        (tool.is_some() || load.is_some()).then(|| Self {
            tool,
            load,
            watts: Vec::new(),
            busy: Vec::new(),
            peak_mib: None,
            newest: None,
        })
    }

    /// Forgets what was told: the interval begins now.
    pub(super) fn reset(&mut self) {
        self.watts.clear();
        self.busy.clear();
        self.peak_mib = None;
    }

    /// To be called several times a second.
    pub(super) fn sample(&mut self) {
        if let Some(thousandths) = self.load.as_deref().and_then(number::<f64>) {
            self.told(None, Some(thousandths / 10.0), None);
        }
        let Some(lines) = self.tool.as_mut().map(Tool::lines) else { return };
        for line in lines.lines() {
            // Power, busy, memory; what a card does not tell is "[N/A]".
            let mut values = line.split(',').map(|v| v.trim().parse::<f64>().ok());
            let mut next = || values.next().flatten();
            let (watts, busy, mib) = (next(), next(), next());
            self.told(watts, busy, mib);
        }
    }

    fn told(&mut self, watts: Option<f64>, busy: Option<f64>, mib: Option<f64>) {
        self.watts.extend(watts);
        self.busy.extend(busy);
        let most = mib.map(|mib| self.peak_mib.map_or(mib, |before| before.max(mib)));
        self.peak_mib = most.or(self.peak_mib);
        self.newest = busy.map(|busy| (busy, watts)).or(self.newest);
    }

    /// Its share of the time (percent) and its power (watts), as last told.
    pub(super) fn newest(&self) -> Option<(f64, Option<f64>)> {
        self.newest
    }

    /// Its mean power.
    pub(super) fn watts(&self) -> Option<f64> {
        mean(&self.watts)
    }

    /// What was told in the interval of `seconds`.
    pub(super) fn used(&self, seconds: f64) -> Option<GpuUse> {
        let busy_percent = mean(&self.busy)?;
        let peak_memory_bytes = self.peak_mib.map(|mib| (mib * f64::from(1 << 20)) as u64);
        Some(GpuUse { busy_percent, busy_s: busy_percent / 1e2 * seconds, peak_memory_bytes })
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The file in which a Jetson's kernel says how busy its graphics processor is.
fn jetson(devices: &Path) -> Option<PathBuf> {
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str());
        name.is_some_and(|n| n == "gpu.0" || JETSONS.iter().any(|end| n.ends_with(end)))
    };
    let all = [folders(devices), folders(&devices.join("platform"))].concat();
    let loads = all.into_iter().filter(named).map(|folder| folder.join("load"));
    loads.into_iter().find(|load| number::<f64>(load).is_some())
}

/// NVIDIA's tool as a child that tells by itself: to start it for every reading costs 50 ms.
struct Tool {
    child: Child,
    /// The beginning of a line.
    rest: String,
}

impl Tool {
    fn start() -> Option<Self> {
        let query = "--query-gpu=power.draw,utilization.gpu,memory.used";
        let child = Command::new("nvidia-smi")
            .args([query, "--format=csv,noheader,nounits", "--id=0"])
            .arg(format!("--loop-ms={EVERY_MS}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let pipe = child.stdout.as_ref();
        let ready = pipe.is_some_and(|pipe| rustix::io::ioctl_fionbio(pipe, true).is_ok());
        let tool = Self { child, rest: String::new() };
        // Dropping it ends the child.
        ready.then_some(tool)
    }

    /// Whole lines that it wrote since the last call; waits for none.
    fn lines(&mut self) -> String {
        let Some(pipe) = &mut self.child.stdout else { return String::new() };
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = pipe.read(&mut bytes) {
            self.rest.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
        let end = self.rest.rfind('\n').map_or(0, |at| at + 1);
        self.rest.drain(..end).collect()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // One that has ended already needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;

    /// A tool that says `words`.
    fn saying(words: &str) -> Tool {
        let mut command = Command::new("printf");
        let child = command.arg(words).stdout(Stdio::piped()).spawn().unwrap();
        rustix::io::ioctl_fionbio(child.stdout.as_ref().unwrap(), true).unwrap();
        Tool { child, rest: String::new() }
    }

    #[test]
    fn what_a_card_does_not_tell_is_left_out_and_half_a_line_waits() {
        let mut gpu = Gpu::new(Some(saying("75.5, 40, 1024\n[N/A], 60, 512\n9")), None).unwrap();
        let limit = Instant::now() + Duration::from_secs(10);
        while gpu.busy.len() < 2 && Instant::now() < limit {
            gpu.sample();
        }
        assert_eq!((gpu.watts(), gpu.newest()), (Some(75.5), Some((60.0, None))));
        let used = gpu.used(4.0).unwrap();
        assert_eq!((used.busy_percent, used.busy_s), (50.0, 2.0));
        assert_eq!(used.peak_memory_bytes, Some(1 << 30));
        gpu.reset();
        assert_eq!((gpu.watts(), gpu.used(1.0)), (None, None));
    }

    #[test]
    fn a_jetson_tells_thousandths_in_a_file() {
        let devices = tempfile::tempdir().unwrap();
        assert!(Gpu::new(None, jetson(devices.path())).is_none());
        for (folder, file) in [("platform/17000000.gpu", "load"), ("platform/other", "load")] {
            let folder = devices.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(file), "355\n").unwrap();
        }
        let mut gpu = Gpu::new(None, jetson(devices.path())).unwrap();
        gpu.sample();
        assert_eq!(gpu.newest(), Some((35.5, None)));
        assert_eq!(gpu.used(2.0).unwrap().peak_memory_bytes, None);
    }
}
