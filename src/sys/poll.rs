//! Waiting: epoll, and SIGCHLD as a descriptor.

use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::{SysError, SysResult};

/// A set of descriptors to wait for; each carries a number of the caller's.
#[derive(Debug)]
pub struct Poller(Epoll);

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    /// Too many open files.
    pub fn new() -> SysResult<Self> {
        Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Self).map_err(SysError::nix("epoll_create", ""))
    }

    /// Waits for `fd` to become readable (or closed), and writable too if asked.
    ///
    /// # Errors
    /// The kernel's; `EPERM` for regular files.
    pub fn add(&self, fd: impl AsFd, token: u64, writable: bool) -> SysResult<()> {
        self.0
            .add(fd, EpollEvent::new(interest(true, writable), token))
            .map_err(SysError::nix("epoll_ctl", ""))
    }

    /// Waits for urgent news of `fd` too, as control files of the kernel have them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_urgent(&self, fd: impl AsFd, token: u64) -> SysResult<()> {
        self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLPRI, token)).map_err(SysError::nix("epoll_ctl", ""))
    }

    /// Changes whether `fd` is waited for to become readable and writable; that it is closed is always told.
    ///
    /// # Errors
    /// `ENOENT` when it was not added.
    pub fn set_interest(&self, fd: impl AsFd, token: u64, readable: bool, writable: bool) -> SysResult<()> {
        let mut event = EpollEvent::new(interest(readable, writable), token);
        self.0.modify(fd, &mut event).map_err(SysError::nix("epoll_ctl", ""))
    }

    /// Lets `fd` rest until its interest is changed: of its end it is told once more at most, however long that stands.
    ///
    /// # Errors
    /// `ENOENT` when it was not added.
    pub fn pause(&self, fd: impl AsFd, token: u64) -> SysResult<()> {
        let mut event = EpollEvent::new(EpollFlags::EPOLLONESHOT, token);
        self.0.modify(fd, &mut event).map_err(SysError::nix("epoll_ctl", ""))
    }

    /// Waits for `fd` no longer. Closing a descriptor does the same, unless a child has inherited it.
    ///
    /// # Errors
    /// `ENOENT` when it was not added.
    pub fn remove(&self, fd: impl AsFd) -> SysResult<()> {
        self.0.delete(fd).map_err(SysError::nix("epoll_ctl", ""))
    }

    /// The tokens of what is ready, after `timeout` none; a millisecond begun is waited out.
    ///
    /// # Errors
    /// The kernel's; an interruption is an empty answer.
    pub fn wait(&self, timeout: Option<Duration>, tokens: &mut Vec<u64>) -> SysResult<()> {
        tokens.clear();
        let timeout = timeout.map_or(EpollTimeout::NONE, |limit| {
            let millis = limit.as_micros().div_ceil(1000);
            EpollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX))
        });
        let mut events = [EpollEvent::empty(); 32];
        match self.0.wait(&mut events, timeout) {
            Ok(count) => tokens.extend(events.iter().take(count).map(EpollEvent::data)),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(SysError::nix("epoll_wait", "")(error)),
        }
        Ok(())
    }
}

fn interest(readable: bool, writable: bool) -> EpollFlags {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, readable);
    flags.set(EpollFlags::EPOLLOUT, writable);
    flags
}

/// The end of children, as a descriptor to poll.
#[derive(Debug)]
pub struct ChildSignal(SignalFd);

impl ChildSignal {
    /// Blocks SIGCHLD for this process and gives the descriptor in its place.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new() -> SysResult<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGCHLD);
        set.thread_block().map_err(SysError::nix("block SIGCHLD", ""))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(Self).map_err(SysError::nix("signalfd", ""))
    }

    /// Takes the pending signals off the descriptor.
    pub fn drain(&self) {
        while matches!(self.0.read_signal(), Ok(Some(_))) {}
    }
}

impl AsFd for ChildSignal {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Signals as a descriptor to poll, in place of their dispositions.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks every signal that a process in the foreground passes on to the one that it stands in for, and those that
    /// tell of a child and of the terminal's size. Children inherit the mask: [`reset_signals`] lifts it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new() -> SysResult<Self> {
        let mut set = SigSet::all();
        for own in [
            Signal::SIGSEGV,
            Signal::SIGBUS,
            Signal::SIGILL,
            Signal::SIGFPE,
            Signal::SIGPIPE,
            Signal::SIGTSTP,
            Signal::SIGTTIN,
            Signal::SIGTTOU,
        ] {
            set.remove(own);
        }
        set.thread_block().map_err(SysError::nix("block signals", ""))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(Self).map_err(SysError::nix("signalfd", ""))
    }

    /// The next signal's number; `None` when there is none now.
    pub fn next(&self) -> Option<i32> {
        match self.0.read_signal() {
            Ok(Some(told)) => i32::try_from(told.ssi_signo).ok(),
            _ => None,
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ignores every signal that a supervisor must survive: a closed pipe, a file that may not grow, a terminal's, a shell's or
/// somebody's farewell, a child's abort. The C library sends that to the thread which it takes itself for, and in a child of
/// a fork that it knows nothing of, this is the parent's. A supervisor that aborts itself ends all the same: the library lifts
/// what is ignored.
///
/// # Errors
/// None known.
pub fn ignore_farewells() -> SysResult<()> {
    const FAREWELLS: [Signal; 10] = [
        Signal::SIGPIPE,
        Signal::SIGXFSZ,
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGABRT,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGALRM,
    ];
    FAREWELLS.into_iter().try_for_each(ignore)
}

/// A file that may not grow (`RLIMIT_FSIZE`) is an error of the write, and not the end of the process: `SIGXFSZ` is ignored.
///
/// # Errors
/// None known.
pub fn survive_limits_of_files() -> SysResult<()> {
    ignore(Signal::SIGXFSZ)
}

fn ignore(signal: Signal) -> SysResult<()> {
    // SAFETY: ignoring installs no handler.
    unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) }
        .map(drop)
        .map_err(SysError::nix("ignore signal", signal.as_str()))
}

/// Signals that this process ignores, by number from bit 0 for 1 on, once that is known.
static IGNORED: OnceLock<u64> = OnceLock::new();

/// Lets [`reset_signals`] do in children what is needed and no more. To be called when this process ignores all that it ever
/// will.
pub fn learn_ignored() {
    IGNORED.get_or_init(|| {
        signals().filter(|number| is_ignored(*number)).fold(0, |all, number| all | bit(number))
    });
}

fn is_ignored(number: i32) -> bool {
    let (mut old, none): (_, *const u64) = ([0_u64; 4], std::ptr::null());
    // SAFETY: `old` is as large as the kernel's sigaction, and nothing is installed.
    let result =
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, none, old.as_mut_ptr(), size_of::<u64>()) };
    let [handler, ..] = old;
    result < 0 || handler == libc::SIG_IGN as u64
}

/// All whose disposition can be changed.
fn signals() -> impl Iterator<Item = i32> {
    (1..=64).filter(|number| !matches!(*number, libc::SIGKILL | libc::SIGSTOP))
}

fn bit(number: i32) -> u64 {
    1 << (number - 1)
}

/// Gives every signal its default disposition and unblocks them all; for a child about to exec, which itself does so with
/// those that are not ignored.
///
/// # Errors
/// None known.
pub fn reset_signals() -> SysResult<()> {
    // Zeros are the default disposition, no flags and no mask. The raw call: libraries refuse to touch the two
    // or three numbers that they keep for themselves.
    let default = [0_u64; 4];
    let old: *mut u64 = std::ptr::null_mut();
    let ignored = IGNORED.get().copied().unwrap_or(u64::MAX);
    for number in signals().filter(|number| ignored & bit(*number) != 0) {
        // SAFETY: `default` is as large as the kernel's sigaction, and installs no handler.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), old, size_of::<u64>()) };
    }
    SigSet::empty().thread_set_mask().map_err(SysError::nix("unblock signals", ""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_survives_farewells_and_a_file_that_may_not_grow() {
        ignore_farewells().unwrap();
        for signal in [Signal::SIGXFSZ, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGALRM] {
            nix::sys::signal::raise(signal).unwrap();
        }
    }

    #[test]
    fn a_child_ignores_nothing_whether_that_was_learnt_or_not() {
        let ignored = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(|set| set.trim().to_owned())
        };
        let none = Some("0".repeat(16));
        // SAFETY: the child does system calls on memory of its own and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            ignore_farewells().unwrap();
            let (before, reset) = (ignored(), reset_signals());
            let unlearnt = before != none && reset.is_ok() && ignored() == none;
            ignore_farewells().unwrap();
            learn_ignored();
            let learnt = reset_signals().is_ok() && ignored() == none;
            crate::process::exit(if unlearnt && learnt { 42 } else { 1 });
        }
        let mut status = 0;
        // SAFETY: `status` is writable.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42, "{status:#x}");
    }
}
