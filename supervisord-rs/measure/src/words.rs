//! Figures as people read them.

use crate::figures::{Figure, Unit};

/// Four digits that count: no measurement here has more.
#[must_use]
pub(crate) fn significant(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let places = 3 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(places.abs());
    // Powers below one are not exact: what is divided by them is not the shortest decimal, and JSON
    // that is read again may differ in its last bit, which counts where a half is rounded.
    match places {
        ..0 => (value / scale).round() * scale,
        _ if scale.is_finite() => (value * scale).round() / scale,
        _ => value,
    }
}

/// A figure with its unit: `4.2 µs`, `12 KiB`, `1.3 GB/s`.
#[must_use]
pub(crate) fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Nanoseconds => scaled(value, 1000.0, &[" ns", " µs", " ms", " s"]),
        Unit::Bytes => scaled(value, 1024.0, &[" B", " KiB", " MiB", " GiB"]),
        Unit::BytesPerSecond => scaled(value, 1000.0, &[" B/s", " KB/s", " MB/s", " GB/s"]),
        Unit::PerSecond => scaled(value, 1000.0, &["/s", " k/s", " M/s", " G/s"]),
        Unit::Count => digits(value),
        Unit::Share => format!("{} %", digits(value * 100.0)),
        Unit::Times => digits(value),
    }
}

fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let (mut value, mut at) = (value, 0);
    // 999.7 would read as 1000.
    while value.abs() >= step - 0.5 && at + 1 < units.len() {
        (value, at) = (value / step, at + 1);
    }
    format!("{}{}", digits(value), units[at])
}

/// Two or three digits.
fn digits(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    let places = match size {
        size if size >= 99.5 => 0,
        size if size >= 9.95 => usize::from((size - size.round()).abs() > 0.05),
        size if size >= 0.995 => 1,
        size if size >= 0.0995 => 2,
        _ => 3,
    };
    let text = format!("{value:.places$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// `x1.3`, `x12`.
#[must_use]
pub(crate) fn times(ratio: f64) -> String {
    format!("x{}", digits(ratio))
}

/// `1.3 times`.
#[must_use]
pub(crate) fn so_many_times(ratio: f64) -> String {
    format!("{} times", digits(ratio))
}

/// How one figure is to another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Difference {
    /// Within the share that is asked for.
    None,
    /// So many times as much.
    More(f64),
    /// The other one is so many times as much.
    Less(f64),
    /// The rounds of the two overlap, so that the difference of their medians means nothing.
    Unclear,
}

/// Compares two figures: their medians, unless the middle halves of their rounds overlap. None:
/// their medians differ by no more than this share.
#[must_use]
pub(crate) fn compared(one: &Figure, other: &Figure, within: f64) -> Difference {
    let difference = difference(one.median, other.median, within);
    let overlap = one.low <= other.high && other.low <= one.high;
    if difference != Difference::None && overlap { Difference::Unclear } else { difference }
}

/// Compares two values.
#[must_use]
pub(crate) fn difference(value: f64, other: f64, within: f64) -> Difference {
    if other <= 0.0 || value <= 0.0 {
        return Difference::None;
    }
    let ratio = value / other;
    if ratio > 1.0 + within {
        Difference::More(ratio)
    } else if ratio < 1.0 / (1.0 + within) {
        Difference::Less(1.0 / ratio)
    } else {
        Difference::None
    }
}

/// `40 % more`, `3.1 times as much`.
#[must_use]
pub(crate) fn more(ratio: f64) -> String {
    by(ratio, "more", "as much")
}

/// `40 % longer`, `3.1 times as long`.
#[must_use]
pub(crate) fn longer(ratio: f64) -> String {
    by(ratio, "longer", "as long")
}

/// `40 % longer than`, `3.1 times as long as`.
#[must_use]
pub(crate) fn longer_than(ratio: f64) -> String {
    by(ratio, "longer than", "as long as")
}

fn by(ratio: f64, part: &str, multiple: &str) -> String {
    if ratio >= 1.95 {
        format!("{} {multiple}", so_many_times(ratio))
    } else {
        format!("{} % {part}", digits((ratio - 1.0) * 100.0))
    }
}

/// `a, b and c`.
#[must_use]
pub(crate) fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_two_or_three_digits_and_the_unit_that_fits() {
        for (value, unit, expected) in [
            (4234.0, Unit::Nanoseconds, "4.2 µs"),
            (999.7, Unit::Nanoseconds, "1 µs"),
            (15.83, Unit::Nanoseconds, "15.8 ns"),
            (0.31, Unit::Nanoseconds, "0.31 ns"),
            (12_288.0, Unit::Bytes, "12 KiB"),
            (1_048_576.0, Unit::Bytes, "1 MiB"),
            (1_300_000_000.0, Unit::BytesPerSecond, "1.3 GB/s"),
            (2_100_000.0, Unit::PerSecond, "2.1 M/s"),
            (0.246, Unit::Share, "24.6 %"),
            (1.0, Unit::Share, "100 %"),
            (0.0, Unit::Count, "0"),
            (250.0, Unit::Count, "250"),
            (10.0, Unit::Count, "10"),
        ] {
            assert_eq!(shown(value, unit), expected);
        }
    }

    #[test]
    fn a_difference_has_a_direction_and_none_within_the_share() {
        let found = |value, other| difference(value, other, 0.1);
        assert_eq!(found(105.0, 100.0), Difference::None);
        assert_eq!(found(95.0, 100.0), Difference::None);
        assert_eq!(found(125.0, 100.0), Difference::More(1.25));
        assert_eq!(found(310.0, 100.0), Difference::More(3.1));
        assert_eq!(found(100.0, 310.0), Difference::Less(3.1));
        assert_eq!(found(0.0, 1.0), Difference::None);
        assert_eq!((more(1.25), more(3.1)), ("25 % more".into(), "3.1 times as much".into()));
        assert_eq!(longer(1.4), "40 % longer");
        assert_eq!(longer_than(3.1), "3.1 times as long as");
    }

    #[test]
    fn figures_whose_rounds_overlap_are_not_different() {
        let figure =
            |low, median, high| Figure { median, low, high, rounds: 5, p99: None, ratio: None };
        let calm = compared(&figure(99.0, 100.0, 101.0), &figure(49.0, 50.0, 51.0), 0.1);
        assert_eq!(calm, Difference::More(2.0));
        let wild = compared(&figure(40.0, 100.0, 110.0), &figure(45.0, 50.0, 51.0), 0.1);
        assert_eq!(wild, Difference::Unclear);
        let same = compared(&figure(40.0, 100.0, 110.0), &figure(45.0, 99.0, 100.0), 0.1);
        assert_eq!(same, Difference::None);
    }

    #[test]
    fn four_digits_count() {
        assert_eq!(significant(123_456.0), 123_500.0);
        assert_eq!(significant(0.001_234_56), 0.001_235);
        assert_eq!((significant(0.0), significant(f64::NAN)), (0.0, 0.0));
    }

    #[test]
    fn what_json_keeps_of_four_digits_is_all() {
        for digits in (1000..10_000).map(f64::from) {
            for places in -9..10 {
                let value = significant(digits * 10_f64.powi(places));
                let text = serde_json::to_string(&value).expect("a number");
                let read: f64 = serde_json::from_str(&text).expect("a number");
                assert_eq!(read.to_bits(), value.to_bits(), "{text}");
            }
        }
    }
}
