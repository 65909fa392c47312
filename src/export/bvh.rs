//! BVH (Biovision hierarchy), what animation programs read: bone rotations, centimetres, y up.
//!
//! The rest pose is the T-pose of [`crate::rotations`]: standing, arms out, facing +z, palms down.
//! Bones have the person's own median lengths. A node stands where its bone begins and carries
//! the bone's rotation, so that the pelvis and the chest have one node for each bone that starts
//! in them. Where the person was out of sight, the last pose is held.

use std::io::{self, Write};

use glam::{DQuat, DVec3, EulerRot};

use super::Track;
use crate::rotations::{self, PARENT, REST};
use crate::skeleton::JOINTS;

/// Names of bones, as animation programs know them.
const NAMES: [&str; JOINTS] = [
    "Hips",
    "RightHip",
    "RightUpLeg",
    "RightLeg",
    "LeftHip",
    "LeftUpLeg",
    "LeftLeg",
    "Spine",
    "Chest",
    "Neck",
    "Head",
    "LeftShoulder",
    "LeftArm",
    "LeftForeArm",
    "RightShoulder",
    "RightArm",
    "RightForeArm",
];

const CENTIMETRES: f64 = 100.0;

/// Writes one person.
///
/// # Errors
/// If `out` cannot be written to.
pub fn write(out: &mut impl Write, track: &Track) -> io::Result<()> {
    let lengths = median_lengths(track);
    writeln!(out, "HIERARCHY")?;
    node(out, 0, 0, &lengths)?;
    writeln!(out, "MOTION\nFrames: {}\nFrame Time: {:.8}", track.frames.len(), 1.0 / track.rate)?;
    let first = track.frames.iter().flatten().next();
    let rest = [DQuat::IDENTITY; JOINTS];
    let mut held = first.map_or((DVec3::ZERO, rest), turned);
    for frame in &track.frames {
        held = frame.as_ref().map_or(held, turned);
        let (root, local) = &held;
        let [x, y, z] = (*root * CENTIMETRES).to_array();
        write!(out, "{x:.5} {y:.5} {z:.5}")?;
        for bone in order() {
            let (z, x, y) = local[bone].to_euler(EulerRot::ZXY);
            let [z, x, y] = [z, x, y].map(f64::to_degrees);
            write!(out, " {z:.5} {x:.5} {y:.5}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Where the pelvis is and how every bone is turned against its parent.
fn turned(joints: &[DVec3; JOINTS]) -> (DVec3, [DQuat; JOINTS]) {
    (joints[0], rotations::local(&rotations::rotations(joints)))
}

fn children(bone: usize) -> impl Iterator<Item = usize> {
    (1..JOINTS).filter(move |&b| PARENT[b] == bone)
}

/// Bones in the order of the hierarchy, in which the numbers of a frame come.
fn order() -> Vec<usize> {
    fn visit(bone: usize, into: &mut Vec<usize>) {
        into.push(bone);
        children(bone).for_each(|child| visit(child, into));
    }
    let mut bones = Vec::with_capacity(JOINTS);
    visit(0, &mut bones);
    bones
}

fn node(
    out: &mut impl Write,
    bone: usize,
    depth: usize,
    lengths: &[f64; JOINTS],
) -> io::Result<()> {
    let (outer, inner) = ("\t".repeat(depth), "\t".repeat(depth + 1));
    let offset = |out: &mut dyn Write, indent: &str, bone: usize| {
        let [x, y, z] = (REST[bone] * lengths[bone] * CENTIMETRES).to_array();
        writeln!(out, "{indent}OFFSET {x:.5} {y:.5} {z:.5}")
    };
    let (kind, channels) =
        if bone == 0 { ("ROOT", "6 Xposition Yposition Zposition") } else { ("JOINT", "3") };
    writeln!(out, "{outer}{kind} {}\n{outer}{{", NAMES[bone])?;
    // A bone begins where its parent ends; those of the pelvis begin in it.
    offset(out, &inner, PARENT[bone])?;
    writeln!(out, "{inner}CHANNELS {channels} Zrotation Xrotation Yrotation")?;
    let mut last = true;
    for child in children(bone) {
        last = false;
        node(out, child, depth + 1, lengths)?;
    }
    if last {
        writeln!(out, "{inner}End Site\n{inner}{{")?;
        offset(out, &"\t".repeat(depth + 2), bone)?;
        writeln!(out, "{inner}}}")?;
    }
    writeln!(out, "{outer}}}")
}

fn median_lengths(track: &Track) -> [f64; JOINTS] {
    let all: Vec<[f64; JOINTS]> = track.frames.iter().flatten().map(rotations::lengths).collect();
    std::array::from_fn(|bone| {
        let mut lengths: Vec<f64> = all.iter().map(|l| l[bone]).collect();
        lengths.sort_unstable_by(f64::total_cmp);
        lengths.get(lengths.len() / 2).copied().unwrap_or(0.0)
    })
}
