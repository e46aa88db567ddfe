//! cgroup v1: one directory a controller.

use super::files::Hierarchy;
use super::resources::{DeviceAccess, Resources};
use super::{CgroupPath, Host, devices};
use crate::error::{OciError, OciResult};
use model::HugePages;
use rustix::io::Errno;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use wire::plan::CgroupPlan;

/// The controller in which a pod's supervisor stays outside of the pod: a pod that has used up its processes would
/// stop every command.
const PIDS: &str = "pids";

impl Host {
    pub(super) fn create_v1(&self, path: &CgroupPath, resources: &Resources) -> OciResult<CgroupPlan> {
        self.make_v1(path)?;
        self.limit_v1(path, resources, false)?;
        Ok(self.plan_v1(path, |_| true))
    }

    pub(super) fn make_v1(&self, path: &CgroupPath) -> OciResult<()> {
        self.hierarchies().try_for_each(|hierarchy| make(hierarchy, path, &mut Vec::new()))
    }

    /// How processes join a container in the hierarchies that are wanted.
    pub(super) fn plan_v1(&self, path: &CgroupPath, wanted: impl Fn(&Hierarchy) -> bool) -> CgroupPlan {
        let dir = |hierarchy: &Hierarchy| bytes(&hierarchy.path(path.relative()));
        CgroupPlan {
            v1: self.v1.iter().filter(|hierarchy| wanted(hierarchy)).map(dir).collect(),
            v2: self.v2.as_ref().filter(|hierarchy| wanted(hierarchy)).map(dir),
            oom: self.v1_of("memory").map(dir),
            kill: self.v1_of("freezer").map(dir),
            resctrl: None,
        }
    }

    /// A container of a former version has no leaf where it had no limit; one that gets a limit now does, and its
    /// processes move there.
    pub(super) fn update_v1(&self, path: &CgroupPath, resources: &Resources) -> OciResult<()> {
        let cpuset = resources.cpuset_cpus.is_some() || resources.cpuset_mems.is_some();
        let wanted = [("cpuset", cpuset), ("hugetlb", !resources.hugepages.is_empty())];
        for hierarchy in wanted.iter().filter(|(_, wanted)| *wanted).filter_map(|(name, _)| self.v1_of(name))
        {
            if hierarchy.exists(path.relative()) {
                continue;
            }
            make(hierarchy, path, &mut Vec::new())?;
            let procs = hierarchy.writer(path.relative(), "cgroup.procs")?;
            for pid in self.procs(path) {
                match procs.write(&pid.to_string()) {
                    Err(OciError::Io { source, .. })
                        if source.raw_os_error() == Some(sys::fd::errno::ESRCH) => {}
                    other => other?,
                }
            }
        }
        self.limit_v1(path, resources, true)
    }

    /// Makes the pod's cgroup in every hierarchy, and joins it but where its limits would strike the supervisor
    /// itself: not the processes', and not the memory's where the supervisor cannot be spared by its score. Where the
    /// daemon is there already, nothing is to be joined.
    pub(super) fn sandbox_v1(
        &self,
        parent: &CgroupPath,
        created: &mut Vec<PathBuf>,
    ) -> OciResult<CgroupPlan> {
        for hierarchy in self.hierarchies() {
            make(hierarchy, parent, created)?;
        }
        let above = parent.parent().unwrap_or_else(CgroupPath::root);
        let root = CgroupPath::root();
        let place = |hierarchy: &Hierarchy| {
            if hierarchy.has(PIDS) {
                root.relative()
            } else if hierarchy.has("memory") && self.exposed {
                above.relative()
            } else {
                parent.relative()
            }
        };
        let join = |hierarchy: &Hierarchy| {
            let here = place(hierarchy);
            (here != hierarchy.own).then(|| bytes(&hierarchy.path(here)))
        };
        Ok(CgroupPlan {
            v1: self.v1.iter().filter_map(join).collect(),
            // A service manager finds the processes of a service in the v2 hierarchy: the shim is none of them.
            v2: self.v2.as_ref().and_then(join),
            oom: self.v1_of("memory").map(|memory| bytes(&memory.path(parent.relative()))),
            kill: None,
            resctrl: None,
        })
    }

    pub(super) fn limit_v1(&self, path: &CgroupPath, resources: &Resources, update: bool) -> OciResult<()> {
        let relative = path.relative();
        if let Some(cpu) = self.v1_of("cpu") {
            write_cpu(cpu, relative, resources, update)?;
        }
        if let (Some(cpuset), true) =
            (self.v1_of("cpuset"), resources.cpuset_cpus.is_some() || resources.cpuset_mems.is_some())
        {
            write_cpuset(cpuset, relative, resources)?;
        }
        if let Some(memory) = self.v1_of("memory") {
            write_memory(memory, relative, resources, update)?;
            write_reclaim(memory, relative, resources)?;
        }
        if let (Some(blkio), Some(limits)) = (self.v1_of("blkio"), &resources.block_io) {
            limits.write_v1(blkio, relative)?;
        }
        let pids_limit = resources.pids_limit.filter(|limit| *limit > 0 || update);
        if let (Some(pids), Some(limit)) = (self.v1_of("pids"), pids_limit) {
            pids.set(relative, "pids.max", pids_max(limit))?;
        }
        if let Some(hugetlb) = self.v1_of("hugetlb") {
            for HugePages { size, limit } in &resources.hugepages {
                hugetlb.set(relative, &format!("hugetlb.{size}.limit_in_bytes"), limit.to_string())?;
            }
        }
        match self.v1_of("devices") {
            Some(list) if !update && matches!(resources.devices, DeviceAccess::Only(_)) => {
                devices::write_v1(list, relative, &resources.devices)
            }
            _ => Ok(()),
        }
    }
}

/// The kernel keeps a negative or no number under the name `max`.
pub(super) fn pids_max(limit: i64) -> String {
    if limit > 0 { limit.to_string() } else { "max".to_owned() }
}

fn write_cpu(cpu: &Hierarchy, path: &str, resources: &Resources, update: bool) -> OciResult<()> {
    if let Some(shares) = resources.cpu_shares {
        cpu.set(path, "cpu.shares", shares.to_string())?;
    }
    let quota = resources.cpu_quota.filter(|quota| *quota > 0 || update);
    if update && resources.cpu_period.is_some() && quota.is_some() {
        // Neither value may exceed the pod's ratio beside the other's old value: lift the quota in between.
        cpu.set(path, "cpu.cfs_quota_us", "-1")?;
    }
    if let Some(period) = resources.cpu_period {
        cpu.set(path, "cpu.cfs_period_us", period.to_string())?;
    }
    match quota {
        Some(quota) => cpu.set(path, "cpu.cfs_quota_us", quota.to_string()),
        None => Ok(()),
    }
}

/// Lists of CPUs and of memory nodes, which are named alike in both versions. A CPU that the host or the cgroup above
/// does not have is the request's fault.
pub(super) fn write_cpuset(cpuset: &Hierarchy, path: &str, resources: &Resources) -> OciResult<()> {
    for (name, list) in [("cpus", &resources.cpuset_cpus), ("mems", &resources.cpuset_mems)] {
        let Some(list) = list else { continue };
        match cpuset.write(path, &format!("cpuset.{name}"), list.as_str()) {
            Err(OciError::Io { source, .. })
                if matches!(
                    source.raw_os_error(),
                    Some(sys::fd::errno::EINVAL | sys::fd::errno::ERANGE | sys::fd::errno::EACCES)
                ) =>
            {
                let reason = format!(
                    "{:?} is not all there: {}",
                    list.as_str(),
                    available(cpuset, path, name, &source)?
                );
                return Err(OciError::invalid(format!("linux.resources.cpuset_{name}"), reason));
            }
            other => other?,
        }
    }
    Ok(())
}

/// What the cgroup above has, in words.
fn available(cpuset: &Hierarchy, path: &str, name: &str, refused: &std::io::Error) -> OciResult<String> {
    let above = path.rsplit_once('/').map_or("", |(above, _)| above);
    let (what, where_from) = (
        if name == "cpus" { "CPUs" } else { "memory nodes" },
        if above.is_empty() { "on this host" } else { "to the pod" },
    );
    // v2 keeps what is inherited in a file of its own.
    for file in [format!("cpuset.{name}.effective"), format!("cpuset.{name}")] {
        let list = cpuset.read(above, &file)?.unwrap_or_default();
        if !list.trim().is_empty() {
            return Ok(format!("{what} {} are available {where_from}", list.trim()));
        }
    }
    Ok(refused.to_string())
}

/// Memory plus swap must never be below memory: whichever grows is written first.
fn write_memory(memory: &Hierarchy, path: &str, resources: &Resources, update: bool) -> OciResult<()> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const BOTH: &str = "memory.memsw.limit_in_bytes";
    let limit = resources.memory_limit.filter(|limit| *limit != 0);
    // Kernels without swap accounting have no such file, and then no swap to limit either.
    let both = match resources.memory_swap.filter(|both| *both != 0) {
        Some(both) if memory.exists(&super::files::under(path, BOTH)) => Some(both),
        _ => None,
    };
    let grows = update && {
        let now =
            memory.read(path, BOTH)?.and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(i64::MAX);
        limit.is_some_and(|limit| limit < 0 || limit > now)
    };
    let mut writes = [(LIMIT, limit), (BOTH, both)];
    if grows {
        writes.reverse();
    }
    for (file, value) in writes {
        let Some(value) = value else { continue };
        match memory.set(path, file, value.to_string()) {
            // What it uses cannot be reclaimed.
            Err(OciError::Io { source, .. }) if source.raw_os_error() == Some(sys::fd::errno::EBUSY) => {
                let usage =
                    super::stats::number(&memory.read(path, "memory.usage_in_bytes")?.unwrap_or_default());
                return Err(OciError::BelowUsage { limit: value.unsigned_abs(), usage });
            }
            other => other?,
        }
    }
    Ok(())
}

/// What is taken away when memory is short.
fn write_reclaim(memory: &Hierarchy, path: &str, resources: &Resources) -> OciResult<()> {
    if let Some(reservation) = resources.memory_reservation {
        memory.set(path, "memory.soft_limit_in_bytes", reservation.to_string())?;
    }
    match resources.swappiness {
        Some(swappiness) => memory.set(path, "memory.swappiness", swappiness.to_string()),
        None => Ok(()),
    }
}

/// Makes a directory and, where they are missing, those above it.
fn make(hierarchy: &Hierarchy, path: &CgroupPath, created: &mut Vec<PathBuf>) -> OciResult<()> {
    let failed = |relative: &str| OciError::io("mkdir", hierarchy.path(relative));
    if path.relative().is_empty() {
        return Ok(());
    }
    let made = match hierarchy.mkdir(path.relative()) {
        Err(Errno::NOENT) => {
            for above in path.parent().iter().flat_map(CgroupPath::lineage) {
                if hierarchy.mkdir(above).map_err(failed(above))? {
                    created.push(hierarchy.path(above));
                    inherit_cpuset(hierarchy, above)?;
                }
            }
            hierarchy.mkdir(path.relative())
        }
        other => other,
    };
    if made.map_err(failed(path.relative()))? {
        created.push(hierarchy.path(path.relative()));
        inherit_cpuset(hierarchy, path.relative())?;
    }
    Ok(())
}

/// A new cpuset is empty, and nothing can join it until it is filled from the one above.
fn inherit_cpuset(hierarchy: &Hierarchy, path: &str) -> OciResult<()> {
    if hierarchy.has("cpuset") {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            filled(hierarchy, path, file)?;
        }
    }
    Ok(())
}

/// A list of a cpuset, after it and those above it have been filled.
fn filled(hierarchy: &Hierarchy, path: &str, file: &str) -> OciResult<String> {
    let list = hierarchy.read(path, file)?.unwrap_or_default().trim().to_owned();
    if !list.is_empty() || path.is_empty() {
        return Ok(list);
    }
    let above = path.rsplit_once('/').map_or("", |(above, _)| above);
    let list = filled(hierarchy, above, file)?;
    if !list.is_empty() {
        hierarchy.write(path, file, &list)?;
    }
    Ok(list)
}

pub(super) fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
