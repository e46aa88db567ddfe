//! Turns on CPUs and at disks, and where memory is.

use sys::fd::errno;
use sys::schedule::{self, Scheduler};
use wire::plan::ProcessPlan;

use crate::Failure;

const SCHEDULER: &str = "process.scheduler";

/// With all privileges, as each may need some. `forks`: the program runs in a process that is yet to be forked.
pub(super) fn apply(plan: &ProcessPlan, forks: bool) -> Result<(), Failure> {
    if let Some(wanted) = &plan.scheduler {
        if forks && !wanted.is_inherited() {
            let message = format!(
                "{SCHEDULER}: SCHED_DEADLINE and SCHED_FLAG_RESET_ON_FORK need a PID namespace of the container's own"
            );
            return Err(Failure::setup(errno::EINVAL, message));
        }
        schedule::set_scheduler(
            SCHEDULER,
            Scheduler {
                policy: wanted.policy,
                flags: wanted.flags,
                nice: wanted.nice,
                priority: wanted.priority,
                runtime: wanted.runtime,
                deadline: wanted.deadline,
                period: wanted.period,
            },
        )?;
    }
    if plan.io_priority != 0 {
        schedule::set_io_priority("process.ioPriority", plan.io_priority)?;
    }
    if let Some(policy) = &plan.memory_policy {
        schedule::set_memory_policy("linux.memoryPolicy", policy.mode, &policy.nodes)?;
    }
    Ok(())
}
