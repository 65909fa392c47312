//! One-stage networks: all persons of a picture with their keypoints in one look.

use super::{ImageInput, Letterbox, TensorSpec, tensor};
use crate::skeleton::{JOINTS, Skeleton};

/// A network that finds the persons of a picture together with their keypoints.
#[derive(Clone, Debug, PartialEq)]
pub struct OneStageSpec {
    /// The picture's tensor; the picture is letterboxed into it.
    pub input: ImageInput,
    /// Where the letterboxed picture lies.
    pub letterbox: Letterbox,
    /// The order of its keypoints.
    pub skeleton: Skeleton,
    /// How outputs become persons.
    pub decoder: OneStageDecoder,
}

/// How a one-stage network's outputs become persons.
#[derive(Clone, Debug, PartialEq)]
pub struct OneStageDecoder {
    /// Which tensors there are, and where a candidate's values lie in them.
    pub layout: PersonLayout,
    /// How many candidates the network gives.
    pub count: usize,
    /// Candidates below this score are no persons.
    pub score_threshold: f32,
    /// Of two boxes that overlap by more than this, the lower score is dropped; 1 where the network
    /// has suppressed already.
    pub nms_iou: f32,
}

/// Where the values of `N` candidates lie. Scores and confidences are probabilities; places are
/// pixels of the network's input from its left and top edges, but for [`MultiPose`](Self::MultiPose).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonLayout {
    /// `[1, 56, N]`, as Ultralytics' YOLO-pose models have it: centre x and y, width, height,
    /// score, then x, y, confidence of each keypoint.
    YoloPose {
        /// The tensor's name.
        output: String,
    },
    /// `[1, N, 57]`, as they have it with the suppression in the network: left, top, right, bottom,
    /// score, class (there is one), then x, y, confidence of each keypoint.
    YoloPoseRows {
        /// The tensor's name.
        output: String,
    },
    /// `dets` `[1, N, 5]`: left, top, right, bottom, score; `keypoints` `[1, N, 17, 3]`: x, y,
    /// confidence. RTMO and YOLOX-Pose as MMDeploy exports them.
    Instances {
        /// The boxes' tensor.
        dets: String,
        /// The keypoints' tensor.
        keypoints: String,
    },
    /// `[1, N, 56]`, MoveNet MultiPose: y, x, score of each keypoint, then top, left, bottom,
    /// right, score; places as shares of the input's height and width.
    MultiPose {
        /// The tensor's name.
        output: String,
    },
}

impl OneStageDecoder {
    /// The tensors that are read, at a batch size.
    pub(super) fn outputs(&self, batch: usize) -> Vec<TensorSpec> {
        let (n, values) = (self.count, 5 + 3 * JOINTS);
        match &self.layout {
            PersonLayout::YoloPose { output } => vec![tensor(output, [batch, values, n])],
            PersonLayout::YoloPoseRows { output } => vec![tensor(output, [batch, n, 1 + values])],
            PersonLayout::Instances { dets, keypoints } => {
                vec![tensor(dets, [batch, n, 5]), tensor(keypoints, [batch, n, JOINTS, 3])]
            }
            PersonLayout::MultiPose { output } => vec![tensor(output, [batch, n, values])],
        }
    }
}
