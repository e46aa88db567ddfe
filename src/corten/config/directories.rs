//! Whether directories can be what settings want of them, found out without making anything.

use rustix::fs::{Access, access, statfs};
use rustix::io::Errno;
use std::fs;
use std::path::Path;

/// Filesystems in which nothing can be kept, by their magic numbers (`linux/magic.h`).
const MADE_BY_THE_KERNEL: [(i64, &str); 9] = [
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0x0000_1cd1, "devpts"),
    (0xcafe_4a11, "bpf"),
];

/// Why no directory can be made and written to at this path.
pub(super) fn unusable(path: &Path) -> Option<String> {
    // What is there decides; what is not yet is made below it.
    for above in path.ancestors() {
        if let Some(problem) = broken_link(above) {
            return Some(problem);
        }
        let Ok(found) = fs::metadata(above) else { continue };
        return if found.is_dir() {
            closed(above)
        } else {
            Some(format!("{} is no directory", above.display()))
        };
    }
    None
}

/// Why a directory cannot be looked into that need not be there.
pub(super) fn unreadable(path: &Path) -> Option<String> {
    path.ancestors().find_map(broken_link).or_else(|| {
        let found = fs::metadata(path).ok()?;
        (!found.is_dir()).then(|| format!("{} is no directory", path.display()))
    })
}

/// A link that leads to nothing.
fn broken_link(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    let error = fs::metadata(path).err()?;
    Some(format!("{} is a link to {}: {error}", path.display(), target.display()))
}

fn closed(directory: &Path) -> Option<String> {
    let kind = statfs(directory).ok()?.f_type;
    if let Some((_, name)) = MADE_BY_THE_KERNEL.iter().find(|(magic, _)| *magic == kind) {
        return Some(format!("{} lies on {name}, where nothing can be kept", directory.display()));
    }
    match access(directory, Access::WRITE_OK | Access::EXEC_OK) {
        Err(Errno::ROFS) => Some(format!("{} lies on a filesystem that is read-only", directory.display())),
        // Whoever asks may have less rights than the daemon.
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn directories_that_cannot_be_are_told_and_others_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path("file"), "").unwrap();
        symlink(path("nowhere"), path("dangling")).unwrap();
        symlink(root.path(), path("link")).unwrap();
        for (name, told) in [
            ("file", "file is no directory"),
            ("file/below/it", "file is no directory"),
            ("dangling", "nowhere: No such file"),
            ("dangling/below", "nowhere: No such file"),
        ] {
            let problem = unusable(&path(name)).unwrap();
            assert!(problem.contains(told), "{name}: {problem}");
        }
        for name in [".", "link", "link/not/yet", "not/yet"] {
            assert_eq!(unusable(&path(name)), None, "{name}");
        }
        assert!(unusable(Path::new("/proc/corten")).unwrap().contains("/proc lies on proc"));
        assert!(unreadable(&path("dangling")).is_some() && unreadable(&path("file")).is_some());
        assert!(unreadable(&path("not/yet")).is_none() && unreadable(root.path()).is_none());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 3, "nothing was made");
    }
}
