//! How large an activation gets: a histogram of magnitudes, and what range to choose from it.

use serde::{Deserialize, Serialize};

use super::weights::LARGEST;

/// Bins of a histogram; a power of two.
const BINS: usize = 4096;

/// How a range is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// 99.99 of 100 values are inside.
    Percentile,
    /// The smallest mean squared error.
    Mse,
    /// The smallest loss of information (Kullback-Leibler), as TensorRT's calibrator chooses.
    Entropy,
}

/// Magnitudes of all values of one tensor. Its upper end grows by doubling, so one pass is enough.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    upper: f32,
    total: u64,
    largest: f32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BINS], upper: 1.0 / 16.0, total: 0, largest: 0.0 }
    }
}

impl Histogram {
    /// Counts values.
    ///
    /// # Errors
    /// If one is not finite.
    pub fn add(&mut self, values: &[f32]) -> Result<(), String> {
        for value in values {
            let magnitude = value.abs();
            if !magnitude.is_finite() {
                return Err(format!("an activation is {value}"));
            }
            while magnitude >= self.upper {
                self.double();
            }
            self.largest = self.largest.max(magnitude);
            self.counts[(magnitude / self.upper * BINS as f32) as usize % BINS] += 1;
        }
        self.total += values.len() as u64;
        Ok(())
    }

    fn double(&mut self) {
        for i in 0..BINS {
            let pair = 2 * i;
            self.counts[i] = self.counts.get(pair..pair + 2).map_or(0, |two| two.iter().sum());
        }
        self.upper *= 2.0;
    }

    /// The largest magnitude seen.
    #[must_use]
    pub fn largest(&self) -> f32 {
        self.largest
    }

    /// The magnitude that becomes the largest 8-bit value; 0 if nothing was counted.
    #[must_use]
    pub fn range(&self, method: Method) -> f32 {
        let range = match method {
            Method::Percentile => self.percentile(0.9999),
            Method::Mse => self.best(|keep| self.squared_error(keep)),
            Method::Entropy => self.best(|keep| self.divergence(keep)),
        };
        range.min(self.largest)
    }

    fn width(&self) -> f32 {
        self.upper / BINS as f32
    }

    fn percentile(&self, share: f64) -> f32 {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (i, n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= wanted {
                return (i + 1) as f32 * self.width();
            }
        }
        self.largest
    }

    /// The range, in whole 128ths of the bins, with the smallest cost.
    fn best(&self, cost: impl Fn(usize) -> f64) -> f32 {
        let used = (self.largest / self.width()).ceil() as usize;
        let step = (used / 128).max(1);
        // Below an eighth of the largest value no distribution of ours has its best range.
        let candidates = ((used / 8).max(128).min(used.max(1))..=used.max(1)).step_by(step);
        let chosen = candidates
            .map(|keep| (keep, cost(keep)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(used, |(keep, _)| keep);
        chosen as f32 * self.width()
    }

    fn squared_error(&self, keep: usize) -> f64 {
        let width = f64::from(self.width());
        let scale = keep as f64 * width / f64::from(LARGEST);
        let counted = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        counted
            .map(|(i, n)| {
                let centre = (i as f64 + 0.5) * width;
                let near = (centre / scale).round().min(f64::from(LARGEST)) * scale;
                // Values fill a bin evenly; within a step that is wider than it, they err more.
                *n as f64 * ((centre - near).powi(2) + width * width / 12.0)
            })
            .sum()
    }

    fn divergence(&self, keep: usize) -> f64 {
        let levels = LARGEST as usize + 1;
        let mut reference: Vec<f64> = self.counts[..keep].iter().map(|n| *n as f64).collect();
        let clipped: u64 = self.counts[keep..].iter().sum();
        if let Some(last) = reference.last_mut() {
            *last += clipped as f64;
        }
        let mut divergence = 0.0;
        let total = self.total.max(1) as f64;
        for level in 0..levels {
            let (a, b) = (level * keep / levels, ((level + 1) * keep / levels).min(keep));
            // A level stands for all of its bins that hold anything, evenly.
            let original = &self.counts[a..b];
            let filled = original.iter().filter(|n| **n > 0).count();
            let sum: u64 = original.iter().sum();
            if filled == 0 {
                continue;
            }
            let even = sum as f64 / filled as f64;
            for p in reference[a..b].iter().filter(|p| **p > 0.0) {
                divergence += p / total * (p / even.max(0.5)).ln();
            }
        }
        divergence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bell with one far outlier in ten thousand.
    fn bell(outlier: f32) -> Histogram {
        let mut h = Histogram::default();
        let mut state = 7_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1_u64 << 24) as f32
        };
        for _ in 0..20_000 {
            let v: f32 = (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
            h.add(&[v]).unwrap();
        }
        h.add(&[outlier]).unwrap();
        h
    }

    #[test]
    fn a_far_outlier_moves_the_largest_value_but_no_range_of_most_values() {
        for method in [Method::Percentile, Method::Entropy] {
            let (near, far) = (bell(0.0).range(method), bell(30.0).range(method));
            assert!((2.0..6.0).contains(&near), "{method:?}: {near}");
            assert!((2.0..8.0).contains(&far), "{method:?}: {far}");
        }
        assert_eq!(bell(30.0).largest(), 30.0);
    }

    #[test]
    fn no_range_has_a_smaller_squared_error_than_the_chosen_one() {
        for outlier in [0.0, 8.0, 30.0] {
            let h = bell(outlier);
            let bins = |range: f32| (range / h.width()).round() as usize;
            let chosen = h.squared_error(bins(h.range(Method::Mse)));
            for other in [h.range(Method::Percentile), h.largest(), 0.5 * h.largest()] {
                assert!(chosen <= 1.01 * h.squared_error(bins(other)), "{outlier}: {other}");
            }
        }
    }

    #[test]
    fn evenly_spread_values_are_not_clipped() {
        let mut h = Histogram::default();
        let values: Vec<f32> = (0..10_000).map(|i| i as f32 / 1000.0 - 5.0).collect();
        h.add(&values).unwrap();
        for method in [Method::Percentile, Method::Mse] {
            let range = h.range(method);
            assert!((4.8..=5.0).contains(&range), "{method:?}: {range}");
        }
    }

    #[test]
    fn growing_keeps_every_count_and_nothing_is_nothing() {
        let mut h = Histogram::default();
        h.add(&[0.01, -0.02, 100.0, 0.03]).unwrap();
        assert_eq!(h.counts.iter().sum::<u64>(), 4);
        assert!(h.add(&[f32::NAN]).is_err());
        assert_eq!(Histogram::default().range(Method::Percentile), 0.0);
    }
}
