//! A death that a test causes, as anybody on the node sees it: so that the time which is told of it (I2) can be judged by when
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
    asked: SystemTime,
    dead: SystemTime,
    /// How long its parent, who notes the time, was runnable without a processor meanwhile.
    parent_waited: Duration,
}

impl Death {
    /// Kills a process, and looks until it is dead and buried.
    ///
    /// # Errors
    /// When it cannot be killed, or does not die.
    pub async fn cause(pid: i32) -> Result<Self, Error> {
        let before = process::stat(pid).unwrap_or_default();
        let parent = before.get(1).and_then(|parent| parent.parse().ok()).unwrap_or_default();
        // The number may be another's before this looks again.
        let is_it = |stat: &Vec<String>| stat.get(STARTED) == before.get(STARTED);
        let (asked, had_waited, begin) = (SystemTime::now(), waited(parent), Instant::now());
        kill(Pid::from_raw(pid), Signal::SIGKILL)
            .map_err(|source| Error::System { operation: "kill", source })?;
        let mut dead = None;
        while begin.elapsed() < PATIENCE {
            let state = process::stat(pid).filter(is_it).and_then(|stat| stat.into_iter().next());
            if matches!(state.as_deref(), None | Some("Z" | "X")) {
                dead.get_or_insert_with(SystemTime::now);
            }
            if state.is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let parent_waited = waited(parent).saturating_sub(had_waited);
        let lives = || Error::Late { what: "a death", after: PATIENCE, last: pid.to_string() };
        Ok(Self { asked, dead: dead.ok_or_else(lives)?, parent_waited })
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
}
