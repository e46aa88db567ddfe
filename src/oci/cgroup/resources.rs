//! Limits, independent of the cgroup version.

use super::block_io::BlockIo;
use crate::error::{OciError, OciResult};
use model::{CgroupFile, CpuList, HugePages, PageSize};
use oci_spec::runtime::{LinuxDeviceType, LinuxResources};
use std::collections::{BTreeMap, HashSet};

/// Which devices a container's processes may open and make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DeviceAccess {
    /// Every device: a privileged container.
    All,
    /// The default devices (null, zero, full, random, urandom, tty, console, ptmx, pts) and these rules, in the
    /// form `c 10:200 rwm`.
    Only(Vec<String>),
    /// Not restricted here; a sandbox, or a host without the means.
    #[default]
    Unchanged,
}

/// What a cgroup limits. `None`: not limited here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// v1's relative weight, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// µs of CPU time a period; negative is no limit.
    pub cpu_quota: Option<i64>,
    /// µs.
    pub cpu_period: Option<u64>,
    /// CPUs.
    pub cpuset_cpus: Option<CpuList>,
    /// Memory nodes.
    pub cpuset_mems: Option<CpuList>,
    /// Bytes; negative is no limit.
    pub memory_limit: Option<i64>,
    /// Memory and swap together, in bytes; negative is no limit.
    pub memory_swap: Option<i64>,
    /// Bytes that are taken away last when the host is short of memory; negative is none.
    pub memory_reservation: Option<i64>,
    /// How readily memory is swapped out, up to 100; v1 only.
    pub swappiness: Option<u64>,
    /// Processes and threads; 0 or negative is no limit.
    pub pids_limit: Option<i64>,
    /// Huge pages.
    pub hugepages: Vec<HugePages>,
    /// Weights and rates of block devices.
    pub block_io: Option<BlockIo>,
    /// v2 control files, verbatim, written last.
    pub unified: BTreeMap<CgroupFile, String>,
    /// Devices.
    pub devices: DeviceAccess,
}

impl Resources {
    /// From the spec's resources.
    ///
    /// # Errors
    /// [`OciError::Invalid`] for text that is not what its field holds.
    pub fn from_spec(spec: &LinuxResources) -> OciResult<Self> {
        let list = |field, list: &Option<String>| {
            let list = list.as_deref().filter(|list| !list.is_empty());
            list.map(CpuList::new).transpose().map_err(OciError::value(field))
        };
        let mut resources = Self { devices: devices(spec), ..Self::default() };
        if let Some(cpu) = spec.cpu() {
            resources.cpu_shares = cpu.shares();
            resources.cpu_quota = cpu.quota();
            resources.cpu_period = cpu.period();
            resources.cpuset_cpus = list("linux.resources.cpuset_cpus", cpu.cpus())?;
            resources.cpuset_mems = list("linux.resources.cpuset_mems", cpu.mems())?;
        }
        if let Some(memory) = spec.memory() {
            resources.memory_limit = memory.limit();
            resources.memory_swap = memory.swap();
            resources.memory_reservation = memory.reservation().filter(|bytes| *bytes != 0);
            resources.swappiness = memory.swappiness();
        }
        resources.block_io = spec.block_io().as_ref().map(BlockIo::from_spec);
        resources.pids_limit = spec.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit);
        for limit in spec.hugepage_limits().iter().flatten() {
            let size = PageSize::new(limit.page_size().as_str())
                .map_err(OciError::value("linux.resources.hugepage_limits"))?;
            resources.hugepages.push(HugePages { size, limit: u64::try_from(limit.limit()).unwrap_or(0) });
        }
        for (key, value) in spec.unified().iter().flatten() {
            let file = CgroupFile::new(key.as_str()).map_err(OciError::value("linux.resources.unified"))?;
            resources.unified.insert(file, value.clone());
        }
        Ok(resources)
    }

    /// The controllers that the limits cannot be kept without, and the request's field that asks for each. Huge pages need
    /// none: they are the pool's, out of which nobody gets more than it has, and the peers run such pods too.
    pub(super) fn needs(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let has_cpu = self.cpu_shares.is_some() || self.cpu_quota.is_some_and(|quota| quota > 0);
        [
            (has_cpu, "linux.resources.cpu_quota", "cpu"),
            (
                self.cpuset_cpus.is_some() || self.cpuset_mems.is_some(),
                "linux.resources.cpuset_cpus",
                "cpuset",
            ),
            (
                self.memory_limit.is_some_and(|limit| limit > 0),
                "linux.resources.memory_limit_in_bytes",
                "memory",
            ),
            (self.pids_limit.is_some_and(|limit| limit > 0), "pids limit (a setting)", "pids"),
        ]
        .into_iter()
        .filter(|(needed, ..)| *needed)
        .map(|(_, field, controller)| (field, controller))
    }

    /// v2's swap limit, which v1 counts together with memory.
    pub(super) fn swap_alone(&self) -> OciResult<Option<i64>> {
        let Some(total) = self.memory_swap else { return Ok(None) };
        if total < 0 {
            return Ok(Some(-1));
        }
        match self.memory_limit {
            Some(limit) if limit > total => Err(OciError::invalid(
                "linux.resources.memory_swap_limit_in_bytes",
                "is below the memory limit, which it includes",
            )),
            Some(limit) if limit > 0 => Ok(Some(total - limit)),
            _ => Err(OciError::invalid(
                "linux.resources.memory_swap_limit_in_bytes",
                "needs a memory limit beside it",
            )),
        }
    }
}

/// An allow-all rule at the end makes a container privileged; other allow rules come on top of the defaults, each once.
fn devices(spec: &LinuxResources) -> DeviceAccess {
    let Some(rules) = spec.devices() else { return DeviceAccess::Unchanged };
    let is_all = |typ: Option<LinuxDeviceType>| matches!(typ, None | Some(LinuxDeviceType::A));
    match rules.last() {
        None => return DeviceAccess::Unchanged,
        Some(last) if last.allow() && is_all(last.typ()) => return DeviceAccess::All,
        Some(_) => {}
    }
    let number = |n: Option<i64>| n.filter(|n| *n >= 0).map_or_else(|| "*".to_owned(), |n| n.to_string());
    let allowed = rules.iter().filter(|rule| rule.allow()).map(|rule| {
        let typ = rule.typ().unwrap_or_default();
        let access = rule.access().clone().unwrap_or_else(|| "rwm".to_owned());
        format!("{} {}:{} {access}", typ.as_str(), number(rule.major()), number(rule.minor()))
    });
    let mut known = HashSet::new();
    DeviceAccess::Only(allowed.filter(|rule| known.insert(rule.clone())).collect())
}

/// v2's `cpu.weight` for v1's shares, by the formula of runc 1.3 and crun 1.23: quadratic in log2, so that 2, 1024
/// and 262144 shares become 1, 100 and 10000. (The linear one before made 1024 shares 39.)
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shares are at most 262144 and weights at most 10000"
)]
pub fn weight_of_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10f64.powf(exponent).ceil() as u64
}

/// The most shares that [`weight_of_shares`] turns into no more than a weight: its inverse, as far as weights tell
/// shares apart.
pub fn shares_of_weight(weight: u64) -> u64 {
    let (mut enough, mut beyond) = (2, 262_145);
    while beyond - enough > 1 {
        let middle = u64::midpoint(enough, beyond);
        if weight_of_shares(middle) <= weight {
            enough = middle;
        } else {
            beyond = middle;
        }
    }
    enough
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        let table = [
            (0, 1),
            (2, 1),
            (3, 2),
            (102, 17),
            (512, 59),
            (1024, 100),
            (10_240, 639),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ];
        for (shares, weight) in table {
            assert_eq!(weight_of_shares(shares), weight, "{shares} shares");
        }
    }

    #[test]
    fn weights_lead_back_to_shares() {
        for (weight, shares) in [(1, 2), (2, 5), (100, 1024), (10_000, 262_144)] {
            assert_eq!(shares_of_weight(weight), shares, "weight {weight}");
        }
        for weight in (1..10_000).step_by(7) {
            assert_eq!(weight_of_shares(shares_of_weight(weight)), weight.max(1), "weight {weight}");
        }
    }

    #[test]
    fn swap_is_what_exceeds_memory() {
        let with =
            |memory_limit, memory_swap| Resources { memory_limit, memory_swap, ..Resources::default() };
        assert_eq!(with(Some(100), Some(100)).swap_alone().unwrap(), Some(0));
        assert_eq!(with(Some(100), Some(150)).swap_alone().unwrap(), Some(50));
        assert_eq!(with(Some(100), Some(-1)).swap_alone().unwrap(), Some(-1));
        assert_eq!(with(Some(100), None).swap_alone().unwrap(), None);
        assert!(with(Some(100), Some(50)).swap_alone().is_err());
        assert!(with(None, Some(50)).swap_alone().is_err());
    }

    #[test]
    fn values_that_reach_other_files_are_refused_by_field() {
        let refused = |json: &str| {
            let spec: LinuxResources = serde_json::from_str(json).unwrap();
            Resources::from_spec(&spec).unwrap_err().to_string()
        };
        for (json, field) in [
            (r#"{"cpu": {"cpus": "0-1\n"}}"#, "linux.resources.cpuset_cpus: "),
            (r#"{"cpu": {"mems": "a"}}"#, "linux.resources.cpuset_mems: "),
            (r#"{"unified": {"../memory.max": "1"}}"#, r#"linux.resources.unified: "../memory.max" "#),
            (r#"{"unified": {"cgroup.procs": "1"}}"#, "linux.resources.unified: "),
            (
                r#"{"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}"#,
                "linux.resources.hugepage_limits: ",
            ),
        ] {
            assert!(refused(json).starts_with(field), "{json}: {}", refused(json));
        }
    }
}
