//! The messages of Foxglove's schemas that are written here (github.com/foxglove/foxglove-sdk,
//! `schemas/proto`): names and field numbers are theirs. Fields that are never written are left
//! out of this table but not of the schemas in the file ([`super::descriptors`]).
//! `tests/check_recording.py` compares both with Foxglove's own.

#![allow(missing_docs, reason = "documented where they come from")]

use prost::Message;
pub use prost_types::{Duration, Timestamp};

/// Makes structs of messages in the way that they are written in a `.proto` file: `field: type =
/// number`. Of other messages a field has `one` (or none) or `many`.
macro_rules! messages {
    ($($name:ident { $($fields:tt)* })*) => { $(message! { $name [] $($fields)* })* };
}

/// Turns one field after the other into a struct's.
macro_rules! message {
    ($name:ident [$($done:tt)*]) => {
        #[derive(Clone, PartialEq, Message)]
        pub struct $name { $($done)* }
    };
    ($name:ident $done:tt $(#[$doc:meta])* $field:ident: double = $tag:tt, $($rest:tt)*) => {
        message! { @add $name $done [$(#[$doc])* #[prost(double, tag = $tag)] pub $field: f64,] $($rest)* }
    };
    ($name:ident $done:tt $(#[$doc:meta])* $field:ident: doubles = $tag:tt, $($rest:tt)*) => {
        message! { @add $name $done [$(#[$doc])* #[prost(double, repeated, tag = $tag)] pub $field: Vec<f64>,] $($rest)* }
    };
    ($name:ident $done:tt $(#[$doc:meta])* $field:ident: fixed32 = $tag:tt, $($rest:tt)*) => {
        message! { @add $name $done [$(#[$doc])* #[prost(fixed32, tag = $tag)] pub $field: u32,] $($rest)* }
    };
    ($name:ident $done:tt $(#[$doc:meta])* $field:ident: int32 = $tag:tt, $($rest:tt)*) => {
        message! { @add $name $done [$(#[$doc])* #[prost(int32, tag = $tag)] pub $field: i32,] $($rest)* }
    };
    ($name:ident $done:tt $(#[$doc:meta])* $field:ident: string = $tag:tt, $($rest:tt)*) => {
        message! { @add $name $done [$(#[$doc])* #[prost(string, tag = $tag)] pub $field: String,] $($rest)* }
    };
    ($name:ident $done:tt $(#[$doc:meta])* $field:ident: bytes = $tag:tt, $($rest:tt)*) => {
        message! { @add $name $done [$(#[$doc])* #[prost(bytes = "vec", tag = $tag)] pub $field: Vec<u8>,] $($rest)* }
    };
    ($name:ident $done:tt $(#[$doc:meta])* $field:ident: one $of:ident = $tag:tt, $($rest:tt)*) => {
        message! { @add $name $done [$(#[$doc])* #[prost(message, optional, tag = $tag)] pub $field: Option<$of>,] $($rest)* }
    };
    ($name:ident $done:tt $(#[$doc:meta])* $field:ident: many $of:ident = $tag:tt, $($rest:tt)*) => {
        message! { @add $name $done [$(#[$doc])* #[prost(message, repeated, tag = $tag)] pub $field: Vec<$of>,] $($rest)* }
    };
    (@add $name:ident [$($done:tt)*] [$($new:tt)*] $($rest:tt)*) => {
        message! { $name [$($done)* $($new)*] $($rest)* }
    };
}

messages! {
    CompressedImage {
        timestamp: one Timestamp = 1,
        frame_id: string = 4,
        data: bytes = 2,
        format: string = 3,
    }
    RawImage {
        timestamp: one Timestamp = 1,
        frame_id: string = 7,
        width: fixed32 = 2,
        height: fixed32 = 3,
        encoding: string = 4,
        step: fixed32 = 5,
        data: bytes = 6,
    }
    Point2 { x: double = 1, y: double = 2, }
    Vec3 { x: double = 1, y: double = 2, z: double = 3, }
    Quaternion { x: double = 1, y: double = 2, z: double = 3, w: double = 4, }
    Color { r: double = 1, g: double = 2, b: double = 3, a: double = 4, }
    Pose { position: one Vec3 = 1, orientation: one Quaternion = 2, }
    KeyValuePair { key: string = 1, value: string = 2, }
    PointsAnnotation {
        timestamp: one Timestamp = 1,
        /// 1: points, 4: pairs of points as lines.
        kind: int32 = 2,
        points: many Point2 = 3,
        outline_color: one Color = 4,
        outline_colors: many Color = 5,
        thickness: double = 7,
    }
    TextAnnotation {
        timestamp: one Timestamp = 1,
        position: one Point2 = 2,
        text: string = 3,
        font_size: double = 4,
        text_color: one Color = 5,
        background_color: one Color = 6,
    }
    ImageAnnotations {
        timestamp: one Timestamp = 5,
        points: many PointsAnnotation = 2,
        texts: many TextAnnotation = 3,
    }
    SpherePrimitive { pose: one Pose = 1, size: one Vec3 = 2, color: one Color = 3, }
    LinePrimitive {
        /// 2: pairs of points.
        kind: int32 = 1,
        pose: one Pose = 2,
        thickness: double = 3,
        points: many Vec3 = 5,
        color: one Color = 6,
    }
    SceneEntity {
        timestamp: one Timestamp = 1,
        frame_id: string = 2,
        id: string = 3,
        lifetime: one Duration = 4,
        metadata: many KeyValuePair = 6,
        spheres: many SpherePrimitive = 9,
        lines: many LinePrimitive = 11,
    }
    SceneEntityDeletion {
        timestamp: one Timestamp = 1,
        /// 1: all of this topic's.
        kind: int32 = 2,
        id: string = 3,
    }
    SceneUpdate {
        deletions: many SceneEntityDeletion = 1,
        entities: many SceneEntity = 2,
    }
    FrameTransform {
        timestamp: one Timestamp = 1,
        parent_frame_id: string = 2,
        child_frame_id: string = 3,
        translation: one Vec3 = 4,
        rotation: one Quaternion = 5,
    }
    FrameTransforms { transforms: many FrameTransform = 1, }
    CameraCalibration {
        timestamp: one Timestamp = 1,
        frame_id: string = 9,
        width: fixed32 = 2,
        height: fixed32 = 3,
        distortion_model: string = 4,
        d: doubles = 5,
        k: doubles = 6,
        r: doubles = 7,
        p: doubles = 8,
    }
}

impl From<[f32; 3]> for Vec3 {
    fn from([x, y, z]: [f32; 3]) -> Self {
        Self { x: x.into(), y: y.into(), z: z.into() }
    }
}

impl Quaternion {
    pub const IDENTITY: Self = Self { x: 0.0, y: 0.0, z: 0.0, w: 1.0 };
}
