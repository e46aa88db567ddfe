//! Slices of systemd as directories: a slice's name spells its whole path (systemd.slice(5)).

use super::CgroupPath;
use crate::error::{OciError, OciResult};

const SUFFIX: &str = ".slice";
/// The one at the root.
const ROOT: &str = "-.slice";
/// systemd.unit(5): the longest name of a unit.
const LONGEST: usize = 255;

/// Whether a `cgroup_parent` is meant for systemd.
pub(super) fn is_slice(parent: &str) -> bool {
    parent.trim_end_matches('/').ends_with(SUFFIX)
}

/// The unit's name: the last component, whatever directories are in front of it.
pub(super) fn name(parent: &str) -> &str {
    let parent = parent.trim_end_matches('/');
    parent.rsplit_once('/').map_or(parent, |(_, name)| name)
}

/// The slice directly below a slice.
pub(super) fn below(parent: &str, name: &str) -> String {
    match parent.strip_suffix(SUFFIX) {
        None | Some("-") => format!("{name}{SUFFIX}"),
        Some(stem) => format!("{stem}-{name}{SUFFIX}"),
    }
}

/// `a-b.slice` is `/a.slice/a-b.slice`. A path in front of the name is taken when it is the right one: the kubelet
/// gives whole paths, and other users the name alone.
///
/// # Errors
/// [`OciError::Invalid`] naming `field`.
pub(super) fn path(field: &str, parent: &str) -> OciResult<CgroupPath> {
    let refuse = |reason: String| Err(OciError::invalid(field, format!("{parent:?} {reason}")));
    let name = name(parent);
    if name == ROOT {
        return CgroupPath::parse(field, "/");
    }
    let stem = name.strip_suffix(SUFFIX).unwrap_or_default();
    let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b':' | b'-' | b'_' | b'.' | b'\\');
    if name.len() > LONGEST || stem.split('-').any(str::is_empty) || !stem.bytes().all(known) {
        return refuse("is no name of a slice".to_owned());
    }
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    let path = ends.fold(CgroupPath::root(), |path, end| {
        path.join(&format!("{}{SUFFIX}", stem.get(..end).unwrap_or_default()))
    });
    let directories: Vec<&str> = parent.split('/').filter(|part| !part.is_empty()).collect();
    if directories.len() > 1 && format!("/{}", directories.join("/")) != path.to_string() {
        return refuse(format!("is not where systemd has {name}, which is {path}"));
    }
    Ok(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{is_slice, path};

    #[test]
    fn names_spell_paths() {
        for (given, expanded) in [
            ("-.slice", "/"),
            ("/test.slice", "/test.slice"),
            ("system.slice", "/system.slice"),
            ("kubepods-burstable.slice", "/kubepods.slice/kubepods-burstable.slice"),
            ("/kubepods.slice/kubepods-burstable.slice/", "/kubepods.slice/kubepods-burstable.slice"),
            ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
            ("kubepods-pod12_34_56.slice", "/kubepods.slice/kubepods-pod12_34_56.slice"),
        ] {
            assert!(is_slice(given), "{given}");
            assert_eq!(path("f", given).unwrap().to_string(), expanded, "{given}");
        }
    }

    #[test]
    fn what_systemd_would_not_take_is_refused() {
        for given in ["a--b.slice", "-a.slice", "a-.slice", ".slice", "a b.slice", "a\n.slice", "é.slice"] {
            assert!(path("f", given).is_err(), "{given}");
        }
        assert!(path("f", &format!("{}.slice", "a".repeat(300))).is_err());
        let error = path("f", "/b.slice/a.slice").unwrap_err().to_string();
        assert!(error.contains("which is /a.slice"), "{error}");
        assert!(path("f", "/../a.slice").is_err());
    }
}
