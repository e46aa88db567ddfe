//! What this kernel has, asked by calls that it refuses or that change nothing.

/// A system call and the word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// clone3(2), since Linux 5.3.
    Clone3,
    /// close_range(2), since Linux 5.9.
    CloseRange,
    /// fsopen(2), since Linux 5.2.
    Fsopen,
    /// mount_setattr(2), since Linux 5.12.
    MountSetattr,
    /// openat2(2), since Linux 5.6.
    Openat2,
    /// pidfd_open(2), since Linux 5.3.
    PidfdOpen,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Clone3, Self::CloseRange, Self::Fsopen, Self::MountSetattr, Self::Openat2, Self::PidfdOpen];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clone3 => "clone3",
            Self::CloseRange => "close_range",
            Self::Fsopen => "fsopen",
            Self::MountSetattr => "mount_setattr",
            Self::Openat2 => "openat2",
            Self::PidfdOpen => "pidfd_open",
        }
    }

    fn number(self) -> libc::c_long {
        match self {
            Self::Clone3 => libc::SYS_clone3,
            Self::CloseRange => libc::SYS_close_range,
            Self::Fsopen => libc::SYS_fsopen,
            Self::MountSetattr => libc::SYS_mount_setattr,
            Self::Openat2 => libc::SYS_openat2,
            Self::PidfdOpen => libc::SYS_pidfd_open,
        }
    }

    /// Whether this kernel has it, and a filter of system calls does not say otherwise.
    #[must_use]
    pub fn is_there(self) -> bool {
        // Arguments that none of them takes: no structure of size 0, no such process, an empty range, unknown flags.
        let arguments: [libc::c_long; 4] = match self {
            Self::Clone3 => [0, 0, 0, 0],
            Self::CloseRange => [1, 0, 0, 0],
            Self::Fsopen => [0, -1, 0, 0],
            Self::MountSetattr => [-1, 0, -1, 0],
            Self::Openat2 => [-1, 0, 0, 0],
            Self::PidfdOpen => [0, -1, 0, 0],
        };
        let [a, b, c, d] = arguments;
        // SAFETY: no pointer but null is passed, and each call refuses these arguments before it does anything.
        let result = unsafe { libc::syscall(self.number(), a, b, c, d, 0 as libc::c_long) };
        result >= 0 || crate::last_errno() != libc::ENOSYS
    }
}

/// Whether something keeps the clock right, as far as the kernel has been told.
#[must_use]
pub fn is_clock_synchronised() -> bool {
    // SAFETY: all its members are integers, for which zero is a value; without modes the call only reads.
    let state = unsafe {
        let mut state: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut state)
    };
    state >= 0 && state != libc::TIME_ERROR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_runs_pods_has_them_all() {
        for call in Call::ALL {
            assert!(call.is_there(), "{}", call.name());
        }
        // It answers, whatever it says.
        let _ = is_clock_synchronised();
    }
}
