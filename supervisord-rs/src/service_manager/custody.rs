//! The guardian's rules for a supervisor that dies or hangs. They come from the configuration: the
//! supervisor sends them to the guardian before each READY, and the guardian reads nothing but this
//! line.

use std::time::Duration;

use supervision::spec::{Backoff, Limit};

/// The beginning of the line.
pub const CUSTODY: &str = "X_SUPERVISORD_RS_CUSTODY=";

/// `supervisor: { restart:, watchdog:, shutdown_timeout: }`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Custody {
    /// The delay before the second restart within the limit's window, and so on; the first is
    /// immediate.
    pub backoff: Backoff,
    /// After more deaths than that the guardian gives up.
    pub limit: Limit,
    /// The guardian ends a supervisor that has not sent `WATCHDOG=1` for so long. `None`: never.
    pub watchdog: Option<Duration>,
    /// The time for everything to stop.
    pub shutdown_timeout: Duration,
}

impl Default for Custody {
    fn default() -> Self {
        Self {
            backoff: Backoff {
                initial: Duration::from_millis(100),
                factor_permille: 2000,
                max: Duration::from_secs(5),
                jitter_permille: 0,
            },
            limit: Limit { restarts: 10, within: Duration::from_secs(60) },
            watchdog: Some(Duration::from_secs(30)),
            shutdown_timeout: Duration::from_secs(30),
        }
    }
}

impl Custody {
    /// Reads what `Display` writes; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let numbers: Option<Vec<u64>> = text.split(' ').map(|number| number.parse().ok()).collect();
        let [initial, factor, max, jitter, restarts, within, watchdog, shutdown] = numbers?[..]
        else {
            return None;
        };
        let small = |number: u64| u32::try_from(number).ok();
        Some(Self {
            backoff: Backoff {
                initial: Duration::from_nanos(initial),
                factor_permille: small(factor)?,
                max: Duration::from_nanos(max),
                jitter_permille: small(jitter)?,
            },
            limit: Limit { restarts: small(restarts)?, within: Duration::from_nanos(within) },
            watchdog: (watchdog > 0).then(|| Duration::from_nanos(watchdog)),
            shutdown_timeout: Duration::from_nanos(shutdown),
        })
    }
}

impl std::fmt::Display for Custody {
    /// Eight numbers; durations in nanoseconds.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let Self { backoff, limit, watchdog, shutdown_timeout } = *self;
        write!(
            f,
            "{} {} {} {} {} {} {} {}",
            nanos(backoff.initial),
            backoff.factor_permille,
            nanos(backoff.max),
            backoff.jitter_permille,
            limit.restarts,
            nanos(limit.within),
            watchdog.map_or(0, nanos),
            nanos(shutdown_timeout),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guardian_reads_what_the_supervisor_writes_and_nothing_else() {
        let other = Custody {
            watchdog: None,
            shutdown_timeout: Duration::MAX,
            limit: Limit { restarts: u32::MAX, within: Duration::ZERO },
            ..Custody::default()
        };
        for custody in [Custody::default(), other] {
            let read = Custody::parse(&custody.to_string()).unwrap();
            assert_eq!(
                (read.backoff, read.limit, read.watchdog),
                (custody.backoff, custody.limit, custody.watchdog)
            );
            assert!(read.shutdown_timeout >= Duration::from_secs(30));
        }
        for text in
            ["", "1 2 3", "1 2 3 4 5 6 7 x", "1 2 3 4 5 6 7 8 9", "1 99999999999 3 4 5 6 7 8"]
        {
            assert_eq!(Custody::parse(text), None, "{text:?}");
        }
    }
}
