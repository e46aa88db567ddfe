//! Whether mounts can travel to and from a path of the host.

use crate::error::{OciError, OciResult};
use model::Propagation;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Mounts travel only through a mount that the host shares: asking for it elsewhere would be silently void.
///
/// # Errors
/// [`OciError::Invalid`] with `field` where the host does not share it.
pub fn needs_sharing(field: &str, source: &Path, propagation: Propagation) -> OciResult<()> {
    Sharing::of_host()?.check(field, source, propagation)
}

/// The optional fields of the host's mounts, by where they are.
#[derive(Default)]
pub(super) struct Sharing(HashMap<PathBuf, String>);

impl Sharing {
    pub(super) fn of_host() -> OciResult<Self> {
        let table = std::fs::read_to_string("/proc/self/mountinfo")
            .map_err(OciError::io("read", "/proc/self/mountinfo"))?;
        Ok(Self::parse(&table))
    }

    fn parse(table: &str) -> Self {
        let mount = |line: &str| {
            let (mount, _) = line.split_once(" - ")?;
            let fields: Vec<&str> = mount.split(' ').collect();
            let point = fields.get(4)?.replace("\\040", " ");
            Some((PathBuf::from(point), fields.get(6..).unwrap_or_default().join(" ")))
        };
        Self(table.lines().filter_map(mount).collect())
    }

    /// As [`needs_sharing`].
    pub(super) fn check(&self, field: &str, source: &Path, propagation: Propagation) -> OciResult<()> {
        let real = existing(source)?;
        let tags = self.of(&real);
        let enough = tags.contains("shared:")
            || (propagation == Propagation::HostToContainer && tags.contains("master:"));
        if enough {
            return Ok(());
        }
        let kind = if propagation == Propagation::Bidirectional { "shared" } else { "shared or slave" };
        Err(OciError::invalid(field, format!("{} is not on a {kind} mount of the host", source.display())))
    }

    /// Those of the mount that holds a path: the last one mounted on the longest prefix.
    fn of(&self, path: &Path) -> &str {
        path.ancestors().find_map(|part| self.0.get(part)).map_or("", String::as_str)
    }
}

/// The path without links; of one that is still to be made, the part that exists.
fn existing(path: &Path) -> OciResult<PathBuf> {
    for part in path.ancestors() {
        match std::fs::canonicalize(part) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => return found.map_err(OciError::io("resolve", part)),
        }
    }
    Ok(PathBuf::from("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_on_the_longest_prefix_counts() {
        let table = "20 1 8:1 / / rw shared:1 - ext4 /dev/sda rw\n\
                     21 20 0:5 / /data rw - tmpfs tmpfs rw\n\
                     22 21 0:6 / /data/with\\040blank rw master:7 - tmpfs tmpfs rw\n\
                     23 20 0:7 / /data rw shared:9 master:1 - tmpfs tmpfs rw\n";
        for (path, tags) in [
            ("/etc", "shared:1"),
            ("/data/x", "shared:9 master:1"),
            ("/data/with blank/x", "master:7"),
            ("/database", "shared:1"),
        ] {
            assert_eq!(Sharing::parse(table).of(Path::new(path)), tags, "{path}");
        }
    }
}
