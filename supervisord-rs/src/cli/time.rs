//! Times for people: in their own time zone, or in UTC; and how long something has lasted.

use std::time::{Duration, SystemTime};

/// A time of a report (RFC 3339, UTC) to the second, in local time unless `utc`. What is no time is
/// shown as it is.
pub(super) fn shown(at: &str, utc: bool) -> String {
    let Ok(time) = at.parse::<jiff::Timestamp>() else { return at.to_owned() };
    if utc {
        return time.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    }
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// How long it has been since then: two units at most.
pub(super) fn since(at: &str, now: SystemTime) -> String {
    let passed = humantime::parse_rfc3339(at).ok().and_then(|at| now.duration_since(at).ok());
    passed.map_or_else(|| "-".to_owned(), lasted)
}

fn lasted(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_last_has_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3599, "59m59s"),
            (7260, "2h01m"),
            (90000, "1d01h"),
        ] {
            assert_eq!(lasted(Duration::from_secs(seconds)), text);
        }
        assert_eq!(shown("2026-01-02T03:04:05.678Z", true), "2026-01-02 03:04:05Z");
    }
}
