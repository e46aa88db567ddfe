//! Settings that this host cannot have, although another might: programs and files that are not there, drivers that it
//! lacks. `corten config check` and the start of the daemon ask the same questions.

use super::Loaded;
use super::error::Place;
use crate::error::chain;
use std::fmt;

/// A setting that does not fit this host.
#[derive(Debug)]
pub(crate) struct HostProblem {
    /// Where it is set; `None` for a default.
    place: Option<Place>,
    key: String,
    reason: String,
}

impl fmt::Display for HostProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "`{}`: {}", self.key, self.reason)
    }
}

impl std::error::Error for HostProblem {}

/// Everything that does not fit, in the order of the sections.
pub(crate) fn check(loaded: &Loaded) -> Vec<HostProblem> {
    let mut problems: Vec<(String, String)> =
        loaded.config.engine().check_host().into_iter().map(|found| (found.key, found.problem)).collect();
    if let Err(error) = loaded.config.stream.check_host() {
        problems.push(("stream.tls_cert_file".to_owned(), chain(&error)));
    }
    let problem = |(key, reason): (String, String)| HostProblem { place: loaded.place(&key), key, reason };
    problems.into_iter().map(problem).collect()
}
