//! Times and ages as people read and write them.

use std::time::{SystemTime, UNIX_EPOCH};

const SECOND: i64 = 1_000_000_000;

/// Unix time in nanoseconds.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// How long ago something was, as kubectl tells it.
pub(crate) fn age(nanoseconds: i64) -> String {
    let seconds = nanoseconds.max(0) / SECOND;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: char, rest: i64, small: char| {
        if rest == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{rest}{small}") }
    };
    match seconds {
        ..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        _ => format!("{days}d"),
    }
}

/// Unix time in nanoseconds as RFC 3339 has it, in UTC, without zeros at the end; `digits` limits the fraction.
pub(crate) fn rfc3339(time: i64, digits: usize) -> String {
    let (seconds, fraction) = (time.div_euclid(SECOND), time.rem_euclid(SECOND));
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let nine = format!("{fraction:09}");
    let fraction = nine.get(..digits).unwrap_or_default().trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{dot}{fraction}Z")
}

/// The same to the millisecond, of one width for the lines of a list.
pub(crate) fn aligned(time: i64) -> String {
    let whole = rfc3339(time, 0);
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), time.rem_euclid(SECOND) / 1_000_000)
}

/// The time that a text in the form of RFC 3339 names, in nanoseconds.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.splitn(3, '-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone);
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = whole.splitn(3, ':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let nanoseconds = if fraction.is_empty() { 0 } else { number(format!("{fraction:0<9}").get(..9)?)? };
    let offset = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign, rest) => {
            let (hours, minutes) = rest.split_once(':')?;
            let seconds = number(hours)? * 3600 + number(minutes)? * 60;
            if sign == "-" { -seconds } else { seconds }
        }
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(SECOND)?.checked_add(nanoseconds)
}

/// Digits alone, unlike what integers are parsed of.
fn number(text: &str) -> Option<i64> {
    (!text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// An age such as `90s`, `10m`, `1h30m` or `2d`, in nanoseconds.
pub(crate) fn span(text: &str) -> Option<i64> {
    let (mut total, mut rest) = (0_i64, text);
    while !rest.is_empty() {
        let unit = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (count, after) = rest.split_at(unit);
        let (scale, after) = match after.split_at_checked(1)? {
            ("d", after) => (86_400, after),
            ("h", after) => (3600, after),
            ("m", after) if !after.starts_with('s') => (60, after),
            ("s", after) => (1, after),
            _ => return None,
        };
        total = total.checked_add(number(count)?.checked_mul(scale)?)?;
        rest = after;
    }
    (!text.is_empty()).then(|| total.checked_mul(SECOND)).flatten()
}

/// Days since 1970 of a date in the Gregorian calendar, whose years are reckoned from March on.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since 1970: year, month, day.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let (month, day) = (if march < 10 { march + 3 } else { march - 9 }, of_year - (153 * march + 2) / 5 + 1);
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_those_of_kubectl() {
        for (seconds, told) in [
            (-5, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (3600, "60m"),
            (10_860, "3h1m"),
            (86_400, "24h"),
            (180_000, "2d2h"),
            (864_000, "10d"),
        ] {
            assert_eq!(age(seconds * SECOND), told);
        }
    }

    #[test]
    fn times_are_told_and_read_alike() {
        for (time, told) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_709_210_096 * SECOND + 120_000_000, "2024-02-29T12:34:56.12Z"),
            (4_102_444_799 * SECOND + 1, "2099-12-31T23:59:59.000000001Z"),
        ] {
            assert_eq!(rfc3339(time, 9), told);
            assert_eq!(parse(told), Some(time));
        }
        assert_eq!(rfc3339(999_999_999, 0), "1970-01-01T00:00:00Z");
        assert_eq!(aligned(1_120_999_999), "1970-01-01T00:00:01.120Z");
        assert_eq!(aligned(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(parse("1970-01-01T02:00:00+02:00"), Some(0));
        for wrong in
            ["", "now", "2024-13-01T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00", "2024-01-01T+1:00:00Z"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn spans_have_units() {
        for (text, seconds) in [("90s", 90), ("1h30m", 5400), ("2d", 172_800), ("0s", 0)] {
            assert_eq!(span(text), Some(seconds * SECOND));
        }
        for wrong in ["", "5", "m", "10x", "5ms", "-5m", "1h3", "99999999999999d"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
    }
}
