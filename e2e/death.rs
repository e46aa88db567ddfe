//! A death that a test causes or waits for, as anybody on the node sees it: so that the time which is told of it (I2) can be judged by when
//! the process was dead, not by when this machine gave it, or its parent, a processor.

use crate::error::Error;
use crate::invariants::EXACT;
use crate::process;
use crate::stall::Stall;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a process may take to die, and its parent to bury it, before it is looked at no more.
const PATIENCE: Duration = Duration::from_secs(20);

/// When a process was started, among the fields of [`process::stat`].
const STARTED: usize = 19;

/// The death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// When it was asked for, or else when the process was last seen alive.
    asked: SystemTime,
    dead: SystemTime,
    /// How long its parent, who notes the time, was runnable without a processor meanwhile.
    parent_waited: Duration,
}

impl Death {
    /// Kills a process, and looks until it is dead and buried.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn cause(pid: i32) -> Result<Self, Error> {
        let watch = Watch::begin(pid);
        let asked = SystemTime::now();
        kill(Pid::from_raw(pid), Signal::SIGKILL)
            .map_err(|source| Error::System { operation: "kill", source })?;
        Ok(Self { asked, ..watch.until_buried(PATIENCE).await })
    }

    /// Looks until a process that ends by itself is dead and buried, or for so long.
    pub async fn witness(pid: i32, patience: Duration) -> Self {
        Watch::begin(pid).until_buried(patience).await
    }

    /// Compares the time that is told of it, in nanoseconds, with when it was (I2).
    ///
    /// # Errors
    /// When it is too far off.
    pub fn is_told_as(&self, seen: i64, stall: &Stall) -> Result<(), Error> {
        let nanoseconds = |time: SystemTime| {
            i128::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos())
                .unwrap_or(i128::MAX)
        };
        let allowed = EXACT + 3 * stall.worst() + self.parent_waited;
        let slack = |allowed: Duration| i128::try_from(allowed.as_nanos()).unwrap_or(i128::MAX);
        let from = nanoseconds(self.asked) - slack(EXACT);
        let until = nanoseconds(self.dead) + slack(allowed);
        if (from..=until).contains(&i128::from(seen)) {
            return Ok(());
        }
        let (early, late) = (from - i128::from(seen), i128::from(seen) - until);
        let seen =
            format!("{early} ns too early, or {late} ns too late, of {self:?}; {allowed:?} are allowed");
        Err(Error::Unexpected { what: "the time of an end (I2)", seen })
    }
}

/// A process that is looked at until it is no more.
struct Watch {
    pid: i32,
    /// The number may be another's before this looks again.
    started: Option<String>,
    parent: i32,
    parent_had_waited: Duration,
}

impl Watch {
    fn begin(pid: i32) -> Self {
        let stat = process::stat(pid).unwrap_or_default();
        let parent = stat.get(1).and_then(|parent| parent.parse().ok()).unwrap_or_default();
        Self { pid, started: stat.get(STARTED).cloned(), parent, parent_had_waited: waited(parent) }
    }

    async fn until_buried(self, patience: Duration) -> Death {
        let begin = Instant::now();
        let (mut asked, mut dead) = (SystemTime::now(), None);
        while begin.elapsed() < patience {
            let look = SystemTime::now();
            let same = process::stat(self.pid).filter(|stat| stat.get(STARTED) == self.started.as_ref());
            let state = same.and_then(|stat| stat.into_iter().next());
            if matches!(state.as_deref(), None | Some("Z" | "X")) {
                dead.get_or_insert_with(SystemTime::now);
            } else {
                asked = look;
            }
            if state.is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let parent_waited = waited(self.parent).saturating_sub(self.parent_had_waited);
        Death { asked, dead: dead.unwrap_or_else(SystemTime::now), parent_waited }
    }
}

/// How long a process has been runnable without a processor so far, by its first thread.
fn waited(pid: i32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let waited = text.split_whitespace().nth(1).and_then(|text| text.parse().ok());
    Duration::from_nanos(waited.unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::process::Command;

    #[tokio::test]
    async fn a_death_is_told_truly_between_its_cause_and_shortly_behind_it() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let buried = tokio::task::spawn_blocking(move || child.wait());
        let death = Death::cause(pid).await.unwrap();
        buried.await.unwrap().unwrap();
        let stall = Stall::watch();
        let at =
            |time: SystemTime| i64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
        death.is_told_as(at(death.dead), &stall).unwrap();
        assert!(death.is_told_as(at(death.dead + Duration::from_secs(60)), &stall).is_err());
        assert!(death.is_told_as(at(death.asked - Duration::from_secs(60)), &stall).is_err());
    }

    #[tokio::test]
    async fn a_death_that_nobody_caused_lies_between_two_looks() {
        let begin = SystemTime::now();
        let mut child = Command::new("sleep").arg("0.2").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let buried = tokio::task::spawn_blocking(move || child.wait());
        let death = Death::witness(pid, PATIENCE).await;
        buried.await.unwrap().unwrap();
        assert!(begin < death.asked && death.asked < death.dead && death.dead < SystemTime::now());
    }
}
