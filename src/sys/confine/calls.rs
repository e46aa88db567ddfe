//! Filters of system calls for threads of this program, of this machine's own calls alone.

use crate::{SysError, SysResult, last_errno};
use std::sync::LazyLock;

/// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, the same with `JSET`, and `BPF_RET | BPF_K`.
const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
/// `SECCOMP_RET_ALLOW`, and `SECCOMP_RET_ERRNO` with EPERM.
const ALLOW: u32 = 0x7fff_0000;
const REFUSE: u32 = 0x0005_0000 | libc::EPERM.cast_unsigned();
/// Where `struct seccomp_data` has the number of the call, its architecture, and the lower half of the third argument.
const NUMBER: u32 = 0;
const KIND: u32 = 4;
const THIRD: u32 = 32;
/// Neither slower memory nor slower jumps for a thread under a filter, as on older kernels.
const AS_FAST: libc::c_ulong = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
/// Numbers of the x32 calls have this bit.
#[cfg(target_arch = "x86_64")]
const OTHERS: u32 = 0x4000_0000;
#[cfg(not(target_arch = "x86_64"))]
const OTHERS: u32 = 0x8000_0000;

/// Memory, waiting, and descriptors that are there: the standard library, the C library and the log need no more.
const COMPUTING: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fdatasync,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Allowed while the memory is not to be executed, which the third argument says.
const OF_MEMORY: &[libc::c_long] = &[libc::SYS_mmap, libc::SYS_mprotect];

/// What making files never needs: other programs, processes, signals, namespaces, mounts, sockets, memory that is executed, and
/// the kernel's own state.
const NEVER_FOR_FILES: &[libc::c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bind,
    libc::SYS_bpf,
    libc::SYS_capset,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_connect,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_kill,
    libc::SYS_listen,
    libc::SYS_memfd_create,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pivot_root,
    libc::SYS_pkey_mprotect,
    libc::SYS_prlimit64,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_settimeofday,
    libc::SYS_setuid,
    libc::SYS_shmat,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_tgkill,
    libc::SYS_tkill,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// A program for the kernel, made once.
pub(super) struct Filter(Vec<libc::sock_filter>);

/// For threads that compute.
pub(super) fn computing() -> &'static Filter {
    static FILTER: LazyLock<Filter> = LazyLock::new(|| Filter::new(COMPUTING, ALLOW, REFUSE));
    &FILTER
}

/// For threads that fill a directory.
pub(super) fn filling() -> &'static Filter {
    static FILTER: LazyLock<Filter> = LazyLock::new(|| Filter::new(NEVER_FOR_FILES, REFUSE, ALLOW));
    &FILTER
}

fn instruction(code: u16, when: u8, otherwise: u8, value: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: when, jf: otherwise, k: value }
}

impl Filter {
    /// One answer for the calls, another for all others; memory to be executed is refused always.
    fn new(calls: &[libc::c_long], answer: u32, otherwise: u32) -> Self {
        let mut program = vec![
            instruction(LOAD, 0, 0, KIND),
            instruction(EQUAL, 1, 0, ARCHITECTURE),
            instruction(RETURN, 0, 0, REFUSE),
            instruction(LOAD, 0, 0, NUMBER),
            instruction(ANY_BIT, 0, 1, OTHERS),
            instruction(RETURN, 0, 0, REFUSE),
        ];
        let number = |call: &libc::c_long| u32::try_from(*call).unwrap_or(u32::MAX);
        for call in calls {
            program.extend([instruction(EQUAL, 0, 1, number(call)), instruction(RETURN, 0, 0, answer)]);
        }
        for call in OF_MEMORY {
            program.extend([
                instruction(EQUAL, 0, 4, number(call)),
                instruction(LOAD, 0, 0, THIRD),
                instruction(ANY_BIT, 0, 1, libc::PROT_EXEC.cast_unsigned()),
                instruction(RETURN, 0, 0, REFUSE),
                instruction(RETURN, 0, 0, ALLOW),
            ]);
        }
        program.push(instruction(RETURN, 0, 0, otherwise));
        Self(program)
    }

    /// Puts it in force for the calling thread. False where the kernel, or a filter that is in force, has none of it.
    pub(super) fn load(&self) -> SysResult<bool> {
        let error = |errno| SysError::new("load a filter of system calls", "", errno);
        let len = u16::try_from(self.0.len()).map_err(|_| error(libc::EINVAL))?;
        let program = libc::sock_fprog { len, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: `program` points at `len` live instructions, which the kernel copies and does not change.
        let done = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, AS_FAST, &raw const program)
        };
        match (done, last_errno()) {
            (0, _) => Ok(true),
            (_, libc::ENOSYS | libc::EPERM | libc::EACCES) => Ok(false),
            (_, errno) => Err(error(errno)),
        }
    }
}
