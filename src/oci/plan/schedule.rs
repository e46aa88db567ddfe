//! Turns on CPUs and at disks, and nodes of memory, in the kernel's numbers.

use crate::error::{OciError, OciResult};
use model::CpuList;
use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxMemoryPolicy, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    MemoryPolicyFlagType, MemoryPolicyModeType, Scheduler,
};
use wire::plan::{MemoryPolicyPlan, SchedulerPlan};

/// 0 without one.
pub(super) fn io_priority(wanted: Option<&LinuxIOPriority>) -> OciResult<u32> {
    let Some(wanted) = wanted else { return Ok(0) };
    let class = match wanted.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u32::try_from(wanted.priority()) {
        Ok(priority) if priority < 8 => Ok(class << 13 | priority),
        _ => {
            let reason = format!("priority {} is not within 0 to 7", wanted.priority());
            Err(OciError::invalid("spec.process.ioPriority", reason))
        }
    }
}

pub(super) fn scheduler(wanted: &Scheduler) -> OciResult<SchedulerPlan> {
    let refuse = |reason: &str| OciError::invalid("spec.process.scheduler", reason);
    let policy = match wanted.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => return Err(refuse("the kernel has no SCHED_ISO")),
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let mut flags = 0;
    for flag in wanted.flags().iter().flatten() {
        flags |= match flag {
            LinuxSchedulerFlag::SchedResetOnFork => 1,
            LinuxSchedulerFlag::SchedFlagReclaim => 2,
            LinuxSchedulerFlag::SchedFlagDLOverrun => 4,
            LinuxSchedulerFlag::SchedFlagKeepPolicy => 8,
            LinuxSchedulerFlag::SchedFlagKeepParams => 16,
            LinuxSchedulerFlag::SchedFlagUtilClampMin | LinuxSchedulerFlag::SchedFlagUtilClampMax => {
                return Err(refuse("clamps of utilisation have no values in the runtime spec"));
            }
        };
    }
    let priority = wanted.priority().unwrap_or_default();
    Ok(SchedulerPlan {
        policy,
        flags,
        nice: wanted.nice().unwrap_or_default(),
        priority: u32::try_from(priority).map_err(|_| refuse("the priority is negative"))?,
        runtime: wanted.runtime().unwrap_or_default(),
        deadline: wanted.deadline().unwrap_or_default(),
        period: wanted.period().unwrap_or_default(),
    })
}

pub(super) fn memory_policy(wanted: &LinuxMemoryPolicy) -> OciResult<MemoryPolicyPlan> {
    let mode = match wanted.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flags = wanted.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
                MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
                MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
            }
    });
    let mut nodes = Vec::new();
    if let Some(list) = wanted.nodes().as_ref().filter(|list| !list.is_empty()) {
        let list = CpuList::new(list.as_str())
            .map_err(|error| OciError::invalid("spec.linux.memoryPolicy", error.to_string()))?;
        for node in list.members() {
            let (byte, bit) = (usize::from(node / 8), node % 8);
            if nodes.len() <= byte {
                nodes.resize(byte + 1, 0);
            }
            if let Some(byte) = nodes.get_mut(byte) {
                *byte |= 1 << bit;
            }
        }
    }
    Ok(MemoryPolicyPlan { mode: mode | flags, nodes })
}
