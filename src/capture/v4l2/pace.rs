//! Does a camera keep its rate? Most webcams expose longer in the dark than their rate allows.

use crate::time::Timestamp;

/// So many frames in a row are a habit.
const HABIT: u32 = 30;

/// What became of a camera's rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// It fell to so many frames per second.
    Slow(f64),
    /// It is back.
    Nominal,
}

/// Compares the stamps of successive frames with the nominal rate. Frames that were lost do not
/// count as slowness.
#[derive(Default)]
pub(super) struct Pacer {
    nominal: Option<f64>,
    last: Option<(u64, Timestamp)>,
    /// Frames in a row that say otherwise than `slow`, and the seconds between them.
    run: (u32, f64),
    slow: bool,
}

impl Pacer {
    pub fn new(nominal: Option<f64>) -> Self {
        Self { nominal, ..Self::default() }
    }

    /// A frame came; says if the camera's pace has changed.
    pub fn frame(&mut self, sequence: u64, captured: Timestamp) -> Option<Pace> {
        let nominal = self.nominal?;
        let (before, when) = self.last.replace((sequence, captured))?;
        if sequence != before + 1 {
            return None;
        }
        let step = captured.secs_since(when);
        let slow = step * nominal > 1.5;
        if slow == self.slow {
            self.run = (0, 0.0);
            return None;
        }
        self.run.0 += 1;
        self.run.1 += step;
        if self.run.0 < HABIT {
            return None;
        }
        let rate = f64::from(self.run.0) / self.run.1;
        self.run = (0, 0.0);
        self.slow = slow;
        Some(if slow { Pace::Slow(rate) } else { Pace::Nominal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_halves_in_the_dark_is_noticed_once_and_its_return_too() {
        let mut pacer = Pacer::new(Some(30.0));
        let (mut at, mut told) = (0.0, Vec::new());
        for sequence in 0..400u64 {
            at += if (100..250).contains(&sequence) { 1.0 / 15.0 } else { 1.0 / 30.0 };
            told.extend(pacer.frame(sequence, Timestamp::from_secs_f64(at)));
        }
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(matches!(told[0], Pace::Slow(rate) if (rate - 15.0).abs() < 0.01));
        assert_eq!(told[1], Pace::Nominal);
    }

    #[test]
    fn lost_frames_and_single_late_ones_are_not_taken_for_darkness() {
        let mut pacer = Pacer::new(Some(30.0));
        for n in 0..400u64 {
            // Every second frame is lost.
            let at = Timestamp::from_secs_f64(n as f64 / 15.0);
            assert_eq!(pacer.frame(2 * n, at), None);
        }
        let mut pacer = Pacer::new(Some(30.0));
        for n in 0..400u64 {
            let late = if n % 10 == 0 { 0.03 } else { 0.0 };
            let at = Timestamp::from_secs_f64(n as f64 / 30.0 + late);
            assert_eq!(pacer.frame(n, at), None);
        }
    }
}
