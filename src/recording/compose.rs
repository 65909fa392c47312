//! What Foxglove's panels show, made of frames and poses. Everything lies in the frame `camera_N`:
//! x right, y down, z forward, metres, which is the optical frame of ROS.

use prost::Message;

use super::foxglove::{
    CameraCalibration, Color, CompressedImage, Duration, FrameTransform, FrameTransforms,
    ImageAnnotations, KeyValuePair, LinePrimitive, Point2, PointsAnnotation, Pose, Quaternion,
    RawImage, SceneEntity, SceneUpdate, SpherePrimitive, TextAnnotation, Timestamp, Vec3,
};
use super::frame_record::{FrameRecord, format_name};
use crate::camera::Intrinsics;
use crate::frame::ImageLayout;
use crate::pose::{Person, PoseFrame};
use crate::skeleton::Skeleton;

/// Where a person is drawn whose place is not known: so many metres before the camera.
const STAND_IN: [f32; 3] = [0.0, 0.0, 3.0];
/// Persons vanish from the scene when nothing is said of them for so long.
const LIFETIME_NANOS: i32 = 400_000_000;
/// Keypoints less sure than this are not drawn.
const SEEN: f32 = 0.2;

/// The coordinate frame of a camera.
pub fn frame_id(camera: u8) -> String {
    format!("camera_{camera}")
}

fn stamp(time: u64) -> Option<Timestamp> {
    let (seconds, nanos) = (time / 1_000_000_000, time % 1_000_000_000);
    Some(Timestamp { seconds: seconds as i64, nanos: nanos as i32 })
}

/// A colour for each person, told apart by eye.
fn color(track: u32, alpha: f64) -> Color {
    // Hues a golden angle apart are as different as they can be.
    let hue = (f64::from(track) * 0.618_033_988_749_895).fract() * 6.0;
    let channel = |offset: f64| {
        let h = (hue + offset) % 6.0;
        (2.0 - (h - 3.0).abs()).clamp(0.0, 1.0).mul_add(-0.8, 1.0)
    };
    Color { r: channel(3.0), g: channel(1.0), b: channel(5.0), a: alpha }
}

/// `foxglove.CompressedImage`.
pub fn compressed_image(camera: u8, time: u64, jpeg: Vec<u8>) -> Vec<u8> {
    let (timestamp, frame_id) = (stamp(time), frame_id(camera));
    let format = "jpeg".to_owned();
    CompressedImage { timestamp, frame_id, data: jpeg, format }.encode_to_vec()
}

/// `foxglove.RawImage` of packed planes.
pub fn raw_image(camera: u8, time: u64, layout: &ImageLayout, data: Vec<u8>) -> Vec<u8> {
    let step = layout.format.packed_planes(layout.width, layout.height);
    RawImage {
        timestamp: stamp(time),
        frame_id: frame_id(camera),
        width: layout.width,
        height: layout.height,
        encoding: format_name(layout.format).to_owned(),
        step: step.first().map_or(0, |(row, _)| *row as u32),
        data,
    }
    .encode_to_vec()
}

/// The picture's bytes in a `foxglove.CompressedImage` or `foxglove.RawImage`.
pub fn picture(message: &[u8], raw: bool) -> Option<Vec<u8>> {
    if raw {
        RawImage::decode(message).ok().map(|m| m.data)
    } else {
        CompressedImage::decode(message).ok().map(|m| m.data)
    }
}

/// A [`FrameRecord`] as its message.
pub fn frame_record(record: &FrameRecord) -> Vec<u8> {
    // Numbers and plain strings always serialise.
    serde_json::to_vec(record).unwrap_or_default()
}

/// `foxglove.CameraCalibration`.
pub fn calibration(camera: u8, time: u64, lens: &Intrinsics) -> Vec<u8> {
    let Intrinsics { width, height, fx, fy, cx, cy, distortion } = *lens;
    CameraCalibration {
        timestamp: stamp(time),
        frame_id: frame_id(camera),
        width,
        height,
        distortion_model: "plumb_bob".to_owned(),
        d: distortion.to_vec(),
        k: vec![fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r: vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p: vec![fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    }
    .encode_to_vec()
}

/// `foxglove.ImageAnnotations`: each person's keypoints, bones and name.
pub fn keypoints(poses: &PoseFrame, time: u64) -> Vec<u8> {
    let mut message = ImageAnnotations { timestamp: stamp(time), ..ImageAnnotations::default() };
    for person in &poses.persons {
        let points = &person.keypoints.points;
        let finite = |p: &&crate::pose::Keypoint| p.x.is_finite() && p.y.is_finite();
        let at = |p: &crate::pose::Keypoint| Point2 { x: p.x.into(), y: p.y.into() };
        let seen = |p: &&crate::pose::Keypoint| p.confidence >= SEEN && finite(p);
        let paint = color(person.track.0, if person.predicted { 0.4 } else { 1.0 });
        message.points.push(PointsAnnotation {
            timestamp: stamp(time),
            kind: 1,
            points: points.iter().filter(seen).map(at).collect(),
            outline_color: Some(paint.clone()),
            outline_colors: Vec::new(),
            thickness: 4.0,
        });
        let bones = Skeleton::Coco17.bones().iter().map(|&(a, b)| [&points[a], &points[b]]);
        message.points.push(PointsAnnotation {
            timestamp: stamp(time),
            kind: 4,
            points: bones.filter(|ends| ends.iter().all(seen)).flatten().map(at).collect(),
            outline_color: Some(paint.clone()),
            outline_colors: Vec::new(),
            thickness: 2.0,
        });
        if let Some(first) = points.iter().find(seen) {
            message.texts.push(TextAnnotation {
                timestamp: stamp(time),
                position: Some(at(first)),
                text: person.track.0.to_string(),
                font_size: 14.0,
                text_color: Some(paint),
                background_color: None,
            });
        }
    }
    message.encode_to_vec()
}

/// Each joint in the camera's frame; where the person's place is not known, before the camera.
fn placed(person: &Person) -> Option<([[f32; 3]; crate::skeleton::JOINTS], bool)> {
    let pose = person.pose.as_ref()?;
    if !pose.joints.iter().flatten().all(|v| v.is_finite()) {
        return None;
    }
    let root = pose.root.filter(|r| r.iter().all(|v| v.is_finite()));
    let [x, y, z] = root.unwrap_or(STAND_IN);
    Some((pose.joints.map(|j| [j[0] + x, j[1] + y, j[2] + z]), root.is_some()))
}

/// `foxglove.SceneUpdate`: a sphere for each joint, a line for each bone.
pub fn scene(poses: &PoseFrame, time: u64) -> Vec<u8> {
    let mut update = SceneUpdate::default();
    for person in &poses.persons {
        let Some((joints, known)) = placed(person) else { continue };
        let paint = color(person.track.0, if known { 1.0 } else { 0.5 });
        let sphere = |joint: &[f32; 3]| SpherePrimitive {
            pose: Some(Pose {
                position: Some((*joint).into()),
                orientation: Some(Quaternion::IDENTITY),
            }),
            size: Some(Vec3 { x: 0.05, y: 0.05, z: 0.05 }),
            color: Some(paint.clone()),
        };
        let bones = Skeleton::Human36m17.bones().iter().flat_map(|&(a, b)| [a, b]);
        let lines = LinePrimitive {
            kind: 2,
            pose: Some(Pose {
                position: Some([0.0; 3].into()),
                orientation: Some(Quaternion::IDENTITY),
            }),
            thickness: 0.02,
            points: bones.map(|j| joints[j].into()).collect(),
            color: Some(paint.clone()),
        };
        let place = if known { "measured" } else { "unknown: drawn 3 m before the camera" };
        update.entities.push(SceneEntity {
            timestamp: stamp(time),
            frame_id: frame_id(poses.camera),
            id: format!("person_{}", person.track.0),
            lifetime: Some(Duration { seconds: 0, nanos: LIFETIME_NANOS }),
            metadata: vec![KeyValuePair { key: "place".to_owned(), value: place.to_owned() }],
            spheres: joints.iter().map(sphere).collect(),
            lines: vec![lines],
        });
    }
    update.encode_to_vec()
}

/// `foxglove.FrameTransforms`: `camera_N` → `person_K` (the pelvis) → `person_K/left_knee`, ...
pub fn transforms(poses: &PoseFrame, time: u64) -> Vec<u8> {
    let mut message = FrameTransforms::default();
    for person in &poses.persons {
        let (Some((_, known)), Some(pose)) = (placed(person), &person.pose) else { continue };
        let name = format!("person_{}", person.track.0);
        let mut put = |parent: String, child: String, at: [f32; 3]| {
            message.transforms.push(FrameTransform {
                timestamp: stamp(time),
                parent_frame_id: parent,
                child_frame_id: child,
                translation: Some(at.into()),
                rotation: Some(Quaternion::IDENTITY),
            });
        };
        let root = pose.root.filter(|_| known).unwrap_or(STAND_IN);
        put(frame_id(poses.camera), name.clone(), root);
        let names = Skeleton::Human36m17.joint_names();
        for (joint, at) in names.iter().zip(pose.joints) {
            put(name.clone(), format!("{name}/{joint}"), at);
        }
    }
    message.encode_to_vec()
}
