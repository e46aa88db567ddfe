//! From the engine's views to the wire.

pub(crate) mod chunks;
pub(crate) mod container;
pub(crate) mod image;
pub(crate) mod resources;
pub(crate) mod runtime;
pub(crate) mod sandbox;
pub(crate) mod stats;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod wire;

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in nanoseconds, never 0: to the kubelet 0 means that there is no time.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX).max(1)
}
