//! Wall-clock time, and its form in log lines.

use std::time::{SystemTime, UNIX_EPOCH};

/// The length of a stamp: `2006-01-02T15:04:05.000000000Z`.
pub(crate) const STAMP: usize = 30;

const NANOS: i64 = 1_000_000_000;

/// Nanoseconds since the epoch.
pub(crate) fn wall_ns() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        // A clock before 1970 is counted backwards.
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    }
}

/// RFC 3339 in UTC with nine digits of the second's fraction.
pub(crate) fn stamp(wall_ns: i64) -> [u8; STAMP] {
    let (seconds, nanos) = (wall_ns.div_euclid(NANOS), wall_ns.rem_euclid(NANOS));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    let fields = [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, second / 3600),
        (14, 2, second / 60 % 60),
        (17, 2, second % 60),
        (20, 9, nanos),
    ];
    for (start, width, value) in fields {
        let mut rest = value;
        for digit in out.iter_mut().skip(start).take(width).rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
    }
    out
}

/// The same as text.
pub(crate) fn stamp_text(wall_ns: i64) -> String {
    String::from_utf8_lossy(&stamp(wall_ns)).into_owned()
}

/// Days since the epoch as year, month and day of the Gregorian calendar. Years are counted from March, so
/// that the leap day is the last, in cycles of 400 years.
fn civil(days: i64) -> (i64, i64, i64) {
    const CYCLE: i64 = 146_097;
    const MARCH_0000: i64 = 719_468;
    let days = days + MARCH_0000;
    let (cycle, day_of_cycle) = (days.div_euclid(CYCLE), days.rem_euclid(CYCLE));
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_rfc_3339() {
        assert_eq!(stamp_text(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(stamp_text(951_782_400 * NANOS + 7), "2000-02-29T00:00:00.000000007Z");
        assert_eq!(stamp_text(1_735_689_599 * NANOS + 999_999_999), "2024-12-31T23:59:59.999999999Z");
        assert_eq!(stamp_text(4_107_542_400 * NANOS), "2100-03-01T00:00:00.000000000Z");
        assert_eq!(stamp_text(-1), "1969-12-31T23:59:59.999999999Z");
    }
}
