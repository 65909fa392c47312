//! Levenberg-Marquardt: nonlinear least squares.
//!
//! Nielsen's damping strategy (Madsen, Nielsen, Tingleff: Methods for Non-Linear Least Squares
//! Problems, 2004, algorithm 3.16), on the normal equations, with Marquardt's scaling by their
//! diagonal, so that metres, radians and pixels may stand side by side.

use nalgebra::{DMatrix, DVector};

/// A sum of squares to be made small. The unknowns may live on a manifold: a step is a vector, and
/// the problem knows how to take it.
pub trait Problem {
    /// Where the solver is.
    type State: Clone;

    /// How many numbers a step has.
    fn unknowns(&self) -> usize;

    /// Half the sum of the squared residuals; infinite where the residuals are undefined.
    fn cost(&self, at: &Self::State) -> f64;

    /// Fills in JᵀJ and Jᵀr at `at`; both come in zeroed.
    fn linearise(&self, at: &Self::State, jtj: &mut DMatrix<f64>, jtr: &mut DVector<f64>);

    /// `at`, moved by `step`.
    fn moved(&self, at: &Self::State, step: &DVector<f64>) -> Self::State;
}

/// Where the solver stopped.
#[derive(Clone, Debug)]
pub struct Solved<S> {
    /// The best state seen.
    pub state: S,
    /// Its cost.
    pub cost: f64,
    /// How many linearisations it took.
    pub iterations: usize,
    /// False if the limit of iterations was reached first.
    pub converged: bool,
}

/// Relative change of the cost, and relative length of a scaled step, that end the search.
const TOLERANCE: f64 = 1e-14;

/// Goes downhill from `start` for at most `limit` iterations.
pub fn minimise<P: Problem>(problem: &P, start: P::State, limit: usize) -> Solved<P::State> {
    let n = problem.unknowns();
    let mut jtj = DMatrix::zeros(n, n);
    let mut jtr = DVector::zeros(n);
    let mut cost = problem.cost(&start);
    let mut state = start;
    let (mut damping, mut growth) = (1e-3, 2.0);
    let mut iterations = 0;
    while iterations < limit {
        iterations += 1;
        jtj.fill(0.0);
        jtr.fill(0.0);
        problem.linearise(&state, &mut jtj, &mut jtr);
        loop {
            let mut damped = jtj.clone();
            for i in 0..n {
                // A parameter without any influence stays where it is.
                damped[(i, i)] += damping * jtj[(i, i)].max(1e-12);
            }
            let accepted = damped.cholesky().and_then(|factors| {
                let step = -factors.solve(&jtr);
                let next = problem.moved(&state, &step);
                let next_cost = problem.cost(&next);
                let scaled: f64 = (0..n).map(|i| jtj[(i, i)] * step[i] * step[i]).sum();
                // What the linear model promises.
                let promised = 0.5 * (damping * scaled - step.dot(&jtr));
                let gain = (cost - next_cost) / promised;
                (next_cost.is_finite() && gain > 0.0).then_some((next, next_cost, gain, scaled))
            });
            if let Some((next, next_cost, gain, scaled)) = accepted {
                let fell = cost - next_cost;
                let before = cost;
                (state, cost) = (next, next_cost);
                damping *= (1.0 - (2.0 * gain - 1.0).powi(3)).max(1.0 / 3.0);
                growth = 2.0;
                if fell <= TOLERANCE * before || scaled <= TOLERANCE * before || cost == 0.0 {
                    return Solved { state, cost, iterations, converged: true };
                }
                break;
            }
            damping *= growth;
            growth *= 2.0;
            if damping > 1e16 {
                // No step of any length helps: this is a minimum to machine precision.
                return Solved { state, cost, iterations, converged: true };
            }
        }
    }
    Solved { state, cost, iterations, converged: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Residuals and Jacobian of a problem in a flat space.
    struct Flat<F: Fn(&[f64]) -> (Vec<f64>, Vec<Vec<f64>>)>(usize, F);

    impl<F: Fn(&[f64]) -> (Vec<f64>, Vec<Vec<f64>>)> Problem for Flat<F> {
        type State = Vec<f64>;

        fn unknowns(&self) -> usize {
            self.0
        }

        fn cost(&self, at: &Vec<f64>) -> f64 {
            self.1(at).0.iter().map(|r| r * r).sum::<f64>() / 2.0
        }

        fn linearise(&self, at: &Vec<f64>, jtj: &mut DMatrix<f64>, jtr: &mut DVector<f64>) {
            let (residuals, rows) = self.1(at);
            for (r, row) in residuals.iter().zip(rows) {
                for (i, a) in row.iter().enumerate() {
                    jtr[i] += a * r;
                    for (j, b) in row.iter().enumerate() {
                        jtj[(i, j)] += a * b;
                    }
                }
            }
        }

        fn moved(&self, at: &Vec<f64>, step: &DVector<f64>) -> Vec<f64> {
            at.iter().zip(step.iter()).map(|(a, s)| a + s).collect()
        }
    }

    #[test]
    fn rosenbrocks_valley_is_followed_to_its_end() {
        let problem = Flat(2, |x: &[f64]| {
            let r = vec![10.0 * (x[1] - x[0] * x[0]), 1.0 - x[0]];
            (r, vec![vec![-20.0 * x[0], 10.0], vec![-1.0, 0.0]])
        });
        let solved = minimise(&problem, vec![-1.2, 1.0], 200);
        assert!(solved.converged);
        assert!((solved.state[0] - 1.0).abs() < 1e-9 && (solved.state[1] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn powells_singular_function_goes_to_zero_although_its_jacobian_loses_rank_there() {
        let problem = Flat(4, |x: &[f64]| {
            let (a, b) = (x[1] - 2.0 * x[2], x[0] - x[3]);
            let (s5, s10) = (5f64.sqrt(), 10f64.sqrt());
            let r = vec![x[0] + 10.0 * x[1], s5 * (x[2] - x[3]), a * a, s10 * b * b];
            let rows = vec![
                vec![1.0, 10.0, 0.0, 0.0],
                vec![0.0, 0.0, s5, -s5],
                vec![0.0, 2.0 * a, -4.0 * a, 0.0],
                vec![2.0 * s10 * b, 0.0, 0.0, -2.0 * s10 * b],
            ];
            (r, rows)
        });
        let solved = minimise(&problem, vec![3.0, -1.0, 0.0, 1.0], 500);
        assert!(solved.state.iter().all(|v| v.abs() < 1e-3), "{:?}", solved.state);
        assert!(solved.cost < 1e-12);
    }

    #[test]
    fn a_fit_with_noise_stops_at_the_normal_equations_solution() {
        // y = a exp(b t), with residuals that cannot vanish.
        let data: Vec<(f64, f64)> = (0..20)
            .map(|i| {
                let t = f64::from(i) / 10.0;
                (t, 2.5 * (-1.3 * t).exp() + 0.01 * f64::from(i % 3 - 1))
            })
            .collect();
        let problem = Flat(2, |x: &[f64]| {
            data.iter()
                .map(|(t, y)| {
                    let e = (x[1] * t).exp();
                    (x[0] * e - y, vec![e, x[0] * t * e])
                })
                .unzip()
        });
        let solved = minimise(&problem, vec![1.0, 0.0], 100);
        let (mut jtj, mut jtr) = (DMatrix::zeros(2, 2), DVector::zeros(2));
        problem.linearise(&solved.state, &mut jtj, &mut jtr);
        assert!(jtr.norm() < 1e-7, "the gradient is {jtr}");
        assert!((solved.state[0] - 2.5).abs() < 0.02 && (solved.state[1] + 1.3).abs() < 0.03);
    }

    #[test]
    fn a_parameter_without_influence_stays_where_it_is() {
        let problem = Flat(2, |x: &[f64]| (vec![x[0] - 3.0], vec![vec![1.0, 0.0]]));
        let solved = minimise(&problem, vec![0.0, 7.0], 50);
        assert!((solved.state[0] - 3.0).abs() < 1e-9);
        assert_eq!(solved.state[1], 7.0);
    }
}
