//! What can be wrong with the files of registries.

use std::path::PathBuf;
use std::time::Duration;

/// So many mistakes are told in one line.
const TOLD: usize = 10;

/// A `hosts.toml` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// It cannot be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A filesystem keeps whoever reads it waiting.
    #[error("read what {} says of {registry}: the filesystem did not answer within {waited:?}", path.display())]
    Unanswered {
        /// The directories of all registries.
        path: PathBuf,
        /// The registry whose directory and files were to be read.
        registry: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The thread that read ended without a result.
    #[error("read what {} says of {registry}: interrupted", path.display())]
    Interrupted {
        /// The directories of all registries.
        path: PathBuf,
        /// The registry whose directory and files were to be read.
        registry: String,
    },
    /// It is no TOML.
    #[error("{}:{line}: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where in it, from 1 on.
        line: usize,
        /// The parser's answer, in one line.
        problem: String,
    },
    /// A key that the format does not have.
    #[error("{}:{line}: unknown key {key}{}", path.display(), hint(*.meant))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Where in it, from 1 on.
        line: usize,
        /// The key with its table.
        key: String,
        /// The key that looks most alike.
        meant: Option<&'static str>,
    },
    /// A value that the key does not take.
    #[error("{}:{line}: {key}: {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Where in it, from 1 on.
        line: usize,
        /// The key with its table.
        key: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A certificate or key file is unusable.
    #[error("{}the {role} {}: {problem}", named(.at), path.display())]
    Certificate {
        /// The `hosts.toml` that names it, and the line.
        at: Option<(PathBuf, usize)>,
        /// What it is there for.
        role: &'static str,
        /// The PEM file.
        path: PathBuf,
        /// Why; never content of the file.
        problem: String,
    },
    /// No TLS can be spoken.
    #[error("set up TLS: {0}")]
    Tls(String),
    /// The registry's own name makes no address.
    #[error("registry {0:?} makes no valid address")]
    Address(String),
    /// Several of these.
    #[error("{}", listed(.0))]
    Several(Vec<HostsError>),
}

impl HostsError {
    /// All of these; `None` where there are none.
    pub(super) fn all(mut errors: Vec<Self>) -> Option<Self> {
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(Self::Several(errors)),
        }
    }

    /// Each by itself.
    pub fn each(self) -> Vec<Self> {
        match self {
            Self::Several(errors) => errors.into_iter().flat_map(Self::each).collect(),
            one => vec![one],
        }
    }
}

fn listed(errors: &[HostsError]) -> String {
    let mut lines: Vec<String> = errors.iter().take(TOLD).map(ToString::to_string).collect();
    if errors.len() > TOLD {
        lines.push(format!("and {} more", errors.len() - TOLD));
    }
    lines.join("; ")
}

fn hint(meant: Option<&str>) -> String {
    meant.map(|meant| format!(", did you mean `{meant}`?")).unwrap_or_default()
}

fn named(at: &Option<(PathBuf, usize)>) -> String {
    at.as_ref().map(|(file, line)| format!("{}:{line}: ", file.display())).unwrap_or_default()
}
