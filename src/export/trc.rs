//! TRC, the marker file of Motion Analysis and OpenSim: tab-separated, millimetres, y up.
//!
//! As OpenSim's `TRCFileAdapter` reads it: three lines about the file, two with the names of the
//! columns, an empty one, then frames counted from 1. A marker that was out of sight has empty
//! cells.

use std::io::{self, Write};

use super::Track;
use crate::skeleton::Skeleton;

/// Writes one person. `name` is the file's own, which the format wants in its first line.
///
/// # Errors
/// If `out` cannot be written to.
pub fn write(out: &mut impl Write, name: &str, track: &Track) -> io::Result<()> {
    let names = Skeleton::Human36m17.joint_names();
    let (rate, count) = (track.rate, track.frames.len());
    writeln!(out, "PathFileType\t4\t(X/Y/Z)\t{name}")?;
    writeln!(
        out,
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames"
    )?;
    let markers = names.len();
    writeln!(out, "{rate:.6}\t{rate:.6}\t{count}\t{markers}\tmm\t{rate:.6}\t1\t{count}")?;
    write!(out, "Frame#\tTime")?;
    for name in names {
        write!(out, "\t{name}\t\t")?;
    }
    write!(out, "\n\t")?;
    for i in 1..=names.len() {
        write!(out, "\tX{i}\tY{i}\tZ{i}")?;
    }
    write!(out, "\n\n")?;
    for (i, frame) in track.frames.iter().enumerate() {
        write!(out, "{}\t{:.6}", i + 1, i as f64 / rate)?;
        match frame {
            Some(joints) => {
                for joint in joints {
                    let [x, y, z] = (*joint * 1e3).to_array();
                    write!(out, "\t{x:.4}\t{y:.4}\t{z:.4}")?;
                }
            }
            None => write!(out, "{}", "\t".repeat(3 * names.len()))?,
        }
        writeln!(out)?;
    }
    Ok(())
}
