//! Durations of one stage, summed up.

use serde::{Deserialize, Serialize};

use crate::stats::Snapshot;

/// Neighbouring edges of a histogram are this factor apart: four in a doubling.
const FACTOR: f64 = 1.189_207_115_002_721;

/// Durations of one stage, milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// How many.
    pub count: u64,
    /// Half of them are at most this.
    pub p50_ms: f64,
    /// 90 of 100 are at most this.
    pub p90_ms: f64,
    /// 99 of 100 are at most this.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Their mean.
    pub mean_ms: f64,
    /// False if they were counted in buckets: then quantiles are up to 12.5 % too large.
    pub exact: bool,
    /// How they are spread; empty where they were counted in buckets.
    pub histogram: Vec<Bin>,
}

/// A bin of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Durations from here on, milliseconds ...
    pub from_ms: f64,
    /// ... to below here.
    pub to_ms: f64,
    /// How many.
    pub count: u64,
}

impl Timing {
    /// Of all durations, in nanoseconds; `None` if there are none.
    pub fn exact(mut nanos: Vec<u64>) -> Option<Self> {
        nanos.sort_unstable();
        let last = nanos.len().checked_sub(1)?;
        let ms = |n: u64| n as f64 / 1e6;
        // The smallest that at least the share q does not exceed.
        let quantile =
            |q: f64| ms(nanos[((nanos.len() as f64 * q).ceil() as usize).clamp(1, last + 1) - 1]);
        let mean_ms = nanos.iter().map(|&n| ms(n)).sum::<f64>() / nanos.len() as f64;
        Some(Self {
            count: nanos.len() as u64,
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p99_ms: quantile(0.99),
            max_ms: ms(nanos[last]),
            mean_ms,
            exact: true,
            histogram: histogram(&nanos),
        })
    }

    /// Of what was counted in buckets; `None` if nothing was.
    pub fn bucketed(snapshot: &Snapshot) -> Option<Self> {
        let ms = |q: f64| snapshot.quantile(q).map(|d| d.as_secs_f64() * 1e3);
        let count = snapshot.count();
        Some(Self {
            count,
            p50_ms: ms(0.5)?,
            p90_ms: ms(0.9)?,
            p99_ms: ms(0.99)?,
            max_ms: ms(1.0)?,
            mean_ms: snapshot.sum().as_secs_f64() * 1e3 / count.max(1) as f64,
            exact: false,
            histogram: Vec::new(),
        })
    }
}

/// Bins from the shortest to the longest of sorted durations, nanoseconds; empty ones between are
/// kept. Edges are whole nanoseconds: a report that was written and read again is the same.
fn histogram(sorted: &[u64]) -> Vec<Bin> {
    let (Some(&first), Some(&last)) = (sorted.first(), sorted.last()) else { return Vec::new() };
    // Durations below a microsecond are in the first bin there can be.
    let edge = |n: i32| if n == 0 { 0 } else { (1e3 * FACTOR.powi(n)).round() as u64 };
    let base = (0..).take_while(|&n| edge(n) <= first).last().unwrap_or(0);
    let end = (base + 1..).find(|&n| edge(n) > last).unwrap_or(base + 1);
    (base..end)
        .map(|n| {
            let (from, to) = (edge(n), edge(n + 1));
            let below = |edge: u64| sorted.partition_point(|&nanos| nanos < edge);
            let count = (below(to) - below(from)) as u64;
            // A logarithmic axis has no 0.
            Bin { from_ms: from.max(500) as f64 / 1e6, to_ms: to as f64 / 1e6, count }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Histogram;
    use std::time::Duration;

    #[test]
    fn quantiles_of_all_durations_are_some_of_them() {
        let t = Timing::exact((1..=200).rev().map(|n| n * 1_000_000).collect()).unwrap();
        assert_eq!(
            (t.count, t.p50_ms, t.p90_ms, t.p99_ms, t.max_ms),
            (200, 100.0, 180.0, 198.0, 200.0)
        );
        assert!((t.mean_ms - 100.5).abs() < 1e-9);
        assert_eq!(Timing::exact(Vec::new()), None);
    }

    #[test]
    fn every_duration_is_in_the_bin_that_its_edges_say() {
        let nanos = vec![100, 900, 1_500, 3_000_000, 3_100_000, 40_000_000];
        let t = Timing::exact(nanos.clone()).unwrap();
        assert_eq!(t.histogram.iter().map(|b| b.count).sum::<u64>(), 6);
        for bin in t.histogram.iter().skip(1) {
            let within = |n: &&u64| (bin.from_ms..bin.to_ms).contains(&(**n as f64 / 1e6));
            assert_eq!(nanos.iter().filter(within).count() as u64, bin.count, "{bin:?}");
        }
    }

    #[test]
    fn buckets_are_told_apart_from_exact_times() {
        let h = Histogram::default();
        h.record(Duration::from_millis(10));
        let t = Timing::bucketed(&h.snapshot()).unwrap();
        assert!(
            !t.exact && t.p50_ms >= 10.0 && t.p50_ms <= 11.3 && (t.mean_ms - 10.0).abs() < 1e-6
        );
        assert_eq!(Timing::bucketed(&Snapshot::default()), None);
    }
}
