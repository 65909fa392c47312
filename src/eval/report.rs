//! What an evaluation found, as text and as JSON.

use std::fmt::Write;

use serde::Serialize;

use super::tally::{ActionScore, JointScore, Score, Tally};

/// One lifter on one set of sequences.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// The model.
    pub model: String,
    /// Its file's hash.
    pub model_sha256: String,
    /// What computed.
    pub backend: String,
    /// In which arithmetic.
    pub precision: String,
    /// "streamed" or "windows".
    pub mode: String,
    /// Was every pose the mean of the plain and the mirrored sequence's?
    pub flip: bool,
    /// Were poses smoothed over time, as the runtime does by default?
    pub smoothed: bool,
    /// Was the lifter told how the camera is held?
    pub gravity: bool,
    /// Sequences (each camera's view is one).
    pub sequences: usize,
    /// Frames in them.
    pub frames: usize,
    /// Over all frames.
    pub overall: Score,
    /// The mean of the actions' MPJPE.
    pub mpjpe_mean_over_actions_mm: f64,
    /// By action.
    pub actions: Vec<ActionScore>,
    /// By joint.
    pub joints: Vec<JointScore>,
}

impl Run {
    /// Takes the tally's numbers.
    pub fn fill(&mut self, tally: &Tally) {
        self.overall = tally.overall();
        self.mpjpe_mean_over_actions_mm = tally.mean_over_actions();
        self.actions = tally.actions();
        self.joints = tally.joints();
    }

    /// What was run, in one line.
    pub fn title(&self) -> String {
        let flip = if self.flip { ", flip augmentation" } else { "" };
        let smoothed = if self.smoothed { ", smoothed" } else { "" };
        let gravity = if self.gravity { ", gravity known" } else { "" };
        format!(
            "{} on {} {}, {}{flip}{smoothed}{gravity}",
            self.model, self.backend, self.precision, self.mode
        )
    }
}

/// Everything that was run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The files.
    pub data: Vec<String>,
    /// posewire's version.
    pub version: String,
    /// One for each combination of backend, precision and flip augmentation.
    pub runs: Vec<Run>,
}

/// More actions than fit a page are left to the JSON.
const MOST_ACTIONS: usize = 40;

/// A report as text: a table over all, then by action and by joint.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for run in &report.runs {
        // Writing to a string cannot fail.
        let _ = write_run(&mut out, run);
    }
    out
}

fn write_run(out: &mut String, run: &Run) -> std::fmt::Result {
    let s = &run.overall;
    writeln!(out, "{}", run.title())?;
    writeln!(
        out,
        "{} sequences, {} frames, {} of them answered",
        run.sequences, run.frames, s.frames
    )?;
    writeln!(
        out,
        "  MPJPE      {:9.2} mm   mean over actions {:.2} mm",
        s.mpjpe_mm, run.mpjpe_mean_over_actions_mm
    )?;
    writeln!(out, "  P-MPJPE    {:9.2} mm", s.p_mpjpe_mm)?;
    writeln!(out, "  N-MPJPE    {:9.2} mm", s.n_mpjpe_mm)?;
    writeln!(
        out,
        "  MPJVE      {:9.2} mm/frame   {:.1} mm/s",
        s.mpjve_mm_per_frame, s.mpjve_mm_per_s
    )?;
    writeln!(
        out,
        "  accel err. {:9.2} mm/frame²  {:.2} m/s²",
        s.accel_error_mm_per_frame2, s.accel_error_m_per_s2
    )?;
    writeln!(out, "  PCK@150    {:9.2} %    AUC 0..150 {:.2} %", s.pck150_percent, s.auc_percent)?;
    writeln!(
        out,
        "  jitter     {:9.2} m/s³   the truth's {:.2} m/s³",
        s.jitter_m_per_s3, s.truth_jitter_m_per_s3
    )?;
    writeln!(
        out,
        "  bones      {:9.2} mm deviation of length within a sequence",
        s.bone_deviation_mm
    )?;
    writeln!(out)?;
    writeln!(
        out,
        "  {:28} {:>7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7}",
        "action", "frames", "MPJPE", "P-MPJPE", "N-MPJPE", "MPJVE", "accel", "PCK", "AUC"
    )?;
    // The largest first; by name among equals.
    let mut actions: Vec<_> = run.actions.iter().collect();
    actions.sort_by_key(|a| std::cmp::Reverse(a.score.frames));
    for ActionScore { name, score: s, .. } in actions.iter().take(MOST_ACTIONS) {
        writeln!(
            out,
            "  {name:28} {:7} {:8.2} {:8.2} {:8.2} {:8.2} {:8.2} {:7.2} {:7.2}",
            s.frames,
            s.mpjpe_mm,
            s.p_mpjpe_mm,
            s.n_mpjpe_mm,
            s.mpjve_mm_per_frame,
            s.accel_error_mm_per_frame2,
            s.pck150_percent,
            s.auc_percent
        )?;
    }
    if actions.len() > MOST_ACTIONS {
        writeln!(out, "  and {} more, in the JSON", actions.len() - MOST_ACTIONS)?;
    }
    writeln!(out)?;
    writeln!(out, "  {:28} {:>8} {:>8} {:>8} {:>8}", "joint", "mean", "10 %", "90 %", "aligned")?;
    for j in &run.joints {
        writeln!(
            out,
            "  {:28} {:8.2} {:8.2} {:8.2} {:8.2}",
            j.name, j.mean_mm, j.p10_mm, j.p90_mm, j.aligned_mean_mm
        )?;
    }
    writeln!(out)
}
