//! `/metrics`: Prometheus's text format, version 0.0.4. Names end in their base unit, counters in
//! `_total`.

use std::fmt::Write;

use crate::stats::{Counts, Snapshot, Stats};
use crate::wire::{State, StatusMessage};

/// Of [`render`]'s text.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Stage latencies worth telling apart: from 16 µs to 17 s.
const SHOWN: std::ops::RangeInclusive<u128> = 1 << 14..=1 << 34;

/// `told` are the lines of [`of_status`].
pub(super) fn render(stats: &Stats, told: &str, viewers: usize) -> String {
    let mut text = told.to_owned();
    let Counts {
        frames_in,
        frames_displaced,
        frames_missed,
        frames_bad,
        frames_left_out,
        frames_out,
        persons,
        published,
        publish_failed,
        publish_displaced,
        source_restarts,
    } = stats.counters.read();
    for (name, help, value) in [
        ("frames_in", "Frames that the sources gave.", frames_in),
        (
            "frames_displaced",
            "Frames displaced by newer ones before they were looked at.",
            frames_displaced,
        ),
        ("frames_missed", "Frames that the sources say they lost.", frames_missed),
        ("frames_bad", "Frames lost to damage: corrupt pictures, failed networks.", frames_bad),
        (
            "frames_left_out",
            "Frames left out on purpose: the machine cannot keep up.",
            frames_left_out,
        ),
        ("pose_frames", "Pose frames that perception finished.", frames_out),
        ("persons", "Persons in all pose frames.", persons),
        ("published", "Pose frames handed to a target, summed over targets.", published),
        ("publish_failures", "Pose frames that a target refused.", publish_failed),
        ("publish_displaced", "Pose frames that fell out of a target's queue.", publish_displaced),
        ("source_restarts", "Times that a source was lost and reopened.", source_restarts),
    ] {
        head(&mut text, &format!("{name}_total"), help, "counter");
        let _ = writeln!(text, "posewire_{name}_total {value}");
    }
    head(&mut text, "viewers", "Browsers that follow the live page.", "gauge");
    let _ = writeln!(text, "posewire_viewers {viewers}");
    let stages = &stats.stages;
    let name = "stage_duration_seconds";
    head(&mut text, name, "Time that each stage takes for a frame.", "histogram");
    for (stage, histogram) in [
        ("wait", &stages.wait),
        ("decode", &stages.decode),
        ("detect", &stages.detect),
        ("lift", &stages.lift),
        ("publish", &stages.publish),
    ] {
        series(&mut text, name, &format!("stage=\"{stage}\""), &histogram.snapshot());
    }
    let name = "capture_to_packet_seconds";
    let help = "From exposure (for recordings: dequeue) to handed to the kernel, once a target.";
    head(&mut text, name, help, "histogram");
    series(&mut text, name, "", &stages.total.snapshot());
    process(&mut text);
    text
}

/// What a status and the run's description add.
pub(super) fn of_status(status: &StatusMessage, labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    head(&mut text, "info", "What runs here; always 1.", "gauge");
    let labels: Vec<_> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    let _ = writeln!(text, "posewire_info{{{}}} 1", labels.join(","));
    head(&mut text, "uptime_seconds", "Seconds since the start.", "gauge");
    let _ = writeln!(text, "posewire_uptime_seconds {}", status.uptime_s);
    head(&mut text, "state", "What the sensor is doing: 1 for one of the states.", "gauge");
    for state in [State::Starting, State::Running, State::Degraded, State::Failed, State::Stopping]
    {
        let on = u8::from(state == status.state);
        let _ = writeln!(text, "posewire_state{{state=\"{}\"}} {on}", state.name());
    }
    head(&mut text, "fault_occurrences", "What is wrong now, and how often it was seen.", "gauge");
    for (i, fault) in status.faults.iter().enumerate() {
        // The same fault of several targets has a line for each.
        let (name, camera) = (escape(&fault.name), fault.camera.map_or(-1, i32::from));
        let _ = writeln!(
            text,
            "posewire_fault_occurrences{{fault=\"{name}\",camera=\"{camera}\",place=\"{i}\"}} {}",
            fault.count
        );
    }
    if let Some(tenths) = status.temperature_decicelsius {
        head(&mut text, "temperature_celsius", "The hottest thermal zone.", "gauge");
        let _ = writeln!(text, "posewire_temperature_celsius {}", f64::from(tenths) / 10.0);
    }
    text
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP posewire_{name} {help}\n# TYPE posewire_{name} {kind}");
}

fn series(text: &mut String, name: &str, labels: &str, snapshot: &Snapshot) {
    let comma = if labels.is_empty() { "" } else { "," };
    // Counted before the buckets are read off: the last bucket may not hold more than all.
    for (edge, below) in snapshot.below_octaves() {
        if SHOWN.contains(&edge.as_nanos()) {
            let le = edge.as_secs_f64();
            let _ = writeln!(text, "posewire_{name}_bucket{{{labels}{comma}le=\"{le}\"}} {below}");
        }
    }
    let (count, sum) = (snapshot.count(), snapshot.sum().as_secs_f64());
    let _ = writeln!(text, "posewire_{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
    let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(text, "posewire_{name}_sum{braces} {sum}");
    let _ = writeln!(text, "posewire_{name}_count{braces} {count}");
}

/// The process's own use of the machine, under the names that all of Prometheus's clients use.
fn process(text: &mut String) {
    let mut gauge = |name: &str, help: &str, kind: &str, value: Option<f64>| {
        if let Some(value) = value {
            let _ = writeln!(
                text,
                "# HELP process_{name} {help}\n# TYPE process_{name} {kind}\nprocess_{name} {value}"
            );
        }
    };
    let page = rustix::param::page_size() as f64;
    let resident = std::fs::read_to_string("/proc/self/statm").ok();
    let resident = resident.and_then(|t| t.split(' ').nth(1)?.parse::<f64>().ok());
    gauge("resident_memory_bytes", "Resident memory.", "gauge", resident.map(|p| p * page));
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|d| d.count() as f64);
    gauge("open_fds", "Open file descriptors.", "gauge", open);
    let stat = std::fs::read_to_string("/proc/self/stat").ok();
    // After the name, which may hold spaces and ends with the last bracket.
    let ticks = stat.and_then(|t| {
        let fields: Vec<_> = t.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
    });
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    gauge("cpu_seconds_total", "CPU time.", "counter", ticks.map(|t| t / per_second));
}

/// As a label's value.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fault::Severity;
    use crate::wire::FaultRecord;

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        assert_eq!(escape("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }

    #[test]
    fn buckets_grow_and_end_with_the_count() {
        let stats = Stats::default();
        for ms in [1, 2, 30, 40_000] {
            stats.stages.detect.record(Duration::from_millis(ms));
        }
        let text = render(&stats, "", 3);
        let of = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        let prefix = "posewire_stage_duration_seconds_bucket{stage=\"detect\",le=";
        let buckets: Vec<f64> = text.lines().filter(|l| l.starts_with(prefix)).map(of).collect();
        assert_eq!(buckets.len(), 22);
        assert!(buckets.is_sorted());
        assert_eq!(buckets[20..], [3.0, 4.0], "forty seconds lie above the last edge");
        let line = |start: &str| text.lines().find(|l| l.starts_with(start)).map(of);
        assert_eq!(line("posewire_stage_duration_seconds_count{stage=\"detect\"}"), Some(4.0));
        assert_eq!(line("posewire_stage_duration_seconds_sum{stage=\"detect\"}"), Some(40.033));
        assert_eq!(line("posewire_viewers"), Some(3.0));
        assert!(line("process_resident_memory_bytes").unwrap() > 1e6);
        assert!(line("process_open_fds").unwrap() > 2.0);
    }

    #[test]
    fn a_status_tells_its_state_and_its_faults() {
        let mut status = StatusMessage { state: State::Degraded, ..StatusMessage::default() };
        let mut fault = FaultRecord::new(Severity::Restart, "source-gone", "unplugged");
        fault.count = 7;
        status.faults.push(fault);
        status.temperature_decicelsius = Some(615);
        let text = of_status(&status, &[("version", "1"), ("backend", "a\"b")]);
        for line in [
            "posewire_info{version=\"1\",backend=\"a\\\"b\"} 1",
            "posewire_state{state=\"degraded\"} 1",
            "posewire_state{state=\"running\"} 0",
            "posewire_fault_occurrences{fault=\"source-gone\",camera=\"-1\",place=\"0\"} 7",
            "posewire_temperature_celsius 61.5",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in {text}");
        }
    }
}
