//! A drawing of an evaluation (SVG): mean error and its spread, by joint and by action.

use std::fmt::Write;

use super::report::{Report, Run};
use crate::plot::{escaped, page, step};

/// A bar: a label, the mean, and the 10th and 90th percentile.
struct Bar<'a> {
    label: &'a str,
    mean: f64,
    low: f64,
    high: f64,
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 220.0;
const RIGHT: f64 = 70.0;
const ROW: f64 = 18.0;
/// More actions than fit a page are left to the JSON.
const MOST_ACTIONS: usize = 40;

/// Draws every run of a report, one below the other.
pub fn svg(report: &Report) -> String {
    let mut body = String::new();
    let mut y = 10.0;
    for run in &report.runs {
        y = draw_run(&mut body, run, y);
    }
    page(WIDTH, y, &body)
}

fn draw_run(body: &mut String, run: &Run, y: f64) -> f64 {
    let s = &run.overall;
    let joints: Vec<Bar<'_>> = run
        .joints
        .iter()
        .map(|j| Bar { label: j.name, mean: j.mean_mm, low: j.p10_mm, high: j.p90_mm })
        .collect();
    let mut actions: Vec<_> = run.actions.iter().collect();
    actions.sort_by_key(|a| std::cmp::Reverse(a.score.frames));
    actions.truncate(MOST_ACTIONS);
    actions.sort_by(|a, b| b.score.mpjpe_mm.total_cmp(&a.score.mpjpe_mm));
    let actions: Vec<Bar<'_>> = actions
        .iter()
        .map(|a| Bar { label: &a.name, mean: a.score.mpjpe_mm, low: a.p10_mm, high: a.p90_mm })
        .collect();
    let title = format!(
        "{}: MPJPE {:.1} mm, P-MPJPE {:.1} mm, {} frames",
        run.title(),
        s.mpjpe_mm,
        s.p_mpjpe_mm,
        s.frames
    );
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "<text x=\"10\" y=\"{:.0}\" font-size=\"15\">{}</text>",
        y + 18.0,
        escaped(&title)
    );
    let y = draw_bars(
        body,
        "by joint: mean error, mm (line: 10th to 90th percentile)",
        &joints,
        y + 30.0,
    );
    draw_bars(body, "by action: MPJPE, mm (line: 10th to 90th percentile of frames)", &actions, y)
        + 20.0
}

fn draw_bars(body: &mut String, heading: &str, bars: &[Bar<'_>], y: f64) -> f64 {
    let most = bars.iter().map(|b| b.high.max(b.mean)).fold(1.0, f64::max);
    let tick = step(most);
    let end = (most / tick).ceil() * tick;
    let x = |mm: f64| LEFT + (WIDTH - LEFT - RIGHT) * mm / end;
    let (top, bottom) = (y + 26.0, y + 26.0 + ROW * bars.len() as f64);
    let _ = writeln!(body, "<text x=\"10\" y=\"{:.0}\" fill=\"#444\">{heading}</text>", y + 14.0);
    let mut mm = 0.0;
    while mm <= end + 1e-9 {
        let _ = writeln!(
            body,
            "<path d=\"M{0:.1} {top:.1}V{bottom:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{0:.1}\" y=\"{1:.1}\" text-anchor=\"middle\" fill=\"#444\">{mm}</text>",
            x(mm),
            bottom + 14.0
        );
        mm += tick;
    }
    for (i, b) in bars.iter().enumerate() {
        let line = top + ROW * i as f64;
        let middle = line + ROW / 2.0;
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#6a9fd4\"/>\
             <path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"#203040\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{:.1}</text>",
            LEFT - 6.0,
            middle + 4.0,
            escaped(b.label),
            LEFT,
            line + 3.0,
            x(b.mean) - LEFT,
            ROW - 6.0,
            x(b.low),
            x(b.high),
            x(b.high.max(b.mean)) + 5.0,
            middle + 4.0,
            b.mean
        );
    }
    bottom + 30.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_the_drawing() {
        let mut body = String::new();
        let bars = [Bar { label: "walk <& run>", mean: 50.0, low: 10.0, high: 90.0 }];
        draw_bars(&mut body, "h", &bars, 0.0);
        assert!(body.contains("walk &lt;&amp; run&gt;"), "{body}");
        // The bar ends at 50 of 90 mm, drawn to scale.
        let full = WIDTH - LEFT - RIGHT;
        assert!(body.contains(&format!("width=\"{:.1}\"", full * 50.0 / 90.0)), "{body}");
    }
}
