//! Stopping the processes of a cgroup where they are.

use super::{CgroupPath, Host};
use crate::error::{OciError, OciResult};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long processes may take to stop: one in state D does only when it leaves it.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl Host {
    /// Freezes the processes of a container, and waits until all of them stand still.
    ///
    /// # Errors
    /// [`OciError::NoController`] where nothing can freeze, [`OciError::Io`] when the kernel refuses or a process does not
    /// stop in ten seconds; the container is thawed again then.
    pub fn freeze(&self, path: &CgroupPath) -> OciResult<()> {
        let relative = path.relative();
        let (hierarchy, file, value) = match (self.unified(), self.v1_of("freezer")) {
            (Some(v2), _) => (v2, "cgroup.freeze", "1"),
            (None, Some(freezer)) => (freezer, "freezer.state", "FROZEN"),
            (None, None) => {
                return Err(OciError::NoController { field: "pause", controller: "freezer".to_owned() });
            }
        };
        let until = Instant::now() + PATIENCE;
        loop {
            // v1 has to be told again when processes were forked meanwhile.
            hierarchy.write(relative, file, value)?;
            if self.is_frozen(path)? {
                return Ok(());
            }
            if Instant::now() >= until {
                self.thaw_one(path)?;
                let late = std::io::Error::from_raw_os_error(sys::fd::errno::ETIMEDOUT);
                return Err(OciError::io("freeze", path.to_string())(late));
            }
            sleep(LOOK_AGAIN);
        }
    }

    /// Lets the processes of a container go on; what is above it stays as it is.
    ///
    /// # Errors
    /// [`OciError::Io`] when the kernel refuses.
    pub fn thaw_one(&self, path: &CgroupPath) -> OciResult<()> {
        match (self.unified(), self.v1_of("freezer")) {
            (Some(v2), _) => v2.write(path.relative(), "cgroup.freeze", "0"),
            (None, Some(freezer)) => freezer.write(path.relative(), "freezer.state", "THAWED"),
            (None, None) => Ok(()),
        }
    }

    /// Whether all processes of a container stand still because somebody froze it.
    ///
    /// # Errors
    /// [`OciError::Io`]; an absent cgroup is not frozen.
    pub fn is_frozen(&self, path: &CgroupPath) -> OciResult<bool> {
        let relative = path.relative();
        Ok(match (self.unified(), self.v1_of("freezer")) {
            (Some(v2), _) => v2
                .read(relative, "cgroup.events")?
                .is_some_and(|text| text.lines().any(|line| line == "frozen 1")),
            (None, Some(freezer)) => {
                freezer.read(relative, "freezer.state")?.is_some_and(|text| text.trim() == "FROZEN")
            }
            (None, None) => false,
        })
    }
}
