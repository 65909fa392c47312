//! C3D, the binary file of biomechanics (c3d.org, "The C3D File Format User Guide", 2008):
//! little-endian ("Intel"), floating point, millimetres.
//!
//! Three sections of 512-byte blocks: header, parameters, points. A marker that was out of sight
//! is at the origin with the residual -1, as the guide wants it.

use std::io::{self, Write};

use super::Track;
use crate::skeleton::{JOINTS, Skeleton};

const BLOCK: usize = 512;
/// The processor type "Intel", with which everything is little-endian.
const INTEL: u8 = 84;
/// Where the parameters begin: the second block.
const PARAMETERS: u8 = 2;

/// Writes one person.
///
/// # Errors
/// If `out` cannot be written to.
pub fn write(out: &mut impl Write, track: &Track) -> io::Result<()> {
    // The parameters say where the points begin, which depends on how long they are.
    let blocks = parameters(track, 0).len() / BLOCK;
    let data_start = PARAMETERS as usize + blocks;
    out.write_all(&header(track, data_start))?;
    out.write_all(&parameters(track, data_start))?;
    let mut written = 0;
    for frame in &track.frames {
        let mut row = [0u8; JOINTS * 16];
        for (j, point) in row.chunks_exact_mut(16).enumerate() {
            let [x, y, z] = frame.map_or([0.0; 3], |f| (f[j] * 1e3).to_array());
            let residual = if frame.is_some() { 0.0 } else { -1.0 };
            for (cell, value) in point.chunks_exact_mut(4).zip([x, y, z, residual]) {
                cell.copy_from_slice(&(value as f32).to_le_bytes());
            }
        }
        out.write_all(&row)?;
        written += row.len();
    }
    out.write_all(&vec![0; written.next_multiple_of(BLOCK) - written])
}

/// Numbers that the format keeps in 16 bits; longer recordings have theirs in `TRIAL`.
fn short(n: usize) -> [u8; 2] {
    u16::try_from(n).unwrap_or(u16::MAX).to_le_bytes()
}

fn header(track: &Track, data_start: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |word: usize, bytes: &[u8]| {
        block[2 * (word - 1)..2 * (word - 1) + bytes.len()].copy_from_slice(bytes);
    };
    put(1, &[PARAMETERS, 0x50]);
    put(2, &short(JOINTS));
    put(4, &short(1));
    put(5, &short(track.frames.len()));
    // The longest gap that was interpolated, frames.
    put(6, &short((track.rate * 0.25) as usize));
    // Negative: points are floats.
    put(7, &(-1.0f32).to_le_bytes());
    put(9, &short(data_start));
    put(11, &(track.rate as f32).to_le_bytes());
    block
}

/// The value of a parameter.
enum Value<'a> {
    Short(u16),
    Pair([u16; 2]),
    Float(f32),
    Text(&'a str),
    /// Of equal length, filled with blanks.
    Texts(&'a [&'a str]),
}

/// Name, description, parameters.
type Group<'a> = (&'a str, &'a str, Vec<(&'a str, Value<'a>)>);

fn parameters(track: &Track, data_start: usize) -> Vec<u8> {
    let names = Skeleton::Human36m17.joint_names();
    let count = track.frames.len();
    let start = u16::from_le_bytes(short(data_start));
    let end = [count as u16, (count >> 16) as u16];
    let descriptions = ["Human3.6M joint"; JOINTS];
    let axes = if track.placed {
        "y up, origin: camera"
    } else {
        "y up, origin: pelvis (its place is not known)"
    };
    let groups: [Group<'_>; 5] = [
        (
            "POINT",
            axes,
            vec![
                ("USED", Value::Short(JOINTS as u16)),
                ("SCALE", Value::Float(-1.0)),
                ("RATE", Value::Float(track.rate as f32)),
                ("DATA_START", Value::Short(start)),
                ("FRAMES", Value::Short(u16::from_le_bytes(short(count)))),
                ("LABELS", Value::Texts(names)),
                ("DESCRIPTIONS", Value::Texts(&descriptions)),
                ("UNITS", Value::Text("mm")),
                ("X_SCREEN", Value::Text("+X")),
                ("Y_SCREEN", Value::Text("+Y")),
            ],
        ),
        (
            "ANALOG",
            "",
            vec![
                ("USED", Value::Short(0)),
                ("GEN_SCALE", Value::Float(1.0)),
                // Of nothing: the header has as many samples for each frame.
                ("RATE", Value::Float(0.0)),
            ],
        ),
        ("FORCE_PLATFORM", "", vec![("USED", Value::Short(0))]),
        (
            "TRIAL",
            "",
            vec![
                ("ACTUAL_START_FIELD", Value::Pair([1, 0])),
                ("ACTUAL_END_FIELD", Value::Pair(end)),
                ("CAMERA_RATE", Value::Float(track.rate as f32)),
            ],
        ),
        (
            "MANUFACTURER",
            "",
            vec![
                ("COMPANY", Value::Text("posewire")),
                ("SOFTWARE", Value::Text("posewire")),
                ("VERSION_LABEL", Value::Text(env!("CARGO_PKG_VERSION"))),
            ],
        ),
    ];
    let mut bytes = vec![1, 0x50, 0, INTEL];
    for (i, (name, description, values)) in groups.iter().enumerate() {
        let id = i as i8 + 1;
        let mut rest = vec![description.len() as u8];
        rest.extend_from_slice(description.as_bytes());
        item(&mut bytes, -id, name, &rest);
        for (name, value) in values {
            let mut rest = Vec::new();
            value.write(&mut rest);
            rest.push(0);
            item(&mut bytes, id, name, &rest);
        }
    }
    // A name of no length ends the list.
    bytes.extend_from_slice(&[0, 0]);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes[2] = (bytes.len() / BLOCK) as u8;
    bytes
}

/// A group or a parameter: name, number, and how far it is to the next.
fn item(bytes: &mut Vec<u8>, id: i8, name: &str, rest: &[u8]) {
    bytes.extend_from_slice(&[name.len() as u8, id as u8]);
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&short(2 + rest.len()));
    bytes.extend_from_slice(rest);
}

impl Value<'_> {
    /// Type, dimensions, data.
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Short(v) => {
                out.extend_from_slice(&[2, 0]);
                out.extend_from_slice(&v.to_le_bytes());
            }
            Self::Pair([a, b]) => {
                out.extend_from_slice(&[2, 1, 2]);
                out.extend_from_slice(&a.to_le_bytes());
                out.extend_from_slice(&b.to_le_bytes());
            }
            Self::Float(v) => {
                out.extend_from_slice(&[4, 0]);
                out.extend_from_slice(&v.to_le_bytes());
            }
            Self::Text(text) => {
                out.extend_from_slice(&[0xff, 1, text.len() as u8]);
                out.extend_from_slice(text.as_bytes());
            }
            Self::Texts(texts) => {
                let longest = texts.iter().map(|t| t.len()).max().unwrap_or(0);
                out.extend_from_slice(&[0xff, 2, longest as u8, texts.len() as u8]);
                for text in *texts {
                    out.extend_from_slice(format!("{text:<longest$}").as_bytes());
                }
            }
        }
    }
}
