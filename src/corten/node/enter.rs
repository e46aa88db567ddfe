//! `corten node enter`: a program of the host, in its root.

use super::NodeError;
use cli::node::EnterArgs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Takes this process's place; returns only where that fails.
pub(super) fn enter(arguments: &EnterArgs) -> NodeError {
    let moved = rustix::process::chroot(&arguments.root).and_then(|()| rustix::process::chdir("/"));
    if let Err(errno) = moved {
        return NodeError::io("enter", &arguments.root)(errno.into());
    }
    let Some((program, rest)) = arguments.line.split_first() else {
        return NodeError::io("start", Path::new(""))(std::io::ErrorKind::NotFound.into());
    };
    let error = Command::new(program).args(rest).exec();
    NodeError::io("start", Path::new(program))(error)
}
