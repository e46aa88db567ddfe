//! Terminals: handed over on a socket, or relayed by this process.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What happens to a terminal's master.
#[derive(Debug)]
pub(crate) enum Console {
    /// There is no terminal.
    None,
    /// Sent to whoever listens on a socket.
    Socket(UnixStream),
    /// Relayed to this process's own streams.
    Own,
}

impl Console {
    /// Decides by the configuration and the arguments, before anything is done.
    pub(crate) fn new(terminal: bool, socket: Option<&PathBuf>, detach: bool) -> Result<Self> {
        const FIELD: &str = "--console-socket";
        match (terminal, socket) {
            (true, Some(path)) => connect(path).map(Self::Socket),
            (true, None) if detach => {
                Err(Error::invalid(FIELD, "is needed for a terminal that is not relayed"))
            }
            (true, None) => Ok(Self::Own),
            (false, Some(_)) => Err(Error::invalid(FIELD, "is given, but process.terminal is not set")),
            (false, None) => Ok(Self::None),
        }
    }

    /// Passes the master on if somebody waits for it.
    pub(crate) fn hand_over(&self, master: BorrowedFd<'_>) -> Result<()> {
        if let Self::Socket(socket) = self {
            sys::socket::send(socket.as_fd(), b"/dev/ptmx", Some(master))?;
        }
        Ok(())
    }
}

/// Gives a terminal the size that the configuration asks for.
pub(crate) fn set_size(master: BorrowedFd<'_>, size: Option<oci_spec::runtime::Box>) {
    if let Some(size) = size {
        let cells = |count: u64| u16::try_from(count).unwrap_or(u16::MAX);
        sys::tty::set_size(master, cells(size.height()), cells(size.width()));
    }
}

fn connect(path: &Path) -> Result<UnixStream> {
    UnixStream::connect(path).map_err(Error::io("connect to console socket", path))
}
