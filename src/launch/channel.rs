//! The messages between the shim and a child on its way to exec, on a socket pair that exec closes: the end of
//! the stream without a failure before it is how the shim learns that the program runs.

use std::os::fd::{BorrowedFd, OwnedFd};

use sys::{SysResult, socket};
use wire::msg::ErrorCode;

use crate::Failure;

const READY: u8 = b'R';
const WARNING: u8 = b'W';
const SETUP: u8 = b'S';
const EXEC: u8 = b'E';
const GO: u8 = b'G';
/// A message longer than this is cut; paths of the kernel are shorter.
const LIMIT: usize = 8192;

/// What a child says.
pub enum Status {
    /// Everything but exec is done; with a terminal, its master.
    Ready(Option<OwnedFd>),
    /// Something that the container can live without.
    Warning(String),
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
pub fn send_warning(status: BorrowedFd<'_>, text: &str) -> SysResult<()> {
    let mut bytes = vec![WARNING];
    bytes.extend(text.bytes().take(LIMIT - 1));
    socket::send(status, &bytes, None)
}

/// Child to shim.
pub fn send_failure(status: BorrowedFd<'_>, failure: &Failure) -> SysResult<()> {
    let mut bytes = vec![if failure.kind == ErrorCode::Exec { EXEC } else { SETUP }];
    bytes.extend_from_slice(&failure.errno.to_ne_bytes());
    bytes.extend(failure.message.bytes().take(LIMIT - 5));
    socket::send(status, &bytes, None)
}

/// Shim to child.
pub fn send_go(status: BorrowedFd<'_>) -> SysResult<()> {
    socket::send(status, &[GO], None)
}

/// In the child: waits for the word; `false` when the shim has hung up instead.
pub fn wait_for_go(status: BorrowedFd<'_>) -> bool {
    matches!(socket::receive(status, &mut [0; 1]), Ok((1, _)))
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
    Some(match buffer.get(..length) {
        Some([READY]) => Status::Ready(passed),
        Some([WARNING, rest @ ..]) => Status::Warning(text(rest)),
        Some([tag @ (SETUP | EXEC), a, b, c, d, rest @ ..]) => Status::Failed(Failure {
            kind: if *tag == EXEC { ErrorCode::Exec } else { ErrorCode::Setup },
            errno: i32::from_ne_bytes([*a, *b, *c, *d]),
            message: text(rest),
        }),
        _ => Status::Closed,
    })
}
