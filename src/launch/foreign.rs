//! A program of the host that makes or enters a container in the launcher's place: a command of an OCI runtime.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use sys::fd::{errno, flag, propagation};
use sys::{SysError, exec, fd, mount, poll, process, resolve, tty};
use wire::plan::{Bytes, IdMaps, RootfsPlan};

use crate::{Context, Failure, Never, channel, rootfs};

/// What runtimes look helpers up by.
const PATH: &[u8] = b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the fork hands to the child.
pub struct ForeignChild<'a> {
    /// Program and arguments.
    pub argv: &'a [Bytes],
    /// The working directory: relative paths among the arguments begin there; empty: the root.
    pub directory: &'a [u8],
    /// The container's root, mounted in a mount namespace that the fork has made: the program finds it at the plan's
    /// mountpoint, and nobody else sees it.
    pub rootfs: Option<&'a RootfsPlan>,
    /// The child's end of the status channel.
    pub status: &'a OwnedFd,
    /// The child's ends of stdin, stdout and stderr, which the program passes on; the null device where there is none.
    pub stdio: [Option<&'a OwnedFd>; 3],
    /// A terminal of the host takes their place, which the program relays; its master is sent to the shim.
    pub tty: bool,
}

/// Becomes the program.
pub fn run(child: &ForeignChild<'_>) -> ! {
    let failure = match launch(child) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    crate::fail(child.status.as_fd(), &failure)
}

fn launch(child: &ForeignChild<'_>) -> Result<Never, Failure> {
    crate::null_stdio(&[0, 1, 2])?;
    for (number, end) in (0..).zip(child.stdio) {
        if let Some(end) = end {
            fd::set_standard(end.as_fd(), number)?;
        }
    }
    fd::close_all_but(&[child.status.as_raw_fd()])?;
    process::new_session()?;
    if child.tty {
        take_terminal(child)?;
    }
    if let Some(plan) = child.rootfs {
        let asked = if plan.propagation == 0 { propagation::SLAVE } else { plan.propagation };
        mount::classic(b"", b"/", b"", asked | propagation::RECURSIVE, b"")?;
        rootfs::assemble(plan, &IdMaps::default(), None)?;
    }
    fd::close_all_on_exec()?;
    let directory = if child.directory.is_empty() { b"/" } else { child.directory };
    exec::enter_directory(directory).context("enter directory", directory)?;
    poll::reset_signals()?;
    let program = exec::Program::new(child.argv, &[PATH.to_vec()])?;
    Err(failed(child, &program.run()))
}

fn take_terminal(child: &ForeignChild<'_>) -> Result<(), Failure> {
    let root = resolve::open(b"/", flag::O_PATH | flag::O_DIRECTORY)?;
    let (master, slave) = tty::open_pair(root.as_fd())?;
    tty::set_controlling(slave.as_fd())?;
    for number in 0..=2 {
        fd::set_standard(slave.as_fd(), number)?;
    }
    Ok(channel::send_ready(child.status.as_fd(), Some(master.as_fd()))?)
}

fn failed(child: &ForeignChild<'_>, error: &SysError) -> Failure {
    let name = String::from_utf8_lossy(child.argv.first().map_or(b"", Vec::as_slice));
    let reason = if error.errno == errno::ENOENT {
        "it is not installed".to_owned()
    } else {
        sys::errno_text(error.errno).to_lowercase()
    };
    Failure::setup(error.errno, format!("run the runtime {name}: {reason}"))
}
