//! Two reports side by side: what became faster, and whether that may be said.

use super::report::Report;

/// The one-minute load, for each core, above which times are another job's as well.
const BUSY: f64 = 0.5;

/// Both, number by number, with ratios (second by first), and what forbids to compare them.
pub fn text(a: &Report, b: &Report) -> String {
    let mut lines: Vec<String> =
        warnings(a, b).into_iter().map(|w| format!("warning: {w}")).collect();
    lines.push(format!("A: {} {} ({})", a.date, a.program.git, a.program.profile));
    lines.push(format!("B: {} {} ({})", b.date, b.program.git, b.program.profile));
    lines.push(format!("{:<32}{:>12}{:>12}{:>9}", "", "A", "B", "B / A"));
    let mut row = |name: &str, (a, b): (Option<f64>, Option<f64>)| {
        if a.is_none() && b.is_none() {
            return;
        }
        let number = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
        let ratio = match (a, b) {
            (Some(a), Some(b)) if a > 0.0 => format!("{:.3}", b / a),
            _ => "-".to_owned(),
        };
        lines.push(format!("{name:<32}{:>12}{:>12}{ratio:>9}", number(a), number(b)));
    };
    let both = |of: fn(&Report) -> f64| (Some(of(a)), Some(of(b)));
    row("frames per second", both(|r| r.frames.fps));
    row("frames dropped", both(|r| r.frames.dropped as f64));
    // Of stages that only one of them has, too.
    let missing = b.stages.iter().filter(|s| a.stage(&s.name).is_none());
    for stage in a.stages.iter().chain(missing) {
        let (of_a, of_b) = (a.stage(&stage.name), b.stage(&stage.name));
        let name = |what: &str| format!("{} {what}, ms", stage.name);
        row(&name("p50"), (of_a.map(|t| t.p50_ms), of_b.map(|t| t.p50_ms)));
        row(&name("p99"), (of_a.map(|t| t.p99_ms), of_b.map(|t| t.p99_ms)));
    }
    row("CPU, % of a core", both(|r| r.usage.cpu_percent));
    row("peak memory, MiB", both(|r| r.usage.peak_rss_bytes as f64 / f64::from(1 << 20)));
    row("page faults per frame", both(|r| r.page_faults_per_frame));
    row("load, s", both(|r| r.load_s));
    row("first packet, s", (a.first_packet_s, b.first_packet_s));
    let busy = |r: &Report| r.gpu.as_ref().map(|g| g.busy_percent);
    row("GPU busy, %", (busy(a), busy(b)));
    row("joules per pose", (a.joules_per_pose, b.joules_per_pose));
    lines.join("\n")
}

/// Why the numbers of the two are not of the same thing; empty if they are.
pub fn warnings(a: &Report, b: &Report) -> Vec<String> {
    let mut all = Vec::new();
    let mut differs = |what: &str, a: String, b: String| {
        if a != b {
            all.push(format!("{what} differ: {a} and {b}"));
        }
    };
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let (m, n) = (&a.machine, &b.machine);
    differs("boards", known(&m.board), known(&n.board));
    differs("processors", known(&m.cpu), known(&n.cpu));
    differs("cores", m.cores.to_string(), n.cores.to_string());
    differs("kernels", known(&m.kernel), known(&n.kernel));
    differs("governors", known(&m.governor), known(&n.governor));
    differs("power modes", known(&m.power_mode), known(&n.power_mode));
    differs("GPUs", known(&m.gpu), known(&n.gpu));
    differs("sources", a.source.name.clone(), b.source.name.clone());
    if a.source.name == b.source.name {
        // Files of one name need not be one file.
        differs("clips of that name", known(&a.source.sha256), known(&b.source.sha256));
    }
    let pace = |r: &Report| if r.source.flat_out { "flat out" } else { "the source's" };
    differs("paces", pace(a).to_owned(), pace(b).to_owned());
    differs("backends", a.models.backend.clone(), b.models.backend.clone());
    differs("precisions", a.models.precision.clone(), b.models.precision.clone());
    let models = |r: &Report| {
        let names = r.models.files.iter().map(|m| format!("{} {:.8}", m.name, m.sha256));
        names.collect::<Vec<_>>().join(", ")
    };
    differs("models", models(a), models(b));
    differs("build profiles", a.program.profile.clone(), b.program.profile.clone());
    for (which, report) in [("A", a), ("B", b)] {
        let machine = &report.machine;
        if let Some(load) = machine.load.filter(|l| *l > BUSY * machine.cores as f64) {
            all.push(format!("{which} was measured on a busy machine (load {load})"));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn two_of_the_same_are_compared_without_a_word_of_warning() {
        let (a, mut b) = (report(), report());
        b.frames.fps = 2.0 * a.frames.fps;
        assert_eq!(warnings(&a, &b), Vec::<String>::new());
        let text = text(&a, &b);
        let line = text.lines().find(|l| l.starts_with("frames per second")).unwrap();
        assert!(line.trim_end().ends_with("2.000"), "{line}");
        // What neither knows is not in the table.
        assert!(!text.contains("joules"), "{text}");
    }

    #[test]
    fn what_makes_them_different_things_is_named() {
        let (a, mut b) = (report(), report());
        b.machine.cpu = Some("another".into());
        b.source.sha256 = Some("00".into());
        b.models.files[0].name = "other".into();
        b.source.flat_out = !a.source.flat_out;
        b.machine.load = Some(9.0);
        let all = warnings(&a, &b).join("\n");
        for word in
            ["processors", "clips of that name", "models", "paces", "B was measured on a busy"]
        {
            assert!(all.contains(word), "{word}: {all}");
        }
        assert_eq!(all.lines().count(), 5, "{all}");
    }
}
