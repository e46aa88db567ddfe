//! Processes: cheap forks into namespaces and cgroups, pidfds, reaping, namespaces.

use std::fs;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::fd::{check, owned};
use crate::{SysError, SysResult};

mod argument;
mod successor;
mod tree;

pub use argument::OwnArgument;
pub use successor::Successor;
pub use tree::kill_tree;

/// libc's constant of this name is truncated to 32 bits.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Proof that the process has one thread, which is what makes [`fork`] safe to offer: the child of a process
/// with several threads may not even allocate. It stays on the thread that claimed it.
#[derive(Debug)]
pub struct SingleThread(PhantomData<*const ()>);

impl SingleThread {
    /// Counts the threads. Claim it at the start of `main`, and start no thread afterwards.
    ///
    /// # Errors
    /// `EBUSY` when there are several.
    pub fn claim() -> SysResult<Self> {
        let path = "/proc/self/task";
        let threads = fs::read_dir(path).map_err(SysError::io("count threads", path))?.count();
        if threads == 1 {
            Ok(Self(PhantomData))
        } else {
            Err(SysError::new("count threads", path, libc::EBUSY))
        }
    }
}

/// A child of this process.
#[derive(Debug)]
pub struct Child {
    /// Its process id, as this process sees it.
    pub pid: i32,
    /// Refers to this process and no later one with the same id.
    pub pidfd: OwnedFd,
}

/// Where [`fork`] has returned.
#[derive(Debug)]
pub enum Forked {
    /// In the process that called it.
    Parent(Child),
    /// In the new one. It must end by exec or [`exit`].
    Child,
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks, into new namespaces (`namespaces`: `CLONE_NEW*`) and directly into a cgroup v2 directory.
///
/// # Errors
/// The kernel's. Where clone3 is missing or filtered, plain clone is used, and asking for a cgroup is
/// `ENOSYS`; `EBUSY`, `EOPNOTSUPP` and others when the cgroup takes no processes.
pub fn fork(_: &SingleThread, namespaces: i32, cgroup: Option<BorrowedFd<'_>>) -> SysResult<Forked> {
    let mut pidfd: RawFd = -1;
    let mut flags = u64::from((libc::CLONE_PIDFD | namespaces).cast_unsigned());
    if cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    let args = CloneArgs {
        flags,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: cgroup.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
        ..CloneArgs::default()
    };
    // SAFETY: without a stack of its own clone3 is a fork; `args` and `pidfd` outlive the call, and the proof
    // of a single thread rules out locks held by others in the child.
    let mut pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    if pid < 0 && crate::last_errno() == libc::ENOSYS && cgroup.is_none() {
        let flags = libc::c_long::from(libc::CLONE_PIDFD | namespaces | libc::SIGCHLD);
        // SAFETY: as above; clone stores the pidfd where the third argument points, on every architecture.
        pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    }
    match pid {
        ..0 => Err(SysError::last("fork", "")),
        0 => {
            crate::arena::open();
            Ok(Forked::Child)
        }
        _ => Ok(Forked::Parent(Child {
            pid: i32::try_from(pid).unwrap_or(i32::MAX),
            // SAFETY: the kernel has just stored this descriptor, and nobody else knows it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        })),
    }
}

/// Forks a child of this process's own parent, into new namespaces: the caller hands over to it and ends. The child
/// is reaped by the parent, which knows nothing of it until it is told.
///
/// # Errors
/// The kernel's; `ENOSYS` without clone3.
pub fn fork_sibling(_: &SingleThread, namespaces: i32) -> SysResult<Forked> {
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_PIDFD | libc::CLONE_PARENT | namespaces;
    let args = CloneArgs {
        flags: u64::from(flags.cast_unsigned()),
        pidfd: &raw mut pidfd as u64,
        // A sibling's end is signalled as this process's own would be.
        ..CloneArgs::default()
    };
    // SAFETY: as for `fork`.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match pid {
        ..0 => Err(SysError::last("fork", "")),
        0 => {
            crate::arena::open();
            Ok(Forked::Child)
        }
        _ => Ok(Forked::Parent(Child {
            pid: i32::try_from(pid).unwrap_or(i32::MAX),
            // SAFETY: the kernel has just stored this descriptor, and nobody else knows it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        })),
    }
}

/// Waits for one child to end, and reaps it.
pub fn wait(child: &Child) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use std::os::fd::AsFd;
    while waitid(Id::PIDFd(child.pidfd.as_fd()), WaitPidFlag::WEXITED) == Err(nix::Error::EINTR) {}
}

/// Ends the process at once: no destructors, no flushing.
///
/// A process whose seccomp filter refuses that ends by a fault: libraries would ask for ever.
pub fn exit(code: i32) -> ! {
    // SAFETY: exit_group takes no pointers.
    unsafe { libc::syscall(libc::SYS_exit_group, code) };
    // SAFETY: abort takes nothing and does not return; where no signal can be raised either, it executes what faults.
    unsafe { libc::abort() }
}

/// The signal that nothing withstands.
pub const SIGKILL: i32 = libc::SIGKILL;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The child.
    pub pid: i32,
    /// Its exit code, or 128 + the signal.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// Reaps one child that has ended; `None` when there is none (now).
pub fn reap() -> Option<Ended> {
    // SAFETY: all zeros is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `info` is writable.
        let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOHANG) };
        if result == 0 {
            break;
        }
        if crate::last_errno() != libc::EINTR {
            return None;
        }
    }
    // SAFETY: waitid filled `info` for a child, or left it zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return None;
    }
    let exited = info.si_code == libc::CLD_EXITED;
    Some(Ended { pid, code: if exited { status } else { 128 + status }, signal: (!exited).then_some(status) })
}

/// Whether a process has ended, or is about to because of SIGKILL.
pub fn is_dying(pid: i32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    status.lines().any(|line| match line.split_once(':') {
        Some(("State", state)) => state.trim_start().starts_with(['Z', 'X']),
        Some(("SigPnd" | "ShdPnd", set)) => {
            let set = u64::from_str_radix(set.trim(), 16).unwrap_or(0);
            set & (1 << (libc::SIGKILL - 1)) != 0
        }
        _ => false,
    })
}

/// A pidfd for a process, which is this one's child or otherwise known to be alive.
///
/// # Errors
/// `ESRCH` when it is gone.
pub fn pidfd_open(pid: i32) -> SysResult<OwnedFd> {
    // SAFETY: pidfd_open takes no pointers.
    owned("pidfd_open", pid.to_string().as_bytes(), unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Sends a signal to exactly the process that the pidfd was opened for.
///
/// # Errors
/// `ESRCH` when it has ended, `EINVAL` for a number that is no signal.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> SysResult<()> {
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null siginfo asks for that of kill(2).
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    check("signal", b"", result)
}

/// kill(2) on one process.
///
/// # Errors
/// `ESRCH` when there is none; `EINVAL` for a number that addresses anything but one process.
pub fn kill(pid: i32, signal: i32) -> SysResult<()> {
    if pid <= 0 {
        return Err(SysError::new("kill", pid.to_string(), libc::EINVAL));
    }
    // SAFETY: kill takes no pointers.
    check("kill", b"", unsafe { libc::kill(pid, signal) }.into())
}

/// setns(2): a namespace file with its type, or a pidfd with several types at once. `CLONE_NEWPID` concerns
/// the children to come.
///
/// # Errors
/// The kernel's; `ESRCH` when the process of the pidfd has ended.
pub fn enter(fd: BorrowedFd<'_>, namespaces: i32) -> SysResult<()> {
    // SAFETY: setns takes no pointers.
    check("setns", b"", unsafe { libc::setns(fd.as_raw_fd(), namespaces) }.into())
}

/// Makes an open directory the process's root and working directory.
///
/// # Errors
/// `EPERM` without `CAP_SYS_CHROOT`, and the kernel's others.
pub fn change_root(root: BorrowedFd<'_>) -> SysResult<()> {
    crate::mount::change_dir(root)?;
    // SAFETY: the path is terminated.
    check("chroot", b"", unsafe { libc::chroot(c".".as_ptr()) }.into())
}

/// unshare(2) of namespaces.
///
/// # Errors
/// The kernel's.
pub fn unshare(namespaces: i32) -> SysResult<()> {
    // SAFETY: unshare takes no pointers; namespaces only are asked for, no memory.
    check("unshare", b"", unsafe { libc::unshare(namespaces) }.into())
}

/// Leads a new session.
///
/// # Errors
/// `EPERM` for a process that leads a group already.
pub fn new_session() -> SysResult<()> {
    nix::unistd::setsid().map(drop).map_err(SysError::nix("setsid", ""))
}

/// Sets the name of the UTS namespace.
///
/// # Errors
/// The kernel's.
pub fn set_hostname(name: &[u8]) -> SysResult<()> {
    nix::unistd::sethostname(std::ffi::OsStr::new(crate::fd::as_path(name)))
        .map_err(SysError::nix("set hostname", crate::fd::as_path(name)))
}

/// Sets the NIS domain name of the UTS namespace.
///
/// # Errors
/// The kernel's.
pub fn set_domainname(name: &[u8]) -> SysResult<()> {
    // SAFETY: the name is live for the length given.
    let result = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    check("set domain name", name, result.into())
}

/// Sets the calling process's name, as `ps` shows it: a program that was executed through a descriptor is
/// called by its number otherwise.
pub fn set_name(name: &std::ffi::CStr) {
    // SAFETY: the name is terminated; the kernel copies its first 15 bytes. It cannot fail.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Sets the file mode creation mask.
pub fn set_umask(mask: u32) {
    // SAFETY: umask takes no pointers and cannot fail.
    unsafe { libc::umask(mask) };
}

/// Numbers of resources, for [`set_limit`].
pub mod resource {
    pub use libc::{
        RLIMIT_AS as AS, RLIMIT_CORE as CORE, RLIMIT_CPU as CPU, RLIMIT_DATA as DATA, RLIMIT_FSIZE as FSIZE,
        RLIMIT_LOCKS as LOCKS, RLIMIT_MEMLOCK as MEMLOCK, RLIMIT_MSGQUEUE as MSGQUEUE, RLIMIT_NICE as NICE,
        RLIMIT_NOFILE as NOFILE, RLIMIT_NPROC as NPROC, RLIMIT_RSS as RSS, RLIMIT_RTPRIO as RTPRIO,
        RLIMIT_RTTIME as RTTIME, RLIMIT_SIGPENDING as SIGPENDING, RLIMIT_STACK as STACK,
    };
}

/// setrlimit(2) by the resource's number.
///
/// # Errors
/// `EPERM` to raise a hard limit without `CAP_SYS_RESOURCE`, `EINVAL` for an unknown resource.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> SysResult<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    let none: *mut libc::rlimit = std::ptr::null_mut();
    // SAFETY: `limit` is live, and the old limit is not asked for.
    let result = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, none) };
    check("set resource limit", resource.to_string().as_bytes(), result)
}

/// The soft limit of open files of another process; `None` without a limit.
///
/// # Errors
/// `ESRCH` when there is none, `EPERM` without `CAP_SYS_RESOURCE` for one of another user.
pub fn files_limit(pid: i32) -> SysResult<Option<u64>> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let none: *const libc::rlimit = std::ptr::null();
    // SAFETY: `limit` is writable, and no new limit is given.
    let result =
        unsafe { libc::syscall(libc::SYS_prlimit64, pid, libc::RLIMIT_NOFILE, none, &raw mut limit) };
    check("ask for the resource limit of", pid.to_string().as_bytes(), result)?;
    Ok((limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_pidfd_reaches_its_process_only() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pidfd = pidfd_open(child.id().cast_signed()).unwrap();
        signal(pidfd.as_fd(), libc::SIGKILL).unwrap();
        child.wait().unwrap();
        assert_eq!(signal(pidfd.as_fd(), 0).unwrap_err().errno, libc::ESRCH);
    }

    #[test]
    fn group_and_broadcast_numbers_are_refused() {
        assert_eq!(kill(0, 0).unwrap_err().errno, libc::EINVAL);
        assert_eq!(kill(-1, 0).unwrap_err().errno, libc::EINVAL);
    }
}
