//! How programs of the host are run.

use super::NodeError;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a program left behind.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs programs of a host.
pub(super) trait Hand {
    /// Runs one to its end.
    ///
    /// # Errors
    /// It cannot be started.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<Ended, NodeError>;

    /// Runs one that must succeed.
    ///
    /// # Errors
    /// It cannot be started, or fails.
    fn must(&self, program: &str, arguments: &[&str]) -> Result<(), NodeError> {
        let ended = self.run(program, arguments)?;
        if ended.success {
            return Ok(());
        }
        let said = if ended.stderr.trim().is_empty() { ended.stdout } else { ended.stderr };
        let line = format!("{program} {}", arguments.join(" "));
        Err(NodeError::Program { line, said: said.trim().to_owned() })
    }
}

/// The real one: by `corten node enter`.
#[derive(Debug)]
pub(super) struct InRoot(PathBuf);

impl InRoot {
    pub(super) fn new(root: &Path) -> Self {
        Self(root.to_path_buf())
    }
}

impl Hand for InRoot {
    fn run(&self, program: &str, arguments: &[&str]) -> Result<Ended, NodeError> {
        let own = Path::new("/proc/self/exe");
        let output = Command::new(own)
            .args(["node", "enter", "--root"])
            .arg(&self.0)
            .arg("--")
            .arg(program)
            .args(arguments)
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            // Else systemctl takes any root that is not process 1's for an image in the making, and starts nothing.
            .env("SYSTEMD_IGNORE_CHROOT", "1")
            .output()
            .map_err(NodeError::io("start", own))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ended {
            success: output.status.success(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }
}
