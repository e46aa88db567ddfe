//! Whether a body still comes in.

use bytes::Bytes;
use reqwest::Response;
use std::time::{Duration, Instant};

/// What a body must bring within the progress time-out to count as coming in at all: one byte a second is a stall
/// too, and would hold a pull for weeks.
pub(super) const ENOUGH: u64 = 16 << 10;

/// Why a body brings no more.
pub(super) enum Stop {
    /// Too little for too long.
    Stalled,
    /// The connection broke.
    Broken(reqwest::Error),
}

/// Counts the time that is spent waiting for a host, and none that is spent on what it sent: a slow disk is no
/// stall.
pub(super) struct Meter {
    limit: Duration,
    waited: Duration,
    bytes: u64,
}

impl Meter {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, waited: Duration::ZERO, bytes: 0 }
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self, response: &mut Response) -> Result<Option<Bytes>, Stop> {
        let begin = Instant::now();
        let left = self.limit.saturating_sub(self.waited);
        let piece = match tokio::time::timeout(left, response.chunk()).await {
            Err(_) => return Err(Stop::Stalled),
            Ok(Err(error)) => return Err(Stop::Broken(error)),
            Ok(Ok(piece)) => piece,
        };
        self.waited += begin.elapsed();
        self.bytes += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if self.bytes >= ENOUGH {
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        Ok(piece)
    }
}
