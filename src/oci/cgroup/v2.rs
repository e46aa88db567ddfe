//! cgroup v2: one tree, whose controllers are handed down level by level.

use super::files::{Hierarchy, is_no_value};
use super::resources::{DeviceAccess, Resources, weight_of_shares};
use super::v1::{bytes, pids_max, write_cpuset};
use super::{CgroupPath, Host, device_program};
use crate::error::{OciError, OciResult};
use model::HugePages;
use rustix::io::Errno;
use std::io::ErrorKind;
use std::path::PathBuf;
use wire::plan::CgroupPlan;

/// Handed down to containers where the host has them.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "memory", "pids", "hugetlb", "io"];

const DEFAULT_PERIOD: u64 = 100_000;

impl Host {
    pub(super) fn create_v2(
        &self,
        v2: &Hierarchy,
        path: &CgroupPath,
        resources: &Resources,
    ) -> OciResult<CgroupPlan> {
        self.make_v2(v2, path, &mut Vec::new())?;
        limit(v2, path.relative(), resources)?;
        if let DeviceAccess::Only(rules) = &resources.devices {
            device_program::attach(&v2.path(path.relative()), rules)?;
        }
        Ok(plan(v2, path))
    }

    pub(super) fn update_v2(
        &self,
        v2: &Hierarchy,
        path: &CgroupPath,
        resources: &Resources,
    ) -> OciResult<()> {
        limit(v2, path.relative(), resources)
    }

    pub(super) fn sandbox_v2(
        &self,
        v2: &Hierarchy,
        parent: &CgroupPath,
        path: &CgroupPath,
        created: &mut Vec<PathBuf>,
    ) -> OciResult<CgroupPlan> {
        if !parent.relative().is_empty() {
            self.make_v2(v2, parent, created)?;
        }
        self.make_v2(v2, path, created)?;
        Ok(plan(v2, path))
    }

    pub(super) fn settle_v2(&self, v2: &Hierarchy, path: &CgroupPath, pid: i32) -> OciResult<CgroupPlan> {
        v2.mkdir(path.relative()).map_err(OciError::io("mkdir", v2.path(path.relative())))?;
        v2.write(path.relative(), "cgroup.procs", pid.to_string())?;
        self.enable(v2, path)?;
        Ok(CgroupPlan { v2: None, ..plan(v2, path) })
    }

    /// Makes a leaf whose parent hands every controller down.
    fn make_v2(&self, v2: &Hierarchy, path: &CgroupPath, created: &mut Vec<PathBuf>) -> OciResult<()> {
        let failed = |relative: &str| OciError::io("mkdir", v2.path(relative));
        let made = match v2.mkdir(path.relative()) {
            Err(Errno::NOENT) => {
                for above in path.parent().iter().flat_map(CgroupPath::lineage) {
                    if v2.mkdir(above).map_err(failed(above))? {
                        created.push(v2.path(above));
                    }
                }
                v2.mkdir(path.relative())
            }
            other => other,
        };
        if made.map_err(failed(path.relative()))? {
            created.push(v2.path(path.relative()));
        }
        self.enable(v2, path)
    }

    /// Enables the controllers from the root to the leaf's parent, unless the parent has them all: then everything
    /// above has too.
    fn enable(&self, v2: &Hierarchy, path: &CgroupPath) -> OciResult<()> {
        const FILE: &str = "cgroup.subtree_control";
        let wanted: Vec<&str> = CONTROLLERS
            .into_iter()
            .filter(|name| self.v2_controllers.iter().any(|have| have == name))
            .collect();
        let missing = |relative: &str| -> OciResult<String> {
            let enabled = v2.read(relative, FILE)?.unwrap_or_default();
            let missing = wanted.iter().filter(|name| !enabled.split_whitespace().any(|have| have == **name));
            Ok(missing.map(|name| format!("+{name}")).collect::<Vec<_>>().join(" "))
        };
        let Some(parent) = path.parent() else { return Ok(()) };
        if missing(parent.relative())?.is_empty() {
            return Ok(());
        }
        for level in std::iter::once("").chain(parent.lineage()) {
            let missing = missing(level)?;
            if !missing.is_empty() {
                v2.write(level, FILE, missing)?;
            }
        }
        Ok(())
    }
}

pub(super) fn plan(v2: &Hierarchy, path: &CgroupPath) -> CgroupPlan {
    let dir = bytes(&v2.path(path.relative()));
    CgroupPlan { v2: Some(dir.clone()), oom: Some(dir.clone()), kill: Some(dir), ..CgroupPlan::default() }
}

fn limit(v2: &Hierarchy, path: &str, resources: &Resources) -> OciResult<()> {
    if let Some(shares) = resources.cpu_shares.filter(|shares| *shares != 0) {
        v2.set(path, "cpu.weight", weight_of_shares(shares).to_string())?;
    }
    if resources.cpu_quota.is_some_and(|quota| quota != 0) || resources.cpu_period.is_some() {
        let quota = resources.cpu_quota.filter(|quota| *quota > 0);
        let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        v2.set(path, "cpu.max", format!("{quota} {}", resources.cpu_period.unwrap_or(DEFAULT_PERIOD)))?;
    }
    write_cpuset(v2, path, resources)?;
    let swap = resources.swap_alone()?;
    for (file, value) in
        [("memory.max", resources.memory_limit.filter(|limit| *limit != 0)), ("memory.swap.max", swap)]
    {
        let Some(value) = value else { continue };
        let text = if value < 0 { "max".to_owned() } else { value.to_string() };
        match v2.set(path, file, text) {
            // A kernel without swap has nothing to limit.
            Err(OciError::Io { source, .. })
                if file == "memory.swap.max" && source.raw_os_error() == Some(sys::fd::errno::ENOENT) => {}
            other => other?,
        }
    }
    if let Some(reservation) = resources.memory_reservation {
        v2.set(path, "memory.low", reservation.max(0).to_string())?;
    }
    if let Some(limits) = &resources.block_io {
        limits.write_v2(v2, path)?;
    }
    if let Some(limit) = resources.pids_limit {
        v2.set(path, "pids.max", pids_max(limit))?;
    }
    for HugePages { size, limit } in &resources.hugepages {
        let file = format!("hugetlb.{size}.max");
        if v2.exists(&super::files::under(path, &file)) {
            v2.set(path, &file, limit.to_string())?;
        }
    }
    resources.unified.iter().try_for_each(|(file, value)| {
        v2.write(path, file.as_str(), value).map_err(|error| match error {
            OciError::Io { source, .. }
                if is_no_value(&source)
                    || matches!(source.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) =>
            {
                OciError::invalid(
                    format!("linux.resources.unified[{:?}]", file.as_str()),
                    format!("the kernel does not take {value:?}: {source}"),
                )
            }
            other => other,
        })
    })
}
