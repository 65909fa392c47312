//! Messages as lines for people.

use std::io::{self, Write};

use crate::skeleton::{Skeleton, h36m};
use crate::wire::{
    CompactPose, Joints3d, Message, PersonRecord, PoseMessage, ShortMessage, StatusMessage,
};

/// The joints that a short line shows: where a person's ends are.
const FEW: [usize; 5] =
    [h36m::HEAD, h36m::LEFT_WRIST, h36m::RIGHT_WRIST, h36m::LEFT_ANKLE, h36m::RIGHT_ANKLE];

/// Writes `message`, received at `received_us` of the sender's monotonic clock.
pub fn write(
    out: &mut impl Write,
    message: &Message,
    received_us: Option<i64>,
    verbose: bool,
) -> io::Result<()> {
    match message {
        Message::Pose(pose) => pose_lines(out, pose, received_us, verbose),
        Message::Status(status) => status_lines(out, status),
        Message::Unknown { kind } => writeln!(out, "a message of type {kind}: not known here"),
    }
}

fn pose_lines(
    out: &mut impl Write,
    pose: &PoseMessage,
    received_us: Option<i64>,
    verbose: bool,
) -> io::Result<()> {
    if pose.persons.is_empty() {
        write_moment(out, pose, pose.captured_us, received_us)?;
        return writeln!(out, "  nobody");
    }
    for person in &pose.persons {
        write_moment(out, pose, person.describes_us, received_us)?;
        write_person(out, pose.skeleton, pose.degraded, person, verbose)?;
    }
    Ok(())
}

/// Writes a message with a short header. It says itself how old it was when it was sent.
pub fn write_short(out: &mut impl Write, message: &ShortMessage, verbose: bool) -> io::Result<()> {
    let pose = match message {
        ShortMessage::Pose(pose) => pose,
        ShortMessage::Unknown { kind } => {
            return writeln!(out, "a short message of type {kind}: not known here");
        }
    };
    write!(out, "camera {} frame {}", pose.camera, pose.sequence)?;
    if let Some(us) = pose.age_us() {
        write!(out, "  sent after {:.1} ms", f64::from(us) / 1e3)?;
    }
    match in_metres(pose) {
        None => writeln!(out, "  nobody"),
        Some(person) => write_person(out, Skeleton::Human36m17, pose.degraded, &person, verbose),
    }
}

/// A compact person as the full record that it was made of.
fn in_metres(pose: &CompactPose) -> Option<PersonRecord> {
    let person = pose.person?;
    let root = person.body.and_then(|b| b.root_mm);
    Some(PersonRecord {
        track: u32::from(person.track),
        describes_us: i64::from(person.describes_us),
        lookahead_us: u32::from(pose.lookahead) * 10_000,
        predicted: person.predicted,
        revision: person.revision,
        withheld: person.withheld,
        score: person.score,
        plausibility: person.plausibility,
        root: root.map(|mm| mm.map(|v| f32::from(v) / 1e3)),
        root_covariance: None,
        joints: person.body.map(|b| b.joints()),
        keypoints: None,
    })
}

fn write_moment(
    out: &mut impl Write,
    pose: &PoseMessage,
    moment_us: i64,
    received_us: Option<i64>,
) -> io::Result<()> {
    write!(out, "camera {} frame {}  t {:.3} s", pose.camera, pose.sequence, secs(moment_us))?;
    // A recording's clock has no present: there only the time since the frame was read is known.
    let (since, word) =
        if pose.media_time { (pose.dequeued_us, "took") } else { (moment_us, "age") };
    match received_us {
        Some(now) => write!(out, "  {word} {:.1} ms", secs(now.saturating_sub(since)) * 1e3),
        None => Ok(()),
    }
}

fn write_person(
    out: &mut impl Write,
    skeleton: Skeleton,
    degraded: bool,
    person: &PersonRecord,
    verbose: bool,
) -> io::Result<()> {
    write!(out, "  person {}", person.track)?;
    for (said, word) in [
        (person.predicted, "predicted"),
        (person.revision, "revision"),
        (person.withheld, "withheld"),
        (degraded, "degraded"),
    ] {
        if said {
            write!(out, " {word}")?;
        }
    }
    match person.root {
        Some([x, y, z]) => write!(out, "  root {x:+.2} {y:+.2} {z:+.2} m")?,
        None => write!(out, "  root unknown")?,
    }
    if person.lookahead_us > 0 {
        write!(out, "  lookahead {:.0} ms", f64::from(person.lookahead_us) / 1e3)?;
    }
    let names = skeleton.joint_names();
    let Some(Joints3d { xyz, confidence }) = &person.joints else {
        return writeln!(out, "  no joints");
    };
    if !verbose {
        for joint in FEW {
            let [x, y, z] = xyz[joint];
            write!(out, "  {} {x:+.2} {y:+.2} {z:+.2}", names[joint])?;
        }
        return writeln!(out);
    }
    writeln!(out)?;
    for ((name, [x, y, z]), share) in names.iter().zip(xyz).zip(confidence) {
        let share = share.value().unwrap_or(f32::NAN);
        writeln!(out, "    {name:<15} {x:+.3} {y:+.3} {z:+.3} m  confidence {share:.2}")?;
    }
    Ok(())
}

fn status_lines(out: &mut impl Write, status: &StatusMessage) -> io::Result<()> {
    write!(
        out,
        "status {}  up {} s  {:.1} fps in, {:.1} out  displaced {}  missed {}  bad {}",
        status.state.name(),
        status.uptime_s,
        f64::from(status.fps_in_milli) / 1e3,
        f64::from(status.fps_out_milli) / 1e3,
        status.frames_displaced,
        status.frames_missed,
        status.frames_bad,
    )?;
    if let Some(t) = status.temperature_decicelsius {
        write!(out, "  {:.1} °C", f64::from(t) / 10.0)?;
    }
    writeln!(out)?;
    for fault in &status.faults {
        write!(out, "    fault {}", fault.name)?;
        if let Some(camera) = fault.camera {
            write!(out, " (camera {camera})")?;
        }
        writeln!(out, ", {} times: {}", fault.count, fault.detail)?;
    }
    Ok(())
}

fn secs(micros: i64) -> f64 {
    micros as f64 * 1e-6
}
