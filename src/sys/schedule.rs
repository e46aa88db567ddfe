//! What turns the calling process gets, on CPUs and at disks, and where its memory is. Programs that it becomes and
//! processes that it forks have the same.

use crate::SysResult;
use crate::fd::check;

/// The arguments of sched_setattr(2), in the kernel's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scheduler {
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

/// The first version of the kernel's structure.
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// sched_setattr(2). What is wrong is told of `field`.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE` in the host's user namespace, `EINVAL` for what does not fit together, `EBUSY` where the
/// CPUs cannot keep a deadline.
pub fn set_scheduler(field: &'static str, wanted: Scheduler) -> SysResult<()> {
    let attributes = SchedAttr {
        size: u32::try_from(size_of::<SchedAttr>()).unwrap_or_default(),
        policy: wanted.policy,
        flags: wanted.flags,
        nice: wanted.nice,
        priority: wanted.priority,
        runtime: wanted.runtime,
        deadline: wanted.deadline,
        period: wanted.period,
    };
    // SAFETY: the structure is live and says its own size; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    check(field, b"", result)
}

/// How long a turn is of a thread that works for a moment at a time.
const SHORT_TURN: u64 = 100_000;
const SCHED_FLAG_RESET_ON_FORK: u64 = 1;

/// Makes the turns of the calling thread short, so that one is soon its own: the kernel lets a thread that wakes wait for the
/// end of a longer turn, which a program that has just been executed may take whole. Its share stays what it was. What it
/// forks has the usual turns, and so have its new threads. Kernels before 6.12 take no notice.
///
/// A thread that an operator has given another policy or a better share is left as it is, since what it forks has those too.
///
/// # Errors
/// The kernel's, such as `EPERM` under a filter.
pub fn take_short_turns() -> SysResult<()> {
    const FIELD: &str = "set the length of turns";
    let mut now = SchedAttr::default();
    let size = u32::try_from(size_of::<SchedAttr>()).unwrap_or_default();
    // SAFETY: the structure is writable for the size that is told; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut now, size, 0) };
    check(FIELD, b"", result)?;
    if now.policy != libc::SCHED_OTHER.cast_unsigned() || now.nice < 0 {
        return Ok(());
    }
    let (flags, runtime) = (now.flags | SCHED_FLAG_RESET_ON_FORK, SHORT_TURN);
    set_scheduler(FIELD, Scheduler { flags, runtime, nice: now.nice, ..Scheduler::default() })
}

/// ioprio_set(2): class and priority as one number. What is wrong is told of `field`.
///
/// # Errors
/// `EPERM` for real time without `CAP_SYS_ADMIN` or `CAP_SYS_NICE`, `EINVAL` for an unknown class.
pub fn set_io_priority(field: &'static str, priority: u32) -> SysResult<()> {
    const WHO_PROCESS: i32 = 1;
    // SAFETY: ioprio_set takes no pointers; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, priority) };
    check(field, b"", result)
}

/// set_mempolicy(2): a mode with its flags, and a bit a node from the lowest of the first byte on. What is wrong is told
/// of `field`.
///
/// # Errors
/// `EINVAL` for nodes that are not there or a mode that the kernel does not know, `ENOSYS` for a kernel without NUMA.
pub fn set_memory_policy(field: &'static str, mode: u32, nodes: &[u8]) -> SysResult<()> {
    const BYTES: usize = size_of::<libc::c_ulong>();
    let word = |bytes: &[u8]| {
        let mut word = [0; BYTES];
        word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        libc::c_ulong::from_le_bytes(word)
    };
    let words: Vec<libc::c_ulong> = nodes.chunks(BYTES).map(word).collect();
    let mask = if words.is_empty() { std::ptr::null() } else { words.as_ptr() };
    // The kernel looks at one bit less than it is told of.
    let bits = if words.is_empty() { 0 } else { words.len() * BYTES * 8 + 1 };
    // SAFETY: `mask` is null, or points at live words for all the bits that are looked at.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) };
    check(field, b"", result)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// In a thread, which is all that is changed.
    fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(work).join().unwrap()
    }

    fn in_force() -> (i32, libc::c_long) {
        // SAFETY: neither takes a pointer; 0 is the calling thread.
        unsafe { (libc::sched_getscheduler(0), libc::syscall(libc::SYS_ioprio_get, 1, 0)) }
    }

    #[test]
    fn turns_are_what_was_set() {
        let made = aside(|| {
            set_scheduler("scheduler", Scheduler { policy: 3, nice: 7, ..Scheduler::default() }).unwrap();
            set_io_priority("priority", 3 << 13).unwrap();
            in_force()
        });
        assert_eq!(made, (libc::SCHED_BATCH, 3 << 13));
    }

    /// Length of turns and flags of the calling thread.
    fn turns() -> (u64, u64) {
        let mut now = SchedAttr::default();
        let size = u32::try_from(size_of::<SchedAttr>()).unwrap();
        // SAFETY: the structure is writable for the size that is told; 0 is the calling thread.
        let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut now, size, 0) };
        assert_eq!(result, 0);
        (now.runtime, now.flags)
    }

    #[test]
    fn short_turns_are_a_thread_s_own() {
        let (before, own, child) = aside(|| {
            let before = turns();
            take_short_turns().unwrap();
            (before, turns(), aside(turns))
        });
        assert_eq!(own.1, SCHED_FLAG_RESET_ON_FORK);
        // Zero is what older kernels tell.
        assert!(own.0 == SHORT_TURN || own.0 == before.0, "{own:?}");
        assert_eq!(child, before, "a new thread has the usual ones");
    }

    #[test]
    fn a_thread_with_a_policy_of_its_own_keeps_it() {
        let turns = aside(|| {
            set_scheduler("scheduler", Scheduler { policy: 3, ..Scheduler::default() }).unwrap();
            take_short_turns().unwrap();
            (in_force().0, turns().1)
        });
        assert_eq!(turns, (libc::SCHED_BATCH, 0));
    }

    #[test]
    fn what_the_kernel_refuses_is_told_of_its_field() {
        let wrong = Scheduler { policy: 99, ..Scheduler::default() };
        let error = aside(move || set_scheduler("process.scheduler", wrong)).unwrap_err();
        assert_eq!((error.op, error.errno), ("process.scheduler", libc::EINVAL));
        let error = aside(|| set_io_priority("process.ioPriority", 7 << 13)).unwrap_err();
        assert_eq!((error.op, error.errno), ("process.ioPriority", libc::EINVAL));
    }

    #[test]
    fn memory_is_on_nodes_that_are_there() {
        let made = aside(|| {
            // MPOL_BIND on the node that every host has.
            set_memory_policy("linux.memoryPolicy", 2, &[1])?;
            Ok::<_, crate::SysError>(std::fs::read_to_string("/proc/thread-self/numa_maps").unwrap())
        });
        match made {
            Err(error) if error.errno == libc::ENOSYS => {
                need::skip(need::Need::Kernel, "no NUMA");
            }
            made => assert!(made.unwrap().contains("bind:0"), "the policy is not in force"),
        }
        let error =
            aside(|| set_memory_policy("linux.memoryPolicy", 2, &[0, 0, 0, 0, 0, 0, 0, 128])).unwrap_err();
        assert_eq!(error.op, "linux.memoryPolicy");
    }
}
