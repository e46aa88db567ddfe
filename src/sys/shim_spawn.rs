//! Starting a shim from the daemon: cheap however large the daemon is, and safe from the containers.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::fd::{c_string, owned};
use crate::process::pidfd_open;
use crate::{SysError, SysResult, mount, resolve};

/// The descriptor on which a shim finds its listening socket, or the one over which it is told of that.
pub const LISTENER: i32 = 3;
/// The descriptor on which it may find a mount namespace to make its containers' of ([`crate::bare`]).
pub const BARE_MOUNTS: i32 = 4;

/// What a shim is given beside its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// Its descriptor [`LISTENER`].
    pub socket: BorrowedFd<'a>,
    /// Its descriptor [`BARE_MOUNTS`].
    pub bare: Option<BorrowedFd<'a>>,
    /// Its output; `/dev/null` where there is none.
    pub log: Option<BorrowedFd<'a>>,
}

/// A shim that has been started.
#[derive(Debug)]
pub struct ShimProcess {
    /// Its process id.
    pub pid: i32,
    /// Refers to it and no later process with the same id; readable once it has ended.
    pub pidfd: OwnedFd,
    /// While it is told which pod it is to serve: it ends where this is closed before it knows.
    pub link: Option<OwnedFd>,
}

/// Starts `binary` in a session of its own with what it is given and `/dev/null` as its input. `args` begin with the
/// program's name.
///
/// The program is executed from a read-only copy of its mount: a container that gets hold of a descriptor on
/// it, through `/proc/<pid>/exe` (CVE-2019-5736), cannot write through it. Memory is not copied
/// (posix_spawn(3)); what else the daemon has open is closed by exec, and once more by the shim.
///
/// # Errors
/// The kernel's, with the binary's path.
pub fn spawn_shim(
    binary: &Path,
    given: Given<'_>,
    args: &[CString],
    env: &[CString],
) -> SysResult<ShimProcess> {
    let path = binary.as_os_str().as_encoded_bytes();
    let sealed = out_of_the_way(sealed_program(path)?.as_fd())?;
    let program = c_string("spawn", format!("/proc/self/fd/{}", sealed.as_raw_fd()).as_bytes())?;
    let null = out_of_the_way(resolve::open(b"/dev/null", libc::O_RDWR)?.as_fd())?;
    let output = out_of_the_way(given.log.unwrap_or(null.as_fd()))?;
    let socket = out_of_the_way(given.socket)?;
    let bare = given.bare.map(out_of_the_way).transpose()?;
    let mut actions = Actions::new()?;
    actions.dup(null.as_fd(), 0)?;
    actions.dup(output.as_fd(), 1)?;
    actions.dup(output.as_fd(), 2)?;
    actions.dup(socket.as_fd(), LISTENER)?;
    if let Some(bare) = &bare {
        actions.dup(bare.as_fd(), BARE_MOUNTS)?;
    }
    let attributes = Attributes::new()?;
    let mut pid = 0;
    // SAFETY: the program, both arrays (which end with null) and the two initialised objects outlive the call.
    let code = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            pointers(args).as_ptr(),
            pointers(env).as_ptr(),
        )
    };
    if code != 0 {
        return Err(SysError::new("spawn", binary, code));
    }
    hold(pid, pidfd_open(pid))
}

/// The process with its descriptor; one that cannot be held on to is not left running.
fn hold(pid: i32, pidfd: SysResult<OwnedFd>) -> SysResult<ShimProcess> {
    match pidfd {
        Ok(pidfd) => Ok(ShimProcess { pid, pidfd, link: None }),
        Err(error) => {
            let child = nix::unistd::Pid::from_raw(pid);
            // Not waited for yet, the number is still its own; when it has ended by itself, that is as good.
            let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
            while nix::sys::wait::waitpid(child, None) == Err(nix::Error::EINTR) {}
            Err(error)
        }
    }
}

/// A duplicate above the numbers that the child puts its own descriptors at: one must not overwrite another
/// that is needed later.
fn out_of_the_way(fd: BorrowedFd<'_>) -> SysResult<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes no pointers and returns a new descriptor.
    let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, BARE_MOUNTS + 1) };
    owned("dup", b"", copy.into())
}

/// The program on a read-only mount of its own; before Linux 5.12 the program as it is.
fn sealed_program(path: &[u8]) -> SysResult<OwnedFd> {
    match read_only_copy(path) {
        Err(error) if matches!(error.errno, libc::ENOSYS | libc::EPERM) => resolve::open(path, libc::O_PATH),
        other => other,
    }
}

/// A private, read-only mount of one file, attached nowhere; gone with its last user.
///
/// # Errors
/// The kernel's.
pub fn read_only_copy(path: &[u8]) -> SysResult<OwnedFd> {
    let tree = mount::clone_tree(None, path, false)?;
    mount::set_attributes(tree.as_fd(), mount::READ_ONLY | mount::NO_SUID, libc::MS_PRIVATE, false)?;
    Ok(tree)
}

fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    strings.iter().map(|text| text.as_ptr().cast_mut()).chain(std::iter::once(std::ptr::null_mut())).collect()
}

fn status(code: i32) -> SysResult<()> {
    if code == 0 { Ok(()) } else { Err(SysError::new("prepare spawn", "", code)) }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> SysResult<Self> {
        let mut raw = std::mem::MaybeUninit::uninit();
        // SAFETY: init writes the whole object.
        status(unsafe { libc::posix_spawn_file_actions_init(raw.as_mut_ptr()) })?;
        // SAFETY: init succeeded.
        Ok(Self(unsafe { raw.assume_init() }))
    }

    fn dup(&mut self, fd: BorrowedFd<'_>, number: i32) -> SysResult<()> {
        // SAFETY: the object is initialised.
        status(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, fd.as_raw_fd(), number) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> SysResult<Self> {
        let mut raw = std::mem::MaybeUninit::uninit();
        // SAFETY: init writes the whole object.
        status(unsafe { libc::posix_spawnattr_init(raw.as_mut_ptr()) })?;
        // SAFETY: init succeeded.
        let mut attributes = Self(unsafe { raw.assume_init() });
        let mut all = std::mem::MaybeUninit::uninit();
        let mut none = std::mem::MaybeUninit::uninit();
        let flags =
            libc::POSIX_SPAWN_SETSID as i32 | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = libc::c_short::try_from(flags).unwrap_or(0);
        // SAFETY: the set functions write whole sets, and the object is initialised.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::sigemptyset(none.as_mut_ptr());
            status(libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, all.as_ptr()))?;
            status(libc::posix_spawnattr_setsigmask(&raw mut attributes.0, none.as_ptr()))?;
            status(libc::posix_spawnattr_setflags(&raw mut attributes.0, flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

#[cfg(test)]
mod tests;
