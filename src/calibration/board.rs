//! The chessboard.

use std::fmt::Write as _;
use std::str::FromStr;

/// A chessboard, by its inner corners: those where four squares meet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Board {
    /// Inner corners along x.
    pub columns: usize,
    /// Inner corners along y.
    pub rows: usize,
    /// Side of a square, metres.
    pub square: f64,
}

/// A board that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoardError {
    /// Not of the form 9x6.
    #[error("board {0:?}: write the numbers of inner corners, as in 9x6 (a board of 10x7 squares)")]
    Form(String),
    /// Too few or too many corners.
    #[error("board {columns}x{rows}: from 3 to 64 inner corners each way are possible")]
    Size {
        /// Inner corners along x.
        columns: usize,
        /// Inner corners along y.
        rows: usize,
    },
    /// No square.
    #[error("a square of {0} mm: from 1 to 1000 mm are possible")]
    Square(String),
}

/// Inner corners, as they are written: `9x6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corners {
    /// Along x.
    pub columns: usize,
    /// Along y.
    pub rows: usize,
}

impl FromStr for Corners {
    type Err = BoardError;

    fn from_str(text: &str) -> Result<Self, BoardError> {
        let form = || BoardError::Form(text.to_owned());
        let (columns, rows) = text.split_once(['x', 'X', '×']).ok_or_else(form)?;
        let number = |t: &str| t.trim().parse().map_err(|_| form());
        let (columns, rows) = (number(columns)?, number(rows)?);
        if !(3..=64).contains(&columns) || !(3..=64).contains(&rows) {
            return Err(BoardError::Size { columns, rows });
        }
        Ok(Self { columns, rows })
    }
}

impl Board {
    /// A board with squares of `millimetres`.
    ///
    /// # Errors
    /// If there can be no such square.
    pub fn new(corners: Corners, millimetres: f64) -> Result<Self, BoardError> {
        if !(1.0..=1000.0).contains(&millimetres) {
            return Err(BoardError::Square(millimetres.to_string()));
        }
        let Corners { columns, rows } = corners;
        Ok(Self { columns, rows, square: millimetres / 1000.0 })
    }

    /// The inner corners in the board's frame, row by row, metres.
    pub fn points(&self) -> Vec<[f64; 2]> {
        (0..self.rows)
            .flat_map(|y| (0..self.columns).map(move |x| (x, y)))
            .map(|(x, y)| [x as f64 * self.square, y as f64 * self.square])
            .collect()
    }

    /// True if the board looks different upside down, so that a picture tells its origin.
    pub fn has_origin(&self) -> bool {
        (self.columns + self.rows) % 2 == 1
    }

    /// The board to be printed at 100 %, as SVG with its sizes in millimetres: black squares from
    /// the top left on, a white margin of a square, a line of 100 mm to check the printer by, and
    /// the origin and axes of the frame that `posewire calibrate place` speaks of.
    pub fn svg(&self) -> String {
        let mm = self.square * 1000.0;
        let (w, h) = ((self.columns + 1) as f64 * mm, (self.rows + 1) as f64 * mm);
        let foot = 14.0;
        let (width, height) = (w + 2.0 * mm, h + 2.0 * mm + foot);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}mm\" height=\"{height}mm\" \
             viewBox=\"0 0 {width} {height}\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n<path d=\""
        );
        for y in 0..=self.rows {
            for x in (y % 2..=self.columns).step_by(2) {
                // Writing to a String cannot fail.
                let _ = write!(
                    out,
                    "M{} {}h{mm}v{mm}h-{mm}z",
                    (x + 1) as f64 * mm,
                    (y + 1) as f64 * mm
                );
            }
        }
        out.push_str("\" fill=\"black\"/>\n");
        let (ox, oy) = (2.0 * mm, 2.0 * mm);
        if self.has_origin() {
            // Beside the squares: nothing may be drawn where corners are looked for.
            let _ = writeln!(
                out,
                "<g stroke=\"#c33\" stroke-width=\"0.4\" fill=\"#c33\" font-size=\"4\" \
                 font-family=\"sans-serif\">\
                 <path d=\"M{ox} {a}h{mm}m-2 -1l2 1l-2 1\" fill=\"none\"/>\
                 <path d=\"M{b} {oy}v-{mm}m-1 2l1 -2l1 2\" fill=\"none\"/>\
                 <text x=\"{c}\" y=\"{d}\" stroke=\"none\">x</text>\
                 <text x=\"{e}\" y=\"{f}\" stroke=\"none\">y</text></g>",
                a = mm * 0.35,
                b = mm * 0.35,
                c = ox + mm + 1.0,
                d = mm * 0.35 + 1.3,
                e = mm * 0.35 - 1.0,
                f = oy - mm - 1.0,
            );
        }
        let line = h + 2.0 * mm + 4.0;
        let length = if w >= 100.0 { 100.0 } else { 10.0 };
        let _ = writeln!(
            out,
            "<path d=\"M{mm} {top}v4m0 -2h{length}m0 -2v4\" stroke=\"black\" stroke-width=\"0.3\" \
             fill=\"none\"/>\n<text x=\"{mm}\" y=\"{text}\" font-size=\"3.5\" \
             font-family=\"sans-serif\">this line: {length} mm; squares: {mm} mm; inner corners: \
             {columns}x{rows}; print at 100 %, glue to something flat</text>\n</svg>",
            top = line - 2.0,
            text = line + 7.0,
            columns = self.columns,
            rows = self.rows,
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_is_written_by_its_inner_corners() {
        assert_eq!("9x6".parse(), Ok(Corners { columns: 9, rows: 6 }));
        for wrong in ["", "9", "9x", "x6", "9x6x2", "9.5x6", "-9x6"] {
            assert!(matches!(wrong.parse::<Corners>(), Err(BoardError::Form(_))), "{wrong}");
        }
        assert!(matches!("2x6".parse::<Corners>(), Err(BoardError::Size { .. })));
        let corners = Corners { columns: 9, rows: 6 };
        for wrong in [0.0, -1.0, f64::NAN, 25_000.0] {
            assert!(Board::new(corners, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_printed_board_has_a_black_square_wherever_the_finder_expects_one() {
        let board = Board::new(Corners { columns: 9, rows: 6 }, 25.0).unwrap();
        let svg = board.svg();
        // 10 x 7 squares, the first black: half of them.
        assert_eq!(svg.matches("h25v25h-25z").count(), 35);
        assert!(svg.contains("M25 25h25") && svg.contains("width=\"300mm\""));
        assert!(svg.contains("9x6"));
    }

    #[test]
    fn only_boards_of_odd_and_even_sides_have_an_origin() {
        let has = |columns, rows| Board { columns, rows, square: 0.02 }.has_origin();
        assert!(has(9, 6) && has(8, 5) && !has(7, 7) && !has(8, 6));
    }
}
