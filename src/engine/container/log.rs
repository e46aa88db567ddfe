//! ReopenContainerLog, and logs that nobody writes any more.

use crate::Containers;
use crate::error::EngineError;
use model::ContainerState;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use sys::fd::flag;

/// A line of a log is not longer: 16 KiB of text, behind its time and two words.
const LINE: u64 = 20 << 10;

impl Containers {
    /// Lets the shim write to a new file at the container's log path. On an error no new file is left.
    pub async fn reopen_log(&self, id: &str) -> Result<(), EngineError> {
        let container = self.core.registry.container(id)?;
        if !matches!(container.state(), ContainerState::Running { .. }) {
            return Err(EngineError::wrong_state("reopen the log of", &container));
        }
        let supervisor = container.pod.live_supervisor("reopen the log of", &container.id)?;
        Ok(supervisor.reopen_log(&container.id).await?)
    }
}

/// Takes away what a supervisor that was killed in the middle of a line has written of it: the kernel gives up a write between
/// two pages. What is no log, or is none any more, stays as it is.
///
/// # Errors
/// When it is there and cannot be read or cut.
pub(super) fn end_torn(path: &Path) -> io::Result<()> {
    let flags = flag::O_NOFOLLOW | flag::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Ok(());
    }
    let start = found.len().saturating_sub(LINE);
    let mut tail = vec![0; usize::try_from(found.len() - start).unwrap_or_default()];
    file.read_exact_at(&mut tail, start)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map(|at| at as u64 + 1);
    match whole.or((start == 0).then_some(0)) {
        Some(whole) if start + whole < found.len() => file.set_len(start + whole),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn of_a_torn_line_nothing_is_left_and_all_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        end_torn(&path).unwrap();
        let many = "2026-11-29T15:12:20.257340727Z stdout F 653\n".repeat(2000);
        for (written, left) in [
            (String::new(), String::new()),
            ("2026-1".to_owned(), String::new()),
            ("a line\n".to_owned(), "a line\n".to_owned()),
            (format!("{many}2026-1"), many.clone()),
            (format!("{many}2026-1{}", "x".repeat(16 << 10)), many.clone()),
            ("no log".repeat(10_000), "no log".repeat(10_000)),
        ] {
            fs::write(&path, &written).unwrap();
            end_torn(&path).unwrap();
            assert!(fs::read_to_string(&path).unwrap() == left, "{} bytes", written.len());
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        end_torn(&link).unwrap_err();
        end_torn(dir.path()).unwrap_err();
    }
}
