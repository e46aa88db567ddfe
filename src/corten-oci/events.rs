//! `events`: what a container uses, and when the kernel kills in it for want of memory.

use std::thread::sleep;
use std::time::Duration;

use oci::cgroup::Host;
use serde_json::json;

use crate::args;
use crate::context::{Context, print};
use crate::error::{Error, Result};
use crate::state::{Dir, Record};
use crate::status::Status;

/// Prints a line of JSON each interval until the container has ended; with `--stats` one.
pub(crate) fn events(context: &Context<'_>, args: &args::Events) -> Result<()> {
    let interval = duration(&args.interval)?;
    let (dir, record) = Dir::open(&context.global.root, &args.id)?;
    let host = Host::detect()?;
    let mut kills = host.oom_count(&record.cgroup()?)?;
    if dir.status(&record, Some(&host)) == Status::Stopped {
        return Err(Error::NotRunning);
    }
    loop {
        usage(&host, &record)?;
        if args.stats {
            return Ok(());
        }
        sleep(interval);
        let now = host.oom_count(&record.cgroup()?)?;
        for _ in kills..now {
            print(&json!({ "type": "oom", "id": record.id }).to_string())?;
        }
        kills = now;
        if !record.is_alive() {
            return Ok(());
        }
    }
}

/// In runc's form, as far as it is known.
fn usage(host: &Host, record: &Record) -> Result<()> {
    let stats = host.stats(&record.cgroup()?)?;
    let line = json!({
        "type": "stats",
        "id": record.id,
        "data": {
            "cpu": { "usage": { "total": stats.cpu_usage_ns } },
            "memory": {
                "usage": { "usage": stats.memory_usage, "limit": stats.memory_limit },
                "raw": { "pgfault": stats.page_faults, "pgmajfault": stats.major_page_faults, "rss": stats.memory_rss },
            },
            "pids": { "current": stats.pids },
        },
    });
    print(&line.to_string())
}

/// `500ms`, `5s`, `2m`, `1h`.
fn duration(text: &str) -> Result<Duration> {
    let refuse = || Error::invalid("--interval", format!("{text:?} is not a duration such as 5s"));
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(refuse()),
    };
    match number.checked_mul(millis) {
        Some(millis) if millis > 0 => Ok(Duration::from_millis(millis)),
        _ => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn intervals_have_units() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        for wrong in ["", "5", "0s", "5d", "s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }
}
