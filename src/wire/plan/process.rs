//! What a process is to be.

use super::Bytes;

/// A process: the first of a container, or an exec.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessPlan {
    /// Program and arguments; the program is looked up in the environment's PATH inside the root, as execvp does.
    pub argv: Vec<Bytes>,
    /// `NAME=value`.
    pub env: Vec<Bytes>,
    /// Absolute; created in the root when absent (containers only).
    pub cwd: Bytes,
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// `None`: 0022.
    pub umask: Option<u32>,
    /// Bit sets by capability number.
    pub bounding: u64,
    /// Bit set.
    pub effective: u64,
    /// Bit set.
    pub permitted: u64,
    /// Bit set.
    pub inheritable: u64,
    /// Bit set.
    pub ambient: u64,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// Clamped and reported where the host forbids it.
    pub oom_score_adj: Option<i32>,
    /// (resource, soft, hard) for prlimit(2).
    pub rlimits: Vec<(u32, u64, u64)>,
    /// A classic BPF program, an array of `struct sock_filter`; empty: no filter.
    pub seccomp: Bytes,
    /// `SECCOMP_FILTER_FLAG_*` for loading it.
    pub seccomp_flags: u32,
    /// Whom the filter asks where its action is to ask somebody (`SCMP_ACT_NOTIFY`).
    pub seccomp_agent: Option<SeccompAgent>,
    /// The AppArmor profile that exec takes on; empty: none is asked for.
    pub apparmor: Bytes,
    /// The SELinux label that exec takes on, also that of keys it makes; empty: none is asked for.
    pub selinux: Bytes,
    /// Class and priority for ioprio_set(2), as one number; 0: they stay what they are.
    pub io_priority: u32,
    /// For sched_setattr(2).
    pub scheduler: Option<SchedulerPlan>,
    /// For set_mempolicy(2).
    pub memory_policy: Option<MemoryPolicyPlan>,
}

/// How a process gets its turns on CPUs, in the kernel's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SchedulerPlan {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For the policies that take turns by weight.
    pub nice: i32,
    /// For the policies of real time.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, in nanoseconds.
    pub runtime: u64,
    /// As `runtime`.
    pub deadline: u64,
    /// As `runtime`.
    pub period: u64,
}

impl SchedulerPlan {
    /// A process that is forked has it too: no flag takes it away, and the policy is not one of a single process.
    pub fn is_inherited(&self) -> bool {
        const DEADLINE: u32 = 6;
        const RESET_ON_FORK: u64 = 1;
        self.policy != DEADLINE && self.flags & RESET_ON_FORK == 0
    }
}

/// On which nodes a process's memory is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryPolicyPlan {
    /// `MPOL_*`, with the flags `MPOL_F_*`.
    pub mode: u32,
    /// A bit a node, from the lowest of the first byte on.
    pub nodes: Bytes,
}

/// Who answers for system calls that a filter asks about (runtime spec, `seccomp.listenerPath`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeccompAgent {
    /// The agent's Unix socket on the host.
    pub socket: Bytes,
    /// The container process state in JSON, up to the id of the process that loads the filter.
    pub before_pid: Bytes,
    /// The same up to the id of the container's first process, where it is that one; else the rest.
    pub between_pids: Bytes,
    /// The rest; empty: `between_pids` is.
    pub after_pids: Bytes,
}
