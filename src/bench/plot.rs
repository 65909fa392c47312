//! A drawing of a report (SVG): how the times of each stage are spread, and how busy the machine
//! was over time.

use std::fmt::Write;

use super::report::{Moment, Report, Stage};
use crate::plot::{escaped, page, step};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 70.0;
/// Height of one stage's histogram.
const ROW: f64 = 56.0;
/// Height of a curve over time.
const CURVE: f64 = 120.0;
const BLUE: &str = "#6a9fd4";

/// Draws a report.
pub fn svg(report: &Report) -> String {
    let mut body = String::new();
    let title = format!(
        "{}, {:.1} fps, {} {}; {}",
        report.source.name,
        report.frames.fps,
        report.models.backend,
        report.models.precision,
        report.date
    );
    // Writing to a string cannot fail.
    let _ = writeln!(body, "<text x=\"10\" y=\"24\" font-size=\"15\">{}</text>", escaped(&title));
    let y = histograms(&mut body, &report.stages, 40.0);
    let y = curve(&mut body, "CPU, % of one core", &report.timeline, y, |m| Some(m.cpu_percent));
    let mib = |m: &Moment| Some(m.rss_bytes as f64 / f64::from(1 << 20));
    let y = curve(&mut body, "memory, MiB", &report.timeline, y, mib);
    let y = curve(&mut body, "GPU busy, %", &report.timeline, y, |m| m.gpu_percent);
    let y = curve(&mut body, "GPU power, W", &report.timeline, y, |m| m.gpu_watts);
    page(WIDTH, y, &body)
}

/// One row for each stage, all on one logarithmic axis of milliseconds.
fn histograms(body: &mut String, stages: &[Stage], y: f64) -> f64 {
    let drawn: Vec<&Stage> = stages.iter().filter(|s| !s.timing.histogram.is_empty()).collect();
    let bins = || drawn.iter().flat_map(|s| &s.timing.histogram);
    let low = bins().map(|b| b.from_ms).fold(f64::INFINITY, f64::min);
    let high = bins().map(|b| b.to_ms).fold(0.0, f64::max);
    if !(low > 0.0 && high > low) {
        return y;
    }
    // Whole powers of ten.
    let (first, last) = (low.log10().floor(), high.log10().ceil());
    let x = |ms: f64| LEFT + (WIDTH - LEFT - RIGHT) * (ms.log10() - first) / (last - first);
    let heading = "time by stage, ms, logarithmic (height: share of frames; lines: p50, p99)";
    let _ = writeln!(body, "<text x=\"10\" y=\"{:.0}\" fill=\"#444\">{heading}</text>", y + 14.0);
    let (top, bottom) = (y + 24.0, y + 24.0 + ROW * drawn.len() as f64);
    for power in first as i32..=last as i32 {
        let ms = 10f64.powi(power);
        let _ = writeln!(
            body,
            "<path d=\"M{0:.1} {top:.1}V{bottom:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{0:.1}\" y=\"{1:.1}\" text-anchor=\"middle\" fill=\"#444\">{ms}</text>",
            x(ms),
            bottom + 14.0
        );
    }
    for (row, stage) in drawn.iter().enumerate() {
        let ground = top + ROW * (row + 1) as f64;
        let most = stage.timing.histogram.iter().map(|b| b.count).max().unwrap_or(1).max(1) as f64;
        for bin in stage.timing.histogram.iter().filter(|b| b.count > 0) {
            let height = (ROW - 10.0) * bin.count as f64 / most;
            let _ = write!(
                body,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{BLUE}\"/>",
                x(bin.from_ms),
                ground - height,
                x(bin.to_ms) - x(bin.from_ms)
            );
        }
        for ms in [stage.timing.p50_ms, stage.timing.p99_ms] {
            let _ = write!(
                body,
                "<path d=\"M{:.1} {:.1}V{ground:.1}\" stroke=\"#203040\"/>",
                x(ms.clamp(low, high)),
                ground - ROW + 10.0
            );
        }
        let _ = writeln!(
            body,
            "<path d=\"M{LEFT} {ground:.1}H{:.1}\" stroke=\"#888\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444\">{:.2} / {:.2}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            ground - 20.0,
            escaped(&stage.name),
            LEFT - 8.0,
            ground - 5.0,
            stage.timing.p50_ms,
            stage.timing.p99_ms
        );
    }
    bottom + 34.0
}

/// A curve over time, from 0; nothing where nothing is known.
fn curve(
    body: &mut String,
    heading: &str,
    timeline: &[Moment],
    y: f64,
    of: impl Fn(&Moment) -> Option<f64>,
) -> f64 {
    let points: Vec<(f64, f64)> = timeline.iter().filter_map(|m| Some((m.t_s, of(m)?))).collect();
    let Some(&(end, _)) = points.last().filter(|_| points.len() > 1) else { return y };
    let most = points.iter().map(|p| p.1).fold(1.0, f64::max);
    let tick = step(most);
    let full = (most / tick).ceil() * tick;
    let bottom = y + 24.0 + CURVE;
    let x = |t: f64| LEFT + (WIDTH - LEFT - RIGHT) * t / end.max(1e-3);
    let at = |v: f64| bottom - CURVE * v / full;
    let _ = writeln!(
        body,
        "<text x=\"10\" y=\"{:.0}\" fill=\"#444\">{heading} over seconds</text>",
        y + 14.0
    );
    for value in [0.0, full / 2.0, full] {
        let _ = writeln!(
            body,
            "<path d=\"M{LEFT} {0:.1}H{1:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{2:.1}\" y=\"{3:.1}\" text-anchor=\"end\" fill=\"#444\">{value}</text>",
            at(value),
            WIDTH - RIGHT,
            LEFT - 8.0,
            at(value) + 4.0
        );
    }
    let seconds = step(end.max(1e-3));
    let mut t = 0.0;
    while t <= end + 1e-9 {
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#444\">{}</text>",
            x(t),
            bottom + 14.0,
            // Sums of a tenth are not round.
            (t * 100.0).round() / 100.0
        );
        t += seconds;
    }
    let path: Vec<String> =
        points.iter().map(|(t, v)| format!("{:.1} {:.1}", x(*t), at(*v))).collect();
    let _ = writeln!(
        body,
        "<path d=\"M{}\" fill=\"none\" stroke=\"{BLUE}\" stroke-width=\"2\"/>",
        path.join("L")
    );
    bottom + 34.0
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn a_drawing_has_a_row_for_each_stage_and_a_curve_for_all_that_is_known() {
        let mut all = report();
        all.source.name = "a<b".into();
        let drawn = svg(&all);
        for words in ["capture-to-packet", "GPU busy", "memory, MiB", "a&lt;b"] {
            assert!(drawn.contains(words), "{words}");
        }
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        for moment in &mut all.timeline {
            moment.gpu_percent = None;
        }
        assert!(!svg(&all).contains("GPU busy"));
    }

    #[test]
    fn without_a_frame_there_is_still_a_drawing() {
        let empty = Report { stages: Vec::new(), timeline: Vec::new(), ..report() };
        assert!(svg(&empty).contains("</svg>"));
    }
}
