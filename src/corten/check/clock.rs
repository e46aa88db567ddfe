//! The clock, by which certificates are judged and tokens expire.

use super::finding::Finding;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first of January 2025: this program is younger.
const EARLIEST: Duration = Duration::from_secs(1_735_689_600);
/// A hundred years from then.
const LATEST: Duration = Duration::from_secs(EARLIEST.as_secs() + 100 * 365 * 86_400);

pub(super) fn check() -> Finding {
    judge(
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        sys::probe::is_clock_synchronised(),
    )
}

fn judge(now: Duration, synchronised: bool) -> Finding {
    let mend = "chrony or systemd-timesyncd; `timedatectl set-ntp true`";
    if now < EARLIEST || now > LATEST {
        return Finding::warning(
            "clock",
            format!("it shows {} s after the first of January 1970", now.as_secs()),
        )
        .costs("certificates of registries are not valid at that time: pulls fail")
        .mend(mend);
    }
    if synchronised {
        return Finding::ok("clock", "something keeps it right");
    }
    Finding::warning("clock", "nothing is known to keep it right")
        .costs("when it drifts, tokens and certificates are refused, and logs of nodes do not fit together")
        .mend(mend)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_clock_of_another_age_is_told() {
        let today = EARLIEST + Duration::from_secs(50_000_000);
        assert_eq!(judge(today, true).level, Level::Ok);
        assert!(judge(today, false).found.contains("nothing is known"));
        assert!(judge(Duration::from_secs(3), true).found.contains("1970"));
        assert!(judge(LATEST * 2, true).found.contains("1970"));
    }
}
