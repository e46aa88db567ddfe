//! Limits: every number has an owner.

use super::error::MergeError;
use super::owners::Claims;
use crate::api::{Field, LinuxCpu, LinuxMemory, LinuxResources};

/// Takes what is set of a message over into others, after claiming it.
macro_rules! take {
    ($claims:ident, $from:expr, $targets:ident.$part:ident, $($field:ident = $owner:ident),* $(,)?) => {
        $(if let Some(value) = &$from.$field {
            $claims.field(Field::$owner)?;
            for target in $targets.iter_mut() {
                target.$part.get_or_insert_default().$field = Some(value.clone());
            }
        })*
    };
}

/// Puts what a plugin asks for into each of `targets`.
pub(super) fn merge(
    asked: &LinuxResources,
    targets: &mut [&mut LinuxResources],
    claims: &mut Claims<'_>,
) -> Result<(), MergeError> {
    if let Some(memory) = &asked.memory {
        merge_memory(memory, targets, claims)?;
    }
    if let Some(cpu) = &asked.cpu {
        merge_cpu(cpu, targets, claims)?;
    }
    for limit in &asked.hugepage_limits {
        claims.entry(Field::HugepageLimits, &limit.page_size)?;
        for target in targets.iter_mut() {
            target.hugepage_limits.retain(|known| known.page_size != limit.page_size);
            target.hugepage_limits.push(limit.clone());
        }
    }
    for (key, value) in &asked.unified {
        claims.entry(Field::CgroupsUnified, key)?;
        for target in targets.iter_mut() {
            target.unified.insert(key.clone(), value.clone());
        }
    }
    for target in targets.iter_mut() {
        target.devices.extend(asked.devices.iter().cloned());
    }
    merge_whole(asked, targets, claims)
}

/// The same without messages in which nothing is set.
pub(super) fn tidy(limits: &mut Option<LinuxResources>) {
    if let Some(limits) = limits {
        clear(&mut limits.memory);
        clear(&mut limits.cpu);
    }
    clear(limits);
}

pub(super) fn clear<T: Default + PartialEq>(message: &mut Option<T>) {
    if message.as_ref() == Some(&T::default()) {
        *message = None;
    }
}

fn merge_whole(
    asked: &LinuxResources,
    targets: &mut [&mut LinuxResources],
    claims: &mut Claims<'_>,
) -> Result<(), MergeError> {
    if let Some(class) = &asked.blockio_class {
        claims.field(Field::BlockioClass)?;
        targets.iter_mut().for_each(|target| target.blockio_class = Some(class.clone()));
    }
    if let Some(class) = &asked.rdt_class {
        claims.field(Field::RdtClass)?;
        targets.iter_mut().for_each(|target| target.rdt_class = Some(class.clone()));
    }
    if let Some(pids) = &asked.pids {
        claims.field(Field::PidsLimit)?;
        targets.iter_mut().for_each(|target| target.pids = Some(*pids));
    }
    Ok(())
}

#[allow(clippy::clone_on_copy, reason = "some of the wrappers hold text")]
fn merge_memory(
    asked: &LinuxMemory,
    targets: &mut [&mut LinuxResources],
    claims: &mut Claims<'_>,
) -> Result<(), MergeError> {
    take!(
        claims,
        asked,
        targets.memory,
        limit = MemLimit,
        reservation = MemReservation,
        swap = MemSwapLimit,
        kernel = MemKernelLimit,
        kernel_tcp = MemTcpLimit,
        swappiness = MemSwappiness,
        disable_oom_killer = MemDisableOomKiller,
        use_hierarchy = MemUseHierarchy,
    );
    Ok(())
}

#[allow(clippy::clone_on_copy, reason = "some of the wrappers hold text")]
fn merge_cpu(
    asked: &LinuxCpu,
    targets: &mut [&mut LinuxResources],
    claims: &mut Claims<'_>,
) -> Result<(), MergeError> {
    take!(
        claims,
        asked,
        targets.cpu,
        shares = CpuShares,
        quota = CpuQuota,
        period = CpuPeriod,
        realtime_runtime = CpuRealtimeRuntime,
        realtime_period = CpuRealtimePeriod,
    );
    if !asked.cpus.is_empty() {
        claims.field(Field::CpuSetCpUs)?;
        for target in targets.iter_mut() {
            target.cpu.get_or_insert_default().cpus.clone_from(&asked.cpus);
        }
    }
    if !asked.mems.is_empty() {
        claims.field(Field::CpuSetMems)?;
        for target in targets.iter_mut() {
            target.cpu.get_or_insert_default().mems.clone_from(&asked.mems);
        }
    }
    Ok(())
}
