//! A process that is in a cgroup for a moment, so that one in which nobody lives has counted something.

use std::ffi::c_void;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::{SysError, SysResult};

/// Bytes of its stack: it makes one system call.
const STACK: usize = 16 << 10;

/// Lets a child join a v1 cgroup by itself, by its file `tasks`, and end there. It shares the memory of the caller,
/// which stands still meanwhile, so nothing is copied however large that is.
///
/// # Errors
/// The kernel's.
pub fn visit(tasks: &Path) -> SysResult<()> {
    let failed = |errno| SysError::new("visit cgroup", tasks, errno);
    let file = OpenOptions::new().write(true).open(tasks);
    let file = file.map_err(|error| failed(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let mut descriptor = file.as_raw_fd();
    // A handler would run in the caller's memory.
    let mask =
        SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(|errno| failed(errno as i32))?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack, whose end is aligned, and the descriptor outlive the child, for whose end CLONE_VFORK waits;
    // `join` takes no lock and allocates nothing.
    let pid = unsafe {
        let end = stack.as_mut_ptr_range().end;
        libc::clone(join, end.cast(), flags, (&raw mut descriptor).cast())
    };
    let errno = crate::last_errno();
    let restored = mask.thread_set_mask();
    if pid < 0 {
        return Err(failed(errno));
    }
    let ended = loop {
        match waitpid(Pid::from_raw(pid), None) {
            Err(nix::Error::EINTR) => {}
            ended => break ended,
        }
    };
    restored.map_err(|errno| failed(errno as i32))?;
    match ended {
        Ok(WaitStatus::Exited(_, 0)) => Ok(()),
        Ok(WaitStatus::Exited(_, errno)) => Err(failed(errno)),
        Ok(_) => Err(failed(libc::EIO)),
        Err(errno) => Err(failed(errno as i32)),
    }
}

/// The child; its exit code is the error.
extern "C" fn join(descriptor: *mut c_void) -> i32 {
    // SAFETY: the caller's variable, which stands while the caller does; the text is of one byte.
    let written = unsafe { libc::write(*descriptor.cast::<i32>(), c"0".as_ptr().cast(), 1) };
    if written == 1 { 0 } else { crate::last_errno() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::visit;

    #[test]
    fn a_visitor_writes_itself_down_and_is_gone() {
        let dir = std::env::temp_dir().join(format!("corten-visit-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let tasks = dir.join("tasks");
        assert_eq!(visit(&tasks).unwrap_err().errno, libc::ENOENT);
        std::fs::write(&tasks, "").unwrap();
        visit(&tasks).unwrap();
        assert_eq!(std::fs::read_to_string(&tasks).unwrap(), "0");
        std::fs::remove_dir_all(&dir).unwrap();
        // The kernel refuses, in the child.
        assert_eq!(visit("/proc/self/setgroups".as_ref()).unwrap_err().errno, libc::EINVAL);
    }
}
