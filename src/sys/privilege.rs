//! Privileges: users, capabilities, prctl, seccomp.

use std::os::fd::{FromRawFd, OwnedFd};

use crate::fd::check;
use crate::{SysError, SysResult};

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Capability sets as bits by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// What is in force.
    pub effective: u64,
    /// What may be put in force.
    pub permitted: u64,
    /// What survives exec of a file with inheritable bits.
    pub inheritable: u64,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn halves(bits: u64) -> (u32, u32) {
    ((bits & 0xffff_ffff) as u32, (bits >> 32) as u32)
}

fn prctl(op: &'static str, option: i32, a: u64, b: u64) -> SysResult<i32> {
    // SAFETY: every option used here takes plain numbers; the unused ones must be 0.
    let result = unsafe { libc::prctl(option, a, b, 0_u64, 0_u64) };
    check(op, b"", result.into())?;
    Ok(result)
}

/// Hides the process's memory, descriptors and `/proc/<pid>/exe` from other processes of its user; children
/// inherit it, exec ends it.
///
/// # Errors
/// None known.
pub fn set_undumpable() -> SysResult<()> {
    prctl("set dumpable", libc::PR_SET_DUMPABLE, 0, 0).map(drop)
}

/// Makes orphaned descendants children of this process.
///
/// # Errors
/// None known.
pub fn set_subreaper() -> SysResult<()> {
    prctl("set subreaper", libc::PR_SET_CHILD_SUBREAPER, 1, 0).map(drop)
}

/// The kernel sends this process a signal when its parent ends. A change of user or a gain of privileges, also by
/// exec, takes it back; a parent that has ended before is not noticed.
///
/// # Errors
/// `EINVAL` for a number that is no signal's.
pub fn set_parent_death_signal(signal: i32) -> SysResult<()> {
    prctl("set parent death signal", libc::PR_SET_PDEATHSIG, u64::from(signal.cast_unsigned()), 0).map(drop)
}

/// No program that is executed from here on gains privileges.
///
/// # Errors
/// None known.
pub fn set_no_new_privileges() -> SysResult<()> {
    prctl("set no_new_privs", libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// Keeps the permitted capabilities across [`set_user`] until exec.
///
/// # Errors
/// `EPERM` when it is locked.
pub fn set_keep_capabilities() -> SysResult<()> {
    prctl("set keepcaps", libc::PR_SET_KEEPCAPS, 1, 0).map(drop)
}

/// Drops every capability that is not in `kept` from the bounding set.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP` for one that is in the set.
pub fn limit_bounding_set(kept: u64) -> SysResult<()> {
    for number in (0..64).filter(|number| kept & (1 << number) == 0) {
        match prctl("drop bounding capability", libc::PR_CAPBSET_DROP, number, 0) {
            // Past the last capability that this kernel knows.
            Err(error) if error.errno == libc::EINVAL => break,
            // Whoever may drop none is asked what is there.
            Err(error) => match prctl("read bounding set", libc::PR_CAPBSET_READ, number, 0) {
                Err(_) => break,
                Ok(0) => {}
                Ok(_) => return Err(error),
            },
            Ok(_) => {}
        }
    }
    Ok(())
}

/// The calling thread's capability sets.
///
/// # Errors
/// None known.
pub fn capabilities() -> SysResult<Capabilities> {
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapData::default(); 2];
    // SAFETY: version 3 takes one header and two data elements, both live.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    check("read capabilities", b"", result)?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let [low, high] = data;
    Ok(Capabilities {
        effective: join(low.effective, high.effective),
        permitted: join(low.permitted, high.permitted),
        inheritable: join(low.inheritable, high.inheritable),
    })
}

/// capset(2).
///
/// # Errors
/// `EPERM` when a set grows beyond what is permitted.
pub fn set_capabilities(sets: Capabilities) -> SysResult<()> {
    set_capabilities_by(sets, 0)
}

/// The same with the number of a [`crate::pass::Pass`].
pub(crate) fn set_capabilities_by(sets: Capabilities, pass: u64) -> SysResult<()> {
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let (effective, permitted) = (halves(sets.effective), halves(sets.permitted));
    let inheritable = halves(sets.inheritable);
    let data = [
        CapData { effective: effective.0, permitted: permitted.0, inheritable: inheritable.0 },
        CapData { effective: effective.1, permitted: permitted.1, inheritable: inheritable.1 },
    ];
    // SAFETY: version 3 takes one header and two data elements, both live.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr(), 0, 0, 0, pass) };
    check("set capabilities", b"", result)
}

/// Makes exactly these capabilities ambient.
///
/// # Errors
/// `EPERM` when one is not both permitted and inheritable.
pub fn set_ambient(bits: u64) -> SysResult<()> {
    prctl("clear ambient capabilities", libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)?;
    for number in (0..64).filter(|number| bits & (1 << number) != 0) {
        prctl("raise ambient capability", libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, number)?;
    }
    Ok(())
}

/// The calling thread becomes a user for good: supplementary groups, then group, then user. To be called in a process of one
/// thread: the calls of C libraries, which reach every thread, are several for that.
///
/// # Errors
/// The kernel's.
pub fn set_user(uid: u32, gid: u32, groups: &[u32]) -> SysResult<()> {
    // SAFETY: the groups are readable for the number given, and the kernel copies them.
    let set = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    check("setgroups", b"", set)?;
    // SAFETY: setresgid takes no pointers.
    let set = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    check("setgid", gid.to_string().as_bytes(), set)?;
    // SAFETY: setresuid takes no pointers.
    check("setuid", uid.to_string().as_bytes(), unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
pub const NEW_LISTENER: u32 = 8;

/// Loads a seccomp filter, an array of `struct sock_filter`, with `SECCOMP_FILTER_FLAG_*`. With [`NEW_LISTENER`] the
/// result is the listener; closing it is a system call that the filter sees already.
///
/// # Errors
/// `EINVAL` for a program that the kernel does not accept, `EACCES` without no_new_privs and `CAP_SYS_ADMIN`.
pub fn load_seccomp(program: &[u8], flags: u32) -> SysResult<Option<OwnedFd>> {
    let invalid = || SysError::new("load seccomp filter", "", libc::EINVAL);
    let size = size_of::<libc::sock_filter>();
    if program.is_empty() || !program.len().is_multiple_of(size) {
        return Err(invalid());
    }
    // In one piece: while it grew, each new size would be new pages to be faulted in.
    let mut filter: Vec<libc::sock_filter> = Vec::with_capacity(program.len() / size);
    filter.extend(program.chunks_exact(size).filter_map(|chunk| chunk.first_chunk::<8>()).map(
        |&[c0, c1, jt, jf, k0, k1, k2, k3]| libc::sock_filter {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        },
    ));
    let len = u16::try_from(filter.len()).map_err(|_| invalid())?;
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    // SAFETY: `program` points at `len` live instructions; the kernel copies and checks them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    check("load seccomp filter", b"", result)?;
    // Not freed, as that could be a call that the filter refuses, or kills for: exec does.
    std::mem::forget(filter);
    Ok(i32::try_from(result).ok().filter(|_| flags & NEW_LISTENER != 0).map(|listener| {
        // SAFETY: the kernel has just handed out this descriptor, and nobody else knows it.
        unsafe { OwnedFd::from_raw_fd(listener) }
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_filter_must_be_whole_instructions() {
        assert_eq!(load_seccomp(&[0; 7], 0).unwrap_err().errno, libc::EINVAL);
        assert_eq!(load_seccomp(&[], 0).unwrap_err().errno, libc::EINVAL);
    }

    #[test]
    fn capability_sets_round_trip() {
        let sets = capabilities().unwrap();
        set_capabilities(sets).unwrap();
        assert_eq!(capabilities().unwrap(), sets);
    }
}
