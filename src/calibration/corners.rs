//! The chessboard's inner corners in a grey picture.
//!
//! Candidates come from the crate `chess-corners` (ChESS: Bennett, Lasenby 2014), sub-pixel and
//! with the directions of the two edges that cross there. Here they are put together: from a
//! strong candidate the grid grows along the edges, each next corner predicted from the two
//! before it, which follows perspective and distortion. A board counts only if it is seen whole
//! and nothing of it is doubtful.

use std::collections::{BTreeMap, VecDeque};

use chess_corners::{Detector, DetectorConfig, ImageRefiner};

use super::Grey;
use super::board::Board;
use super::subpixel::{halved, refine, sample};

/// Why there is no board in a picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// Too few corners of any kind.
    #[error(
        "no chessboard: {found} corners like those of a board, {wanted} are needed (is the whole \
         board in the picture, sharp and lit?)"
    )]
    Nothing {
        /// Candidates.
        found: usize,
        /// The board's corners.
        wanted: usize,
    },
    /// A grid of another size.
    #[error(
        "a grid of {columns}x{rows} inner corners was found, not of {want_columns}x{want_rows}: \
         is the whole board in the picture, and are its inner corners counted (one less than \
         squares, each way)?"
    )]
    OtherSize {
        /// Of the largest grid.
        columns: usize,
        /// Of the largest grid.
        rows: usize,
        /// Of the board.
        want_columns: usize,
        /// Of the board.
        want_rows: usize,
    },
    /// The picture is not usable.
    #[error("the picture cannot be searched: {0}")]
    Picture(String),
}

/// A candidate.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    at: [f64; 2],
    /// Directions of the two edges, radians; an edge has no sign.
    axes: [f64; 2],
    strength: f32,
}

/// A grown grid: from places to candidates.
type Grid = BTreeMap<(i32, i32), usize>;

/// How many strong candidates a grid is grown from before giving up.
const SEEDS: usize = 24;

/// Pictures longer than this are also searched at half size: blurred corners of a large picture
/// are no corners at its own size.
const LARGE: usize = 1000;

/// Finds the board's corners, in the order of [`Board::points`].
///
/// The order begins at the corner beside the black square of the board's own corner, where the
/// board has such an origin; the other boards may come out turned by half a turn.
///
/// # Errors
/// [`NotFound`] says what was seen instead.
pub fn find(picture: &Grey, board: &Board) -> Result<Vec<[f64; 2]>, NotFound> {
    let first = search(picture, board);
    if first.is_ok() || picture.width.max(picture.height) < LARGE {
        return first;
    }
    // The corners of the half-sized picture are refined in the large one.
    let half = halved(picture);
    let Ok(corners) = search(&half, board) else { return first };
    let whole: Vec<[f64; 2]> =
        corners.iter().map(|c| [2.0 * c[0] + 0.5, 2.0 * c[1] + 0.5]).collect();
    let reach = smallest_step(&whole, board.columns) / 3.0;
    Ok(whole.iter().map(|&c| refine(picture, c, reach)).collect())
}

fn search(picture: &Grey, board: &Board) -> Result<Vec<[f64; 2]>, NotFound> {
    let candidates = candidates(picture)?;
    let wanted = board.columns * board.rows;
    if candidates.len() < wanted {
        return Err(NotFound::Nothing { found: candidates.len(), wanted });
    }
    let mut by_strength: Vec<usize> = (0..candidates.len()).collect();
    by_strength
        .sort_unstable_by(|&a, &b| candidates[b].strength.total_cmp(&candidates[a].strength));
    let mut largest = (0, 0);
    let mut tried = vec![false; candidates.len()];
    let mut seeds = 0;
    for seed in by_strength {
        if tried[seed] || seeds == SEEDS {
            continue;
        }
        seeds += 1;
        let grid = grow(&candidates, seed);
        for &member in grid.values() {
            tried[member] = true;
        }
        let Some((columns, rows)) = extent(&grid) else { continue };
        if columns * rows == grid.len() {
            let at = |x: usize, y: usize| {
                grid.get(&(x as i32, y as i32)).map(|&i| candidates[i].at).unwrap_or_default()
            };
            if let Some(corners) = ordered(columns, rows, at, board, picture) {
                let reach = smallest_step(&corners, board.columns) / 3.0;
                return Ok(corners.iter().map(|&c| refine(picture, c, reach)).collect());
            }
        }
        if columns * rows > largest.0 * largest.1 {
            largest = (columns, rows);
        }
    }
    if largest.0 < 3 || largest.1 < 3 {
        return Err(NotFound::Nothing { found: candidates.len(), wanted });
    }
    Err(NotFound::OtherSize {
        columns: largest.0.max(largest.1),
        rows: largest.0.min(largest.1),
        want_columns: board.columns,
        want_rows: board.rows,
    })
}

fn candidates(picture: &Grey) -> Result<Vec<Candidate>, NotFound> {
    // The ring that a corner is looked for with has a radius of 5.
    if picture.width.min(picture.height) < 16 {
        let size = format!("{} x {} pixels are too few", picture.width, picture.height);
        return Err(NotFound::Picture(size));
    }
    let config = DetectorConfig::chess().with_refiner(ImageRefiner::saddle_point());
    let wrong = |e: chess_corners::ChessError| NotFound::Picture(e.to_string());
    let mut detector = Detector::new(config).map_err(wrong)?;
    let (width, height) = (picture.width as u32, picture.height as u32);
    let found = detector.detect_u8(&picture.pixels, width, height).map_err(wrong)?;
    Ok(found
        .into_iter()
        .filter_map(|c| {
            let [a, b] = c.axes?;
            Some(Candidate {
                at: [c.x.into(), c.y.into()],
                axes: [a.angle.into(), b.angle.into()],
                strength: c.response,
            })
        })
        .filter(|c| c.at.iter().chain(&c.axes).all(|v| v.is_finite()))
        .collect())
}

/// Angle between two directions without sign, radians.
fn between(a: f64, b: f64) -> f64 {
    let d = (a - b).rem_euclid(std::f64::consts::PI);
    d.min(std::f64::consts::PI - d)
}

/// The grid that contains `seed`.
fn grow(candidates: &[Candidate], seed: usize) -> Grid {
    let mut grid = Grid::new();
    let mut place_of = BTreeMap::new();
    grid.insert((0, 0), seed);
    place_of.insert(seed, (0, 0));
    let mut queue = VecDeque::from([(0, 0)]);
    while let Some(place) = queue.pop_front() {
        let here = grid[&place];
        for step in [(1, 0), (-1, 0), (0, 1), (0, -1)] {
            let next = (place.0 + step.0, place.1 + step.1);
            if grid.contains_key(&next) {
                continue;
            }
            let found = match predict(&grid, candidates, place, step) {
                Some((at, reach)) => nearest(candidates, at, reach, here),
                // At the seed nothing is known but the edges' directions.
                None => along(candidates, here, candidates[seed].axes, step),
            };
            let Some(found) = found else { continue };
            if place_of.contains_key(&found) || !continues(&candidates[here], &candidates[found]) {
                continue;
            }
            grid.insert(next, found);
            place_of.insert(found, next);
            queue.push_back(next);
        }
    }
    trim(&mut grid);
    shifted(grid)
}

/// Where the corner beside `place` must be, and how far off it may be.
fn predict(
    grid: &Grid,
    candidates: &[Candidate],
    place: (i32, i32),
    step: (i32, i32),
) -> Option<([f64; 2], f64)> {
    let at = |x: i32, y: i32| grid.get(&(x, y)).map(|&i| candidates[i].at);
    let here = at(place.0, place.1)?;
    // The step before this one, in the same direction.
    if let Some(before) = at(place.0 - step.0, place.1 - step.1) {
        let d = [here[0] - before[0], here[1] - before[1]];
        return Some(([here[0] + d[0], here[1] + d[1]], 0.35 * d[0].hypot(d[1])));
    }
    // The same step from a neighbour to the side.
    for side in [(step.1, step.0), (-step.1, -step.0)] {
        let (x, y) = (place.0 + side.0, place.1 + side.1);
        if let (Some(from), Some(to)) = (at(x, y), at(x + step.0, y + step.1)) {
            let d = [to[0] - from[0], to[1] - from[1]];
            return Some(([here[0] + d[0], here[1] + d[1]], 0.35 * d[0].hypot(d[1])));
        }
    }
    None
}

fn nearest(candidates: &[Candidate], at: [f64; 2], reach: f64, but: usize) -> Option<usize> {
    let mut best = None;
    for (i, c) in candidates.iter().enumerate() {
        let d = (c.at[0] - at[0]).hypot(c.at[1] - at[1]);
        if i != but && d <= reach && best.is_none_or(|(_, least)| d < least) {
            best = Some((i, d));
        }
    }
    best.map(|(i, _)| i)
}

/// The nearest candidate along one of the seed's edges.
fn along(candidates: &[Candidate], here: usize, axes: [f64; 2], step: (i32, i32)) -> Option<usize> {
    let angle = if step.0 != 0 { axes[0] } else { axes[1] };
    let sign = f64::from(step.0 + step.1);
    let direction = [sign * angle.cos(), sign * angle.sin()];
    let from = candidates[here].at;
    let mut best: Option<(usize, f64)> = None;
    for (i, c) in candidates.iter().enumerate() {
        let d = [c.at[0] - from[0], c.at[1] - from[1]];
        let forward = d[0] * direction[0] + d[1] * direction[1];
        let aside = (d[0] * direction[1] - d[1] * direction[0]).abs();
        if i != here
            && forward > 3.0
            && aside < 0.25 * forward
            && continues(&candidates[here], c)
            && best.is_none_or(|(_, least)| forward < least)
        {
            best = Some((i, forward));
        }
    }
    best.map(|(i, _)| i)
}

/// True if the edges at `b` may be those of `a`: a little turned, by perspective and distortion.
fn continues(a: &Candidate, b: &Candidate) -> bool {
    let straight = between(a.axes[0], b.axes[0]).max(between(a.axes[1], b.axes[1]));
    let crossed = between(a.axes[0], b.axes[1]).max(between(a.axes[1], b.axes[0]));
    straight.min(crossed) < 0.4
}

/// Takes off rows and columns that are only partly there: clutter beside the board, or a board
/// that leaves the picture.
fn trim(grid: &mut Grid) {
    loop {
        let Some((x0, x1, y0, y1)) = bounds(grid) else { return };
        let whole = (x1 - x0 + 1, y1 - y0 + 1);
        let column = |x: i32| grid.keys().filter(|k| k.0 == x).count() as i32;
        let row = |y: i32| grid.keys().filter(|k| k.1 == y).count() as i32;
        // The emptiest side goes first, if it is less than whole.
        let sides = [
            (column(x0), whole.1, true, x0),
            (column(x1), whole.1, true, x1),
            (row(y0), whole.0, false, y0),
            (row(y1), whole.0, false, y1),
        ];
        let emptiest = sides
            .iter()
            .filter(|(has, of, ..)| has < of)
            .min_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)));
        let Some(&(_, _, is_column, at)) = emptiest else { return };
        grid.retain(|k, _| if is_column { k.0 != at } else { k.1 != at });
    }
}

fn bounds(grid: &Grid) -> Option<(i32, i32, i32, i32)> {
    let xs = || grid.keys().map(|k| k.0);
    let ys = || grid.keys().map(|k| k.1);
    Some((xs().min()?, xs().max()?, ys().min()?, ys().max()?))
}

fn shifted(grid: Grid) -> Grid {
    let Some((x0, _, y0, _)) = bounds(&grid) else { return grid };
    grid.into_iter().map(|((x, y), i)| ((x - x0, y - y0), i)).collect()
}

fn extent(grid: &Grid) -> Option<(usize, usize)> {
    let (_, x1, _, y1) = bounds(grid)?;
    Some((x1 as usize + 1, y1 as usize + 1))
}

/// The corners in the board's order; `None` if the grid is not of the board's size.
fn ordered(
    columns: usize,
    rows: usize,
    at: impl Fn(usize, usize) -> [f64; 2],
    board: &Board,
    picture: &Grey,
) -> Option<Vec<[f64; 2]>> {
    // The board's x along the grid's x or y.
    let straight = (columns, rows) == (board.columns, board.rows);
    if !straight && (rows, columns) != (board.columns, board.rows) {
        return None;
    }
    let (w, h) = (board.columns, board.rows);
    let mut corners: Vec<[f64; 2]> = (0..h)
        .flat_map(|y| (0..w).map(move |x| (x, y)))
        .map(|(x, y)| if straight { at(x, y) } else { at(y, x) })
        .collect();
    // Seen from the front, y is clockwise of x (the picture's y points down).
    let (o, x, y) = (corners[0], corners[w - 1], corners[w * (h - 1)]);
    let cross = (x[0] - o[0]) * (y[1] - o[1]) - (x[1] - o[1]) * (y[0] - o[0]);
    if cross < 0.0 {
        for row in corners.chunks_exact_mut(w) {
            row.reverse();
        }
    }
    // The square beside the first corner, towards the board's middle, has the colour of the
    // board's own corner: black.
    let first = brightness(picture, &corners, w, 0, 0);
    let second = brightness(picture, &corners, w, 1, 0);
    if first > second {
        corners.reverse();
        if brightness(picture, &corners, w, 0, 0) > brightness(picture, &corners, w, 1, 0)
            && board.has_origin()
        {
            return None;
        }
    }
    Some(corners)
}

/// Mean brightness about the middle of the square whose first corner is (x, y).
fn brightness(picture: &Grey, corners: &[[f64; 2]], w: usize, x: usize, y: usize) -> f64 {
    let four = [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)].map(|(x, y)| corners[y * w + x]);
    let middle = |i: usize| four.iter().map(|c| c[i]).sum::<f64>() / 4.0;
    let (cx, cy) = (middle(0), middle(1));
    let mut sum = 0.0;
    for dy in -1..=1 {
        for dx in -1..=1 {
            sum += sample(picture, cx + f64::from(dx), cy + f64::from(dy));
        }
    }
    sum / 9.0
}

/// Shortest distance between neighbours in a row, pixels.
fn smallest_step(corners: &[[f64; 2]], columns: usize) -> f64 {
    let rows = corners.chunks_exact(columns);
    let along = rows.flat_map(|row| row.windows(2).map(|p| (p[0], p[1])));
    let down = corners.iter().zip(&corners[columns..]).map(|(a, b)| (*a, *b));
    along.chain(down).map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1])).fold(f64::INFINITY, f64::min)
}
