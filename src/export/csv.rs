//! CSV: every person of every frame as it was sent, a row each. Metres in the camera's frame
//! (x right, y down, z forward), joints relative to the pelvis, pixels; empty: not known.

use std::io::{self, Write};

use crate::skeleton::Skeleton;
use crate::wire::{PersonRecord, PoseMessage, Share};

/// Writes the first row: the columns' names.
///
/// # Errors
/// If `out` cannot be written to.
pub fn header(out: &mut impl Write) -> io::Result<()> {
    write!(
        out,
        "camera,sequence,captured_us,track,describes_us,lookahead_us,predicted,score,root_x,root_y,root_z"
    )?;
    for name in Skeleton::Human36m17.joint_names() {
        write!(out, ",{name}_x,{name}_y,{name}_z,{name}_confidence")?;
    }
    for name in Skeleton::Coco17.joint_names() {
        write!(out, ",{name}_px,{name}_py,{name}_2d_confidence")?;
    }
    writeln!(out)
}

/// Writes the persons of a frame.
///
/// # Errors
/// If `out` cannot be written to.
pub fn rows(out: &mut impl Write, frame: &PoseMessage) -> io::Result<()> {
    frame.persons.iter().try_for_each(|person| row(out, frame, person))
}

fn row(out: &mut impl Write, frame: &PoseMessage, person: &PersonRecord) -> io::Result<()> {
    let share = |s: Share| s.value().map_or(String::new(), |v| format!("{v:.3}"));
    write!(
        out,
        "{},{},{},{},{},{},{},{}",
        frame.camera,
        frame.sequence,
        frame.captured_us,
        person.track,
        person.describes_us,
        person.lookahead_us,
        u8::from(person.predicted),
        share(person.score),
    )?;
    match person.root {
        Some([x, y, z]) => write!(out, ",{x},{y},{z}")?,
        None => write!(out, ",,,")?,
    }
    match &person.joints {
        Some(joints) => {
            for ([x, y, z], c) in joints.xyz.iter().zip(joints.confidence) {
                write!(out, ",{x},{y},{z},{}", share(c))?;
            }
        }
        None => write!(out, "{}", ",".repeat(4 * crate::skeleton::JOINTS))?,
    }
    match &person.keypoints {
        Some(points) => {
            for ([x, y], c) in points.xy.iter().zip(points.confidence) {
                write!(out, ",{x},{y},{}", share(c))?;
            }
        }
        None => write!(out, "{}", ",".repeat(3 * crate::skeleton::JOINTS))?,
    }
    writeln!(out)
}
