//! System calls by hand.

#[cfg(target_arch = "aarch64")]
mod numbers {
    pub(crate) const WRITE: usize = 64;
    pub(crate) const RT_SIGPROCMASK: usize = 135;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 137;
    pub(crate) const PRCTL: usize = 167;
    pub(crate) const WAIT4: usize = 260;
    #[cfg(bare)]
    pub(crate) const EXIT_GROUP: usize = 94;
}

#[cfg(target_arch = "x86_64")]
mod numbers {
    pub(crate) const WRITE: usize = 1;
    pub(crate) const RT_SIGPROCMASK: usize = 14;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 128;
    pub(crate) const PRCTL: usize = 157;
    pub(crate) const WAIT4: usize = 61;
    #[cfg(bare)]
    pub(crate) const EXIT_GROUP: usize = 231;
}

pub(crate) use numbers::*;

/// What the kernel answered.
pub(crate) enum Answer {
    /// Success.
    Value(usize),
    /// An error, such as an interruption; the pause does not care which.
    Failed,
}

/// A system call with up to four arguments. Those made here get the address of one live constant at
/// most, and change no memory.
pub(crate) fn call(number: usize, arguments: [usize; 4]) -> Answer {
    let [a, b, c, d] = arguments;
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel's calling convention; every register that it changes is declared.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the kernel's calling convention; every register that it changes is declared.
    unsafe {
        core::arch::asm!(
            "svc 0",
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x8") number,
            options(nostack),
        );
    }
    usize::try_from(result).map_or(Answer::Failed, Answer::Value)
}
