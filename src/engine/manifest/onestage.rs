//! The `[decoder]` of one-stage networks.

use serde::Deserialize;
use toml::Table;

use super::picture::share;
use super::{Checked, from_table, wrong};
use crate::engine::spec::{OneStageDecoder, PersonLayout};

/// Everything in one tensor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenOutput {
    output: String,
    count: usize,
    score_threshold: f32,
    nms_iou: f32,
}

/// Boxes in one tensor, keypoints in another.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenInstances {
    dets: String,
    keypoints: String,
    count: usize,
    score_threshold: f32,
    nms_iou: f32,
}

/// The decoder of type `kind`, of which `rest` are the other keys.
pub(super) fn decoder(kind: &str, rest: Table) -> Checked<OneStageDecoder> {
    let (layout, count, score_threshold, nms_iou) = match kind {
        "yolo-pose" | "yolo-pose-rows" | "multi-pose" => {
            let w: WrittenOutput = from_table(rest, "decoder")?;
            let output = w.output;
            let layout = match kind {
                "yolo-pose" => PersonLayout::YoloPose { output },
                "yolo-pose-rows" => PersonLayout::YoloPoseRows { output },
                _ => PersonLayout::MultiPose { output },
            };
            (layout, w.count, w.score_threshold, w.nms_iou)
        }
        "instances" => {
            let w: WrittenInstances = from_table(rest, "decoder")?;
            let layout = PersonLayout::Instances { dets: w.dets, keypoints: w.keypoints };
            (layout, w.count, w.score_threshold, w.nms_iou)
        }
        other => {
            let known = "a one-stage model's is \"yolo-pose\", \"yolo-pose-rows\", \"instances\" or \
                         \"multi-pose\"";
            return wrong("decoder.type", format!("{other:?} is not known; {known}"));
        }
    };
    // An input of 4096 by 4096 at a stride of 4 has a million cells.
    if !(1..=1 << 20).contains(&count) {
        return wrong("decoder.count", format!("{count} is outside 1..1048576"));
    }
    Ok(OneStageDecoder {
        layout,
        count,
        score_threshold: share("decoder.score_threshold", score_threshold)?,
        nms_iou: share("decoder.nms_iou", nms_iou)?,
    })
}
