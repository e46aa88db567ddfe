//! Limits that were asked for, brought together with those in force.

use crate::error::EngineError;
use model::Resources;
use oci::cgroup;

const PAGE: i64 = 4096;
/// The kernel's values where nobody set any.
const DEFAULT_SHARES: u64 = 1024;
const DEFAULT_PERIOD: u64 = 100_000;

/// The limits after a change that says 0 or nothing of what stays. Swap that is not mentioned keeps the room that it
/// has beyond memory.
pub(crate) fn merge(before: &Resources, change: &Resources) -> Result<Resources, EngineError> {
    let number = |new: i64, old: i64| if new == 0 { old } else { new };
    let text = |new: &String, old: &String| if new.is_empty() { old.clone() } else { new.clone() };
    let mut after = Resources {
        cpu_period: number(change.cpu_period, before.cpu_period),
        cpu_quota: number(change.cpu_quota, before.cpu_quota),
        cpu_shares: number(change.cpu_shares, before.cpu_shares),
        memory_limit: number(change.memory_limit, before.memory_limit),
        memory_swap_limit: swap(before, change),
        oom_score_adj: number(change.oom_score_adj, before.oom_score_adj),
        cpuset_cpus: text(&change.cpuset_cpus, &before.cpuset_cpus),
        cpuset_mems: text(&change.cpuset_mems, &before.cpuset_mems),
        hugepages: before.hugepages.clone(),
        unified: before.unified.clone(),
    };
    for (size, limit) in &change.hugepages {
        match after.hugepages.iter_mut().find(|(known, _)| known == size) {
            Some((_, known)) => *known = *limit,
            None => after.hugepages.push((size.clone(), *limit)),
        }
    }
    after.unified.extend(change.unified.clone());
    if after.memory_swap_limit > 0
        && (after.memory_limit <= 0 || after.memory_swap_limit < after.memory_limit)
    {
        let problem = format!(
            "{} does not include the memory limit of {}",
            after.memory_swap_limit, after.memory_limit
        );
        return Err(EngineError::Invalid { field: "linux.memory_swap_limit_in_bytes", problem });
    }
    Ok(after)
}

fn swap(before: &Resources, change: &Resources) -> i64 {
    let room = before.memory_swap_limit - before.memory_limit;
    match (change.memory_swap_limit, change.memory_limit) {
        (0, 0) => before.memory_swap_limit,
        (0, -1) => -1,
        (0, limit) if before.memory_swap_limit > 0 && before.memory_limit > 0 => limit.saturating_add(room),
        (0, _) => before.memory_swap_limit,
        (asked, _) => asked,
    }
}

/// Of the limits after a change those that are to be written: what was named, and what the kernel takes together
/// with it.
pub(crate) fn changed(before: &Resources, after: &Resources, change: &Resources) -> Resources {
    let mut written = change.clone();
    if change.cpu_quota != 0 || change.cpu_period != 0 {
        (written.cpu_quota, written.cpu_period) = (after.cpu_quota, after.cpu_period);
    }
    if change.memory_limit != 0 || change.memory_swap_limit != 0 {
        (written.memory_limit, written.memory_swap_limit) = (after.memory_limit, after.memory_swap_limit);
        if before.memory_swap_limit == -1 && change.memory_swap_limit == 0 {
            written.memory_swap_limit = -1;
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
pub(crate) fn actual(asked: &Resources, force: &cgroup::Resources, score: Option<i64>) -> Resources {
    let mut shown = asked.clone();
    if let Some(shares) = force.cpu_shares {
        let wanted = u64::try_from(asked.cpu_shares).unwrap_or(0);
        let wanted = if wanted == 0 { DEFAULT_SHARES } else { wanted };
        let same = shares == wanted || cgroup::shares_of_weight(cgroup::weight_of_shares(wanted)) == shares;
        if !same {
            shown.cpu_shares = shares.cast_signed();
        }
    }
    if let Some(quota) = force.cpu_quota
        && !(quota < 0 && asked.cpu_quota <= 0)
    {
        shown.cpu_quota = quota;
    }
    if let Some(period) = force.cpu_period
        && !(period == DEFAULT_PERIOD && asked.cpu_period == 0)
    {
        shown.cpu_period = period.cast_signed();
    }
    if let Some(limit) = force.memory_limit
        && !same_bytes(asked.memory_limit, limit)
    {
        shown.memory_limit = limit;
    }
    if let Some(both) = force.memory_swap {
        // No swap beside a limit is what a request gets that is silent about it.
        let wanted = if asked.memory_swap_limit == 0 { asked.memory_limit } else { asked.memory_swap_limit };
        let silent = both < 0 && asked.memory_swap_limit == 0;
        shown.memory_swap_limit = if silent {
            0
        } else if same_bytes(wanted, both) {
            wanted
        } else {
            both
        };
    }
    for (shown, force) in
        [(&mut shown.cpuset_cpus, &force.cpuset_cpus), (&mut shown.cpuset_mems, &force.cpuset_mems)]
    {
        // Without a list of its own it has its parent's.
        if let (false, Some(list)) = (shown.is_empty(), force)
            && cpus(shown) != cpus(list)
        {
            shown.clone_from(list);
        }
    }
    for (size, limit) in &force.hugepages {
        // The kernel keeps whole pages of the size.
        if let Some((_, asked)) = shown.hugepages.iter_mut().find(|(known, _)| known == size)
            && *limit < *asked
        {
            *asked = *limit;
        }
    }
    shown.unified.extend(force.unified.clone());
    shown.oom_score_adj = score.unwrap_or(asked.oom_score_adj);
    shown
}

/// The kernel keeps whole pages, and a negative number is no limit.
fn same_bytes(asked: i64, force: i64) -> bool {
    if force < 0 { asked <= 0 } else { asked - asked % PAGE == force - force % PAGE }
}

/// The members of a list such as `0-3,7`, which the kernel may write otherwise than it was given.
fn cpus(list: &str) -> Vec<u32> {
    let mut members: Vec<u32> = list
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.trim().parse().ok()?..=last.trim().parse::<u32>().ok()?)
        })
        .flatten()
        .collect();
    members.sort_unstable();
    members.dedup();
    members
}

/// What a whole pod may use: its containers' sum and its overhead. 0 where the containers have no limit.
pub(crate) fn pod(resources: Option<&Resources>, overhead: Option<&Resources>) -> Resources {
    let none = Resources::default();
    let (sum, over) = (resources.unwrap_or(&none), overhead.unwrap_or(&none));
    let plus = |a: i64, b: i64| if a > 0 { a.saturating_add(b.max(0)) } else { a };
    let period =
        |of: &Resources| if of.cpu_period == 0 { DEFAULT_PERIOD.cast_signed() } else { of.cpu_period };
    let quota_over = over.cpu_quota.max(0).saturating_mul(period(sum)) / period(over);
    Resources {
        cpu_period: sum.cpu_period,
        cpu_quota: plus(sum.cpu_quota, quota_over),
        cpu_shares: plus(sum.cpu_shares, over.cpu_shares),
        memory_limit: plus(sum.memory_limit, over.memory_limit),
        memory_swap_limit: plus(sum.memory_swap_limit, over.memory_swap_limit.max(over.memory_limit)),
        ..sum.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn limited(memory_limit: i64, memory_swap_limit: i64) -> Resources {
        Resources { memory_limit, memory_swap_limit, ..Resources::default() }
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let before = Resources {
            cpu_shares: 512,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            memory_limit: 100,
            cpuset_cpus: "0".into(),
            hugepages: vec![("2MB".into(), 7)],
            unified: [("memory.high".to_owned(), "9".to_owned())].into(),
            ..Resources::default()
        };
        let change = Resources {
            cpu_quota: -1,
            hugepages: vec![("1GB".into(), 1)],
            unified: [("pids.max".to_owned(), "5".to_owned())].into(),
            ..Resources::default()
        };
        let after = merge(&before, &change).unwrap();
        assert_eq!((after.cpu_shares, after.cpu_quota, after.memory_limit), (512, -1, 100));
        assert_eq!((after.cpuset_cpus.as_str(), after.hugepages.len(), after.unified.len()), ("0", 2, 2));
        let written = changed(&before, &after, &change);
        assert_eq!((written.cpu_quota, written.cpu_period, written.cpu_shares), (-1, 100_000, 0));
        assert_eq!((written.memory_limit, written.cpuset_cpus.as_str()), (0, ""));
    }

    #[test]
    fn swap_keeps_its_room_beyond_memory() {
        let after = |before: (i64, i64), change: (i64, i64)| {
            let after = merge(&limited(before.0, before.1), &limited(change.0, change.1));
            after.map(|after| (after.memory_limit, after.memory_swap_limit)).ok()
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
            cpu_shares: 500,
            memory_limit: 100_000_001,
            cpuset_cpus: "1,0".into(),
            ..Resources::default()
        };
        let weight = cgroup::shares_of_weight(cgroup::weight_of_shares(500));
        let mut force = cgroup::Resources {
            cpu_shares: Some(weight),
            cpu_quota: Some(-1),
            cpu_period: Some(100_000),
            memory_limit: Some(99_999_744),
            memory_swap: Some(99_999_744),
            cpuset_cpus: Some("0-1".into()),
            ..cgroup::Resources::default()
        };
        let expected = Resources { memory_swap_limit: asked.memory_limit, ..asked.clone() };
        assert_eq!(actual(&asked, &force, None), expected);
        force.memory_limit = Some(8192);
        force.cpu_shares = Some(2);
        force.cpu_quota = Some(20_000);
        let shown = actual(&asked, &force, Some(-5));
        assert_eq!((shown.memory_limit, shown.cpu_shares, shown.cpu_quota), (8192, 2, 20_000));
        assert_eq!(shown.oom_score_adj, -5);
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
        let sum =
            Resources { cpu_quota: 50_000, cpu_shares: 512, memory_limit: 1000, ..Resources::default() };
        let over = Resources {
            cpu_quota: 10_000,
            cpu_period: 50_000,
            cpu_shares: 100,
            memory_limit: 24,
            ..Resources::default()
        };
        let pod_of = pod(Some(&sum), Some(&over));
        assert_eq!((pod_of.cpu_quota, pod_of.cpu_shares, pod_of.memory_limit), (70_000, 612, 1024));
        assert_eq!(pod(None, Some(&over)).memory_limit, 0, "without a limit there is nothing to add to");
    }
}
