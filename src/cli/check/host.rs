//! Clock, disk, heat, power and memory of the machine. Read, never changed.

use std::path::Path;

use super::{Host, Report};
use crate::config::Plan;
use crate::memory::available_kib;
use crate::wire::ClockState;

/// Less is soon full.
const FREE_BYTES: u64 = 1 << 30;
/// From here boards begin to slow down.
const HOT_CELSIUS: f64 = 85.0;
/// What the models of the CPU and their buffers take.
const NEEDED_KIB: u64 = 400 * 1024;

/// Do this machine's stamps mean anything on another one?
pub(super) fn clock(plan: Option<&Plan>, host: &Host<'_>, report: &mut Report) {
    if let Some(state) = plan.map(|p| p.clock_state).filter(|s| *s != ClockState::Unknown) {
        return report.ok("clock", format!("{state:?}, as [clock] says"));
    }
    if host.root.join("run/systemd/timesync/synchronized").exists() {
        return report.ok("clock", "set over NTP by systemd-timesyncd");
    }
    let others = [("run/chrony", "chrony"), ("run/ntpd.pid", "ntpd"), ("run/ptp4l", "ptp4l")];
    if let Some((_, name)) = others.iter().find(|(path, _)| host.root.join(path).exists()) {
        return report.warn(
            "clock",
            format!("{name} runs here; whether it has set the clock is not known to posewire"),
            "say state = \"ntp\" or \"ptp\" under [clock], so that packets say it",
        );
    }
    report.warn(
        "clock",
        "nobody sets this machine's clock: receivers elsewhere cannot compare times",
        "apt-get install systemd-timesyncd, or chrony; PTP for less than a millisecond",
    );
}

/// Room and the right to write in `folder`, or the nearest folder above that exists.
pub(super) fn disk(subject: &'static str, folder: &Path, report: &mut Report) {
    let Some(there) = folder.ancestors().find(|f| f.exists()) else { return };
    let shown = there.display();
    let stat = match rustix::fs::statvfs(there) {
        Ok(stat) => stat,
        Err(e) => return report.note(subject, format!("{shown}: {e}")),
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let words = format!("{shown}: {:.1} GB free", free as f64 / 1e9);
    if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        report.error(
            subject,
            format!("{shown}: mounted read-only"),
            "record elsewhere, or remount it",
        );
    } else if subject == "recording"
        && rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_err()
    {
        report.error(
            subject,
            format!("{shown}: may not be written"),
            format!("record below /var/lib/posewire, or chown {shown}"),
        );
    } else if free < FREE_BYTES {
        report.warn(
            subject,
            words,
            "free some; max_bytes under [record] keeps recordings within limits",
        );
    } else {
        report.ok(subject, words);
    }
}

/// Thermal zones.
pub(super) fn heat(host: &Host<'_>, report: &mut Report) {
    let mut zones = Vec::new();
    for zone in host.list("sys/class/thermal") {
        let read = |key: &str| host.read(&format!("sys/class/thermal/{zone}/{key}"));
        let Some(celsius) = read("temp").and_then(|t| t.parse::<f64>().ok()) else { continue };
        zones.push((read("type").unwrap_or(zone.clone()), celsius / 1e3));
    }
    let Some((name, hottest)) = zones.iter().max_by(|a, b| a.1.total_cmp(&b.1)) else {
        return report.note("heat", "this machine tells no temperature");
    };
    let words = format!("{name} is hottest of {}: {hottest:.1} °C", zones.len());
    if *hottest >= HOT_CELSIUS {
        report.warn("heat", words, "a fan, or a lower power mode: a hot board slows down");
    } else {
        report.ok("heat", words);
    }
}

/// Power mode and clocks: Jetson's own, and the governor of every machine.
pub(super) fn power(host: &Host<'_>, report: &mut Report) {
    if let Some(model) = host.read("proc/device-tree/model") {
        report.ok("board", model);
    }
    // What nvpmodel wrote last: `pmode:0000`.
    if let Some(mode) = host.read("var/lib/nvpmodel/status") {
        let mode = mode.trim_start_matches("pmode:").trim_start_matches('0').to_owned();
        let mode = if mode.is_empty() { "0".to_owned() } else { mode };
        report.note("power", format!("nvpmodel mode {mode}: `nvpmodel -q` names it, `nvpmodel -m 0` is the fullest on most boards"));
    }
    let mut slow = Vec::new();
    let mut count = 0;
    for cpu in host.list("sys/devices/system/cpu") {
        let read = |key: &str| host.read(&format!("sys/devices/system/cpu/{cpu}/cpufreq/{key}"));
        let Some(governor) = read("scaling_governor") else { continue };
        count += 1;
        if governor == "powersave" {
            slow.push(cpu);
        }
    }
    if count == 0 {
        report.note("clocks", "this machine tells no CPU frequencies");
    } else if slow.is_empty() {
        report.ok("clocks", format!("{count} CPUs, none held at its lowest frequency"));
    } else {
        report.warn(
            "clocks",
            format!("{} of {count} CPUs may be held low (governor powersave)", slow.len()),
            "cpupower frequency-set -g schedutil; Jetson: jetson_clocks until the next boot",
        );
    }
}

/// Enough memory?
pub(super) fn memory(host: &Host<'_>, report: &mut Report) {
    match available_kib(&host.read("proc/meminfo").unwrap_or_default()) {
        None => report.note("memory", "not told"),
        Some(kib) if kib < NEEDED_KIB => report.warn(
            "memory",
            format!("{} MiB available, about {} are needed", kib / 1024, NEEDED_KIB / 1024),
            "end other programs; a desktop alone takes half a gigabyte",
        ),
        Some(kib) => report.ok("memory", format!("{} MiB available", kib / 1024)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Level;
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn found(root: &Path, check: impl Fn(&Host<'_>, &mut Report)) -> (Level, String) {
        let mut report = Report::default();
        check(&Host { root }, &mut report);
        let words: Vec<_> = report.findings.iter().map(|f| f.found.clone()).collect();
        (report.worst(), words.join("; "))
    }

    #[test]
    fn a_hot_board_is_warned_of_with_its_zone() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(found(root.path(), heat).0, Level::Note);
        write(root.path(), "sys/class/thermal/thermal_zone0/temp", "45000\n");
        write(root.path(), "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
        assert_eq!(found(root.path(), heat).0, Level::Ok);
        write(root.path(), "sys/class/thermal/thermal_zone1/temp", "91500\n");
        write(root.path(), "sys/class/thermal/thermal_zone1/type", "gpu-thermal\n");
        let (level, words) = found(root.path(), heat);
        assert_eq!(level, Level::Warning);
        assert!(words.contains("gpu-thermal is hottest of 2: 91.5"), "{words}");
    }

    #[test]
    fn a_clock_is_known_to_be_set_or_warned_of() {
        let root = tempfile::tempdir().unwrap();
        let look = |h: &Host<'_>, r: &mut Report| clock(None, h, r);
        assert_eq!(found(root.path(), look).0, Level::Warning);
        write(root.path(), "run/systemd/timesync/synchronized", "");
        assert_eq!(found(root.path(), look).0, Level::Ok);
    }

    #[test]
    fn jetsons_power_mode_is_read() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "proc/device-tree/model", "NVIDIA Jetson Orin Nano\0");
        write(root.path(), "var/lib/nvpmodel/status", "pmode:0001\n");
        write(root.path(), "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
        let (level, words) = found(root.path(), power);
        assert_eq!(level, Level::Warning);
        assert!(words.contains("NVIDIA Jetson Orin Nano; nvpmodel mode 1:"), "{words}");
    }

    #[test]
    fn little_memory_is_warned_of() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable:  200000 kB\n");
        assert_eq!(found(root.path(), memory).0, Level::Warning);
    }

    #[test]
    fn room_on_a_disk_that_is_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut report = Report::default();
        disk("disk", &folder.path().join("not/yet/there"), &mut report);
        assert!(report.findings[0].found.contains("GB free"), "{}", report.findings[0].found);
    }
}
