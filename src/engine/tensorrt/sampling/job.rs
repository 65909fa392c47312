//! A job: what the kernel is given, in one piece of memory. `sample.cu` says how it is laid out.
//!
//! It has the pixels under its crop and no others: a person is a part of the picture, and the finder,
//! which sees all of it, runs now and then. So nothing of a picture is kept between calls, and no
//! engine has to know what another one uploaded.

use super::super::super::sampling::{Part, Sampling, Taps};

/// Words of `struct pw_job`.
const HEADER: usize = 31 + 3 * 9;
/// Offsets are of 32 bits; a picture of so many bytes is none that a camera makes.
const MOST_BYTES: usize = 1 << 30;
/// No sum of the kernel leaves 32 bits with so many taps, nor do those of the CPU.
const MOST_TAPS: usize = 1 << 10;

/// A job, checked, and where everything of it goes.
pub struct Job<'a> {
    sampling: Sampling<'a>,
    planes: [Piece; 3],
    tables: [Tables; 3],
    len: usize,
}

/// The rectangle of a plane that is read.
#[derive(Clone, Copy, Default)]
struct Piece {
    first_row: usize,
    rows: usize,
    /// Bytes of a row.
    low: usize,
    width: usize,
    /// Where it is in the job.
    at: usize,
}

/// Where a part's tables are in the job.
#[derive(Clone, Copy, Default)]
struct Tables {
    column_at: usize,
    column_weights: usize,
    row_at: usize,
    row_weights: usize,
}

impl<'a> Job<'a> {
    /// Checks that nothing beside the pixels is read, nor anything written beside the tensor: the
    /// kernel believes what it is told.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn new(sampling: Sampling<'a>) -> Result<Self, String> {
        let s = &sampling;
        let within = |(from, to): (usize, usize), size| from <= to && to <= size;
        let size = [s.width, s.height].iter().all(|n| (1..=1 << 14).contains(n));
        if !size || !matches!(s.channels, 1 | 3) {
            return Err(format!("no tensor has {} x {} x {}", s.channels, s.height, s.width));
        }
        if !within(s.columns, s.width) || !within(s.rows, s.height) || s.planes.len() > 3 {
            return Err("what lies on the picture is beside the tensor".to_owned());
        }
        let mut seen = [false; 3];
        for (component, _) in s.parts.iter().flat_map(|part| part.members) {
            match seen.get_mut(*component) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(format!("component {component} comes twice, or is a fourth")),
            }
        }
        if !matches!(seen, [true, false, false] | [true, true, true]) {
            return Err("components are missing".to_owned());
        }
        let mut len = 4 * HEADER;
        let mut tables = [Tables::default(); 3];
        let mut planes = [Piece::default(); 3];
        for (part, tables) in s.parts.iter().zip(&mut tables) {
            let piece = piece(s, part)?;
            let plane = &mut planes[part.plane];
            *plane = if plane.rows == 0 { piece } else { plane.with(&piece) };
            let mut room = |bytes: usize| {
                let at = len;
                len += bytes.next_multiple_of(4);
                at
            };
            let Part { columns, rows, .. } = part;
            *tables = Tables {
                column_at: room(4 * columns.first.len()),
                column_weights: room(2 * columns.weights.len()),
                row_at: room(4 * rows.first.len()),
                row_weights: room(2 * rows.weights.len()),
            };
        }
        for (piece, plane) in planes.iter_mut().zip(s.planes) {
            let end = (piece.first_row + piece.rows).saturating_sub(1) * plane.stride;
            if piece.rows > 0 && end + piece.low + piece.width > plane.data.len() {
                return Err("the picture is smaller than what is read of it".to_owned());
            }
            piece.at = len;
            len += (piece.rows * piece.width).next_multiple_of(4);
        }
        if len > MOST_BYTES {
            return Err(format!("it takes {len} bytes"));
        }
        Ok(Self { sampling, planes, tables, len })
    }

    /// Bytes that it takes.
    #[expect(clippy::len_without_is_empty, reason = "it has a header at least")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many values the kernel writes.
    pub fn tensor_len(&self) -> usize {
        self.sampling.tensor_len()
    }

    /// The tensor's columns and rows.
    pub fn size(&self) -> (usize, usize) {
        (self.sampling.width, self.sampling.height)
    }

    /// Writes it to the start of `memory`; false if that is too small.
    pub fn write(&self, memory: &mut [u8]) -> bool {
        let Some(memory) = memory.get_mut(..self.len) else { return false };
        let s = &self.sampling;
        for (word, to) in self.header().iter().zip(memory.as_chunks_mut::<4>().0) {
            *to = word.to_ne_bytes();
        }
        for (part, tables) in s.parts.iter().zip(&self.tables) {
            let piece = &self.planes[part.plane];
            let from_left = |first: u32| first as usize * part.step - piece.low;
            let from_start =
                |first: u32| piece.at + (first as usize - piece.first_row) * piece.width;
            positions(memory, tables.column_at, &part.columns, from_left);
            positions(memory, tables.row_at, &part.rows, from_start);
            weights(memory, tables.column_weights, &part.columns);
            weights(memory, tables.row_weights, &part.rows);
        }
        for (piece, plane) in self.planes.iter().zip(s.planes).filter(|(p, _)| p.width > 0) {
            let from = plane.data[piece.first_row * plane.stride..].chunks(plane.stride);
            let to = memory[piece.at..].chunks_exact_mut(piece.width);
            for (to, from) in to.zip(from).take(piece.rows) {
                to.copy_from_slice(&from[piece.low..piece.low + piece.width]);
            }
        }
        true
    }

    /// `struct pw_job`.
    fn header(&self) -> [u32; HEADER] {
        let s = &self.sampling;
        let m = &s.mixing;
        let components = s.parts.iter().map(|part| part.members.len()).sum();
        let sizes = [
            [s.width, s.height, s.channels, components],
            [s.columns.0, s.columns.1, s.rows.0, s.rows.1],
        ];
        let mut header = [0; HEADER];
        let (fixed, parts) = header.split_at_mut(31);
        let words = sizes.as_flattened().iter().map(|n| word(*n));
        let numbers = [m.offset, m.mean, m.per_std, m.padding];
        let numbers = m.factor.as_flattened().iter().chain(numbers.as_flattened());
        let numbers = std::iter::once(&m.limit).chain(numbers).map(|f| f.to_bits());
        let all = words.chain([s.mirrored.into()]).chain(numbers);
        fixed.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        for (part, t) in s.parts.iter().zip(&self.tables) {
            let stride = self.planes[part.plane].width;
            for (component, offset) in part.members {
                let words = [
                    [*offset, part.step, stride],
                    [t.column_at, t.column_weights, part.columns.taps],
                    [t.row_at, t.row_weights, part.rows.taps],
                ];
                let to = &mut parts[9 * component..];
                to.iter_mut().zip(words.as_flattened()).for_each(|(to, n)| *to = word(*n));
            }
        }
        header
    }
}

impl Piece {
    /// What holds both.
    fn with(&self, other: &Self) -> Self {
        let first_row = self.first_row.min(other.first_row);
        let end = (self.first_row + self.rows).max(other.first_row + other.rows);
        let low = self.low.min(other.low);
        let high = (self.low + self.width).max(other.low + other.width);
        Self { first_row, rows: end - first_row, low, width: high - low, at: 0 }
    }
}

/// What is read of a part's plane.
fn piece(s: &Sampling<'_>, part: &Part<'_>) -> Result<Piece, String> {
    let count = |(from, to): (usize, usize)| to - from;
    let span = |taps: &Taps<'_>, wanted| {
        let span = taps.span(count(wanted)).filter(|_| taps.taps <= MOST_TAPS);
        span.ok_or("a table is not as long as what lies on the picture")
    };
    let (columns, rows) = (span(&part.columns, s.columns)?, span(&part.rows, s.rows)?);
    let inside = part.members.iter().all(|(_, offset)| *offset < part.step);
    if part.plane >= s.planes.len() || !inside || part.members.is_empty() || part.step > 16 {
        return Err("a part of the picture is not there".to_owned());
    }
    if columns.is_empty() || rows.is_empty() {
        return Ok(Piece::default());
    }
    let (low, width) = (columns.start * part.step, columns.len() * part.step);
    let stride = s.planes[part.plane].stride;
    // Rows that end in the next one are no picture; the last one need not be whole.
    if low + width > stride {
        return Err("rows are shorter than what is read of them".to_owned());
    }
    Ok(Piece { first_row: rows.start, rows: rows.len(), low, width, at: 0 })
}

/// All are below [`MOST_BYTES`].
fn word(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn positions(memory: &mut [u8], at: usize, taps: &Taps<'_>, place: impl Fn(u32) -> usize) {
    for (to, first) in memory[at..].as_chunks_mut::<4>().0.iter_mut().zip(taps.first) {
        *to = word(place(*first)).to_ne_bytes();
    }
}

fn weights(memory: &mut [u8], at: usize, taps: &Taps<'_>) {
    for (to, weight) in memory[at..].as_chunks_mut::<2>().0.iter_mut().zip(taps.weights) {
        *to = weight.to_ne_bytes();
    }
}
