//! Ending everything in a cgroup.

use super::files::Hierarchy;
use super::{CgroupPath, Host};
use crate::error::{OciError, OciResult};
use rustix::process::{Pid, Signal, kill_process};
use std::thread::sleep;
use std::time::Duration;

/// A fork bomb outruns a signal loop only for so long: the cgroup is frozen while its processes are listed.
const ROUNDS: u32 = 10;

impl Host {
    /// Kills every process of a container's cgroup, also when somebody froze it. Returns when the signals are
    /// sent, not when the processes are gone.
    ///
    /// # Errors
    /// [`OciError::Io`] when the kernel refuses; an absent cgroup has nothing to kill.
    pub fn kill(&self, path: &CgroupPath) -> OciResult<()> {
        let relative = path.relative();
        if let Some(v2) = self.unified() {
            if !v2.exists(relative) {
                return Ok(());
            }
            return match v2.write(relative, "cgroup.kill", "1") {
                // Kernels before 5.14.
                Err(OciError::Io { source, .. }) if source.raw_os_error() == Some(sys::fd::errno::ENOENT) => {
                    v2.write(relative, "cgroup.freeze", "0")?;
                    self.kill_each(path)
                }
                other => other,
            };
        }
        let Some(freezer) = self.v1_of("freezer").filter(|freezer| freezer.exists(relative)) else {
            return self.kill_each(path);
        };
        // A failure to freeze only makes the list less exact.
        let _ = freezer.write(relative, "freezer.state", "FROZEN");
        let killed = self.kill_each(path);
        self.thaw_tree(path)?;
        killed
    }

    /// Lets the processes of a container run again, when somebody froze it, its pod, or what the container has made below.
    ///
    /// # Errors
    /// [`OciError::Io`] when the kernel refuses.
    pub fn thaw(&self, path: &CgroupPath) -> OciResult<()> {
        if let Some(pod) = path.parent().filter(|pod| !pod.relative().is_empty() && self.has(pod)) {
            self.thaw_one(&pod)?;
        }
        self.thaw_tree(path)
    }

    /// The same without what is above the container; an absent cgroup is not frozen. Of what the container has made below
    /// v1 alone keeps the killed alive.
    ///
    /// # Errors
    /// [`OciError::Io`] when the kernel refuses.
    pub fn thaw_tree(&self, path: &CgroupPath) -> OciResult<()> {
        if !self.has(path) {
            return Ok(());
        }
        self.thaw_one(path)?;
        if let (None, Some(freezer)) = (self.unified(), self.v1_of("freezer")) {
            sys::cgroup::thaw(&freezer.path(path.relative()));
        }
        Ok(())
    }

    /// Whether what can freeze has this cgroup.
    fn has(&self, path: &CgroupPath) -> bool {
        let hierarchy = self.unified().or_else(|| self.v1_of("freezer"));
        hierarchy.is_some_and(|hierarchy| hierarchy.exists(path.relative()))
    }

    /// The processes of a container's cgroup and of everything below it; an absent cgroup has none.
    pub fn procs(&self, path: &CgroupPath) -> Vec<i32> {
        self.listing().map_or_else(Vec::new, |hierarchy| hierarchy.procs(path.relative()))
    }

    /// The hierarchy that says which processes a cgroup has.
    pub(super) fn listing(&self) -> Option<&Hierarchy> {
        self.unified().or_else(|| self.v1_of("freezer")).or_else(|| self.v1_of("memory"))
    }

    fn kill_each(&self, path: &CgroupPath) -> OciResult<()> {
        let mut seen: Vec<i32> = Vec::new();
        for _ in 0..ROUNDS {
            let new: Vec<i32> = self.procs(path).into_iter().filter(|pid| !seen.contains(pid)).collect();
            if new.is_empty() {
                return Ok(());
            }
            for pid in new.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                match kill_process(pid, Signal::KILL) {
                    Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                    Err(error) => return Err(OciError::io("kill", path.to_string())(error)),
                }
            }
            seen.extend(new);
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
