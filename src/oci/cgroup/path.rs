//! The name of a cgroup below the hierarchies' roots.

use crate::error::{OciError, OciResult};
use std::fmt;

/// A validated absolute cgroup path, such as `/kubepods/burstable/pod…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CgroupPath(String);

impl CgroupPath {
    /// The root of the hierarchies.
    pub(super) fn root() -> Self {
        Self(String::new())
    }

    /// Takes a `cgroup_parent` of the cgroupfs driver.
    ///
    /// # Errors
    /// [`OciError::Invalid`] naming `field`: a relative path, `.` or `..`, a systemd slice, a control character.
    pub fn parse(field: &str, path: &str) -> OciResult<Self> {
        let refuse = |reason: &str| Err(OciError::invalid(field, format!("{path:?} {reason}")));
        if path.ends_with(".slice") || path.contains(':') {
            return refuse("is a systemd slice, but the cgroup driver is cgroupfs");
        }
        if !path.starts_with('/') {
            return refuse("is not an absolute path");
        }
        if path.len() > 3072 {
            return refuse("is too long");
        }
        let mut clean = String::with_capacity(path.len());
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if part == "." || part == ".." {
                return refuse("contains . or ..");
            }
            if part.len() > 255 || part.chars().any(char::is_control) {
                return refuse("has a component that is no directory name");
            }
            if !clean.is_empty() {
                clean.push('/');
            }
            clean.push_str(part);
        }
        Ok(Self(clean))
    }

    /// The cgroup of this name below; an id, which holds no slash.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let name = name.replace('/', "_");
        if self.0.is_empty() { Self(name) } else { Self(format!("{}/{name}", self.0)) }
    }

    /// Relative to a hierarchy's root; empty for the root itself.
    pub(super) fn relative(&self) -> &str {
        &self.0
    }

    /// The last component; empty for the root.
    pub(super) fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, name)| name)
    }

    /// The one above; `None` at the root.
    pub(super) fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        Some(Self(self.0.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned())))
    }

    /// Itself and everything above it, the root left out, from the top.
    pub(super) fn lineage(&self) -> Vec<&str> {
        let ends = self.0.match_indices('/').map(|(at, _)| at);
        let mut lineage: Vec<&str> = ends.map(|at| &self.0[..at]).collect();
        if !self.0.is_empty() {
            lineage.push(&self.0);
        }
        lineage
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::CgroupPath;

    #[test]
    fn parents_are_cgroupfs_names() {
        for (path, clean) in [("/", "/"), ("/kubepods//pod1/", "/kubepods/pod1"), ("/a/b c", "/a/b c")] {
            assert_eq!(CgroupPath::parse("f", path).unwrap().to_string(), clean);
        }
        for path in
            ["", "a/b", "/a/../b", "/..", "/a/.", "/a.slice", "kubepods.slice", "system.slice:cri:x", "/a\nb"]
        {
            assert!(CgroupPath::parse("f", path).is_err(), "{path:?}");
        }
        let path = CgroupPath::parse("f", "/a/b").unwrap().join("c");
        assert_eq!(path.lineage(), ["a", "a/b", "a/b/c"]);
        assert_eq!(path.parent().unwrap().to_string(), "/a/b");
        assert!(CgroupPath::parse("f", "/").unwrap().parent().is_none());
    }
}
