//! When a request is worth another try.

use super::answer::Tries;
use reqwest::{Response, StatusCode};
use std::error::Error as _;
use std::time::{Duration, Instant, SystemTime};

/// How often a busy host (429, 5xx) is asked.
const BUSY_TRIES: u32 = 3;
/// How often what the network did is overlooked.
const HICCUPS: u32 = 1;
/// The longest that a `Retry-After` is obeyed.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// What one request was forgiven so far.
pub(super) struct Patience {
    begin: Instant,
    busy: u32,
    hiccups: u32,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { begin: Instant::now(), busy: 0, hiccups: 0 }
    }

    /// How long to wait before the host is asked again; `None` where its answer stands.
    pub(super) fn busy(&mut self, response: &Response) -> Option<Duration> {
        if !is_busy(response.status()) || self.busy + 1 >= BUSY_TRIES {
            return None;
        }
        self.busy += 1;
        Some(wait(response, self.busy))
    }

    /// As [`Self::busy`], where there was no answer.
    pub(super) fn hiccup(&mut self, error: &reqwest::Error) -> Option<Duration> {
        (is_hiccup(error) && self.another()).then_some(PAUSE)
    }

    /// Whether a body that broke off is asked for once more.
    pub(super) fn another(&mut self) -> bool {
        self.hiccups += 1;
        self.hiccups <= HICCUPS
    }

    /// How often a host was asked that stayed busy.
    pub(super) fn tries(&self) -> Option<Tries> {
        (self.busy > 0).then(|| Tries { count: self.busy + 1, took: self.begin.elapsed() })
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504 | 520..=524)
}

/// Whether a connection was there and went away before the answer. Neither a host that cannot be reached at all nor one
/// that let the time pass does better at once.
fn is_hiccup(error: &reqwest::Error) -> bool {
    if error.is_timeout() || error.is_builder() {
        return false;
    }
    if !error.is_connect() {
        return true;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
            return matches!(io.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof);
        }
        source = cause.source();
    }
    false
}

/// `Retry-After`, else 200 ms doubled at each try.
fn wait(response: &Response, tries: u32) -> Duration {
    let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    match after.and_then(|text| retry_after(text.trim(), SystemTime::now())) {
        Some(after) => after.min(LONGEST_WAIT),
        None => PAUSE * (1 << tries.min(6)),
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_seconds_and_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        for (text, seconds) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sat, 05 Nov 1994 08:49:37 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(text, now).map(|wait| wait.as_secs()), seconds, "{text}");
        }
    }
}
