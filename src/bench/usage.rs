//! What a run takes of its machine: processor time, memory, page faults.

use std::fs;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// This process at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    at: Instant,
    /// Processor time of all threads since the process began, seconds.
    cpu_s: f64,
    /// Page faults since the process began: memory touched for the first time.
    faults: u64,
    /// Memory held now, bytes.
    pub rss_bytes: u64,
    /// The most that was ever held, bytes.
    pub peak_rss_bytes: u64,
}

/// Between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// Time that passed, seconds.
    pub seconds: f64,
    /// Processor time of posewire's own threads in it: 100 is one core, all of the time.
    pub cpu_percent: f64,
    /// Memory held at the end, bytes.
    pub rss_bytes: u64,
    /// The most that was held since the process began, loading included, bytes.
    pub peak_rss_bytes: u64,
    /// Page faults.
    pub page_faults: u64,
}

impl Usage {
    /// Now; `None` where the kernel does not tell.
    pub fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        Self::parse(&stat, &status, ticks, Instant::now())
    }

    /// See proc(5).
    fn parse(stat: &str, status: &str, ticks: f64, at: Instant) -> Option<Self> {
        // The program's name may hold anything, blanks and brackets too; it is field 2.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        Some(Self {
            at,
            cpu_s: (field(14)? + field(15)?) as f64 / ticks,
            faults: field(10)? + field(12)?,
            rss_bytes: 1024 * kib("VmRSS:")?,
            peak_rss_bytes: 1024 * kib("VmHWM:")?,
        })
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Self) -> Used {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64();
        Used {
            seconds,
            cpu_percent: 1e2 * (self.cpu_s - earlier.cpu_s) / seconds.max(1e-3),
            rss_bytes: self.rss_bytes,
            peak_rss_bytes: self.peak_rss_bytes,
            page_faults: self.faults - earlier.faults,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fields_are_found_behind_any_name_and_an_interval_has_its_own_share() {
        let stat = |faults, user| {
            format!("7 (a ) b) S 1 7 7 0 -1 0 {faults} 0 3 0 {user} 50 0 0 20 0 9 0 1 2 3")
        };
        let status = "Name:\tx\nVmHWM:\t    300 kB\nVmRSS:\t    200 kB\n";
        let begin = Instant::now();
        let a = Usage::parse(&stat(10, 100), status, 100.0, begin).unwrap();
        let later = begin + Duration::from_secs(2);
        let b = Usage::parse(&stat(15, 250), status, 100.0, later).unwrap();
        let used = b.since(&a);
        assert_eq!((used.seconds, used.page_faults), (2.0, 5));
        assert!((used.cpu_percent - 75.0).abs() < 1e-9, "{used:?}");
        assert_eq!((used.rss_bytes, used.peak_rss_bytes), (200 * 1024, 300 * 1024));
        assert!(Usage::parse("7 (x) S", status, 100.0, begin).is_none());
    }

    #[test]
    fn this_process_is_measured() {
        let now = Usage::now().unwrap();
        assert!(now.rss_bytes > 1 << 20 && now.peak_rss_bytes >= now.rss_bytes, "{now:?}");
    }
}
