//! A cgroup without processes that is called as its pod is, for those who know pods by the names of cgroups: cAdvisor.

use super::files::Hierarchy;
use super::{CgroupPath, Host};
use crate::error::{OciError, OciResult};

/// The controllers whose counts are told of a pod.
const COUNTING: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "blkio"];

impl Host {
    /// Makes it below a pod that is there, where it is not there yet. cAdvisor leaves out what has used no CPU time at
    /// all: on v1 a process is in it for a moment.
    ///
    /// # Errors
    /// [`OciError::Io`]; what has been made stays, for [`Host::remove_nameplate`].
    pub fn make_nameplate(&self, path: &CgroupPath) -> OciResult<()> {
        for hierarchy in self.plated() {
            let dir = hierarchy.path(path.relative());
            hierarchy.mkdir(path.relative()).map_err(OciError::io("mkdir", dir))?;
        }
        let Some(counting) = self.v1_of("cpuacct").filter(|_| self.unified().is_none()) else {
            return Ok(());
        };
        let tasks = counting.path(path.relative()).join("tasks");
        sys::visit::visit(&tasks).map_err(OciError::io("join", tasks))
    }

    /// Removes it; absent is removed, and so is a supervisor's of the same name that has ended. One in which somebody
    /// else lives stays, as the pod's own does.
    pub fn remove_nameplate(&self, path: &CgroupPath) {
        for hierarchy in self.plated() {
            // Only others can keep it busy.
            let _ = hierarchy.rmdir(path.relative());
        }
    }

    /// On v2 the supervisor's cgroup has that name, but where it is beside the pod.
    fn plated(&self) -> impl Iterator<Item = &Hierarchy> {
        let is_counting = |hierarchy: &&Hierarchy| COUNTING.iter().any(|name| hierarchy.has(name));
        self.hierarchies().filter(move |hierarchy| self.unified().is_some() || is_counting(hierarchy))
    }
}
