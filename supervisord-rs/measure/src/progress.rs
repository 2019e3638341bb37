//! How far a measurement is, and how much longer it takes.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::axes::Axis;
use crate::rounds::Effort;

/// Where it is shown.
pub trait Progress {
    /// An axis is being measured, one of so many; about this time is left for all. Called often.
    fn is_at(&self, axis: Axis, index: usize, count: usize, left: Duration);
}

/// Between two reports.
const EVERY: Duration = Duration::from_millis(200);

/// Compares the time that axes should take with what they do take.
pub(crate) struct Pace<'a> {
    progress: &'a dyn Progress,
    expected: Vec<(Axis, f64)>,
    at: Cell<usize>,
    /// Of the present axis, 0 to 1.
    done: Cell<f64>,
    begun: Instant,
    shown: Cell<Option<Instant>>,
}

impl<'a> Pace<'a> {
    pub(crate) fn new(asked: &[Axis], effort: Effort, progress: &'a dyn Progress) -> Self {
        let expected = asked.iter().map(|&axis| (axis, axis.expected(effort))).collect();
        Self {
            progress,
            expected,
            at: Cell::new(0),
            done: Cell::new(0.0),
            begun: Instant::now(),
            shown: Cell::new(None),
        }
    }

    pub(crate) fn begins(&self, axis: Axis) {
        self.done.set(0.0);
        debug_assert_eq!(self.expected.get(self.at.get()).map(|one| one.0), Some(axis));
        self.shown.set(None);
        self.show();
    }

    /// This part of the present axis is done too.
    pub(crate) fn advances(&self, part: f64) {
        self.done.set((self.done.get() + part).min(1.0));
        if self.shown.get().is_none_or(|shown| shown.elapsed() >= EVERY) {
            self.show();
        }
    }

    pub(crate) fn ends(&self) {
        self.at.set(self.at.get() + 1);
        self.done.set(0.0);
    }

    fn show(&self) {
        let at = self.at.get();
        let Some(&(axis, _)) = self.expected.get(at) else { return };
        self.shown.set(Some(Instant::now()));
        self.progress.is_at(axis, at + 1, self.expected.len(), self.left());
    }

    /// What is left of the plan, at the speed so far.
    fn left(&self) -> Duration {
        let at = self.at.get();
        let seconds = |list: &[(Axis, f64)]| list.iter().map(|one| one.1).sum::<f64>();
        let present = self.expected.get(at).map_or(0.0, |one| one.1);
        let done =
            seconds(&self.expected[..at.min(self.expected.len())]) + present * self.done.get();
        let all = seconds(&self.expected);
        let speed = remaining_factor(self.begun.elapsed().as_secs_f64(), done);
        Duration::from_secs_f64((all - done).max(0.0) * speed)
    }
}

/// How much longer than planned the rest takes; the plan counts until a few seconds are done.
fn remaining_factor(took: f64, planned: f64) -> f64 {
    const TRUST: f64 = 3.0;
    ((took + TRUST) / (planned + TRUST)).clamp(0.2, 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_machine_has_more_time_left_than_planned() {
        assert!((remaining_factor(0.0, 0.0) - 1.0).abs() < 1e-9);
        assert!(remaining_factor(40.0, 20.0) > 1.8);
        assert!(remaining_factor(10.0, 20.0) < 0.6);
    }
}
