//! The assignment problem: who is who, at the least total cost.

use arrayvec::ArrayVec;

/// The largest number of rows and columns.
pub const MAX: usize = 32;

/// A cost that is never chosen if anything else can be: more than all others together, which are at
/// most 1 each, and small enough that differences of 1e-4 beside it survive in `f32`.
pub const FORBIDDEN: f32 = 1e3;

/// For each row the column assigned to it, so that the sum of costs is least; `None` where only a
/// [`FORBIDDEN`] pair would be left. `cost(row, column)` must be finite.
///
/// The Hungarian method with potentials (shortest augmenting paths; Jonker and Volgenant 1987), on
/// the square matrix that a forbidden border completes. O(n^3), no allocation.
pub fn assign(
    rows: usize,
    columns: usize,
    cost: impl Fn(usize, usize) -> f32,
) -> ArrayVec<Option<usize>, MAX> {
    let (rows, columns) = (rows.min(MAX), columns.min(MAX));
    let n = rows.max(columns);
    let at = |r: usize, c: usize| {
        if r < rows && c < columns { cost(r, c).min(FORBIDDEN) } else { FORBIDDEN }
    };
    // One-based, with 0 as "none", as the method is usually written.
    let mut row_potential = [0.0f32; MAX + 1];
    let mut column_potential = [0.0f32; MAX + 1];
    let mut row_of = [0usize; MAX + 1];
    for row in 1..=n {
        let mut least = [f32::INFINITY; MAX + 1];
        let mut came_from = [0usize; MAX + 1];
        let mut visited = [false; MAX + 1];
        row_of[0] = row;
        let mut column = 0;
        // Each turn visits one more column, so n + 1 turns suffice.
        while row_of[column] != 0 {
            visited[column] = true;
            let r = row_of[column];
            let (mut delta, mut next) = (f32::INFINITY, 0);
            for c in 1..=n {
                if visited[c] {
                    continue;
                }
                let reduced = at(r - 1, c - 1) - row_potential[r] - column_potential[c];
                if reduced < least[c] {
                    least[c] = reduced;
                    came_from[c] = column;
                }
                if least[c] < delta {
                    delta = least[c];
                    next = c;
                }
            }
            for c in 0..=n {
                if visited[c] {
                    row_potential[row_of[c]] += delta;
                    column_potential[c] -= delta;
                } else {
                    least[c] -= delta;
                }
            }
            column = next;
        }
        while column != 0 {
            let previous = came_from[column];
            row_of[column] = row_of[previous];
            column = previous;
        }
    }
    let mut assigned: ArrayVec<Option<usize>, MAX> = (0..rows).map(|_| None).collect();
    for (column, &row) in row_of[1..].iter().take(columns).enumerate() {
        let row = row.wrapping_sub(1);
        if row < rows && at(row, column) < FORBIDDEN {
            assigned[row] = Some(column);
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(costs: &[Vec<f32>], picked: &[Option<usize>]) -> f32 {
        picked.iter().enumerate().map(|(r, c)| c.map_or(FORBIDDEN, |c| costs[r][c])).sum()
    }

    fn best_by_trying_all(costs: &[Vec<f32>], row: usize, used: &mut Vec<usize>) -> f32 {
        if row == costs.len() {
            return 0.0;
        }
        let mut best = f32::INFINITY;
        for c in 0..costs[row].len() {
            if !used.contains(&c) {
                used.push(c);
                best = best.min(costs[row][c] + best_by_trying_all(costs, row + 1, used));
                used.pop();
            }
        }
        // With fewer columns than rows, some row goes without.
        if used.len() + (costs.len() - row) > costs[row].len() {
            best = best.min(FORBIDDEN + best_by_trying_all(costs, row + 1, used));
        }
        best
    }

    #[test]
    fn the_total_cost_is_the_least_of_all_permutations() {
        let mut state = 7u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as f32 / 65_536.0
        };
        for (rows, columns) in [(1, 1), (2, 3), (4, 4), (5, 3), (6, 6)] {
            for _ in 0..50 {
                let costs: Vec<Vec<f32>> =
                    (0..rows).map(|_| (0..columns).map(|_| random()).collect()).collect();
                let picked = assign(rows, columns, |r, c| costs[r][c]);
                let mut columns_used: Vec<_> = picked.iter().flatten().collect();
                columns_used.sort_unstable();
                columns_used.dedup();
                assert_eq!(columns_used.len(), rows.min(columns), "each column once");
                let best = best_by_trying_all(&costs, 0, &mut Vec::new());
                let got = total(&costs, &picked);
                assert!((got - best).abs() < 1e-2, "{got} {best}");
            }
        }
    }

    #[test]
    fn forbidden_pairs_are_left_unassigned_and_empty_sides_are_fine() {
        let picked = assign(2, 2, |r, c| if r == c { 0.1 } else { FORBIDDEN });
        assert_eq!(picked.as_slice(), [Some(0), Some(1)]);
        let picked = assign(2, 2, |_, c| if c == 0 { 0.1 } else { FORBIDDEN });
        assert_eq!(picked.iter().flatten().count(), 1);
        assert_eq!(assign(3, 0, |_, _| 0.0).as_slice(), [None, None, None]);
        assert!(assign(0, 3, |_, _| 0.0).is_empty());
    }
}
