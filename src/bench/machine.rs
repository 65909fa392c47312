//! On what was measured: so that two measurements are compared only where they can be.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// A machine and its clocks. What cannot be found out is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The board's name, where the device tree has one (a Jetson's does).
    pub board: Option<String>,
    /// The processor's name.
    pub cpu: Option<String>,
    /// Threads that can run at once.
    pub cores: usize,
    /// Main memory, bytes.
    pub memory_bytes: Option<u64>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// `x86_64`, `aarch64` ...
    pub arch: String,
    /// The frequency governor of the first core.
    pub governor: Option<String>,
    /// The highest frequency of the first core, megahertz.
    pub max_mhz: Option<f64>,
    /// A Jetson's power mode, as nvpmodel keeps it (`pmode:0000`).
    pub power_mode: Option<String>,
    /// The graphics processor's name, where NVIDIA's tool tells.
    pub gpu: Option<String>,
    /// Load (one minute) when the measurement began: other jobs cost time.
    pub load: Option<f64>,
}

impl Machine {
    /// This one, now.
    pub fn here() -> Self {
        Self::under(Path::new("/"), gpu_name())
    }

    fn under(root: &Path, gpu: Option<String>) -> Self {
        let read = |path: &str| {
            let text = fs::read_to_string(root.join(path)).ok()?;
            let text = text.trim_end_matches('\0').trim().to_owned();
            (!text.is_empty()).then_some(text)
        };
        let cpuinfo = read("proc/cpuinfo").unwrap_or_default();
        let field = |text: &str, name: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim().to_owned())
            })
        };
        let khz = read("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
        let memory = read("proc/meminfo").and_then(|text| field(&text, "MemTotal"));
        let memory = memory.and_then(|text| text.strip_suffix("kB")?.trim().parse::<u64>().ok());
        Self {
            board: read("proc/device-tree/model"),
            // ARM's kernels name the part only.
            cpu: ["model name", "Hardware", "CPU part"].iter().find_map(|n| field(&cpuinfo, n)),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory.map(|kib| kib * 1024),
            kernel: read("proc/sys/kernel/osrelease"),
            arch: std::env::consts::ARCH.to_owned(),
            governor: read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            max_mhz: khz.and_then(|text| text.parse::<f64>().ok()).map(|khz| khz / 1e3),
            power_mode: read("var/lib/nvpmodel/status"),
            gpu,
            load: read("proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok()),
        }
    }
}

/// The first GPU's name; none where there is no tool, or it finds nothing.
fn gpu_name() -> Option<String> {
    let out = Command::new("nvidia-smi")
        .args(["--query-gpu=name", "--format=csv,noheader"])
        .output()
        .ok()
        .filter(|out| out.status.success())?;
    let name = String::from_utf8(out.stdout).ok()?.lines().next()?.trim().to_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_read_and_what_it_does_not_is_absent() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/cpuinfo", "processor\t: 0\nmodel name\t: A Chip\n\nmodel name\t: A Chip\n");
        write("proc/device-tree/model", "NVIDIA Jetson Orin NX\0");
        write("proc/meminfo", "MemTotal:        2048 kB\nMemFree: 1 kB\n");
        write("proc/loadavg", "0.25 0.10 0.05 1/100 42\n");
        write("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "1984000\n");
        let machine = Machine::under(root.path(), None);
        assert_eq!(machine.cpu.as_deref(), Some("A Chip"));
        assert_eq!(machine.board.as_deref(), Some("NVIDIA Jetson Orin NX"));
        assert_eq!(machine.memory_bytes, Some(2048 * 1024));
        assert_eq!(machine.max_mhz, Some(1984.0));
        assert_eq!(machine.load, Some(0.25));
        assert_eq!((machine.governor, machine.kernel, machine.gpu), (None, None, None));
    }
}
