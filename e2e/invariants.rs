//! What holds after every fault, and while faults happen: one checker for the kill matrix, the soak and single faults.
//! The numbers are those of `docs/reliability.md`.

use crate::error::Error;
use crate::isolation::cgroup_directories;
use crate::logs;
use crate::proto::{Container, PodSandbox};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How far the time of an end may be off on an idle machine (I2).
pub(crate) const EXACT: Duration = Duration::from_millis(100);

/// Ids that were told and not asked to be removed (I1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Of pods.
    pub pods: BTreeSet<String>,
    /// Of containers.
    pub containers: BTreeSet<String>,
}

impl Told {
    /// Looks for all of them in what is listed (I1).
    ///
    /// # Errors
    /// When one is not there.
    pub fn are_listed(&self, pods: &[PodSandbox], containers: &[Container]) -> Result<(), Error> {
        let seen = self.missing(pods, containers);
        if seen.pods.is_empty() && seen.containers.is_empty() {
            return Ok(());
        }
        Err(Error::Unexpected { what: "the list of what was told (I1)", seen: format!("it lacks {seen:?}") })
    }

    /// Those that are not listed.
    #[must_use]
    pub fn missing(&self, pods: &[PodSandbox], containers: &[Container]) -> Self {
        let listed_pods: BTreeSet<_> = pods.iter().map(|pod| pod.id.clone()).collect();
        let listed: BTreeSet<_> = containers.iter().map(|container| container.id.clone()).collect();
        Self {
            pods: self.pods.difference(&listed_pods).cloned().collect(),
            containers: self.containers.difference(&listed).cloned().collect(),
        }
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            pods: self.pods.intersection(&other.pods).cloned().collect(),
            containers: self.containers.intersection(&other.containers).cloned().collect(),
        }
    }
}

/// Compares how a container ended with how it had to (I2).
///
/// # Errors
/// When the code is another one.
pub fn ended_with(seen: i32, wanted: i32) -> Result<(), Error> {
    if seen == wanted {
        return Ok(());
    }
    Err(Error::Unexpected { what: "an exit code (I2)", seen: format!("{seen} instead of {wanted}") })
}

/// Reads the parts of a log, oldest first, whose lines on standard output are numbered from 0 (I5); how many there are.
///
/// # Errors
/// When a line is lost, doubled or torn.
pub fn numbered(parts: &[PathBuf]) -> Result<usize, Error> {
    let mut next = 0;
    for part in parts {
        for line in logs::read(part)?.iter().filter(|line| line.stream == "stdout") {
            if line.text != next.to_string() {
                let seen = format!("{}: {:?} where {next} should be", part.display(), line.text);
                return Err(Error::Unexpected { what: "a log with numbered lines (I5)", seen });
            }
            next += 1;
        }
    }
    Ok(next)
}

/// What is left of something that was removed, in cgroups, mounts and files (I4).
#[must_use]
pub fn traces(id: &str, cgroup_parent: &str, state: &[&Path]) -> Vec<String> {
    let mut found = Vec::new();
    let has = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(id));
    let cgroups = cgroup_directories(cgroup_parent);
    found.extend(cgroups.iter().filter(|path| has(path)).map(|path| path.display().to_string()));
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    found.extend(mounts.lines().filter(|line| line.contains(id)).map(str::to_owned));
    for directory in state {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        found.extend(
            entries.map(|entry| entry.path()).filter(|path| has(path)).map(|path| path.display().to_string()),
        );
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_a_double_and_a_tear_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let part = |name: &str, lines: &[&str]| {
            let path = directory.path().join(name);
            let line = |text: &&str| format!("2026-11-01T10:00:00.000000001Z stdout F {text}\n");
            fs::write(&path, lines.iter().map(line).collect::<String>()).unwrap();
            path
        };
        let (begin, end) = (part("0.log.0", &["0", "1"]), part("0.log", &["2"]));
        assert_eq!(numbered(&[begin.clone(), end.clone()]).unwrap(), 3);
        assert!(numbered(std::slice::from_ref(&end)).is_err());
        assert!(numbered(&[begin.clone(), begin.clone()]).is_err());
        assert!(numbered(&[part("torn", &["0", "1", "", "2"])]).is_err());
    }

    #[test]
    fn what_was_told_and_is_not_listed_is_named() {
        let mut told = Told::default();
        told.pods.insert("a".to_owned());
        told.containers.insert("b".to_owned());
        let pod = PodSandbox { id: "a".to_owned(), ..PodSandbox::default() };
        let container = Container { id: "b".to_owned(), ..Container::default() };
        told.are_listed(std::slice::from_ref(&pod), std::slice::from_ref(&container)).unwrap();
        let error = told.are_listed(&[pod], &[]).unwrap_err().to_string();
        assert!(error.contains("containers: {\"b\"}"), "{error}");
        let other = Told { pods: told.pods.clone(), ..Told::default() };
        assert_eq!(told.and(&other), other);
    }

    #[test]
    fn a_code_is_exact() {
        ended_with(7, 7).unwrap();
        assert!(ended_with(255, 7).is_err());
    }
}
