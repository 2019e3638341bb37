//! Wall time, as records have it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second of the year 9999, counted from 1970.
const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);

/// Wall time as RFC 3339 in UTC, to the millisecond. RFC 3339 has four digits for a year, and a
/// file system may give any time: one before 1970 or after 9999 becomes the nearest in between.
#[must_use]
pub fn wall(time: SystemTime) -> String {
    let time = time.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST_SECOND);
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_time_has_four_digits_for_its_year() {
        let day = Duration::from_secs(24 * 3600);
        for (time, text) in [
            (UNIX_EPOCH - day, "1970-01-01T00:00:00.000Z"),
            (UNIX_EPOCH + Duration::from_millis(1), "1970-01-01T00:00:00.001Z"),
            (UNIX_EPOCH + LAST_SECOND + day, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(wall(time), text);
        }
    }
}
