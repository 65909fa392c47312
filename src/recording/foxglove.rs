//! The messages of Foxglove's schemas that are written here (github.com/foxglove/foxglove-sdk,
//! `schemas/proto`): names and field numbers are theirs. Fields that are never written are left
//! out of these structs but not of the schemas in the file ([`super::descriptors`]).
//! `tests/check_recording.py` compares both with Foxglove's own.

#![allow(missing_docs, reason = "documented where they come from")]

use prost::Message;
pub use prost_types::{Duration, Timestamp};

#[derive(Clone, PartialEq, Message)]
pub struct CompressedImage {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(string, tag = "4")]
    pub frame_id: String,
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
    #[prost(string, tag = "3")]
    pub format: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct RawImage {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(string, tag = "7")]
    pub frame_id: String,
    #[prost(fixed32, tag = "2")]
    pub width: u32,
    #[prost(fixed32, tag = "3")]
    pub height: u32,
    #[prost(string, tag = "4")]
    pub encoding: String,
    #[prost(fixed32, tag = "5")]
    pub step: u32,
    #[prost(bytes = "vec", tag = "6")]
    pub data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Point2 {
    #[prost(double, tag = "1")]
    pub x: f64,
    #[prost(double, tag = "2")]
    pub y: f64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Vec3 {
    #[prost(double, tag = "1")]
    pub x: f64,
    #[prost(double, tag = "2")]
    pub y: f64,
    #[prost(double, tag = "3")]
    pub z: f64,
}

impl From<[f32; 3]> for Vec3 {
    fn from([x, y, z]: [f32; 3]) -> Self {
        Self { x: x.into(), y: y.into(), z: z.into() }
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct Quaternion {
    #[prost(double, tag = "1")]
    pub x: f64,
    #[prost(double, tag = "2")]
    pub y: f64,
    #[prost(double, tag = "3")]
    pub z: f64,
    #[prost(double, tag = "4")]
    pub w: f64,
}

impl Quaternion {
    pub const IDENTITY: Self = Self { x: 0.0, y: 0.0, z: 0.0, w: 1.0 };
}

#[derive(Clone, PartialEq, Message)]
pub struct Color {
    #[prost(double, tag = "1")]
    pub r: f64,
    #[prost(double, tag = "2")]
    pub g: f64,
    #[prost(double, tag = "3")]
    pub b: f64,
    #[prost(double, tag = "4")]
    pub a: f64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Pose {
    #[prost(message, optional, tag = "1")]
    pub position: Option<Vec3>,
    #[prost(message, optional, tag = "2")]
    pub orientation: Option<Quaternion>,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValuePair {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct PointsAnnotation {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    /// 1: points, 4: pairs of points as lines.
    #[prost(int32, tag = "2")]
    pub kind: i32,
    #[prost(message, repeated, tag = "3")]
    pub points: Vec<Point2>,
    #[prost(message, optional, tag = "4")]
    pub outline_color: Option<Color>,
    #[prost(message, repeated, tag = "5")]
    pub outline_colors: Vec<Color>,
    #[prost(double, tag = "7")]
    pub thickness: f64,
}

#[derive(Clone, PartialEq, Message)]
pub struct TextAnnotation {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "2")]
    pub position: Option<Point2>,
    #[prost(string, tag = "3")]
    pub text: String,
    #[prost(double, tag = "4")]
    pub font_size: f64,
    #[prost(message, optional, tag = "5")]
    pub text_color: Option<Color>,
    #[prost(message, optional, tag = "6")]
    pub background_color: Option<Color>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ImageAnnotations {
    #[prost(message, optional, tag = "5")]
    pub timestamp: Option<Timestamp>,
    #[prost(message, repeated, tag = "2")]
    pub points: Vec<PointsAnnotation>,
    #[prost(message, repeated, tag = "3")]
    pub texts: Vec<TextAnnotation>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SpherePrimitive {
    #[prost(message, optional, tag = "1")]
    pub pose: Option<Pose>,
    #[prost(message, optional, tag = "2")]
    pub size: Option<Vec3>,
    #[prost(message, optional, tag = "3")]
    pub color: Option<Color>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LinePrimitive {
    /// 2: pairs of points.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub pose: Option<Pose>,
    #[prost(double, tag = "3")]
    pub thickness: f64,
    #[prost(message, repeated, tag = "5")]
    pub points: Vec<Vec3>,
    #[prost(message, optional, tag = "6")]
    pub color: Option<Color>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SceneEntity {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub frame_id: String,
    #[prost(string, tag = "3")]
    pub id: String,
    #[prost(message, optional, tag = "4")]
    pub lifetime: Option<Duration>,
    #[prost(message, repeated, tag = "6")]
    pub metadata: Vec<KeyValuePair>,
    #[prost(message, repeated, tag = "9")]
    pub spheres: Vec<SpherePrimitive>,
    #[prost(message, repeated, tag = "11")]
    pub lines: Vec<LinePrimitive>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SceneEntityDeletion {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    /// 1: all of this topic's.
    #[prost(int32, tag = "2")]
    pub kind: i32,
    #[prost(string, tag = "3")]
    pub id: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct SceneUpdate {
    #[prost(message, repeated, tag = "1")]
    pub deletions: Vec<SceneEntityDeletion>,
    #[prost(message, repeated, tag = "2")]
    pub entities: Vec<SceneEntity>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FrameTransform {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub parent_frame_id: String,
    #[prost(string, tag = "3")]
    pub child_frame_id: String,
    #[prost(message, optional, tag = "4")]
    pub translation: Option<Vec3>,
    #[prost(message, optional, tag = "5")]
    pub rotation: Option<Quaternion>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FrameTransforms {
    #[prost(message, repeated, tag = "1")]
    pub transforms: Vec<FrameTransform>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CameraCalibration {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(string, tag = "9")]
    pub frame_id: String,
    #[prost(fixed32, tag = "2")]
    pub width: u32,
    #[prost(fixed32, tag = "3")]
    pub height: u32,
    #[prost(string, tag = "4")]
    pub distortion_model: String,
    #[prost(double, repeated, tag = "5")]
    pub d: Vec<f64>,
    #[prost(double, repeated, tag = "6")]
    pub k: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    pub r: Vec<f64>,
    #[prost(double, repeated, tag = "8")]
    pub p: Vec<f64>,
}
