//! Whether mounts can travel to and from a path of the host.

use crate::error::{OciError, OciResult};
use model::Propagation;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Mounts travel only through a mount that the host shares: asking for it elsewhere would be silently void.
///
/// # Errors
/// [`OciError::Invalid`] with `field` where the host does not share it.
pub fn needs_sharing(field: &str, source: &Path, propagation: Propagation) -> OciResult<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(OciError::io("read", "/proc/self/mountinfo"))?;
    let real = existing(source)?;
    let tags = sharing_of(&table, &real);
    let enough =
        tags.contains("shared:") || (propagation == Propagation::HostToContainer && tags.contains("master:"));
    if enough {
        return Ok(());
    }
    let kind = if propagation == Propagation::Bidirectional { "shared" } else { "shared or slave" };
    Err(OciError::invalid(field, format!("{} is not on a {kind} mount of the host", source.display())))
}

/// The optional fields of the mount that holds a path: the last one mounted on the longest prefix.
fn sharing_of(table: &str, path: &Path) -> String {
    let mut best = (0, String::new());
    for line in table.lines() {
        let Some((mount, _)) = line.split_once(" - ") else { continue };
        let fields: Vec<&str> = mount.split(' ').collect();
        let Some(point) = fields.get(4).map(|point| point.replace("\\040", " ")) else { continue };
        let depth = Path::new(&point).components().count();
        if path.starts_with(&point) && depth >= best.0 {
            best = (depth, fields.get(6..).unwrap_or_default().join(" "));
        }
    }
    best.1
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
            assert_eq!(sharing_of(table, Path::new(path)), tags, "{path}");
        }
    }
}
