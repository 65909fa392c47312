//! Persons from a one-stage network's outputs.

use super::NotFinite;
use super::boxes::{FoundBox, edges, suppress};
use crate::engine::spec::{OneStageDecoder, OneStageSpec, PersonLayout};
use crate::skeleton::JOINTS;

/// A person: box and keypoints, in pixels of the network's input from its left and top edges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundPerson {
    /// Where, and how sure.
    pub found: FoundBox,
    /// Per keypoint x, y and confidence of 0..1.
    pub points: [[f32; 3]; JOINTS],
}

/// Reads persons from a one-stage network's outputs.
#[derive(Clone, Debug)]
pub struct PersonDecoder {
    decoder: OneStageDecoder,
    width: f32,
    height: f32,
    /// Boxes with the numbers of their candidates, before suppression and after it; kept for their
    /// memory.
    candidates: Vec<(FoundBox, usize)>,
    kept: Vec<(FoundBox, usize)>,
}

impl PersonDecoder {
    /// For a network; of each picture at most `most` persons are read.
    pub fn new(spec: &OneStageSpec, most: usize) -> Self {
        let count = spec.decoder.count;
        Self {
            decoder: spec.decoder.clone(),
            width: spec.input.width as f32,
            height: spec.input.height as f32,
            candidates: Vec::with_capacity(count),
            kept: Vec::with_capacity(most.min(count)),
        }
    }

    /// The persons that score `threshold` or more, best first. `outputs` are the network's, in its
    /// signature's order; `most` is that of [`new`](Self::new), or less.
    ///
    /// # Errors
    /// If a value that counts is not finite: a score, or the box or a keypoint of a candidate that
    /// is sure enough.
    pub fn read(
        &mut self,
        outputs: &[Vec<f32>],
        threshold: f32,
        most: usize,
        found: &mut Vec<FoundPerson>,
    ) -> Result<(), NotFinite> {
        found.clear();
        self.candidates.clear();
        self.kept.clear();
        let values = Values::new(&self.decoder, (self.width, self.height), outputs)?;
        for n in 0..self.decoder.count {
            let score = values.score(n);
            if score.is_nan() {
                return Err(values.failed(0));
            }
            if score < threshold {
                continue;
            }
            let [left, top, right, bottom] = values.sides(n);
            if !(left + top + right + bottom).is_finite() {
                return Err(values.failed(0));
            }
            self.candidates.extend(edges(left, top, right, bottom, score).map(|b| (b, n)));
        }
        let iou = self.decoder.nms_iou;
        suppress(&mut self.candidates, |c| c.0, iou, most, &mut self.kept);
        for &(of, n) in &self.kept {
            let mut points = [[0.0; 3]; JOINTS];
            for (k, point) in points.iter_mut().enumerate() {
                let [x, y, confidence] = values.keypoint(n, k);
                if !(x + y + confidence).is_finite() {
                    return Err(values.failed(1));
                }
                *point = [x, y, confidence.clamp(0.0, 1.0)];
            }
            found.push(FoundPerson { found: of, points });
        }
        Ok(())
    }
}

/// Outputs of the right sizes, and where candidates lie in them.
struct Values<'a> {
    layout: &'a PersonLayout,
    count: usize,
    size: (f32, f32),
    first: &'a [f32],
    /// Keypoints, where they have a tensor of their own.
    second: &'a [f32],
}

/// x, y and confidence of each keypoint.
const POINTS: usize = 3 * JOINTS;
/// Box, score and keypoints.
const ROW: usize = 5 + POINTS;

impl<'a> Values<'a> {
    fn new(
        d: &'a OneStageDecoder,
        size: (f32, f32),
        outputs: &'a [Vec<f32>],
    ) -> Result<Self, NotFinite> {
        let output = |n: usize| outputs.get(n).map_or(&[][..], |o| o.as_slice());
        let wanted = match &d.layout {
            PersonLayout::YoloPose { .. } | PersonLayout::MultiPose { .. } => [ROW, 0],
            PersonLayout::YoloPoseRows { .. } => [1 + ROW, 0],
            PersonLayout::Instances { .. } => [5, POINTS],
        };
        let values =
            Self { layout: &d.layout, count: d.count, size, first: output(0), second: output(1) };
        // Everything below indexes what is there.
        if values.first.len() != wanted[0] * d.count {
            return Err(values.failed(0));
        }
        if wanted[1] > 0 && values.second.len() != wanted[1] * d.count {
            return Err(values.failed(1));
        }
        Ok(values)
    }

    fn failed(&self, output: usize) -> NotFinite {
        let output = match (self.layout, output) {
            (PersonLayout::Instances { keypoints, .. }, 1) => keypoints,
            (PersonLayout::Instances { dets: output, .. }, _)
            | (PersonLayout::YoloPose { output }, _)
            | (PersonLayout::YoloPoseRows { output }, _)
            | (PersonLayout::MultiPose { output }, _) => output,
        };
        NotFinite { output: output.clone() }
    }

    fn score(&self, n: usize) -> f32 {
        match self.layout {
            PersonLayout::YoloPose { .. } => self.first[4 * self.count + n],
            PersonLayout::YoloPoseRows { .. } => self.first[(1 + ROW) * n + 4],
            PersonLayout::Instances { .. } => self.first[5 * n + 4],
            PersonLayout::MultiPose { .. } => self.first[ROW * n + POINTS + 4],
        }
    }

    /// Left, top, right, bottom.
    fn sides(&self, n: usize) -> [f32; 4] {
        let row = |from: usize| [0, 1, 2, 3].map(|k| self.first[from + k]);
        match self.layout {
            PersonLayout::YoloPose { .. } => {
                let [x, y, w, h] = [0, 1, 2, 3].map(|k| self.first[k * self.count + n]);
                [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0]
            }
            PersonLayout::YoloPoseRows { .. } => row((1 + ROW) * n),
            PersonLayout::Instances { .. } => row(5 * n),
            PersonLayout::MultiPose { .. } => {
                let ([top, left, bottom, right], (w, h)) = (row(ROW * n + POINTS), self.size);
                [left * w, top * h, right * w, bottom * h]
            }
        }
    }

    /// x, y, confidence.
    fn keypoint(&self, n: usize, k: usize) -> [f32; 3] {
        let three = |of: &[f32], from: usize| [of[from], of[from + 1], of[from + 2]];
        match self.layout {
            PersonLayout::YoloPose { .. } => {
                [0, 1, 2].map(|c| self.first[(5 + 3 * k + c) * self.count + n])
            }
            PersonLayout::YoloPoseRows { .. } => three(self.first, (1 + ROW) * n + 6 + 3 * k),
            PersonLayout::Instances { .. } => three(self.second, POINTS * n + 3 * k),
            PersonLayout::MultiPose { .. } => {
                let ([y, x, confidence], (w, h)) = (three(self.first, ROW * n + 3 * k), self.size);
                [x * w, y * h, confidence]
            }
        }
    }
}

#[cfg(test)]
#[path = "persons_tests.rs"]
mod tests;
