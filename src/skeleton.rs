//! Which joints there are, in which order, and how they hang together.

use serde::{Deserialize, Serialize};

/// Number of joints in every skeleton that posewire uses today.
pub const JOINTS: usize = 17;

/// A named set of joints with a fixed order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Skeleton {
    /// COCO keypoints: what 2D detectors find.
    #[serde(rename = "coco17")]
    Coco17,
    /// Human3.6M joints: what lifters give. Joint 0 is the pelvis (mid-hip), the root.
    #[serde(rename = "h36m17")]
    Human36m17,
}

impl Skeleton {
    /// The identifier in packets (`docs/wire.md`).
    pub const fn wire_id(self) -> u8 {
        match self {
            Self::Coco17 => 1,
            Self::Human36m17 => 2,
        }
    }

    /// The skeleton of a wire identifier, if it is known.
    pub const fn from_wire_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Coco17),
            2 => Some(Self::Human36m17),
            _ => None,
        }
    }

    /// The name used in manifests and text output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coco17 => "coco17",
            Self::Human36m17 => "h36m17",
        }
    }

    /// Joint names, in order.
    pub const fn joint_names(self) -> &'static [&'static str; JOINTS] {
        match self {
            Self::Coco17 => &COCO_NAMES,
            Self::Human36m17 => &H36M_NAMES,
        }
    }

    /// Bones as pairs of joint indices, parent first.
    pub const fn bones(self) -> &'static [(usize, usize)] {
        match self {
            Self::Coco17 => &COCO_BONES,
            Self::Human36m17 => &H36M_BONES,
        }
    }

    /// For each joint, the one that it is in a mirror: left and right change places.
    pub const fn mirror(self) -> &'static [usize; JOINTS] {
        match self {
            Self::Coco17 => &[0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15],
            Self::Human36m17 => &[0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13],
        }
    }
}

impl std::fmt::Display for Skeleton {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// COCO-17 joint indices.
pub mod coco {
    #![allow(missing_docs)]
    pub const NOSE: usize = 0;
    pub const LEFT_EYE: usize = 1;
    pub const RIGHT_EYE: usize = 2;
    pub const LEFT_EAR: usize = 3;
    pub const RIGHT_EAR: usize = 4;
    pub const LEFT_SHOULDER: usize = 5;
    pub const RIGHT_SHOULDER: usize = 6;
    pub const LEFT_ELBOW: usize = 7;
    pub const RIGHT_ELBOW: usize = 8;
    pub const LEFT_WRIST: usize = 9;
    pub const RIGHT_WRIST: usize = 10;
    pub const LEFT_HIP: usize = 11;
    pub const RIGHT_HIP: usize = 12;
    pub const LEFT_KNEE: usize = 13;
    pub const RIGHT_KNEE: usize = 14;
    pub const LEFT_ANKLE: usize = 15;
    pub const RIGHT_ANKLE: usize = 16;
}

/// Human3.6M-17 joint indices (the order of VideoPose3D and of P-STMO).
pub mod h36m {
    #![allow(missing_docs)]
    pub const PELVIS: usize = 0;
    pub const RIGHT_HIP: usize = 1;
    pub const RIGHT_KNEE: usize = 2;
    pub const RIGHT_ANKLE: usize = 3;
    pub const LEFT_HIP: usize = 4;
    pub const LEFT_KNEE: usize = 5;
    pub const LEFT_ANKLE: usize = 6;
    pub const SPINE: usize = 7;
    pub const THORAX: usize = 8;
    pub const NECK: usize = 9;
    pub const HEAD: usize = 10;
    pub const LEFT_SHOULDER: usize = 11;
    pub const LEFT_ELBOW: usize = 12;
    pub const LEFT_WRIST: usize = 13;
    pub const RIGHT_SHOULDER: usize = 14;
    pub const RIGHT_ELBOW: usize = 15;
    pub const RIGHT_WRIST: usize = 16;
}

static COCO_NAMES: [&str; JOINTS] = [
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
];

static H36M_NAMES: [&str; JOINTS] = [
    "pelvis",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "spine",
    "thorax",
    "neck",
    "head",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
];

static COCO_BONES: [(usize, usize); 16] = [
    (5, 6),
    (5, 7),
    (7, 9),
    (6, 8),
    (8, 10),
    (5, 11),
    (6, 12),
    (11, 12),
    (11, 13),
    (13, 15),
    (12, 14),
    (14, 16),
    (0, 1),
    (0, 2),
    (1, 3),
    (2, 4),
];

static H36M_BONES: [(usize, usize); 16] = [
    (0, 1),
    (1, 2),
    (2, 3),
    (0, 4),
    (4, 5),
    (5, 6),
    (0, 7),
    (7, 8),
    (8, 9),
    (9, 10),
    (8, 11),
    (11, 12),
    (12, 13),
    (8, 14),
    (14, 15),
    (15, 16),
];

/// Per-keypoint standard deviations of COCO's object keypoint similarity, as a share of the
/// person's scale (cocoapi, `cocoeval.py`).
pub static COCO_SIGMAS: [f32; JOINTS] = [
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
    0.087, 0.087, 0.089, 0.089,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_ids_round_trip_and_bones_form_a_connected_figure() {
        for s in [Skeleton::Coco17, Skeleton::Human36m17] {
            assert_eq!(Skeleton::from_wire_id(s.wire_id()), Some(s));
            assert!(s.bones().iter().all(|&(a, b)| a < JOINTS && b < JOINTS && a != b));
        }
        for s in [Skeleton::Coco17, Skeleton::Human36m17] {
            for (name, &m) in s.joint_names().iter().zip(s.mirror()) {
                let swapped = match name.split_once('_') {
                    Some(("left", rest)) => format!("right_{rest}"),
                    Some(("right", rest)) => format!("left_{rest}"),
                    _ => (*name).to_owned(),
                };
                assert_eq!(s.joint_names()[m], swapped);
            }
        }
        // The lifter's skeleton is a tree rooted in the pelvis: every other joint has one parent.
        let mut parents = [0; JOINTS];
        for &(_, child) in Skeleton::Human36m17.bones() {
            parents[child] += 1;
        }
        assert_eq!(parents[h36m::PELVIS], 0);
        assert!(parents[1..].iter().all(|&n| n == 1));
    }
}
