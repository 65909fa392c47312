//! A picture of the residuals: a good calibration's arrows are short and point anywhere; arrows
//! that agree with their neighbours show what the lens model does not explain.

use std::fmt::Write as _;

use super::Calibration;

/// The longest side of the drawn picture, SVG units.
const SIDE: f64 = 900.0;

/// Draws where corners were found, with arrows from predicted to found, enlarged; and the errors
/// of each picture as bars.
pub fn svg(calibration: &Calibration) -> String {
    let lens = &calibration.intrinsics;
    let (w, h) = (f64::from(lens.width), f64::from(lens.height));
    let scale = SIDE / w.max(h);
    let quality = &calibration.quality;
    // The mean arrow is a hundredth of the side.
    let enlarge = (SIDE / 100.0 / (quality.rms.max(1e-6) * scale)).clamp(1.0, 1e4);
    let (width, height) = (w * scale, h * scale);
    let bars = 16.0 * calibration.views.len() as f64 + 40.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{W}\" height=\"{H}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{W}\" height=\"{H}\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\">{} x {}, {} pictures, {} corners: {:.3} px root mean square; \
         arrows enlarged {:.0} times; colour: picture</text>\n\
         <g transform=\"translate(10 30)\">\
         <rect width=\"{width:.1}\" height=\"{height:.1}\" fill=\"none\" stroke=\"#999\"/>\n",
        lens.width,
        lens.height,
        quality.views,
        quality.corners,
        quality.rms,
        enlarge,
        W = width + 20.0,
        H = height + bars + 50.0,
    );
    for (n, view) in calibration.views.iter().enumerate() {
        let _ = write!(out, "<path stroke=\"{}\" stroke-width=\"1\" fill=\"none\" d=\"", hue(n));
        for (corner, residual) in view.corners.iter().zip(&view.residuals) {
            let (x, y) = ((corner[0] + 0.5) * scale, (corner[1] + 0.5) * scale);
            let arrow = residual.map(|r| r * enlarge * scale);
            let (u, v) = (arrow[0], arrow[1]);
            let _ = write!(
                out,
                "M{x:.1} {y:.1}l{u:.1} {v:.1}m{:.1} {:.1}l{:.1} {:.1}l{:.1} {:.1}",
                -0.25 * u - 0.15 * v,
                -0.25 * v + 0.15 * u,
                0.25 * u + 0.15 * v,
                0.25 * v - 0.15 * u,
                -0.25 * u + 0.15 * v,
                -0.25 * v - 0.15 * u,
            );
        }
        out.push_str("\"/>\n");
    }
    let _ = writeln!(
        out,
        "<path d=\"M{x:.1} {y:.1}h8m-4 -4v8\" stroke=\"black\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\">principal point</text></g>",
        (lens.cx + 0.5) * scale + 6.0,
        (lens.cy + 0.5) * scale - 4.0,
        x = (lens.cx + 0.5) * scale - 4.0,
        y = (lens.cy + 0.5) * scale,
    );
    let worst = calibration.views.iter().map(|v| v.rms).fold(1e-9, f64::max);
    let _ = writeln!(out, "<g transform=\"translate(10 {:.1})\">", height + 50.0);
    for (n, view) in calibration.views.iter().enumerate() {
        let length = view.rms / worst * (width - 320.0).max(100.0);
        let y = 16.0 * n as f64;
        let _ = writeln!(
            out,
            "<rect x=\"200\" y=\"{y}\" width=\"{length:.1}\" height=\"12\" fill=\"{}\"/>\
             <text x=\"190\" y=\"{t}\" text-anchor=\"end\">{}</text>\
             <text x=\"{:.1}\" y=\"{t}\">{:.3} px, tilt {:.0}°, {:.2} m</text>",
            hue(n),
            escaped(&view.name),
            205.0 + length,
            view.rms,
            view.tilt_degrees,
            view.distance,
            t = y + 10.0,
        );
    }
    out.push_str("</g>\n</svg>\n");
    out
}

/// A colour for each picture; neighbours differ (the golden angle).
fn hue(n: usize) -> String {
    format!("hsl({:.0} 80% 40%)", (n as f64 * 137.508) % 360.0)
}

/// A file's name may hold anything.
fn escaped(text: &str) -> String {
    let short: String = text.chars().rev().take(28).collect::<Vec<_>>().into_iter().rev().collect();
    short
        .chars()
        .filter(|c| !c.is_control())
        .map(|c| match c {
            '<' => "&lt;".into(),
            '>' => "&gt;".into(),
            '&' => "&amp;".into(),
            '"' => "&quot;".into(),
            c => c.to_string(),
        })
        .collect()
}
