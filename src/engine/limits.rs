//! Limits that were asked for, brought together with those in force.

use crate::error::{EngineError, chain};
use crate::in_memory::Container;
use crate::registry::Registry;
use crate::snapshot::ContainerView;
use model::limits::check_swap;
use model::{Bytes, ContainerState, CpuList, CpuPeriod, CpuQuota, CpuShares, OomScore, Resources};
use oci::cgroup;
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

const PAGE: i64 = 4096;
/// The kernel's values where nobody set any.
const DEFAULT_SHARES: u64 = 1024;
const DEFAULT_PERIOD: u64 = 100_000;

/// The limits that the kernel has, beside those that were asked for.
pub(crate) struct InForce {
    pub(crate) cgroups: Arc<cgroup::Host>,
    pub(crate) live: crate::live::Shared,
}

impl InForce {
    /// In the cgroup's terms, without what an update cannot change.
    pub(crate) fn cgroup_limits(&self, resources: &Resources) -> Result<cgroup::Resources, EngineError> {
        let spec = oci::spec::resources(resources, &self.live.load().planning, false);
        Ok(cgroup::Resources {
            devices: cgroup::DeviceAccess::Unchanged,
            pids_limit: None,
            ..cgroup::Resources::from_spec(&spec)?
        })
    }

    /// For so long the count of a layer is good.
    pub(crate) fn layer_usage_age(&self) -> Duration {
        Duration::from_secs(self.live.load().settings.layer_usage_seconds)
    }

    /// A container with the limits that the kernel has.
    pub(crate) fn shown(&self, container: &Container) -> ContainerView {
        let mut view = container.view();
        if let Some(resources) = self.in_force(container, &view) {
            view.resources = resources;
        }
        view
    }

    /// The limits that the kernel has, of a container that was seen like this; `None` when it has ended, or when they cannot
    /// be read back, which is logged. Takes no lock of the container.
    pub(crate) fn in_force(&self, container: &Container, view: &ContainerView) -> Option<Resources> {
        if matches!(view.state, ContainerState::Exited { .. }) {
            return None;
        }
        let score = |pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok()?;
            OomScore::new(text.trim().parse().ok()?).ok()
        };
        let force = self
            .cgroup_limits(&view.resources)
            .and_then(|like| Ok(container.pod.accounts(&self.cgroups).limits(&container.cgroup(), &like)?));
        match force {
            Ok(force) => Some(actual(&view.resources, &force, view.pid.and_then(score))),
            Err(error) => {
                tracing::warn!(container_id = %view.id, error = chain(&error), "limits cannot be read back");
                None
            }
        }
    }

    /// The containers of a pod that clients see, newest first, with the limits that the kernel has.
    pub(crate) fn shown_of(&self, registry: &Registry, pod: &str) -> Vec<ContainerView> {
        let containers = registry.containers_of(pod);
        let published = containers.iter().filter(|container| container.is_published());
        let mut shown: Vec<ContainerView> = published.map(|container| self.shown(container)).collect();
        shown.sort_by_key(|container| Reverse(container.created_at));
        shown
    }
}

/// The limits after a change that says nothing of what stays. Swap that is not mentioned keeps the room that it has
/// beyond memory.
pub(crate) fn merge(before: &Resources, change: &Resources) -> Result<Resources, EngineError> {
    let list = |new: &Option<CpuList>, old: &Option<CpuList>| new.as_ref().or(old.as_ref()).cloned();
    let silent = change.oom_score_adj == OomScore::default();
    let mut after = Resources {
        cpu_period: change.cpu_period.or(before.cpu_period),
        cpu_quota: change.cpu_quota.or(before.cpu_quota),
        cpu_shares: change.cpu_shares.or(before.cpu_shares),
        memory_limit: change.memory_limit.or(before.memory_limit),
        memory_swap_limit: swap(before, change),
        oom_score_adj: if silent { before.oom_score_adj } else { change.oom_score_adj },
        cpuset_cpus: list(&change.cpuset_cpus, &before.cpuset_cpus),
        cpuset_mems: list(&change.cpuset_mems, &before.cpuset_mems),
        hugepages: before.hugepages.clone(),
        unified: before.unified.clone(),
    };
    for pages in &change.hugepages {
        match after.hugepages.iter_mut().find(|known| known.size == pages.size) {
            Some(known) => known.limit = pages.limit,
            None => after.hugepages.push(pages.clone()),
        }
    }
    after.unified.extend(change.unified.clone());
    check_swap(after.memory_limit, after.memory_swap_limit).map_err(|error| EngineError::Invalid {
        field: "linux.memory_swap_limit_in_bytes",
        problem: error.to_string(),
    })?;
    Ok(after)
}

fn swap(before: &Resources, change: &Resources) -> Option<Bytes> {
    let bytes = |limit: Option<Bytes>| limit.and_then(Bytes::limit);
    match (change.memory_swap_limit, change.memory_limit) {
        (Some(asked), _) => Some(asked),
        (None, None) => before.memory_swap_limit,
        (None, Some(Bytes::UNLIMITED)) => Some(Bytes::UNLIMITED),
        (None, Some(limit)) => match (bytes(before.memory_swap_limit), bytes(before.memory_limit)) {
            (Some(both), Some(memory)) => Some(Bytes::nearest(limit.get().saturating_add(both - memory))),
            _ => before.memory_swap_limit,
        },
    }
}

/// Of the limits after a change those that are to be written: what was named, and what the kernel takes together
/// with it.
pub(crate) fn changed(before: &Resources, after: &Resources, change: &Resources) -> Resources {
    let mut written = change.clone();
    if change.cpu_quota.is_some() || change.cpu_period.is_some() {
        (written.cpu_quota, written.cpu_period) = (after.cpu_quota, after.cpu_period);
    }
    if change.memory_limit.is_some() || change.memory_swap_limit.is_some() {
        (written.memory_limit, written.memory_swap_limit) = (after.memory_limit, after.memory_swap_limit);
        if before.memory_swap_limit == Some(Bytes::UNLIMITED) && change.memory_swap_limit.is_none() {
            written.memory_swap_limit = Some(Bytes::UNLIMITED);
        }
    }
    written
}

/// Of the limits in force those that a change writes, to undo it.
pub(crate) fn only(force: cgroup::Resources, change: &cgroup::Resources) -> cgroup::Resources {
    cgroup::Resources {
        cpu_shares: force.cpu_shares.filter(|_| change.cpu_shares.is_some()),
        cpu_quota: force.cpu_quota.filter(|_| change.cpu_quota.is_some() || change.cpu_period.is_some()),
        cpu_period: force.cpu_period.filter(|_| change.cpu_quota.is_some() || change.cpu_period.is_some()),
        cpuset_cpus: force.cpuset_cpus.filter(|_| change.cpuset_cpus.is_some()),
        cpuset_mems: force.cpuset_mems.filter(|_| change.cpuset_mems.is_some()),
        memory_limit: force.memory_limit.filter(|_| change.memory_limit.is_some()),
        memory_swap: force.memory_swap.filter(|_| change.memory_swap.is_some()),
        pids_limit: None,
        ..force
    }
}

/// The limits as a status shows them: what the kernel has, in the words of the request where they mean the same.
/// `score` is the first process's oom_score_adj.
pub(crate) fn actual(asked: &Resources, force: &cgroup::Resources, score: Option<OomScore>) -> Resources {
    let mut shown = asked.clone();
    if let Some(shares) = force.cpu_shares {
        let wanted = asked.cpu_shares.map_or(DEFAULT_SHARES, |shares| shares.get().unsigned_abs());
        let same = shares == wanted || cgroup::shares_of_weight(cgroup::weight_of_shares(wanted)) == shares;
        if !same {
            shown.cpu_shares = Some(CpuShares::nearest(shares.cast_signed()));
        }
    }
    if let Some(quota) = force.cpu_quota
        && !(quota < 0 && asked.cpu_quota.and_then(CpuQuota::limit).is_none())
    {
        shown.cpu_quota = Some(CpuQuota::nearest(quota));
    }
    if let Some(period) = force.cpu_period
        && !(period == DEFAULT_PERIOD && asked.cpu_period.is_none())
    {
        shown.cpu_period = Some(CpuPeriod::nearest(period.cast_signed()));
    }
    if let Some(limit) = force.memory_limit
        && !same_bytes(asked.memory_limit, limit)
    {
        shown.memory_limit = Some(Bytes::nearest(limit));
    }
    if let Some(both) = force.memory_swap {
        // No swap beside a limit is what a request gets that is silent about it.
        let wanted = asked.memory_swap_limit.or(asked.memory_limit);
        let silent = both < 0 && asked.memory_swap_limit.is_none();
        shown.memory_swap_limit = if silent {
            None
        } else if same_bytes(wanted, both) {
            wanted
        } else {
            Some(Bytes::nearest(both))
        };
    }
    for (shown, force) in
        [(&mut shown.cpuset_cpus, &force.cpuset_cpus), (&mut shown.cpuset_mems, &force.cpuset_mems)]
    {
        // Without a list of its own it has its parent's.
        if let (Some(shown), Some(list)) = (shown, force)
            && shown.members() != list.members()
        {
            shown.clone_from(list);
        }
    }
    for pages in &force.hugepages {
        // The kernel keeps whole pages of the size.
        if let Some(asked) = shown.hugepages.iter_mut().find(|known| known.size == pages.size) {
            asked.limit = asked.limit.min(pages.limit);
        }
    }
    shown.unified.extend(force.unified.clone());
    shown.oom_score_adj = score.unwrap_or(asked.oom_score_adj);
    shown
}

/// The kernel keeps whole pages, and a negative number is no limit.
fn same_bytes(asked: Option<Bytes>, force: i64) -> bool {
    let asked = asked.and_then(Bytes::limit);
    if force < 0 {
        return asked.is_none();
    }
    let pages = |bytes: i64| bytes / PAGE;
    pages(asked.unwrap_or(0)) == pages(force)
}

/// What a whole pod may use: its containers' sum and its overhead. Nothing where the containers have no limit.
pub(crate) fn pod(resources: Option<&Resources>, overhead: Option<&Resources>) -> Resources {
    let none = Resources::default();
    let (sum, over) = (resources.unwrap_or(&none), overhead.unwrap_or(&none));
    let bytes = |limit: Option<Bytes>| limit.and_then(Bytes::limit).unwrap_or(0);
    let plus = |limit: Option<Bytes>, more: i64| {
        limit.map(|limit| limit.limit().map_or(limit, |bytes| Bytes::nearest(bytes.saturating_add(more))))
    };
    let period = |of: &Resources| of.cpu_period.map_or(DEFAULT_PERIOD.cast_signed(), CpuPeriod::get);
    let quota_over = over.cpu_quota.and_then(CpuQuota::limit).unwrap_or(0);
    let quota_over = quota_over.saturating_mul(period(sum)) / period(over);
    let quota = |quota: CpuQuota| {
        quota.limit().map_or(quota, |time| CpuQuota::nearest(time.saturating_add(quota_over)))
    };
    let shares_over = over.cpu_shares.map_or(0, CpuShares::get);
    Resources {
        cpu_period: sum.cpu_period,
        cpu_quota: sum.cpu_quota.map(quota),
        cpu_shares: sum.cpu_shares.map(|shares| CpuShares::nearest(shares.get() + shares_over)),
        memory_limit: plus(sum.memory_limit, bytes(over.memory_limit)),
        memory_swap_limit: plus(
            sum.memory_swap_limit,
            bytes(over.memory_swap_limit).max(bytes(over.memory_limit)),
        ),
        ..sum.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use model::{CgroupFile, HugePages, PageSize};

    fn bytes(value: i64) -> Option<Bytes> {
        (value != 0).then(|| Bytes::new(value).unwrap())
    }

    fn limited(memory_limit: i64, memory_swap_limit: i64) -> Resources {
        Resources {
            memory_limit: bytes(memory_limit),
            memory_swap_limit: bytes(memory_swap_limit),
            ..Resources::default()
        }
    }

    fn pages(size: &str, limit: u64) -> Vec<HugePages> {
        vec![HugePages { size: PageSize::new(size).unwrap(), limit }]
    }

    fn file(name: &str) -> CgroupFile {
        CgroupFile::new(name).unwrap()
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let before = Resources {
            cpu_shares: CpuShares::new(512).ok(),
            cpu_quota: CpuQuota::new(50_000).ok(),
            cpu_period: CpuPeriod::new(100_000).ok(),
            memory_limit: bytes(100),
            cpuset_cpus: CpuList::new("0").ok(),
            hugepages: pages("2MB", 7),
            unified: [(file("memory.high"), "9".to_owned())].into(),
            ..Resources::default()
        };
        let change = Resources {
            cpu_quota: Some(CpuQuota::UNLIMITED),
            hugepages: pages("1GB", 1),
            unified: [(file("pids.max"), "5".to_owned())].into(),
            ..Resources::default()
        };
        let after = merge(&before, &change).unwrap();
        let unlimited = Some(CpuQuota::UNLIMITED);
        assert_eq!(
            (after.cpu_shares, after.cpu_quota, after.memory_limit),
            (before.cpu_shares, unlimited, bytes(100))
        );
        assert_eq!((&after.cpuset_cpus, after.unified.len()), (&before.cpuset_cpus, 2));
        assert_eq!(after.hugepages, [pages("2MB", 7), pages("1GB", 1)].concat());
        let written = changed(&before, &after, &change);
        assert_eq!(
            (written.cpu_quota, written.cpu_period, written.cpu_shares),
            (unlimited, before.cpu_period, None)
        );
        assert_eq!((written.memory_limit, written.cpuset_cpus), (None, None));
    }

    #[test]
    fn swap_keeps_its_room_beyond_memory() {
        let after = |before: (i64, i64), change: (i64, i64)| {
            let after = merge(&limited(before.0, before.1), &limited(change.0, change.1));
            let number = |limit: Option<Bytes>| limit.map_or(0, Bytes::get);
            after.map(|after| (number(after.memory_limit), number(after.memory_swap_limit))).ok()
        };
        assert_eq!(after((100, 0), (200, 0)), Some((200, 0)), "none stays none");
        assert_eq!(after((100, 150), (200, 0)), Some((200, 250)));
        assert_eq!(after((100, -1), (200, 0)), Some((200, -1)));
        assert_eq!(after((100, 150), (-1, 0)), Some((-1, -1)));
        assert_eq!(after((100, 150), (0, 120)), Some((100, 120)));
        assert_eq!(after((100, 150), (200, 150)), None, "less than memory");
        assert_eq!(after((0, 0), (0, 50)), None, "without memory");
    }

    #[test]
    fn a_status_shows_the_kernels_values_in_the_requests_words() {
        let asked = Resources {
            cpu_shares: CpuShares::new(500).ok(),
            memory_limit: bytes(100_000_001),
            cpuset_cpus: CpuList::new("1,0").ok(),
            ..Resources::default()
        };
        let weight = cgroup::shares_of_weight(cgroup::weight_of_shares(500));
        let mut force = cgroup::Resources {
            cpu_shares: Some(weight),
            cpu_quota: Some(-1),
            cpu_period: Some(100_000),
            memory_limit: Some(99_999_744),
            memory_swap: Some(99_999_744),
            cpuset_cpus: CpuList::new("0-1").ok(),
            ..cgroup::Resources::default()
        };
        let expected = Resources { memory_swap_limit: asked.memory_limit, ..asked.clone() };
        assert_eq!(actual(&asked, &force, None), expected);
        force.memory_limit = Some(8192);
        force.cpu_shares = Some(2);
        force.cpu_quota = Some(20_000);
        let shown = actual(&asked, &force, OomScore::new(-5).ok());
        assert_eq!((shown.memory_limit, shown.cpu_shares), (bytes(8192), Some(CpuShares::LEAST)));
        assert_eq!((shown.cpu_quota.map(CpuQuota::get), shown.oom_score_adj.get()), (Some(20_000), -5));
        let unlimited = cgroup::Resources {
            cpu_shares: Some(1024),
            cpu_quota: Some(-1),
            memory_limit: Some(-1),
            memory_swap: Some(-1),
            ..cgroup::Resources::default()
        };
        assert_eq!(actual(&Resources::default(), &unlimited, None), Resources::default());
    }

    #[test]
    fn a_pod_gets_its_overhead_on_top() {
        let sum = Resources {
            cpu_quota: CpuQuota::new(50_000).ok(),
            cpu_shares: CpuShares::new(512).ok(),
            memory_limit: bytes(1000),
            ..Resources::default()
        };
        let over = Resources {
            cpu_quota: CpuQuota::new(10_000).ok(),
            cpu_period: CpuPeriod::new(50_000).ok(),
            cpu_shares: CpuShares::new(100).ok(),
            memory_limit: bytes(24),
            ..Resources::default()
        };
        let pod_of = pod(Some(&sum), Some(&over));
        let figures = (pod_of.cpu_quota.map(CpuQuota::get), pod_of.cpu_shares.map(CpuShares::get));
        assert_eq!((figures, pod_of.memory_limit), ((Some(70_000), Some(612)), bytes(1024)));
        assert_eq!(pod(None, Some(&over)).memory_limit, None, "without a limit there is nothing to add to");
        let most = Resources { cpu_shares: Some(CpuShares::MOST), ..Resources::default() };
        assert_eq!(pod(Some(&most), Some(&over)).cpu_shares, Some(CpuShares::MOST), "what the kernel takes");
    }
}
