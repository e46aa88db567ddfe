//! corten-pause: PID 1 of a PID namespace that the containers of a pod share. It holds the namespace, reaps
//! the orphans that come to it, and ends on SIGTERM or SIGINT.
//!
//! In the size-optimised build (`cfg(bare)`, see build.rs) it has neither std nor libc: its memory is a page
//! of code and a page of stack. Everywhere else it is an ordinary program around the same loop.
#![cfg_attr(bare, no_std, no_main)]
#![allow(unsafe_code, reason = "system calls without a libc are made by hand")]

#[cfg(bare)]
mod bare;
mod kernel;

use kernel::Answer;

const SIG_BLOCK: usize = 0;
const SIGINT: usize = 2;
const SIGTERM: usize = 15;
const SIGCHLD: usize = 17;
const PR_SET_DUMPABLE: usize = 4;
const PR_SET_NAME: usize = 15;
const ALL_CHILDREN: usize = usize::MAX;
const WNOHANG: usize = 1;
/// The kernel's signal sets are one word of 64 signals.
const SET_SIZE: usize = 8;

/// The bit of a signal in a set.
const fn bit(signal: usize) -> u64 {
    1 << (signal - 1)
}

/// Waits for signals, reaps, and returns when asked to end.
fn pause() {
    let set = bit(SIGINT) | bit(SIGTERM) | bit(SIGCHLD);
    let address = &raw const set as usize;
    kernel::call(kernel::RT_SIGPROCMASK, [SIG_BLOCK, address, 0, SET_SIZE]);
    // Containers share this namespace: what /proc/1 shows of us is not for them.
    kernel::call(kernel::PRCTL, [PR_SET_DUMPABLE, 0, 0, 0]);
    kernel::call(kernel::PRCTL, [PR_SET_NAME, c"corten-pause".as_ptr() as usize, 0, 0]);
    loop {
        // PID 1 gets no signal that it does not wait for or handle: blocked ones stay pending for this.
        match kernel::call(kernel::RT_SIGTIMEDWAIT, [address, 0, 0, SET_SIZE]) {
            Answer::Value(SIGTERM | SIGINT) => return,
            _ => reap(),
        }
    }
}

/// Reaps every child that has ended.
fn reap() {
    loop {
        match kernel::call(kernel::WAIT4, [ALL_CHILDREN, 0, WNOHANG, 0]) {
            Answer::Value(pid) if pid > 0 => {}
            _ => return,
        }
    }
}

/// What the shim never does: it gives the program a name and nothing else.
const USAGE: &str =
    "corten-pause holds the PID namespace of a pod; corten-shim starts it, without arguments\n";
const STDERR: usize = 2;

/// The program with so many arguments, its name among them; its exit code.
fn run(arguments: usize) -> usize {
    if arguments > 1 {
        // Nobody is left to tell when it cannot be written.
        kernel::call(kernel::WRITE, [STDERR, USAGE.as_ptr() as usize, USAGE.len(), 0]);
        return 2;
    }
    pause();
    0
}

#[cfg(not(bare))]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(u8::try_from(run(std::env::args_os().len())).unwrap_or(2))
}
