//! eBPF programs on cgroups, through bpf(2).

use crate::{SysError, SysResult};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
/// Programs of cgroups above and below stay in force: a device needs the consent of all.
const ALLOW_MULTI: u32 = 2;

const LICENSE: &std::ffi::CStr = c"Apache-2.0";

/// The members of `union bpf_attr` that PROG_LOAD reads; the kernel takes a shorter one as if filled with zeros.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The members that PROG_ATTACH reads.
#[repr(C)]
struct AttachAttr {
    target_fd: i32,
    attach_bpf_fd: i32,
    attach_type: u32,
    attach_flags: u32,
}

/// Loads a program of type `BPF_PROG_TYPE_CGROUP_DEVICE`; each instruction is the kernel's `struct bpf_insn`.
pub fn load_device_program(instructions: &[[u8; 8]]) -> SysResult<OwnedFd> {
    let count = u32::try_from(instructions.len()).map_err(|_| SysError::new("bpf load", "", libc::E2BIG))?;
    let attr = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: count,
        insns: instructions.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: the attribute, the instructions and the licence outlive the call, which only reads them, within the
    // sizes given.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attr, size_of::<LoadAttr>()) };
    let fd = i32::try_from(fd).map_err(|_| SysError::new("bpf load", "", libc::EBADF))?;
    if fd < 0 {
        return Err(SysError::last("bpf load", ""));
    }
    // SAFETY: the kernel has just made this descriptor (close-on-exec) and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts a device program in force on a cgroup v2 directory.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> SysResult<()> {
    let attr = AttachAttr {
        target_fd: cgroup.as_raw_fd(),
        attach_bpf_fd: program.as_raw_fd(),
        attach_type: CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI,
    };
    // SAFETY: the attribute outlives the call, which only reads it, within the size given.
    let done = unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attr, size_of::<AttachAttr>()) };
    if done < 0 { Err(SysError::last("bpf attach", "")) } else { Ok(()) }
}
