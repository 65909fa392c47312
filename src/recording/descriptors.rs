//! The schemas that go into files: Foxglove's protobuf messages as a `FileDescriptorSet`, which is
//! how MCAP carries protobuf schemas. Complete, also where we write only a part: viewers rely on
//! every field being there, if empty.

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet, OneofDescriptorProto,
};

/// One field: name, number, type. A type is `double`, `bool`, `string`, `bytes`, `fixed32`,
/// `int32`, `int64`, a message of this page, or `enum X`; `*` before it: repeated; `?`: optional.
type Field = (&'static str, i32, &'static str);

/// A message: name, fields, and the values of its enum `Type`, if it has one.
type Described = (&'static str, &'static [Field], &'static [&'static str]);

const TIME: &str = "google.protobuf.Timestamp";
const DURATION: &str = "google.protobuf.Duration";

const MESSAGES: &[Described] = &[
    (
        "CompressedImage",
        &[
            ("timestamp", 1, TIME),
            ("frame_id", 4, "string"),
            ("data", 2, "bytes"),
            ("format", 3, "string"),
        ],
        &[],
    ),
    (
        "RawImage",
        &[
            ("timestamp", 1, TIME),
            ("frame_id", 7, "string"),
            ("width", 2, "fixed32"),
            ("height", 3, "fixed32"),
            ("encoding", 4, "string"),
            ("step", 5, "fixed32"),
            ("data", 6, "bytes"),
        ],
        &[],
    ),
    (
        "ImageAnnotations",
        &[
            ("timestamp", 5, "?google.protobuf.Timestamp"),
            ("circles", 1, "*CircleAnnotation"),
            ("points", 2, "*PointsAnnotation"),
            ("texts", 3, "*TextAnnotation"),
            ("metadata", 4, "*KeyValuePair"),
        ],
        &[],
    ),
    (
        "CircleAnnotation",
        &[
            ("timestamp", 1, TIME),
            ("position", 2, "Point2"),
            ("diameter", 3, "double"),
            ("thickness", 4, "double"),
            ("fill_color", 5, "Color"),
            ("outline_color", 6, "Color"),
            ("metadata", 7, "*KeyValuePair"),
        ],
        &[],
    ),
    (
        "PointsAnnotation",
        &[
            ("timestamp", 1, TIME),
            ("type", 2, "enum"),
            ("points", 3, "*Point2"),
            ("outline_color", 4, "Color"),
            ("outline_colors", 5, "*Color"),
            ("fill_color", 6, "Color"),
            ("thickness", 7, "double"),
            ("metadata", 8, "*KeyValuePair"),
        ],
        &["UNKNOWN", "POINTS", "LINE_LOOP", "LINE_STRIP", "LINE_LIST"],
    ),
    (
        "TextAnnotation",
        &[
            ("timestamp", 1, TIME),
            ("position", 2, "Point2"),
            ("text", 3, "string"),
            ("font_size", 4, "double"),
            ("text_color", 5, "Color"),
            ("background_color", 6, "Color"),
            ("metadata", 7, "*KeyValuePair"),
        ],
        &[],
    ),
    (
        "SceneUpdate",
        &[("deletions", 1, "*SceneEntityDeletion"), ("entities", 2, "*SceneEntity")],
        &[],
    ),
    (
        "SceneEntityDeletion",
        &[("timestamp", 1, TIME), ("type", 2, "enum"), ("id", 3, "string")],
        &["MATCHING_ID", "ALL"],
    ),
    (
        "SceneEntity",
        &[
            ("timestamp", 1, TIME),
            ("frame_id", 2, "string"),
            ("id", 3, "string"),
            ("lifetime", 4, DURATION),
            ("frame_locked", 5, "bool"),
            ("metadata", 6, "*KeyValuePair"),
            ("arrows", 7, "*ArrowPrimitive"),
            ("cubes", 8, "*CubePrimitive"),
            ("spheres", 9, "*SpherePrimitive"),
            ("cylinders", 10, "*CylinderPrimitive"),
            ("lines", 11, "*LinePrimitive"),
            ("triangles", 12, "*TriangleListPrimitive"),
            ("texts", 13, "*TextPrimitive"),
            ("models", 14, "*ModelPrimitive"),
        ],
        &[],
    ),
    (
        "ArrowPrimitive",
        &[
            ("pose", 1, "Pose"),
            ("shaft_length", 2, "double"),
            ("shaft_diameter", 3, "double"),
            ("head_length", 4, "double"),
            ("head_diameter", 5, "double"),
            ("color", 6, "Color"),
        ],
        &[],
    ),
    ("CubePrimitive", &[("pose", 1, "Pose"), ("size", 2, "Vector3"), ("color", 3, "Color")], &[]),
    ("SpherePrimitive", &[("pose", 1, "Pose"), ("size", 2, "Vector3"), ("color", 3, "Color")], &[]),
    (
        "CylinderPrimitive",
        &[
            ("pose", 1, "Pose"),
            ("size", 2, "Vector3"),
            ("bottom_scale", 3, "double"),
            ("top_scale", 4, "double"),
            ("color", 5, "Color"),
        ],
        &[],
    ),
    (
        "LinePrimitive",
        &[
            ("type", 1, "enum"),
            ("pose", 2, "Pose"),
            ("thickness", 3, "double"),
            ("scale_invariant", 4, "bool"),
            ("points", 5, "*Point3"),
            ("color", 6, "Color"),
            ("colors", 7, "*Color"),
            ("indices", 8, "*fixed32"),
        ],
        &["LINE_STRIP", "LINE_LOOP", "LINE_LIST"],
    ),
    (
        "TriangleListPrimitive",
        &[
            ("pose", 1, "Pose"),
            ("points", 2, "*Point3"),
            ("color", 3, "Color"),
            ("colors", 4, "*Color"),
            ("indices", 5, "*fixed32"),
        ],
        &[],
    ),
    (
        "TextPrimitive",
        &[
            ("pose", 1, "Pose"),
            ("billboard", 2, "bool"),
            ("font_size", 3, "double"),
            ("scale_invariant", 4, "bool"),
            ("color", 5, "Color"),
            ("text", 6, "string"),
        ],
        &[],
    ),
    (
        "ModelPrimitive",
        &[
            ("pose", 1, "Pose"),
            ("scale", 2, "Vector3"),
            ("color", 3, "Color"),
            ("override_color", 4, "bool"),
            ("url", 5, "string"),
            ("media_type", 6, "string"),
            ("data", 7, "bytes"),
        ],
        &[],
    ),
    ("FrameTransforms", &[("transforms", 1, "*FrameTransform")], &[]),
    (
        "FrameTransform",
        &[
            ("timestamp", 1, TIME),
            ("parent_frame_id", 2, "string"),
            ("child_frame_id", 3, "string"),
            ("translation", 4, "Vector3"),
            ("rotation", 5, "Quaternion"),
        ],
        &[],
    ),
    (
        "CameraCalibration",
        &[
            ("timestamp", 1, TIME),
            ("frame_id", 9, "string"),
            ("width", 2, "fixed32"),
            ("height", 3, "fixed32"),
            ("distortion_model", 4, "string"),
            ("D", 5, "*double"),
            ("K", 6, "*double"),
            ("R", 7, "*double"),
            ("P", 8, "*double"),
        ],
        &[],
    ),
    ("Pose", &[("position", 1, "Vector3"), ("orientation", 2, "Quaternion")], &[]),
    ("Vector3", &[("x", 1, "double"), ("y", 2, "double"), ("z", 3, "double")], &[]),
    (
        "Quaternion",
        &[("x", 1, "double"), ("y", 2, "double"), ("z", 3, "double"), ("w", 4, "double")],
        &[],
    ),
    (
        "Color",
        &[("r", 1, "double"), ("g", 2, "double"), ("b", 3, "double"), ("a", 4, "double")],
        &[],
    ),
    ("Point3", &[("x", 1, "double"), ("y", 2, "double"), ("z", 3, "double")], &[]),
    ("Point2", &[("x", 1, "double"), ("y", 2, "double")], &[]),
    ("KeyValuePair", &[("key", 1, "string"), ("value", 2, "string")], &[]),
];

/// `seconds` and `nanos`: Google's Timestamp and Duration.
const SECONDS: &[Field] = &[("seconds", 1, "int64"), ("nanos", 2, "int32")];

/// The serialised set: every message above, with what it needs.
pub(super) fn file_descriptor_set() -> Vec<u8> {
    let google = |file: &str, name: &'static str| FileDescriptorProto {
        name: Some(format!("google/protobuf/{file}.proto")),
        package: Some("google.protobuf".to_owned()),
        message_type: vec![message(&(name, SECONDS, &[]))],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    let (time, duration) = (google("timestamp", "Timestamp"), google("duration", "Duration"));
    let ours = FileDescriptorProto {
        name: Some("foxglove/schemas.proto".to_owned()),
        package: Some("foxglove".to_owned()),
        dependency: [&time, &duration].into_iter().filter_map(|f| f.name.clone()).collect(),
        message_type: MESSAGES.iter().map(message).collect(),
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![time, duration, ours] }.encode_to_vec()
}

fn message((name, fields, values): &Described) -> DescriptorProto {
    let mut described = DescriptorProto {
        name: Some((*name).to_owned()),
        field: fields.iter().map(|f| field(name, f)).collect(),
        ..DescriptorProto::default()
    };
    // An optional field of proto3 is a choice of one.
    for (i, (name, ..)) in fields.iter().filter(|(.., t)| t.starts_with('?')).enumerate() {
        let choice = OneofDescriptorProto { name: Some(format!("_{name}")), options: None };
        described.oneof_decl.push(choice);
        if let Some(f) = described.field.iter_mut().find(|f| f.name.as_deref() == Some(*name)) {
            f.proto3_optional = Some(true);
            f.oneof_index = Some(i as i32);
        }
    }
    if !values.is_empty() {
        let value = |(number, name): (i32, &&str)| EnumValueDescriptorProto {
            name: Some((*name).to_owned()),
            number: Some(number),
            options: None,
        };
        described.enum_type.push(EnumDescriptorProto {
            name: Some("Type".to_owned()),
            value: (0..).zip(*values).map(value).collect(),
            ..EnumDescriptorProto::default()
        });
    }
    described
}

fn field(of: &str, (name, number, kind): &Field) -> FieldDescriptorProto {
    let (label, kind) = match kind.strip_prefix('*') {
        Some(kind) => (Label::Repeated, kind),
        None => (Label::Optional, kind.trim_start_matches('?')),
    };
    let (scalar, type_name) = match kind {
        "double" => (Type::Double, None),
        "bool" => (Type::Bool, None),
        "string" => (Type::String, None),
        "bytes" => (Type::Bytes, None),
        "fixed32" => (Type::Fixed32, None),
        "int32" => (Type::Int32, None),
        "int64" => (Type::Int64, None),
        "enum" => (Type::Enum, Some(format!(".foxglove.{of}.Type"))),
        google if google.starts_with("google.") => (Type::Message, Some(format!(".{google}"))),
        other => (Type::Message, Some(format!(".foxglove.{other}"))),
    };
    FieldDescriptorProto {
        name: Some((*name).to_owned()),
        number: Some(*number),
        label: Some(label.into()),
        r#type: Some(scalar.into()),
        type_name,
        json_name: Some(json_name(name)),
        ..FieldDescriptorProto::default()
    }
}

/// `frame_id` as protobuf's JSON has it: `frameId`.
fn json_name(name: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}
