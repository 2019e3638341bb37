//! From many values to a few: median and quartiles, fairness, and the bound of a speed-up.

use crate::words::significant;

/// The median of some rounds, with the quartiles: a quarter of the rounds lies below [`Self::low`],
/// a quarter above [`Self::high`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half of the rounds lie below.
    pub median: f64,
    /// The lower quartile.
    pub low: f64,
    /// The upper quartile.
    pub high: f64,
}

impl Spread {
    /// Of these values, in any order; `None` where there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        let at = |share| quantile(&sorted, share).map(significant);
        Some(Self { median: at(0.5)?, low: at(0.25)?, high: at(0.75)? })
    }
}

/// The same values, ascending.
#[must_use]
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The value below which this share (0 to 1) of the ascending values lies, interpolated between
/// neighbours (Hyndman and Fan, type 7); `None` where there are none.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    let part = place - below as f64;
    Some(sorted[below] + (sorted[above] - sorted[below]) * part)
}

/// The median of these values, in any order.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

/// Jain's index of fairness: 1 where all have the same, 1 / n where one has everything.
///
/// *Source*: Jain, Chiu, Hawe: A Quantitative Measure of Fairness and Discrimination, 1984.
#[must_use]
pub fn jain(shares: &[f64]) -> Option<f64> {
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    let sum: f64 = shares.iter().sum();
    (squares > 0.0).then(|| sum * sum / (shares.len() as f64 * squares))
}

/// Amdahl's bound of the speed-up on so many processors, where this share (0 to 1) of the work goes
/// one after the other.
#[must_use]
pub fn amdahl(serial: f64, cpus: usize) -> f64 {
    1.0 / (serial + (1.0 - serial) / cpus.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_quartiles_are_those_of_the_sorted_values() {
        let spread = Spread::of(&[9.0, 1.0, 5.0, 3.0, 7.0]).expect("values");
        assert_eq!(spread, Spread { median: 5.0, low: 3.0, high: 7.0 });
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]).expect("values");
        assert_eq!(spread, Spread { median: 2.5, low: 1.75, high: 3.25 });
        let one = Spread::of(&[8.0]).expect("a value");
        assert_eq!((one.low, one.median, one.high), (8.0, 8.0, 8.0));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn one_wild_round_moves_no_median() {
        let calm = Spread::of(&[10.0, 11.0, 12.0, 13.0, 14.0]).expect("values");
        let wild = Spread::of(&[10.0, 11.0, 12.0, 13.0, 14_000.0]).expect("values");
        assert_eq!(calm, wild);
    }

    #[test]
    fn quantiles_lie_between_neighbours_and_never_outside() {
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.99), Some(99.0));
        assert_eq!(quantile(&values, 0.995), Some(99.5));
        assert_eq!((quantile(&values, -1.0), quantile(&values, 2.0)), (Some(0.0), Some(100.0)));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn fairness_is_one_for_equal_shares_and_a_share_for_a_monopoly() {
        assert_eq!(jain(&[3.0, 3.0, 3.0]), Some(1.0));
        assert_eq!(jain(&[1.0, 0.0, 0.0, 0.0]), Some(0.25));
        // Jain's own example: half of the users share everything equally.
        assert_eq!(jain(&[5.0, 5.0, 0.0, 0.0]), Some(0.5));
        assert_eq!(jain(&[0.0, 0.0]), None);
    }

    #[test]
    fn the_speed_up_is_bounded_by_what_goes_one_after_the_other() {
        assert!((amdahl(0.0, 8) - 8.0).abs() < 1e-9);
        assert!((amdahl(1.0, 8) - 1.0).abs() < 1e-9);
        assert!((amdahl(0.25, 2) - 1.6).abs() < 1e-9);
        assert!(amdahl(0.25, 1_000_000) < 4.0);
    }
}
