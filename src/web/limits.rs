//! What clients may take.

use std::time::Duration;

/// What the clients of a listener may take. One set for all of them; tests make times shorter.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time that are not upgraded: one more, and the oldest without a request in work is cut off.
    pub connections: usize,
    /// How long a connection is left alone before it makes room: a client that has just come gets to its request.
    pub fresh: Duration,
    /// For TLS, and again for the head of each request, which includes the idle time before it.
    pub head: Duration,
    /// For a connection as a whole, work of ours left out; then it ends with the request that is under way.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            fresh: Duration::from_millis(250),
            head: Duration::from_secs(10),
            whole: Duration::from_secs(60),
        }
    }
}

/// Most bytes of a request's head, and of an answer that waits to be read.
pub(crate) const MAX_BUFFER: usize = 16 << 10;
/// Most header lines of a request.
pub(crate) const MAX_HEADERS: usize = 64;
