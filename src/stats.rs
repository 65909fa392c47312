//! Counting and timing what happens, without allocating and without locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets per doubling: neighbouring edges are 2^(1/8) apart, so a quantile is exact to 9 %.
const PER_OCTAVE: u32 = 8;
/// The first bucket ends at 2^10 ns, about a microsecond.
const FIRST_OCTAVE: u32 = 10;
/// The last bucket holds everything above 2^40 ns, about 18 minutes.
const OCTAVES: u32 = 30;
const BUCKETS: usize = (PER_OCTAVE * OCTAVES) as usize + 1;

/// A histogram of durations with logarithmic buckets; any thread may record, any may read.
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), nanos: AtomicU64::new(0) }
    }
}

fn bucket_of(nanos: u64) -> usize {
    if nanos < 1 << FIRST_OCTAVE {
        return 0;
    }
    let octave = nanos.ilog2();
    // The fraction of the octave, in PER_OCTAVE equal (not geometric) steps: a shift and a mask.
    let step = (nanos >> (octave - PER_OCTAVE.ilog2())) as u32 & (PER_OCTAVE - 1);
    let index = (octave - FIRST_OCTAVE) * PER_OCTAVE + step + 1;
    (index as usize).min(BUCKETS - 1)
}

fn upper_edge_nanos(bucket: usize) -> u64 {
    let index = bucket as u64;
    let (octave, step) = (index / u64::from(PER_OCTAVE), index % u64::from(PER_OCTAVE));
    let base = 1u64 << (octave + u64::from(FIRST_OCTAVE));
    base + base / u64::from(PER_OCTAVE) * step
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(nanos)].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What has been counted so far.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            counts: std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed)),
            nanos: self.nanos.load(Ordering::Relaxed),
        }
    }
}

/// A histogram's counts at one moment.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    counts: [u64; BUCKETS],
    nanos: u64,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], nanos: 0 }
    }
}

impl Snapshot {
    /// What was counted between `earlier` and `self`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            counts: std::array::from_fn(|i| self.counts[i].saturating_sub(earlier.counts[i])),
            nanos: self.nanos.wrapping_sub(earlier.nanos),
        }
    }

    /// How many durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All durations together. Nearly in step with [`count`](Self::count): a duration that is
    /// being recorded just now may be in one and not yet in the other.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// Edges of buckets, one for each doubling, and how many durations lie below each: about 2 µs
    /// to 18 minutes. Those that are longer are only in [`count`](Self::count).
    pub fn below_octaves(&self) -> impl Iterator<Item = (Duration, u64)> {
        let per_octave = PER_OCTAVE as usize;
        let mut below = self.counts[0];
        (0..OCTAVES as usize).map(move |octave| {
            let buckets = octave * per_octave + 1..(octave + 1) * per_octave + 1;
            let last = buckets.end - 1;
            // The last bucket of all has no upper edge.
            below += self.counts[buckets].iter().sum::<u64>();
            let below = if last == BUCKETS - 1 { below - self.counts[last] } else { below };
            (Duration::from_nanos(upper_edge_nanos(last)), below)
        })
    }

    /// The smallest bucket edge that at least the share `q` (0..1) of the durations lie below;
    /// `None` if there are none. Too large by at most one bucket, 12.5 %.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let wanted = ((total as f64 * q).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        for (i, n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= wanted {
                return Some(Duration::from_nanos(upper_edge_nanos(i)));
            }
        }
        None
    }
}

/// Declares the counters once: the shared atomic struct and its plain copy.
macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// Events since the start, counted by whichever thread sees them.
        #[derive(Default)]
        pub struct Counters { $($(#[doc = $doc])* pub $name: AtomicU64),* }

        /// [`Counters`] at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[doc = $doc])* pub $name: u64),* }

        impl Counters {
            /// All counters now.
            pub fn read(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed)),* }
            }
        }
    };
}

counters! {
    /// Frames that a source gave.
    frames_in,
    /// Frames displaced by newer ones before perception looked at them.
    frames_displaced,
    /// Frames left out on purpose, because the machine cannot keep up (`degrade`).
    frames_left_out,
    /// Frames that the source itself says it lost (gaps in its numbering).
    frames_missed,
    /// Frames lost to damage: corrupt pictures, failed networks.
    frames_bad,
    /// Pose frames that perception finished.
    frames_out,
    /// Persons in all of them.
    persons,
    /// Pose frames handed to a target, summed over targets.
    published,
    /// Pose frames that a target refused.
    publish_failed,
    /// Pose frames that fell out of a full publisher ring.
    publish_displaced,
    /// Times that a source was lost and reopened.
    source_restarts,
}

/// Adds `n` to a counter.
pub fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// How long each stage takes, and the whole way.
#[derive(Default)]
pub struct StageTimes {
    /// Dequeue to the start of perception: waiting in the mailbox.
    pub wait: Histogram,
    /// Decoding compressed pictures.
    pub decode: Histogram,
    /// 2D keypoints.
    pub detect: Histogram,
    /// Tracking, window and lifter.
    pub lift: Histogram,
    /// Perception's end to handed to the kernel.
    pub publish: Histogram,
    /// Exposure (dequeue, for recordings) to handed to the kernel.
    pub total: Histogram,
}

impl StageTimes {
    /// How many histograms there are.
    pub const COUNT: usize = 6;

    /// All of them, in the order of a frame's way: wait, decode, detect, lift, publish, total.
    pub fn in_order(&self) -> [&Histogram; Self::COUNT] {
        [&self.wait, &self.decode, &self.detect, &self.lift, &self.publish, &self.total]
    }
}

/// Everything that is counted in one run; shared by its threads.
#[derive(Default)]
pub struct Stats {
    /// Events.
    pub counters: Counters,
    /// Durations.
    pub stages: StageTimes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_below_its_buckets_edge_and_above_the_one_before() {
        for nanos in (0..60).map(|i| 3u64.pow(i / 2) << (i % 2)).chain([1 << 10, (1 << 20) - 1]) {
            let b = bucket_of(nanos);
            if b < BUCKETS - 1 {
                assert!(nanos < upper_edge_nanos(b), "{nanos}");
            }
            if b > 0 {
                assert!(nanos >= upper_edge_nanos(b - 1), "{nanos}");
            }
        }
    }

    #[test]
    fn quantiles_are_within_one_bucket_of_the_truth() {
        let h = Histogram::default();
        for i in 1..=1_000u64 {
            h.record(Duration::from_micros(i * 10));
        }
        let s = h.snapshot();
        for (q, wanted) in [(0.5, 5_000.0), (0.99, 9_900.0), (0.0, 10.0), (1.0, 10_000.0)] {
            let got = s.quantile(q).unwrap().as_secs_f64() * 1e6;
            assert!(got >= wanted && got <= wanted * 1.13, "{q}: {got} for {wanted}");
        }
    }

    #[test]
    fn doublings_count_what_lies_below_them_and_the_sum_is_exact() {
        let h = Histogram::default();
        for micros in [0, 1, 3, 100, 1_000, 5_000_000] {
            h.record(Duration::from_micros(micros));
        }
        h.record(Duration::from_secs(3_600));
        let s = h.snapshot();
        let octaves: Vec<_> = s.below_octaves().collect();
        assert_eq!(octaves.len(), OCTAVES as usize);
        for (edge, below) in &octaves {
            let all = [0, 1, 3, 100, 1_000, 5_000_000, 3_600_000_000];
            let want = all.iter().filter(|&&m| Duration::from_micros(m) < *edge).count() as u64;
            assert_eq!(*below, want, "{edge:?}");
        }
        assert_eq!(octaves[0].0, Duration::from_nanos(1 << (FIRST_OCTAVE + 1)));
        assert_eq!(s.sum(), Duration::from_micros(3_605_001_104));
        assert_eq!(s.count(), 7);
    }

    #[test]
    fn an_interval_counts_only_what_happened_in_it() {
        let h = Histogram::default();
        h.record(Duration::from_secs(1));
        let before = h.snapshot();
        h.record(Duration::from_millis(1));
        let interval = h.snapshot().since(&before);
        assert_eq!(interval.count(), 1);
        assert!(interval.quantile(0.99).unwrap() < Duration::from_millis(2));
        assert_eq!(Snapshot::default().quantile(0.5), None);
    }
}
