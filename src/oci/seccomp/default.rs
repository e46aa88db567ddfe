//! The built-in profile, which `RuntimeDefault` means.
//!
//! Its facts are those on which Docker, containerd and CRI-O agree, so that an image that runs there runs here:
//! an allow-list, `EPERM` for the rest, more for a process that has the capability anyway. Where Corten differs
//! it is stricter: the address family of `socket` is compared as the kernel reads it (32 bits; a 64-bit
//! comparison is passed by setting a high bit), and the 32-bit multiplexer `socketcall`, whose arguments no
//! filter can see, does not open sockets.

use super::filter::{Action, Compare, Condition, Filter, Rule};
use crate::caps::CapSet;

/// Allowed to everyone.
const ALWAYS: &str = "
    _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir
    chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range
    creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2
    epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2
    fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32
    fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat
    fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64
    futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd
    getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
    getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32
    getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
    getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1
    inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup
    io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr
    listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack
    membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall
    mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
    mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync
    munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause
    pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll
    ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv
    process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead
    readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages
    removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile
    sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid
    setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid
    setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
    setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget
    shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketpair splice stat stat64
    statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill
    time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
    timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
    timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat
    uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write
    writev
";

/// Allowed to everyone on some machines; names that a machine does not have mean nothing there.
const MACHINE: &str = "arch_prctl modify_ldt arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint \
    cacheflush set_tls";

/// Allowed to those who have the capability.
const WITH_CAPABILITY: [(&str, &str); 14] = [
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module init_module finit_module"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("SYS_RAWIO", "iopl ioperm"),
    ("SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];

/// `CLONE_NEW*` for cgroup, UTS, IPC, user, PID, network and mount namespaces.
const NAMESPACES: u64 = 0x7e02_0000;

/// Linux (two values of the ABI flag `UNAME26`), 32-bit Linux with and without it, and the question.
const PERSONALITIES: [u64; 5] = [0x0, 0x2_0000, 0x8, 0x2_0008, 0xffff_ffff];

/// Families that reach past the container: the kernel's crypto interface, and the hypervisor.
const DENIED_FAMILIES: [i32; 2] = [sys::socket::family::ALG, sys::socket::family::VSOCK];

/// `socketcall`'s number for `socket`.
const SOCKETCALL_SOCKET: u64 = 1;

const LOW_HALF: u64 = 0xffff_ffff;
const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// The profile for a process with this bounding set.
pub(super) fn filter(caps: CapSet) -> Filter {
    let mut rules = vec![
        Rule { names: words(ALWAYS), action: Action::Allow, conditions: Vec::new() },
        Rule { names: words(MACHINE), action: Action::Allow, conditions: Vec::new() },
    ];
    for family in DENIED_FAMILIES {
        let denied = Condition::new(0, Compare::MaskedEqual { mask: LOW_HALF }, family.unsigned_abs().into());
        rules.push(Rule::new("socket", Action::Errno(EPERM), vec![denied]));
    }
    rules.push(Rule::new("socket", Action::Allow, Vec::new()));
    let opens = Condition::new(0, Compare::MaskedEqual { mask: LOW_HALF }, SOCKETCALL_SOCKET);
    rules.push(Rule::new("socketcall", Action::Errno(EPERM), vec![opens]));
    rules.push(Rule::new("socketcall", Action::Allow, Vec::new()));
    for value in PERSONALITIES {
        rules.push(Rule::new("personality", Action::Allow, vec![Condition::new(0, Compare::Equal, value)]));
    }
    for (capability, names) in WITH_CAPABILITY {
        if caps.has(capability) {
            rules.push(Rule { names: words(names), action: Action::Allow, conditions: Vec::new() });
        }
    }
    if !caps.has("SYS_ADMIN") {
        let none = Condition::new(0, Compare::MaskedEqual { mask: NAMESPACES }, 0);
        rules.push(Rule::new("clone", Action::Allow, vec![none]));
        // Its flags are behind a pointer; C libraries fall back to clone when it seems not to exist.
        rules.push(Rule::new("clone3", Action::Errno(ENOSYS), Vec::new()));
    }
    Filter { default: Action::Errno(EPERM), rules, architectures: None, flags: super::SPEC_ALLOW }
}

fn words(list: &str) -> Vec<String> {
    list.split_whitespace().map(str::to_owned).collect()
}
