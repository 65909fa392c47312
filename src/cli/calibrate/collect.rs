//! Different views of the board, from single pictures or from a board that is moved before a
//! camera.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::pictures;
use crate::calibration::board::Board;
use crate::calibration::corners::{self, NotFound};
use crate::calibration::{View, displacement};
use crate::capture;
use crate::cli::progress;
use crate::decode::FrameDecoder;
use crate::fault::Chain;
use crate::time::Timestamp;

/// Views of one size.
pub(super) struct Collected {
    pub(super) views: Vec<View>,
    pub(super) size: (u32, u32),
}

/// Seconds between pictures of a camera that are looked at.
const INTERVAL_S: f64 = 0.2;

/// A view of a camera is taken where the board lies apart from all others by this share of the
/// picture's width, and moved by less than the second since the last look.
const APART: f64 = 0.04;
const STILL: f64 = 0.004;

/// Looks for the board in each picture; says of each what was found.
pub(super) fn from_files(paths: &[PathBuf], board: &Board) -> Result<Collected, String> {
    let mut size: Option<((u32, u32), &Path)> = None;
    let mut views = Vec::new();
    let mut others: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let bar = progress::steps().with_prefix("pictures");
    for path in bar.wrap_iter(paths.iter()) {
        let picture = pictures::read(path)?;
        let own = (picture.width as u32, picture.height as u32);
        match size {
            None => size = Some((own, path)),
            Some((other, first)) if other != own => {
                return Err(format!(
                    "{} is {}x{}, but {} is {}x{}: all pictures must be of one size, that of the \
                     camera when it runs",
                    path.display(),
                    own.0,
                    own.1,
                    first.display(),
                    other.0,
                    other.1
                ));
            }
            Some(_) => {}
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match corners::find(&picture, board) {
            Ok(corners) => {
                log::info!("{name}: board found");
                views.push(View { name, corners });
            }
            Err(e) => {
                log::warn!("{name}: {e}");
                if let NotFound::OtherSize { columns, rows, .. } = e {
                    *others.entry((columns, rows)).or_default() += 1;
                }
            }
        }
    }
    let (size, _) = size.ok_or("no pictures")?;
    // A miscounted board shows the same wrong size again and again.
    let usual = others.into_iter().max_by_key(|(_, times)| *times);
    if let Some(((columns, rows), times)) = usual
        && views.is_empty()
    {
        return Err(format!(
            "no picture shows a board of {}x{} inner corners; {times} of {} show one of \
             {columns}x{rows}: if that is the board, say --board {columns}x{rows}",
            board.columns,
            board.rows,
            paths.len()
        ));
    }
    if views.is_empty() {
        return Err(format!(
            "none of {} pictures shows a whole board of {}x{} inner corners",
            paths.len(),
            board.columns,
            board.rows
        ));
    }
    Ok(Collected { views, size })
}

/// Watches a board that is moved before a camera (or was, in a clip) until there are `wanted`
/// different views or the time is up.
pub(super) fn from_moving(
    uri: &str,
    board: &Board,
    wanted: usize,
    limit: Duration,
) -> Result<Collected, String> {
    let wrong = |e: capture::CaptureError| Chain(&e).to_string();
    let mut source = capture::open(uri, &pictures::PLAIN).map_err(wrong)?;
    log::info!(
        "{}; move the board about and hold it still at each place",
        source.describe().summary
    );
    let until = Instant::now() + limit;
    let bar = progress::steps().with_prefix("views");
    bar.set_length(wanted as u64);
    let mut decoder = FrameDecoder::new();
    let mut views: Vec<View> = Vec::new();
    let mut size = None;
    let mut last: Option<Timestamp> = None;
    let mut before: Option<View> = None;
    let mut lost = 0;
    while views.len() < wanted && Instant::now() < until {
        let Some(frame) = pictures::next(source.as_mut()).map_err(wrong)? else { break };
        if last.is_some_and(|last| (0.0..INTERVAL_S).contains(&frame.captured.secs_since(last))) {
            continue;
        }
        last = Some(frame.captured);
        let picture = match pictures::grey(&frame, &mut decoder) {
            Ok(picture) => picture,
            Err(e) => {
                lost += 1;
                log::warn!("picture {}: {e}", frame.sequence);
                // A format that is not read will not be with the next frame.
                if lost > 50 {
                    return Err(format!("{uri}: {e}"));
                }
                continue;
            }
        };
        let own = (picture.width as u32, picture.height as u32);
        if *size.get_or_insert(own) != own {
            return Err(format!("{uri}: pictures changed their size to {}x{}", own.0, own.1));
        }
        let Ok(corners) = corners::find(&picture, board) else {
            before = None;
            continue;
        };
        let view = View { name: format!("picture {}", frame.sequence), corners };
        let width = picture.width as f64;
        let still = before.as_ref().is_some_and(|b| displacement(b, &view) < STILL * width);
        if still && views.iter().all(|other| displacement(other, &view) > APART * width) {
            views.push(view.clone());
            log::info!("{} of {wanted} views", views.len());
            bar.inc(1);
        }
        before = Some(view);
    }
    let size = size.ok_or_else(|| format!("{uri}: no picture came"))?;
    if views.is_empty() {
        return Err(format!(
            "{uri}: no picture showed a whole board of {}x{} inner corners held still",
            board.columns, board.rows
        ));
    }
    Ok(Collected { views, size })
}
