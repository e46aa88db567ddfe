//! A shim that was started ahead: it has set itself up and waits for the daemon that started it to say which pod it is to
//! serve.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use sys::fd::{self, errno};
use sys::process::OwnArgument;
use sys::{SysError, SysResult, socket};
use wire::naming::{NAMELESS, WAITS};

/// Waits for the pod, and becomes its shim by its arguments and its log; the socket that it is to listen on, or `None`
/// when there is nobody any more who could tell.
///
/// # Errors
/// The kernel's; `EINVAL` for what is no name.
pub(crate) fn wait(daemon: OwnedFd) -> SysResult<Option<OwnedFd>> {
    let argument = OwnArgument::find(NAMELESS.as_bytes())?;
    // While no pod depends on it: whether it can be done.
    argument.write(NAMELESS.as_bytes())?;
    socket::send(daemon.as_fd(), WAITS, None)?;
    failpoint::pass!("shim.wait.ready");
    let (mut name, mut passed) = ([0; NAMELESS.len() + 1], VecDeque::new());
    let length = socket::read(daemon.as_fd(), &mut name, &mut passed)?;
    if length == 0 {
        return Ok(None);
    }
    let (Some(listener), Some(log), 0) = (passed.pop_front(), passed.pop_front(), passed.len()) else {
        return Err(SysError::new("take a pod", "", errno::EINVAL));
    };
    fd::set_standard(log.as_fd(), 1)?;
    fd::set_standard(log.as_fd(), 2)?;
    argument.write(name.get(..length).unwrap_or_default())?;
    failpoint::pass!("shim.wait.named");
    // The next daemon may have looked for the pod's shim already, when this one was not to be known.
    let is_wanted = !socket::is_abandoned(daemon.as_fd());
    drop(daemon);
    Ok(is_wanted.then_some(listener))
}
