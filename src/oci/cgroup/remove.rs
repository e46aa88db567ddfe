//! Removing cgroups.

use super::files::Hierarchy;
use super::{CgroupPath, Host};
use crate::error::{OciError, OciResult};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use sys::fd::errno;

/// A process that has just been reaped may keep its cgroup busy for a moment.
const PATIENCE: Duration = Duration::from_millis(1500);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

impl Host {
    /// Removes a container's cgroup, and what its processes made below it. Absent is removed. Blocks for at most
    /// 1.5 s.
    ///
    /// # Errors
    /// [`OciError::CgroupBusy`] when processes are left; the other hierarchies' directories are gone.
    pub fn remove(&self, path: &CgroupPath) -> OciResult<()> {
        if path.relative().is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        let mut first = Ok(());
        for hierarchy in self.hierarchies() {
            let removed = remove_one(hierarchy, path.relative(), deadline);
            first = first.and(removed);
        }
        first
    }

    /// Removes directories that [`super::SandboxCgroup::created`] lists, the last first; those that others use by
    /// now stay, and so does anything that is not below a cgroup filesystem's mount. Nothing is waited for.
    pub fn remove_dirs(&self, created: &[PathBuf]) {
        for path in created.iter().rev() {
            let inside =
                |hierarchy: &&Hierarchy| path.starts_with(&hierarchy.root) && *path != hierarchy.root;
            let Some(hierarchy) =
                self.v1.iter().chain(&self.v2).filter(inside).max_by_key(|h| h.root.as_os_str().len())
            else {
                continue;
            };
            if let Some(relative) = path.strip_prefix(&hierarchy.root).ok().and_then(Path::to_str) {
                // Busy means that somebody else lives there now.
                let _ = hierarchy.rmdir(relative);
            }
        }
    }
}

fn remove_one(hierarchy: &Hierarchy, path: &str, deadline: Instant) -> OciResult<()> {
    let dir = hierarchy.path(path);
    let mut pause = Duration::from_millis(1);
    loop {
        match sys::cgroup::remove(&dir) {
            Ok(()) => return Ok(()),
            Err(error) if !matches!(error.errno, errno::EBUSY | errno::ENOTEMPTY) => {
                return Err(OciError::io("rmdir", dir)(error));
            }
            Err(_) if Instant::now() < deadline => {}
            Err(_) => {
                let processes = hierarchy.procs(path).len();
                return Err(OciError::CgroupBusy { path: dir, processes });
            }
        }
        sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
