//! Calls that a process still has to make after its seccomp filter is in force, whatever the filter thinks of them.
//!
//! The filter is loaded while the process may load one, which is before it appears in the container's PID namespace;
//! the last steps come afterwards. Each carries a random number in the sixth argument, which none of these calls uses,
//! and a few instructions before the filter let through what carries it. Programs cannot guess it.

use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};

use crate::fd::check;
use crate::privilege::Capabilities;
use crate::{SysError, SysResult};

/// `SECCOMP_RET_ALLOW`.
const ALLOW: u32 = 0x7fff_0000;
/// Of `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const SIXTH: u32 = 56;
/// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_JMP | BPF_JA`, `BPF_RET | BPF_K`.
const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

/// The longest filter that the kernel takes, in bytes.
const LONGEST: usize = libc::BPF_MAXINSNS as usize * 8;
/// More than [`Pass::before`] ever adds.
const ROOM: usize = 32 * 8;

#[cfg(target_arch = "x86_64")]
const OWN_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OWN_ARCHITECTURE: u32 = 0xc000_00b7;

/// Calls that not every process needs. The kernel remembers of a call that it is allowed, but not of one whose
/// arguments a filter looks at: what programs do often becomes slower by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`Pass::set_controlling`].
    Control,
    /// A successor's fork and its [`Pass::new_session`].
    Succeed,
    /// [`Pass::wait_for_word`].
    Word,
    /// [`Pass::wait_for_end`].
    Wait,
}

/// What lets the calls of this process through.
#[derive(Debug)]
pub struct Pass(u64);

impl Pass {
    /// A new one.
    ///
    /// # Errors
    /// The kernel's, when it has no random numbers.
    pub fn new() -> SysResult<Self> {
        let mut number = [0_u8; 8];
        // The raw call: std refers to the library's only where there is one, and a static program may then have none.
        // SAFETY: the buffer is writable for the length given.
        let read = unsafe { libc::syscall(libc::SYS_getrandom, number.as_mut_ptr(), number.len(), 0) };
        if usize::try_from(read) == Ok(number.len()) {
            Ok(Self(u64::from_ne_bytes(number)))
        } else {
            Err(SysError::last("getrandom", ""))
        }
    }

    /// The sixth argument.
    pub(crate) fn number(&self) -> u64 {
        self.0
    }

    /// A filter that lets through what carries the pass and is otherwise this one: an array of `struct sock_filter`.
    ///
    /// A filter that would become too long stays as it is, and decides by itself.
    pub fn before(&self, filter: &[u8], further: &[Call]) -> Vec<u8> {
        let mut calls = vec![libc::SYS_capset, libc::SYS_exit_group, libc::SYS_sendmmsg];
        calls.extend(further.iter().flat_map(|call| match call {
            Call::Succeed => [libc::SYS_clone, libc::SYS_setsid].as_slice(),
            Call::Word => &[libc::SYS_recvmmsg],
            Call::Control => &[libc::SYS_ioctl],
            Call::Wait => &[libc::SYS_read, libc::SYS_close],
        }));
        let count = u8::try_from(calls.len()).unwrap_or(u8::MAX);
        let bytes = self.0.to_ne_bytes();
        let (first, second) = bytes.split_at(4);
        let word = |half: &[u8]| half.first_chunk().map_or(0, |half| u32::from_ne_bytes(*half));
        let mut program = vec![
            instruction(LOAD, 0, 0, ARCHITECTURE),
            instruction(EQUAL, 0, count + 7, OWN_ARCHITECTURE),
            instruction(LOAD, 0, 0, NUMBER),
        ];
        for (call, left) in calls.iter().zip((0..count).rev()) {
            let number = u32::try_from(*call).unwrap_or(u32::MAX);
            program.push(instruction(EQUAL, left + 1, 0, number));
        }
        program.extend([
            instruction(JUMP, 0, 0, 5),
            instruction(LOAD, 0, 0, SIXTH),
            instruction(EQUAL, 0, 3, word(first)),
            instruction(LOAD, 0, 0, SIXTH + 4),
            instruction(EQUAL, 0, 1, word(second)),
            instruction(RETURN, 0, 0, ALLOW),
        ]);
        let mut program: Vec<u8> = program.into_iter().flatten().collect();
        if program.len() + filter.len() > LONGEST {
            return filter.to_vec();
        }
        program.extend_from_slice(filter);
        program
    }

    /// Whether a filter, an array of `struct sock_filter`, is short enough for [`Pass::before`], whatever the calls are.
    pub fn has_room(filter: &[u8]) -> bool {
        filter.len() + ROOM <= LONGEST
    }

    /// capset(2).
    ///
    /// # Errors
    /// `EPERM` when a set grows beyond what is permitted.
    pub fn set_capabilities(&self, sets: Capabilities) -> SysResult<()> {
        crate::privilege::set_capabilities_by(sets, self.0)
    }

    /// Leads a new session.
    ///
    /// # Errors
    /// `EPERM` for a process that leads a group already.
    pub fn new_session(&self) -> SysResult<()> {
        // SAFETY: setsid takes no arguments.
        check("setsid", b"", unsafe { libc::syscall(libc::SYS_setsid, 0, 0, 0, 0, 0, self.0) })
    }

    /// Makes stdin, a terminal, the controlling one of the calling session leader.
    ///
    /// # Errors
    /// `EPERM` for a process that leads no session.
    pub fn set_controlling(&self) -> SysResult<()> {
        // SAFETY: TIOCSCTTY takes its argument by value.
        let result = unsafe { libc::syscall(libc::SYS_ioctl, 0, libc::TIOCSCTTY, 0, 0, 0, self.0) };
        check("set controlling terminal", b"", result)
    }

    /// Waits until every writing end of a pipe is closed, of which this process has one.
    pub fn wait_for_end(&self, reader: impl AsFd, own: OwnedFd) {
        let reader = reader.as_fd().as_raw_fd();
        // SAFETY: the descriptor was owned until now, and nobody uses it any more.
        unsafe { libc::syscall(libc::SYS_close, own.into_raw_fd(), 0, 0, 0, 0, self.0) };
        let mut byte = [0_u8; 1];
        loop {
            // SAFETY: the buffer is writable for the length given.
            let read = unsafe { libc::syscall(libc::SYS_read, reader, byte.as_mut_ptr(), 1, 0, 0, self.0) };
            if read == 0 || read < 0 && crate::last_errno() != libc::EINTR {
                return;
            }
        }
    }

    /// Waits for a message of one byte; `None` when the other end has hung up instead. It is a call that programs seldom
    /// make, since those that the pass is for become slower.
    pub fn wait_for_word(&self, channel: impl AsFd) -> Option<u8> {
        let channel = channel.as_fd().as_raw_fd();
        let mut byte = [0_u8; 1];
        let mut place = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: byte.len() };
        let mut message = message(&mut place);
        loop {
            // SAFETY: the message and what it leads to are writable and outlive the call; no time-out is given.
            let received =
                unsafe { libc::syscall(libc::SYS_recvmmsg, channel, &raw mut message, 1, 0, 0, self.0) };
            if received >= 0 || crate::last_errno() != libc::EINTR {
                let [byte] = byte;
                return (received == 1 && message.msg_len == 1).then_some(byte);
            }
        }
    }

    /// Sends one message, by the call of that kind that programs make least often.
    ///
    /// # Errors
    /// `EPIPE` when the other end is closed.
    pub fn send(&self, channel: impl AsFd, bytes: &[u8]) -> SysResult<()> {
        let channel = channel.as_fd().as_raw_fd();
        let mut place = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut message = message(&mut place);
        let flags = libc::MSG_NOSIGNAL;
        // SAFETY: the message and what it leads to are readable and outlive the call, which writes to the message alone.
        let sent =
            unsafe { libc::syscall(libc::SYS_sendmmsg, channel, &raw mut message, 1, flags, 0, self.0) };
        check("send", b"", sent)
    }

    /// Ends the process at once.
    pub fn exit(&self, code: i32) -> ! {
        // SAFETY: exit_group takes no pointers.
        unsafe { libc::syscall(libc::SYS_exit_group, code, 0, 0, 0, 0, self.0) };
        crate::process::exit(code)
    }
}

/// A message of one piece.
fn message(place: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all zeros is a valid mmsghdr, without address and control data.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = place;
    message.msg_hdr.msg_iovlen = 1;
    message
}

/// `struct sock_filter`.
fn instruction(code: u16, when: u8, otherwise: u8, value: u32) -> [u8; 8] {
    let ([c0, c1], [k0, k1, k2, k3]) = (code.to_ne_bytes(), value.to_ne_bytes());
    [c0, c1, when, otherwise, k0, k1, k2, k3]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::process::{Forked, SingleThread, fork};
    use crate::{privilege, process};

    /// What a child of a process of one thread ends with, made in a process of its own: tests have many threads.
    fn ends_with(body: impl FnOnce(&SingleThread) -> i32) -> Option<i32> {
        // SAFETY: the child does system calls on memory of its own and ends.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            let code = SingleThread::claim().map_or(90, |single| body(&single));
            process::exit(code);
        }
        let mut status = 0;
        // SAFETY: `status` is writable.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
    }

    /// Refuses setsid and clone with `EPERM`, and lets everything else through.
    fn strict() -> Vec<u8> {
        let number = |call: libc::c_long| u32::try_from(call).unwrap();
        let refuse = 0x0005_0000 | libc::EPERM.cast_unsigned();
        [
            instruction(LOAD, 0, 0, NUMBER),
            instruction(EQUAL, 2, 0, number(libc::SYS_setsid)),
            instruction(EQUAL, 1, 0, number(libc::SYS_clone)),
            instruction(RETURN, 0, 0, ALLOW),
            instruction(RETURN, 0, 0, refuse),
        ]
        .concat()
    }

    #[test]
    fn a_strict_filter_lets_through_what_carries_the_pass_only() {
        let code = ends_with(|single| {
            let (pass, other) = (Pass::new().unwrap(), Pass::new().unwrap());
            privilege::set_no_new_privileges().unwrap();
            privilege::load_seccomp(&pass.before(&strict(), &[Call::Succeed]), 0).unwrap();
            let refused = |result: SysResult<()>| result.is_err_and(|error| error.errno == libc::EPERM);
            if process::new_session().is_ok() || !refused(other.new_session()) {
                return 1;
            }
            if pass.new_session().is_err() {
                return 2;
            }
            let successor = crate::process::Successor::new().unwrap();
            match successor.fork(single, &other) {
                Err(error) if error.errno == libc::EPERM => {}
                _ => return 3,
            }
            match successor.fork(single, &pass) {
                Ok(true) => pass.exit(0),
                Ok(false) if successor.pid().is_some() => 42,
                _ => 4,
            }
        });
        assert_eq!(code, Some(42));
    }

    #[test]
    fn a_word_is_waited_for_under_a_filter_that_refuses_it() {
        let number = u32::try_from(libc::SYS_recvmmsg).unwrap();
        let refuse = 0x0005_0000 | libc::EPERM.cast_unsigned();
        let filter = [
            instruction(LOAD, 0, 0, NUMBER),
            instruction(EQUAL, 1, 0, number),
            instruction(RETURN, 0, 0, ALLOW),
            instruction(RETURN, 0, 0, refuse),
        ]
        .concat();
        let code = ends_with(|_| {
            let pass = Pass::new().unwrap();
            let (ours, theirs) = crate::socket::message_pair().unwrap();
            privilege::set_no_new_privileges().unwrap();
            privilege::load_seccomp(&pass.before(&filter, &[Call::Word]), 0).unwrap();
            crate::socket::send(ours.as_fd(), b"G", None).unwrap();
            if Pass::new().unwrap().wait_for_word(&theirs).is_some() {
                return 1;
            }
            if pass.wait_for_word(&theirs) != Some(b'G') {
                return 2;
            }
            drop(ours);
            if pass.wait_for_word(&theirs).is_some() { 3 } else { 42 }
        });
        assert_eq!(code, Some(42));
    }

    #[test]
    fn a_failure_is_told_under_a_filter_that_refuses_everything() {
        let code = ends_with(|single| {
            let (ours, theirs) = crate::socket::message_pair().unwrap();
            let child = match fork(single, 0, None).unwrap() {
                Forked::Child => {
                    let pass = Pass::new().unwrap();
                    privilege::set_no_new_privileges().unwrap();
                    let refuse = 0x0005_0000 | libc::EPERM.cast_unsigned();
                    let filter = pass.before(&instruction(RETURN, 0, 0, refuse), &[]);
                    privilege::load_seccomp(&filter, 0).unwrap();
                    if crate::socket::send(theirs.as_fd(), b"no", None).is_ok() {
                        pass.exit(1)
                    }
                    pass.send(&theirs, b"why").unwrap();
                    pass.exit(7)
                }
                Forked::Parent(child) => child,
            };
            let mut buffer = [0; 8];
            let told = crate::socket::receive(ours.as_fd(), &mut buffer).is_ok_and(|(length, _)| length == 3);
            let mut status = 0;
            // SAFETY: `status` is writable.
            unsafe { libc::waitpid(child.pid, &raw mut status, 0) };
            if told && buffer.starts_with(b"why") { libc::WEXITSTATUS(status) } else { 1 }
        });
        assert_eq!(code, Some(7));
    }

    #[test]
    fn who_may_not_end_ends_by_a_fault() {
        // SAFETY: the child does system calls on memory of its own and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            privilege::set_no_new_privileges().unwrap();
            let refuse = 0x0005_0000 | libc::EPERM.cast_unsigned();
            privilege::load_seccomp(&instruction(RETURN, 0, 0, refuse), 0).unwrap();
            process::exit(0)
        }
        let (mut status, mut reaped) = (0, 0);
        for _ in 0..1000 {
            // SAFETY: `status` is writable.
            reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
            if reaped != 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        if reaped == 0 {
            // SAFETY: no pointers.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        assert!(reaped == pid && libc::WIFSIGNALED(status), "it goes on: {status:#x}");
    }

    #[test]
    fn a_filter_that_would_become_too_long_stays_as_it_is() {
        let long = strict().repeat(818);
        assert_eq!(Pass(1).before(&long, &[Call::Control]), long);
        let all = [Call::Control, Call::Wait, Call::Succeed, Call::Word];
        assert_eq!(Pass(1).before(&strict(), &all).len(), strict().len() + 8 * 18);
        assert!(Pass::has_room(&strict()) && !Pass::has_room(&long) && ROOM >= 8 * 18);
    }

    #[test]
    fn a_successor_never_has_the_page_that_tells_of_it() {
        let code = ends_with(|single| {
            let successor = crate::process::Successor::new().unwrap();
            let maps = || std::fs::read_to_string("/proc/self/maps").unwrap();
            let has = || maps().lines().filter(|line| line.contains("/dev/zero")).count();
            let before = has();
            successor.withhold().unwrap();
            match fork(single, 0, None).unwrap() {
                Forked::Child => process::exit(i32::from(has() + 1 != before)),
                Forked::Parent(child) => {
                    process::wait(&child);
                    42
                }
            }
        });
        assert_eq!(code, Some(42));
    }
}
