//! The terminal that the command line is in.

use crate::error::Error;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::io;

/// A terminal that hands every key on; it becomes what it was when this is dropped.
pub(crate) struct Terminal(Termios);

impl Terminal {
    /// Of stdin; `None` where that is no terminal.
    pub(crate) fn raw() -> Result<Option<Self>, Error> {
        let stdin = io::stdin();
        if !isatty(&stdin) {
            return Ok(None);
        }
        let failed = |error: rustix::io::Errno| Error::Terminal { source: error.into() };
        let before = tcgetattr(&stdin).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Some(Self(before)))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that has hung up needs it no more.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Columns and rows of the terminal, where there is one.
pub(crate) fn window() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdin()).or_else(|_| tcgetwinsize(io::stdout())).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}
