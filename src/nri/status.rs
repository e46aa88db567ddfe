//! What is known of plugins, for `corten status` and metrics.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Where a plugin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It connected by itself.
    External,
    /// It was started from the directory of plugins.
    Installed,
    /// It lies there, and is not started.
    Unfit,
}

/// The upper bounds of the buckets of [`Calls::buckets`].
pub const LATENCY: [Duration; 8] = [
    Duration::from_micros(250),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(10),
];

/// How one request went with one plugin so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    /// The request, as `CreateContainer`.
    pub request: &'static str,
    /// How often it was asked.
    pub total: u64,
    /// How often it answered with an error.
    pub refused: u64,
    /// How often it left it without an answer.
    pub unanswered: u64,
    /// How often it asked for what cannot be done.
    pub rejected: u64,
    /// How often it changed something.
    pub adjusted: u64,
    /// Calls by how long they took, one more than [`LATENCY`]; not cumulative.
    pub buckets: [u64; LATENCY.len() + 1],
    /// All the time that was waited for it.
    pub waited: Duration,
}

/// How the socket is that plugins connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenStatus {
    /// Its path.
    pub socket: PathBuf,
    /// Why nobody can connect, until that is tried again.
    pub problem: Option<String>,
}

/// A plugin that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    /// How it went, or why it has not come.
    pub why: String,
    /// When it is started again, where that is done here.
    pub again_at: Option<SystemTime>,
}

/// One plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginStatus {
    /// Index and name, as `10-name`.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Its process, where that is known.
    pub pid: Option<u32>,
    /// Whether it is connected and knows of everything that is there.
    pub connected: bool,
    /// Since when it has been so.
    pub since: SystemTime,
    /// Where it is not there.
    pub absence: Option<Absence>,
    /// What it subscribed to, as in `Event`.
    pub events: u32,
    /// What it is asked at this moment, and for how long already.
    pub pending: Option<(&'static str, Duration)>,
    /// How often it was started anew, or came back by itself.
    pub restarts: u64,
    /// How it ended last, of one that is started here.
    pub last_end: Option<String>,
    /// How its requests went.
    pub calls: Vec<Calls>,
}

impl PluginStatus {
    /// Of one that is not there, and was asked nothing.
    pub(crate) fn absent(name: String, origin: Origin, since: SystemTime, absence: Absence) -> Self {
        Self {
            name,
            origin,
            pid: None,
            connected: false,
            since,
            absence: Some(absence),
            events: 0,
            pending: None,
            restarts: 0,
            last_end: None,
            calls: Vec::new(),
        }
    }
}
