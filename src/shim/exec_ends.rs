//! The pipes of a command.

use std::os::fd::OwnedFd;

use sys::{SysResult, fd};
use wire::msg::Streams;

/// What connects a command: its ends and the shim's, or those that the daemon gets.
pub(crate) struct Ends {
    pub(crate) stdin: Option<(OwnedFd, OwnedFd)>,
    pub(crate) output: [Option<(OwnedFd, OwnedFd)>; 2],
    pub(crate) tty: bool,
}

impl Ends {
    /// Makes the pipes that are wanted; a terminal is made in the container.
    pub(crate) fn new(streams: Streams, tty: bool) -> SysResult<Self> {
        let pipe = |is_wanted: bool| if is_wanted && !tty { fd::pipe().map(Some) } else { Ok(None) };
        let output = [pipe(streams.stdout)?, pipe(streams.stderr)?];
        Ok(Self { stdin: pipe(streams.stdin)?, output, tty })
    }

    /// The daemon's ends; the command's are closed.
    pub(crate) fn into_passed(self) -> Vec<OwnedFd> {
        let stdin = self.stdin.map(|(_, writer)| writer);
        stdin.into_iter().chain(self.output.into_iter().flatten().map(|(reader, _)| reader)).collect()
    }
}
