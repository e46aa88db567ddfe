//! The messages between the shim and a child on its way to exec, on a socket pair that exec closes: the end of
//! the stream without a failure before it is how the shim learns that the program runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::pass::Pass;
use sys::process::Child;
use sys::{SysResult, socket};
use wire::msg::ErrorCode;

use crate::Failure;

const READY: u8 = b'R';
const WARNING: u8 = b'W';
const SETUP: u8 = b'S';
const EXEC: u8 = b'E';
const HANDED_OVER: u8 = b'H';
const ROOT: u8 = b'O';
const MOUNTS: u8 = b'M';
const PROCFS: u8 = b'P';
const CROWDED: u8 = b'C';
const GO: u8 = b'G';
const REFUSED: u8 = b'N';
/// A message longer than this is cut; paths of the kernel are shorter.
const LIMIT: usize = 8192;

/// What a child says.
pub enum Status {
    /// Everything but exec is done; with a terminal, its master.
    Ready(Option<OwnedFd>),
    /// Something that the container can live without.
    Warning(String),
    /// The child has made another in its place, which goes on while it ends.
    HandedOver(Child),
    /// The directory that is the container's root, for commands that enter it later.
    Root(OwnedFd),
    /// A mount namespace with the procfs of a pod's PID namespace.
    Mounts(OwnedFd),
    /// That procfs.
    Procfs(OwnedFd),
    /// It finds no place in a cgroup, or has been born outside of it, and waits for [`send_room`].
    Crowded,
    /// It ends without running its program.
    Failed(Failure),
    /// It has become its program, or has ended.
    Closed,
}

/// Child to shim.
pub fn send_ready(status: BorrowedFd<'_>, master: Option<BorrowedFd<'_>>) -> SysResult<()> {
    socket::send(status, &[READY], master)
}

/// Child to shim.
pub fn send_root(status: BorrowedFd<'_>, root: BorrowedFd<'_>) -> SysResult<()> {
    socket::send(status, &[ROOT], Some(root))
}

/// Child to shim: the procfs of its PID namespace, and a mount namespace in which that is attached.
pub fn send_procfs(status: BorrowedFd<'_>, mounts: BorrowedFd<'_>, procfs: BorrowedFd<'_>) -> SysResult<()> {
    socket::send(status, &[MOUNTS], Some(mounts))?;
    socket::send(status, &[PROCFS], Some(procfs))
}

/// Child to shim.
pub fn send_warning(status: BorrowedFd<'_>, text: &str) -> SysResult<()> {
    let mut bytes = vec![WARNING];
    bytes.extend(text.bytes().take(LIMIT - 1));
    socket::send(status, &bytes, None)
}

/// Child to shim.
pub fn send_failure(status: BorrowedFd<'_>, failure: &Failure) -> SysResult<()> {
    socket::send(status, &self::failure(failure), None)
}

/// The message of a failure.
pub(super) fn failure(failure: &Failure) -> Vec<u8> {
    let mut bytes = vec![if failure.kind == ErrorCode::Exec { EXEC } else { SETUP }];
    bytes.extend_from_slice(&failure.errno.to_ne_bytes());
    bytes.extend(failure.message.bytes().take(LIMIT - 5));
    bytes
}

/// Child to shim.
pub fn send_handed_over(status: BorrowedFd<'_>, child: &Child) -> SysResult<()> {
    let mut bytes = vec![HANDED_OVER];
    bytes.extend_from_slice(&child.pid.to_ne_bytes());
    socket::send(status, &bytes, Some(child.pidfd.as_fd()))
}

/// Child to shim, and back: whether there is room now. Also under a filter.
pub(super) fn ask_for_room(pass: &Pass, status: BorrowedFd<'_>) -> bool {
    pass.send(status, &[CROWDED]).is_ok() && pass.wait_for_word(status) == Some(GO)
}

/// Shim to child: whether there is room now.
pub fn send_room(status: BorrowedFd<'_>, made: bool) -> SysResult<()> {
    socket::send(status, &[if made { GO } else { REFUSED }], None)
}

/// Shim to child.
pub fn send_go(status: BorrowedFd<'_>) -> SysResult<()> {
    socket::send(status, &[GO], None)
}

/// Shim to child, with a connection to the agent that the child's filter asks.
pub fn send_go_with(status: BorrowedFd<'_>, agent: BorrowedFd<'_>) -> SysResult<()> {
    socket::send(status, &[GO], Some(agent))
}

/// The word to start.
pub struct Go {
    /// The connection to the agent, where the shim has one.
    pub agent: Option<OwnedFd>,
}

/// In the child: waits for the word; `None` when the shim has hung up instead.
pub fn wait_for_go(status: BorrowedFd<'_>) -> Option<Go> {
    match socket::receive(status, &mut [0; 1]) {
        Ok((1, agent)) => Some(Go { agent }),
        _ => None,
    }
}

/// In the shim: the next message; `None` when there is none yet.
pub fn receive(status: BorrowedFd<'_>) -> Option<Status> {
    let mut buffer = [0; LIMIT];
    let (length, passed) = match socket::receive(status, &mut buffer) {
        Ok(message) => message,
        Err(error) if error.errno == sys::fd::errno::EAGAIN => return None,
        Err(_) => return Some(Status::Closed),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(match (buffer.get(..length), passed) {
        (Some([READY]), passed) => Status::Ready(passed),
        (Some([CROWDED]), _) => Status::Crowded,
        (Some([ROOT]), Some(root)) => Status::Root(root),
        (Some([MOUNTS]), Some(mounts)) => Status::Mounts(mounts),
        (Some([PROCFS]), Some(procfs)) => Status::Procfs(procfs),
        (Some([HANDED_OVER, a, b, c, d]), Some(pidfd)) => {
            Status::HandedOver(Child { pid: i32::from_ne_bytes([*a, *b, *c, *d]), pidfd })
        }
        (Some([WARNING, rest @ ..]), _) => Status::Warning(text(rest)),
        (Some([tag @ (SETUP | EXEC), a, b, c, d, rest @ ..]), _) => Status::Failed(Failure {
            kind: if *tag == EXEC { ErrorCode::Exec } else { ErrorCode::Setup },
            errno: i32::from_ne_bytes([*a, *b, *c, *d]),
            message: text(rest),
        }),
        _ => Status::Closed,
    })
}
