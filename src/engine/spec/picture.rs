//! Networks that see pictures: what goes in and how their outputs are read.

use serde::Deserialize;

use crate::skeleton::Skeleton;

/// A person finder.
#[derive(Clone, Debug, PartialEq)]
pub struct FinderSpec {
    /// The picture's tensor; the picture is letterboxed into it.
    pub input: ImageInput,
    /// Where the letterboxed picture lies.
    pub letterbox: Letterbox,
    /// How outputs become boxes.
    pub decoder: FinderDecoder,
}

/// A keypoint network for one person's crop.
#[derive(Clone, Debug, PartialEq)]
pub struct KeypointsSpec {
    /// The crop's tensor.
    pub input: ImageInput,
    /// The order of its keypoints.
    pub skeleton: Skeleton,
    /// The person's box is enlarged by this factor about its centre before it is cut out.
    pub crop_scale: f32,
    /// How outputs become keypoints.
    pub decoder: KeypointsDecoder,
}

/// Order of a tensor's colour channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Luma alone.
    Gray,
}

impl Channels {
    /// How many planes the tensor has.
    pub const fn count(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Gray => 1,
        }
    }
}

/// Where a letterboxed picture lies in its tensor; the rest is padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Letterbox {
    /// At the top left.
    TopLeft,
    /// In the middle.
    Centre,
}

/// A picture as a network wants it: `[batch, channels, height, width]`, each value
/// `(pixel - mean) / std` with pixels of 0..255.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageInput {
    /// The tensor's name.
    pub name: String,
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// Channel order.
    pub channels: Channels,
    /// Per channel in the tensor's order, 0..255; the first alone counts for grey.
    pub mean: [f32; 3],
    /// Per channel in the tensor's order, 0..255; the first alone counts for grey.
    pub std: [f32; 3],
    /// What lies outside of the picture, 0..255 in every channel.
    pub pad: f32,
}

/// What has to be done to a score to make it a probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// Nothing: it is one.
    #[default]
    None,
    /// It is a logit.
    Sigmoid,
}

/// The unit of an anchor-free head's distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DistanceUnit {
    /// Multiples of the level's stride.
    Strides,
    /// Pixels of the network's input.
    Pixels,
}

/// How a finder's outputs become boxes.
#[derive(Clone, Debug, PartialEq)]
pub enum FinderDecoder {
    /// Boxes in input pixels with non-maximum suppression done in the network.
    Boxes(BoxesDecoder),
    /// Maps of scores and of distances to the four sides, one pair per stride.
    AnchorFree(AnchorFreeDecoder),
}

/// `dets` `[1, N, 5]`: left, top, right, bottom in input pixels, score; `labels` `[1, N]`.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxesDecoder {
    /// The boxes' tensor.
    pub dets: String,
    /// The classes' tensor, where there is more than one class.
    pub labels: Option<String>,
    /// How many boxes the network gives.
    pub count: usize,
    /// The class of persons.
    pub person: usize,
    /// Boxes below this score are no persons.
    pub score_threshold: f32,
}

/// Per level: `scores` `[1, C, H/s, W/s]`, `boxes` `[1, 4, H/s, W/s]` = distances from the cell's
/// reference point to the left, top, right and bottom side.
#[derive(Clone, Debug, PartialEq)]
pub struct AnchorFreeDecoder {
    /// The levels.
    pub levels: Vec<AnchorFreeLevel>,
    /// Unit of the distances.
    pub distances: DistanceUnit,
    /// What makes the scores probabilities.
    pub activation: Activation,
    /// Number of score channels.
    pub classes: usize,
    /// The channel of persons.
    pub person: usize,
    /// Cell (i, j) stands for the input point ((i + cell_offset) * stride, ...), counted from the
    /// tensor's left and top edges: 0.5 is the cell's centre.
    pub cell_offset: f32,
    /// Boxes below this score are no persons.
    pub score_threshold: f32,
    /// Of two boxes that overlap by more than this, the lower score is dropped.
    pub nms_iou: f32,
}

/// One level of an anchor-free head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorFreeLevel {
    /// Input pixels per cell.
    pub stride: usize,
    /// The score tensor's name.
    pub scores: String,
    /// The distance tensor's name.
    pub boxes: String,
}

/// How a keypoint network's outputs become keypoints.
#[derive(Clone, Debug, PartialEq)]
pub enum KeypointsDecoder {
    /// One map per keypoint.
    Heatmap(HeatmapDecoder),
    /// Two vectors per keypoint (SimCC, arXiv 2107.03332).
    SimCc(SimCcDecoder),
    /// The places themselves.
    Coordinates(CoordinatesDecoder),
}

/// `heatmaps` `[1, 17, H/stride, W/stride]`: the peak is the keypoint, its height the confidence.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatmapDecoder {
    /// The tensor's name.
    pub heatmaps: String,
    /// Input pixels per cell.
    pub stride: usize,
    /// How the peak is found below a cell's size.
    pub refine: Refine,
    /// Size of the Gaussian blur before the refinement, in cells, odd; 0 or 1: none.
    pub blur: usize,
    /// What makes the peak's value a confidence.
    pub activation: Activation,
    /// Cell (i, j) stands for the input point ((i + cell_offset) * stride, ...), counted from the
    /// tensor's left and top edges: 0.5 is the cell's centre.
    pub cell_offset: f32,
    /// A person whose mean confidence is below this is not a person.
    pub score_threshold: f32,
}

/// Sub-cell refinement of a heatmap's peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refine {
    /// The cell itself.
    None,
    /// A parabola through the peak and its neighbours, along each axis.
    Parabola,
    /// Taylor expansion of the log heatmap (DARK, arXiv 1910.06278).
    Dark,
}

/// `x` `[1, 17, W * split_ratio]` and `y` `[1, 17, H * split_ratio]`: the peak's index divided by
/// the ratio is the coordinate in input pixels (pixel centres at whole numbers); the confidence
/// is the smaller of the two peaks.
#[derive(Clone, Debug, PartialEq)]
pub struct SimCcDecoder {
    /// The horizontal vectors' tensor.
    pub x: String,
    /// The vertical vectors' tensor.
    pub y: String,
    /// Bins per pixel.
    pub split_ratio: f32,
    /// What makes the peak's value a confidence.
    pub activation: Activation,
    /// A person whose mean confidence is below this is not a person.
    pub score_threshold: f32,
}

/// `[1, 1, 17, 3]`: y, x and confidence of each keypoint, places as shares of the input's height and
/// width (MoveNet SinglePose).
#[derive(Clone, Debug, PartialEq)]
pub struct CoordinatesDecoder {
    /// The tensor's name.
    pub keypoints: String,
    /// A person whose mean confidence is below this is not a person.
    pub score_threshold: f32,
}
