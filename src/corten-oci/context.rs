//! What every command has.

use std::io::Write;

use sys::process::SingleThread;

use crate::args::Global;
use crate::error::{Error, Result};

/// What every command has.
pub(crate) struct Context<'a> {
    pub(crate) global: &'a Global,
    /// What makes forking safe.
    pub(crate) single: SingleThread,
}

/// One line for the caller.
pub(crate) fn print(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").map_err(Error::io("write", "stdout"))
}
