//! Pseudo terminals, allocated inside a container's own devpts.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::fd::{check, filesystem_magic, owned};
use crate::resolve::open_in_root;
use crate::{SysError, SysResult};

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// A terminal: (master, slave). The master comes from the `/dev/pts/ptmx` below `root`, which is verified to
/// be devpts; the slave is opened from the master and not by any path.
///
/// # Errors
/// The kernel's; `EXDEV` when `/dev/pts` is no devpts.
pub fn open_pair(root: BorrowedFd<'_>) -> SysResult<(OwnedFd, OwnedFd)> {
    let path = b"/dev/pts/ptmx";
    let flags = libc::O_RDWR | libc::O_NOCTTY;
    let master = open_in_root(root, path, flags)?;
    if filesystem_magic(&master)? != DEVPTS_SUPER_MAGIC {
        return Err(SysError::new("open terminal", crate::fd::as_path(path), libc::EXDEV));
    }
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) };
    check("unlock terminal", path, result.into())?;
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags by value and returns a new descriptor.
    let slave = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    Ok((master, owned("open terminal", path, slave.into())?))
}

/// Makes a terminal the controlling one of the calling session leader.
///
/// # Errors
/// `EPERM` for a process that leads no session.
pub fn set_controlling(slave: BorrowedFd<'_>) -> SysResult<()> {
    // SAFETY: TIOCSCTTY takes its argument by value.
    check(
        "set controlling terminal",
        b"",
        unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0) }.into(),
    )
}

/// A terminal in raw mode; its former mode comes back with the end of the value.
#[derive(Debug)]
pub struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: nix::sys::termios::Termios,
}

impl<'a> Raw<'a> {
    /// Switches to raw mode; `None` for what is no terminal.
    pub fn new(terminal: BorrowedFd<'a>) -> Option<Self> {
        use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
        let before = tcgetattr(terminal).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(terminal, SetArg::TCSANOW, &raw).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        use nix::sys::termios::{SetArg, tcsetattr};
        // A terminal that has hung up needs no mode.
        let _ = tcsetattr(self.terminal, SetArg::TCSANOW, &self.before);
    }
}

/// Gives a terminal the size of another; what is no terminal has none.
pub fn copy_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize.
    if unsafe { libc::ioctl(from.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) } == 0 {
        set_size(to, size.ws_row, size.ws_col);
    }
}

/// Sets the size (columns, rows) that a terminal begins with; one without columns or rows is none.
pub fn set_first_size(terminal: BorrowedFd<'_>, (columns, rows): (u32, u32)) {
    if let (Ok(columns @ 1..), Ok(rows @ 1..)) = (u16::try_from(columns), u16::try_from(rows)) {
        set_size(terminal, rows, columns);
    }
}

/// Sets a terminal's size in characters; what is no terminal keeps having none.
pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize.
    unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
}
