//! Persons' boxes from a finder's outputs.

use super::{NotFinite, activate};
use crate::engine::spec::{
    Activation, AnchorFreeDecoder, BoxesDecoder, DistanceUnit, FinderDecoder, FinderSpec,
};
use crate::pose::BoundingBox;

/// A person's box, in pixels of the network's input from its left and top edges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundBox {
    /// Where.
    pub area: BoundingBox,
    /// 0..1.
    pub score: f32,
}

/// Reads boxes from a finder's outputs.
#[derive(Clone, Debug)]
pub struct BoxDecoder {
    decoder: FinderDecoder,
    width: usize,
    height: usize,
    /// Before suppression; kept for its memory.
    candidates: Vec<FoundBox>,
}

impl BoxDecoder {
    /// For a network.
    pub fn new(spec: &FinderSpec) -> Self {
        let (width, height) = (spec.input.width, spec.input.height);
        let most = match &spec.decoder {
            FinderDecoder::Boxes(d) => d.count,
            FinderDecoder::AnchorFree(d) => {
                d.levels.iter().map(|l| width.div_ceil(l.stride) * height.div_ceil(l.stride)).sum()
            }
        };
        let candidates = Vec::with_capacity(most);
        Self { decoder: spec.decoder.clone(), width, height, candidates }
    }

    /// The persons' boxes, best first, at most `most`. `outputs` are the network's, in its
    /// signature's order.
    ///
    /// # Errors
    /// If a value that counts is not finite.
    pub fn read(
        &mut self,
        outputs: &[Vec<f32>],
        most: usize,
        found: &mut Vec<FoundBox>,
    ) -> Result<(), NotFinite> {
        found.clear();
        self.candidates.clear();
        let iou = match &self.decoder {
            FinderDecoder::Boxes(d) => {
                boxes(d, outputs, &mut self.candidates)?;
                // The network has suppressed already.
                1.0
            }
            FinderDecoder::AnchorFree(d) => {
                anchor_free(d, (self.width, self.height), outputs, &mut self.candidates)?;
                d.nms_iou
            }
        };
        suppress(&mut self.candidates, |c| *c, iou, most, found);
        Ok(())
    }
}

/// Non-maximum suppression: the best of `candidates` that overlap none better by more than `iou`, at
/// most `most`; sorts them.
pub(super) fn suppress<T: Copy>(
    candidates: &mut [T],
    found: impl Fn(&T) -> FoundBox,
    iou: f32,
    most: usize,
    kept: &mut Vec<T>,
) {
    candidates.sort_unstable_by(|a, b| found(b).score.total_cmp(&found(a).score));
    for candidate in candidates.iter() {
        if kept.len() == most {
            break;
        }
        let area = found(candidate).area;
        if kept.iter().all(|better| found(better).area.iou(&area) <= iou) {
            kept.push(*candidate);
        }
    }
}

/// A box by its sides; `None` if there is nothing in it.
pub(super) fn edges(left: f32, top: f32, right: f32, bottom: f32, score: f32) -> Option<FoundBox> {
    let area = BoundingBox { x: left, y: top, width: right - left, height: bottom - top };
    let score = score.clamp(0.0, 1.0);
    (area.width > 0.0 && area.height > 0.0).then_some(FoundBox { area, score })
}

fn boxes(
    d: &BoxesDecoder,
    outputs: &[Vec<f32>],
    found: &mut Vec<FoundBox>,
) -> Result<(), NotFinite> {
    let dets = outputs.first().map_or(&[][..], |o| o.as_slice());
    let labels = d.labels.as_ref().and(outputs.get(1));
    let (rows, _) = dets.as_chunks::<5>();
    for (n, row) in rows.iter().enumerate() {
        if row.iter().any(|v| !v.is_finite()) {
            return Err(NotFinite { output: d.dets.clone() });
        }
        let other = |labels: &Vec<f32>| labels.get(n).is_none_or(|l| *l != d.person as f32);
        if row[4] < d.score_threshold || labels.is_some_and(other) {
            continue;
        }
        found.extend(edges(row[0], row[1], row[2], row[3], row[4]));
    }
    Ok(())
}

fn anchor_free(
    d: &AnchorFreeDecoder,
    (width, height): (usize, usize),
    outputs: &[Vec<f32>],
    found: &mut Vec<FoundBox>,
) -> Result<(), NotFinite> {
    // Compared before the sigmoid: a few cells of thousands need it.
    let threshold = match d.activation {
        Activation::None => d.score_threshold,
        Activation::Sigmoid => (d.score_threshold / (1.0 - d.score_threshold)).ln(),
    };
    let (scores, boxes) = outputs.split_at(d.levels.len().min(outputs.len()));
    for (level, (scores, boxes)) in d.levels.iter().zip(scores.iter().zip(boxes)) {
        let failed = |output: &str| NotFinite { output: output.to_owned() };
        let (columns, rows) = (width.div_ceil(level.stride), height.div_ceil(level.stride));
        let cells = columns * rows;
        let stride = level.stride as f32;
        let unit = match d.distances {
            DistanceUnit::Strides => stride,
            DistanceUnit::Pixels => 1.0,
        };
        let scores = scores.chunks_exact(cells).nth(d.person).unwrap_or(&[]);
        if boxes.len() != 4 * cells || scores.is_empty() {
            return Err(failed(&level.boxes));
        }
        for (cell, score) in scores.iter().enumerate() {
            if score.is_nan() {
                return Err(failed(&level.scores));
            }
            if *score < threshold {
                continue;
            }
            let x = ((cell % columns) as f32 + d.cell_offset) * stride;
            let y = ((cell / columns) as f32 + d.cell_offset) * stride;
            let side = |n: usize| boxes[n * cells + cell] * unit;
            let (left, top, right, bottom) = (side(0), side(1), side(2), side(3));
            if !(left + top + right + bottom).is_finite() {
                return Err(failed(&level.boxes));
            }
            let score = activate(d.activation, *score);
            found.extend(edges(x - left, y - top, x + right, y + bottom, score));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::spec::{AnchorFreeLevel, Channels, ImageInput, Letterbox};

    fn spec(decoder: FinderDecoder) -> FinderSpec {
        let input = ImageInput {
            name: "i".into(),
            width: 64,
            height: 32,
            channels: Channels::Rgb,
            mean: [0.0; 3],
            std: [1.0; 3],
            pad: 0.0,
        };
        FinderSpec { input, letterbox: Letterbox::TopLeft, decoder }
    }

    fn levels() -> AnchorFreeDecoder {
        let level = |stride: usize| AnchorFreeLevel {
            stride,
            scores: format!("s{stride}"),
            boxes: format!("b{stride}"),
        };
        AnchorFreeDecoder {
            levels: vec![level(8), level(16)],
            distances: DistanceUnit::Strides,
            activation: Activation::Sigmoid,
            classes: 1,
            person: 0,
            cell_offset: 0.5,
            score_threshold: 0.5,
            nms_iou: 0.6,
        }
    }

    /// Scores and boxes of both levels, with nothing found.
    fn empty() -> Vec<Vec<f32>> {
        vec![vec![-9.0; 32], vec![-9.0; 8], vec![1.0; 128], vec![1.0; 32]]
    }

    fn read(d: AnchorFreeDecoder, outputs: &[Vec<f32>]) -> Result<Vec<FoundBox>, NotFinite> {
        let mut found = Vec::new();
        BoxDecoder::new(&spec(FinderDecoder::AnchorFree(d))).read(outputs, 10, &mut found)?;
        Ok(found)
    }

    #[test]
    fn a_cell_of_any_level_becomes_a_box_about_its_reference_point() {
        let mut outputs = empty();
        outputs[0][8 + 3] = 2.0; // stride 8, column 3, row 1: (28, 12)
        for (side, d) in [1.0, 0.5, 2.0, 1.5].into_iter().enumerate() {
            outputs[2][side * 32 + 11] = d;
        }
        let found = read(levels(), &outputs).unwrap();
        let area = BoundingBox { x: 20.0, y: 8.0, width: 24.0, height: 16.0 };
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].area, area);
        assert!((found[0].score - 0.880797).abs() < 1e-5);

        let corner =
            AnchorFreeDecoder { cell_offset: 0.0, distances: DistanceUnit::Pixels, ..levels() };
        let area = read(corner, &outputs).unwrap()[0].area;
        assert_eq!(area, BoundingBox { x: 23.0, y: 7.5, width: 3.0, height: 2.0 });
    }

    #[test]
    fn of_overlapping_boxes_the_best_is_kept_and_neighbours_stay() {
        let mut outputs = empty();
        // Three cells of one person, one of another; all as boxes of 32 x 16 or so.
        for (cell, score) in [(9, 1.0), (10, 3.0), (11, 2.0), (15, 1.5)] {
            outputs[0][cell] = score;
            let column = (cell % 8) as f32;
            let person = if cell < 15 { 2.0 } else { 7.0 };
            outputs[2][cell] = 2.0 + column - person;
            outputs[2][64 + cell] = 2.0 - column + person;
        }
        let found = read(levels(), &outputs).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].score > found[1].score && found[0].score > 0.95);
        assert!(found[1].area.x > found[0].area.x + 30.0);
    }

    #[test]
    fn nan_in_scores_or_chosen_boxes_is_an_error_and_elsewhere_is_not() {
        let mut outputs = empty();
        outputs[3][5] = f32::NAN;
        assert!(read(levels(), &outputs).unwrap().is_empty());
        outputs[1][5] = 4.0;
        assert_eq!(read(levels(), &outputs).unwrap_err().output, "b16");
        outputs[1][5] = f32::NAN;
        assert_eq!(read(levels(), &outputs).unwrap_err().output, "s16");
    }

    #[test]
    fn boxes_with_labels_keep_persons_only() {
        let d = BoxesDecoder {
            dets: "dets".into(),
            labels: Some("labels".into()),
            count: 3,
            person: 0,
            score_threshold: 0.3,
        };
        let mut decoder = BoxDecoder::new(&spec(FinderDecoder::Boxes(d)));
        let dets = vec![
            1.0, 2.0, 11.0, 22.0, 0.5, // a person
            1.0, 2.0, 11.0, 22.0, 0.9, // a chair
            3.0, 4.0, 13.0, 24.0, 0.2, // hardly anything
        ];
        let mut found = Vec::new();
        let labels = vec![0.0, 56.0, 0.0];
        decoder.read(&[dets.clone(), labels.clone()], 10, &mut found).unwrap();
        let area = BoundingBox { x: 1.0, y: 2.0, width: 10.0, height: 20.0 };
        assert_eq!(found, [FoundBox { area, score: 0.5 }]);
        let mut bad = dets;
        bad[12] = f32::NAN;
        assert!(decoder.read(&[bad, labels], 10, &mut found).is_err());
    }
}
