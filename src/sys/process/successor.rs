//! A process that takes the place of the one that has made it ready, in another PID namespace.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, Ordering};

use super::SingleThread;
use crate::pass::Pass;
use crate::{SysError, SysResult};

/// Where the kernel writes a successor's number before it runs: a page that its maker and its supervisor share, and
/// that it never has itself.
#[derive(Debug)]
pub struct Successor(NonNull<AtomicI32>);

impl Successor {
    /// Room for one number. To be made before the fork of the process that is to be succeeded.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> SysResult<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<AtomicI32>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(page.cast::<AtomicI32>()) {
            Some(page) if page.as_ptr().cast() != libc::MAP_FAILED => Ok(Self(page)),
            _ => Err(SysError::last("mmap", "")),
        }
    }

    /// The successor's process id, once there is one.
    pub fn pid(&self) -> Option<i32> {
        // SAFETY: the page is mapped for as long as this value lives, and begins as zeros.
        let pid = unsafe { self.0.as_ref() }.load(Ordering::Acquire);
        (pid > 0).then_some(pid)
    }

    /// Keeps the page from every process that the calling one forks from now on.
    ///
    /// # Errors
    /// None known.
    pub fn withhold(&self) -> SysResult<()> {
        // SAFETY: the page is this value's own; the advice concerns forks only.
        let result =
            unsafe { libc::madvise(self.0.as_ptr().cast(), size_of::<AtomicI32>(), libc::MADV_DONTFORK) };
        crate::fd::check("madvise", b"", result.into())
    }

    /// Forks a child of this process's own parent, into the PID namespace that this process has entered for its
    /// children. `true` in the child; the other is to end. The pass lets the call through. The page is to be withheld
    /// before.
    ///
    /// # Errors
    /// The kernel's; `EAGAIN` where the cgroup holds as many processes as it may.
    pub fn fork(&self, _: &SingleThread, pass: &Pass) -> SysResult<bool> {
        let flags = libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID;
        // SAFETY: without a stack of its own this is a fork, and the proof of a single thread rules out locks held by
        // others in the child. The kernel stores the number in the page, which is live and writable.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, self.0.as_ptr(), 0, 0, pass.number()) };
        match pid {
            ..0 => Err(SysError::last("fork", "")),
            other => Ok(other == 0),
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // SAFETY: the page was mapped by `new`, and nothing refers to it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<AtomicI32>()) };
    }
}
