//! How a plugin that was started here has ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// An end, as it is told after "it".
#[derive(Debug)]
pub(super) struct End {
    status: ExitStatus,
    /// Why its connection ended before it did.
    cause: Option<String>,
    /// It went on without its connection.
    was_killed: bool,
    /// What it said last.
    last_line: String,
}

impl End {
    pub(super) fn new(
        status: ExitStatus,
        cause: Option<String>,
        was_killed: bool,
        last_line: String,
    ) -> Self {
        Self { status, cause, was_killed, last_line }
    }

    /// Why it was not let go on, where it was not.
    pub(super) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    pub(super) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub(super) fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// The last line that it wrote to its standard error, where it wrote any.
    pub(super) fn last_line(&self) -> Option<&str> {
        Some(self.last_line.as_str()).filter(|line| !line.is_empty())
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.was_killed, self.code(), self.signal()) {
            (true, ..) => f.write_str("was killed")?,
            (false, Some(code), _) => write!(f, "exited with code {code}")?,
            (false, None, Some(signal)) => write!(f, "was killed by signal {signal}")?,
            (false, None, None) => write!(f, "has ended: {}", self.status)?,
        }
        match (&self.cause, self.was_killed) {
            (Some(cause), _) => write!(f, ", as {cause}")?,
            (None, true) => f.write_str(", as its connection has ended")?,
            (None, false) => {}
        }
        match self.last_line() {
            Some(line) => write!(f, " (last line: {line})"),
            None => Ok(()),
        }
    }
}
