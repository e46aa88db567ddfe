//! Settings that this host cannot have, although another might: programs and files that are not there, drivers that it
//! lacks, a filesystem that carries no containers. `corten config check` and the start of the daemon ask the same
//! questions; the start goes on where only some pods cannot be had.

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
    /// The daemon does not start with it.
    prevents_start: bool,
}

/// All settings that do not fit this host.
#[derive(Debug)]
pub(crate) struct HostProblems(Vec<HostProblem>);

impl fmt::Display for HostProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.0.iter().enumerate() {
            let before = if number == 0 { "" } else { "; " };
            write!(f, "{before}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for HostProblems {}

impl HostProblems {
    /// Those with which the daemon does not start.
    pub(crate) fn of_the_start(self) -> Self {
        Self(self.0.into_iter().filter(|problem| problem.prevents_start).collect())
    }

    /// `Err` where there are any.
    pub(crate) fn none(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for HostProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "`{}`: {}", self.key, self.reason)
    }
}

/// Everything that does not fit, in the order of the sections.
pub(crate) fn check(loaded: &Loaded) -> HostProblems {
    let config = &loaded.config;
    let found = config.engine().check_host(&config.data_dir);
    let mut problems: Vec<HostProblem> = found.into_iter().map(|found| of_engine(found, loaded)).collect();
    if let Err(error) = config.stream.check_host() {
        let key = "stream.tls_cert_file".to_owned();
        let place = loaded.place(&key);
        problems.push(HostProblem { place, key, reason: chain(&error), prevents_start: true });
    }
    HostProblems(problems)
}

fn of_engine(found: engine::HostProblem, loaded: &Loaded) -> HostProblem {
    let engine::HostProblem { setting: engine::SettingError { key, problem }, prevents_start } = found;
    HostProblem { place: loaded.place(&key), key, reason: problem, prevents_start }
}
