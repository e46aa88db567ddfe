//! The hierarchies that this host has mounted.

use super::files::Hierarchy;
use super::{CgroupPath, Resources, SandboxCgroup};
use crate::error::{OciError, OciResult};
use std::collections::HashMap;
use std::path::PathBuf;
use wire::plan::CgroupPlan;

/// How the host's cgroups are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only cgroup v1.
    Legacy,
    /// The controllers are v1's, with a v2 hierarchy beside them. Treated as v1.
    Hybrid,
    /// Only cgroup v2.
    Unified,
}

/// The host's cgroups, with every hierarchy's root kept open.
#[derive(Debug)]
pub struct Host {
    pub(super) mode: Mode,
    pub(super) v1: Vec<Hierarchy>,
    pub(super) v2: Option<Hierarchy>,
    /// The controllers that v2 offers at its root.
    pub(super) v2_controllers: Vec<String>,
    /// A supervisor cannot be given the score that spares it when the kernel ends processes for want of memory.
    pub(super) exposed: bool,
}

impl Host {
    /// Looks at what is mounted.
    ///
    /// # Errors
    /// [`OciError::NoCgroups`] when nothing usable is, [`OciError::Io`] when it cannot be read.
    pub fn detect() -> OciResult<Self> {
        let read = |path: &str| std::fs::read_to_string(path).map_err(OciError::io("read", path));
        let host = Self::from_proc(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)?;
        let exposed = is_exposed(&read("/proc/self/status")?, &read("/proc/self/oom_score_adj")?);
        Ok(Self { exposed, ..host })
    }

    /// As [`Host::detect`], from the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
    ///
    /// # Errors
    /// As [`Host::detect`].
    pub fn from_proc(mountinfo: &str, own: &str) -> OciResult<Self> {
        let own = own_paths(own);
        let mut v1: Vec<Hierarchy> = Vec::new();
        let mut v2 = None;
        for mount in mountinfo.lines().filter_map(CgroupMount::parse) {
            if mount.unified {
                if v2.is_none() {
                    let own = own.get("").cloned().unwrap_or_default();
                    v2 = Some(Hierarchy::open(&mount.point, Vec::new(), own)?);
                }
            } else if !v1.iter().any(|known| known.controllers == mount.controllers) {
                let own = mount.controllers.iter().find_map(|name| own.get(name.as_str()).cloned());
                v1.push(Hierarchy::open(&mount.point, mount.controllers, own.unwrap_or_default())?);
            }
        }
        let has_v1_controllers = v1.iter().any(|hierarchy| hierarchy.has("memory") || hierarchy.has("cpu"));
        let mode = match (&v2, has_v1_controllers) {
            (Some(_), false) => Mode::Unified,
            (Some(_), true) => Mode::Hybrid,
            (None, true) => Mode::Legacy,
            (None, false) => return Err(OciError::NoCgroups),
        };
        let controllers = match &v2 {
            Some(v2) => v2.read("", "cgroup.controllers")?.unwrap_or_default(),
            None => String::new(),
        };
        let v2_controllers = controllers.split_whitespace().map(str::to_owned).collect();
        Ok(Self { mode, v1, v2, v2_controllers, exposed: false })
    }

    /// The layout.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether a container can be given a cgroup namespace that shows it a useful view.
    pub fn is_unified(&self) -> bool {
        self.mode == Mode::Unified
    }

    /// The controllers that can be used.
    pub fn controllers(&self) -> Vec<&str> {
        match self.mode {
            Mode::Unified => self.v2_controllers.iter().map(String::as_str).collect(),
            Mode::Legacy | Mode::Hybrid => {
                self.v1.iter().flat_map(|hierarchy| &hierarchy.controllers).map(String::as_str).collect()
            }
        }
    }

    /// Makes a container's cgroup with its limits. Calling it again for the same path sets the limits again.
    ///
    /// # Errors
    /// [`OciError::Invalid`] or [`OciError::NoController`] for limits that this host cannot keep, [`OciError::Io`]
    /// when the kernel refuses one. Nothing is left behind then.
    pub fn create(&self, path: &CgroupPath, resources: &Resources) -> OciResult<CgroupPlan> {
        self.validate(resources)?;
        let made = match self.unified() {
            Some(v2) => self.create_v2(v2, path, resources),
            None => self.create_v1(path, resources),
        };
        made.inspect_err(|_| {
            // The error that matters is the first one; what a failed creation left is removed as far as it goes.
            let _ = self.remove(path);
        })
    }

    /// Makes the directories of a container's cgroup alone, where it has several; [`Host::create`] makes what is missing
    /// and sets the limits.
    ///
    /// # Errors
    /// [`OciError::Io`]; what has been made stays.
    pub fn make(&self, path: &CgroupPath) -> OciResult<()> {
        if self.unified().is_some() { Ok(()) } else { self.make_v1(path) }
    }

    /// The rest of [`Host::create`] after [`Host::make`].
    ///
    /// # Errors
    /// As [`Host::create`].
    pub fn limit(&self, path: &CgroupPath, resources: &Resources) -> OciResult<CgroupPlan> {
        if self.unified().is_some() {
            return self.create(path, resources);
        }
        let limited = self.validate(resources).and_then(|()| self.limit_v1(path, resources, false));
        match limited {
            Ok(()) => Ok(self.plan(path)),
            Err(error) => {
                // As there.
                let _ = self.remove(path);
                Err(error)
            }
        }
    }

    /// How processes join the cgroup that [`Host::create`] makes; touches nothing.
    pub fn plan(&self, path: &CgroupPath) -> CgroupPlan {
        match self.unified() {
            Some(v2) => super::v2::plan(v2, path),
            None => self.plan_v1(path, |_| true),
        }
    }

    /// How processes join a container's cgroup where it is there: one of a former version, or of an OCI runtime, need
    /// not be in every hierarchy.
    pub fn joined(&self, path: &CgroupPath) -> CgroupPlan {
        match self.unified() {
            Some(v2) => super::v2::plan(v2, path),
            None => self.plan_v1(path, |hierarchy| hierarchy.exists(path.relative())),
        }
    }

    /// The directories that [`Host::create_sandbox`] would make now, parents first; touches nothing.
    pub fn sandbox_dirs(&self, parent: &CgroupPath, id: &str) -> Vec<PathBuf> {
        let mut dirs = self.absent_or_all(parent, true);
        if let Some(v2) = self.unified() {
            dirs.push(v2.path(self.supervisor(parent, id).relative()));
            dirs.retain(|dir| !dir.exists());
        }
        dirs
    }

    /// The directories of a pod's supervisor alone, whether they are there or not.
    pub fn supervisor_dirs(&self, parent: &CgroupPath, id: &str) -> Vec<PathBuf> {
        let own = self.supervisor(parent, id);
        self.v2.iter().map(|v2| v2.path(own.relative())).collect()
    }

    /// Whether a cgroup is there, in any hierarchy that counts.
    pub fn exists(&self, path: &CgroupPath) -> bool {
        self.hierarchies().any(|hierarchy| hierarchy.exists(path.relative()))
    }

    /// The directories of a path that are not there now, parents first.
    pub fn absent_dirs(&self, path: &CgroupPath) -> Vec<PathBuf> {
        self.absent_or_all(path, true)
    }

    /// A pod's parent and all above it in every hierarchy where pods have directories, parents first, whether they
    /// are there or not.
    pub fn parent_dirs(&self, parent: &CgroupPath) -> Vec<PathBuf> {
        self.absent_or_all(parent, false)
    }

    fn absent_or_all(&self, path: &CgroupPath, only_absent: bool) -> Vec<PathBuf> {
        let absent = |hierarchy: &&Hierarchy, relative: &&str| !only_absent || !hierarchy.exists(relative);
        self.hierarchies()
            .flat_map(|hierarchy| {
                let lineage = path.lineage().into_iter();
                lineage
                    .filter(move |relative| absent(&hierarchy, relative))
                    .map(|relative| hierarchy.path(relative))
            })
            .collect()
    }

    /// Sets the limits of an existing container's cgroup.
    ///
    /// # Errors
    /// As [`Host::create`], and [`OciError::BelowUsage`]; the limits before the one that failed have been set.
    pub fn update(&self, path: &CgroupPath, resources: &Resources) -> OciResult<()> {
        self.validate(resources)?;
        self.check_memory(path, resources)?;
        match self.unified() {
            Some(v2) => self.update_v2(v2, path, resources),
            None => self.update_v1(path, resources),
        }
    }

    /// Finds or makes the cgroup for a pod's shim and pause. On v1 that is the pod's own cgroup, `parent`; on v2,
    /// where processes live in leaves only, it is `<parent>/<id>`. What the pod's limits must not reach is outside.
    ///
    /// # Errors
    /// [`OciError::Io`]; nothing is left behind then.
    pub fn create_sandbox(&self, parent: &CgroupPath, id: &str) -> OciResult<SandboxCgroup> {
        let mut created = Vec::new();
        let plan = match self.unified() {
            Some(v2) => self.sandbox_v2(v2, parent, &self.supervisor(parent, id), &mut created),
            None => self.sandbox_v1(parent, &mut created),
        };
        match plan {
            Ok(plan) => Ok(SandboxCgroup { plan, created }),
            Err(error) => {
                self.remove_dirs(&created);
                Err(error)
            }
        }
    }

    /// Makes a cgroup in a scope of systemd for the process that systemd has just put into the scope itself, and moves
    /// it there: only then can the scope hand controllers down to the containers beside it. The process has nothing
    /// left to join.
    ///
    /// # Errors
    /// [`OciError::NoCgroups`] where the host is not cgroup v2 only, [`OciError::Io`].
    pub fn settle(&self, scope: &CgroupPath, name: &str, pid: i32) -> OciResult<CgroupPlan> {
        let v2 = self.unified().ok_or(OciError::NoCgroups)?;
        self.settle_v2(v2, &scope.join(name), pid)
    }

    /// The v2 cgroup of a pod's supervisor: beside the containers, or beside the pod where its limit of memory could
    /// end the supervisor first. There its name is none by which cAdvisor finds a pod, which has one within then.
    fn supervisor(&self, parent: &CgroupPath, id: &str) -> CgroupPath {
        match parent.parent() {
            Some(above) if self.exposed => above.join(&format!("corten{id}")),
            _ => parent.join(id),
        }
    }

    /// Where a pod and its containers have directories: all of v1's hierarchies and a v2 beside them, because programs
    /// look for what the kernel lists, and what a container misses it may mount for itself; else v2 alone.
    pub(super) fn hierarchies(&self) -> impl Iterator<Item = &Hierarchy> {
        let v1 = if self.mode == Mode::Unified { &[][..] } else { &self.v1[..] };
        v1.iter().chain(&self.v2)
    }

    /// The v2 hierarchy where it is the one that counts.
    pub(super) fn unified(&self) -> Option<&Hierarchy> {
        self.v2.as_ref().filter(|_| self.mode == Mode::Unified)
    }

    /// The v1 hierarchy of a controller.
    pub(super) fn v1_of(&self, controller: &str) -> Option<&Hierarchy> {
        self.v1.iter().find(|hierarchy| hierarchy.has(controller))
    }

    fn has_controller(&self, controller: &str) -> bool {
        match self.mode {
            Mode::Unified => self.v2_controllers.iter().any(|name| name == controller),
            Mode::Legacy | Mode::Hybrid => self.v1_of(controller).is_some(),
        }
    }

    fn validate(&self, resources: &Resources) -> OciResult<()> {
        if self.mode != Mode::Unified && !resources.unified.is_empty() {
            return Err(OciError::invalid("linux.resources.unified", "needs a host with cgroup v2 only"));
        }
        for (field, controller) in resources.needs() {
            if !self.has_controller(controller) {
                return Err(OciError::NoController { field, controller: controller.to_owned() });
            }
        }
        let controller = if self.mode == Mode::Unified { "io" } else { "blkio" };
        if resources.block_io.is_some() && !self.has_controller(controller) {
            let field = "linux.resources.blockIO";
            return Err(OciError::NoController { field, controller: controller.to_owned() });
        }
        Ok(())
    }
}

/// Whether processes started from here cannot get a score that spares them: that takes `CAP_SYS_RESOURCE`, unless
/// they have it from the start.
fn is_exposed(status: &str, own_score: &str) -> bool {
    const SPARED: i32 = -999;
    let spared = own_score.trim().parse::<i32>().is_ok_and(|score| score <= SPARED);
    !spared && !crate::caps::overrides_resources(status)
}

/// A cgroup filesystem of the mount table.
struct CgroupMount {
    unified: bool,
    controllers: Vec<String>,
    point: PathBuf,
}

impl CgroupMount {
    /// A line of mountinfo: id, parent, device, root, mount point, options, tags, `-`, type, source, super options.
    fn parse(line: &str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        let mut fields = filesystem.split(' ');
        let (kind, options) = (fields.next()?, fields.nth(1)?);
        let point = PathBuf::from(unescape(point));
        match kind {
            "cgroup2" => Some(Self { unified: true, controllers: Vec::new(), point }),
            "cgroup" => {
                const NOT_CONTROLLERS: [&str; 6] =
                    ["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode"];
                let controllers = options
                    .split(',')
                    .filter(|name| !NOT_CONTROLLERS.contains(name) && !name.starts_with("release_agent="))
                    .map(str::to_owned)
                    .collect();
                Some(Self { unified: false, controllers, point })
            }
            _ => None,
        }
    }
}

/// Undoes mountinfo's octal escapes.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Where a process is, by controller; v2's is under the empty name.
fn own_paths(text: &str) -> HashMap<&str, String> {
    let mut paths = HashMap::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (fields.next(), fields.next()) {
            for controller in controllers.split(',') {
                paths.insert(controller, path.trim_start_matches('/').to_owned());
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::is_exposed;

    #[test]
    fn who_may_not_lower_scores_is_exposed() {
        let status = |caps: &str| format!("Name:\tcorten\nCapPrm:\t000001ffffffffff\nCapEff:\t{caps}\n");
        assert!(!is_exposed(&status("000001ffffffffff"), "0\n"));
        assert!(is_exposed(&status("000001fffeffffff"), "0\n"));
        assert!(is_exposed(&status("000001fffeffffff"), "-998\n"));
        assert!(!is_exposed(&status("0000000000000000"), "-999\n"));
        assert!(is_exposed("", ""));
    }
}
