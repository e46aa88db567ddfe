//! User namespaces of pods: whether the host can, and whose the pod's files are then.

use crate::Core;
use crate::error::EngineError;
use model::SandboxConfig;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{self, Read};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sys::poll::Poller;
use sys::sync::lock;
use tokio::sync::Notify;

/// How long the program that tries it may take, which is done in some milliseconds.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a daemon's start waits for it.
const MOMENT: Duration = Duration::from_millis(500);
/// How long one that was killed may take to be gone.
const DEATH: Duration = Duration::from_secs(1);
/// How long it stays unknown before it is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// What is taken of the words that come with a refusal.
const LONGEST: u64 = 4 << 10;

/// Whether pods can have user namespaces: tried on the filesystem of the containers' layers by the supervisor's program,
/// for which nobody waits.
pub(crate) struct Trial {
    shim: PathBuf,
    dir: PathBuf,
    known: Mutex<Known>,
    tried: Notify,
}

struct Known {
    outcome: Outcome,
    /// When that was tried; `None` while it is.
    at: Option<Instant>,
}

/// What a trial has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// They can.
    Yes,
    /// They cannot, for this reason.
    No(String),
    /// It could not be tried, for this reason.
    Unknown(String),
}

impl Trial {
    /// One that begins now.
    pub(crate) fn begin(shim: PathBuf, data: &Path) -> Arc<Self> {
        let outcome = Outcome::Unknown("it is being tried".to_owned());
        let known = Mutex::new(Known { outcome, at: None });
        let trial = Arc::new(Self { shim, dir: data.join("userns-probe"), known, tried: Notify::new() });
        trial.clone().attempt();
        trial
    }

    fn attempt(self: Arc<Self>) {
        tokio::task::spawn_blocking(move || {
            let outcome = probe(&self.shim, &self.dir);
            *lock(&self.known) = Known { outcome, at: Some(Instant::now()) };
            self.tried.notify_waiters();
        });
    }

    /// Waits a moment for the first outcome, so that the first answer has it.
    pub(crate) async fn settle(&self) {
        let tried = self.tried.notified();
        if lock(&self.known).at.is_none() {
            // One that takes longer is told later.
            let _ = tokio::time::timeout(MOMENT, tried).await;
        }
    }

    /// What is known now; what could not be tried is tried again behind this answer.
    fn outcome(self: &Arc<Self>) -> Outcome {
        let mut known = lock(&self.known);
        let is_old = known.at.is_some_and(|at| at.elapsed() > AGAIN);
        if is_old && matches!(known.outcome, Outcome::Unknown(_)) {
            known.at = None;
            self.clone().attempt();
        }
        known.outcome.clone()
    }
}

impl Core {
    /// Whether pods can have user namespaces, as far as it is known.
    pub(crate) fn user_namespaces(&self) -> Outcome {
        self.user_namespaces.outcome()
    }

    /// Refuses a pod with a user namespace on a host that has none to give.
    pub(crate) fn check_user_namespace(&self, config: &SandboxConfig) -> Result<(), EngineError> {
        if config.linux.security.namespaces.users.is_none() {
            return Ok(());
        }
        match self.user_namespaces() {
            Outcome::Yes => Ok(()),
            Outcome::No(reason) => Err(EngineError::Invalid {
                field: "config.linux.security_context.namespace_options.userns_options",
                problem: format!("user namespaces do not work on this host: {reason}"),
            }),
            Outcome::Unknown(reason) => Err(EngineError::UserNamespacesUnknown(reason)),
        }
    }
}

/// Tries it in a directory that is made for it and goes again. Blocks, for a limited time.
pub(crate) fn probe(shim: &Path, dir: &Path) -> Outcome {
    let told = ask(shim, dir);
    // What it leaves behind is in nobody's way.
    let _ = sys::tree::remove(dir);
    match told {
        Err(error) => Outcome::Unknown(format!("{} cannot be run: {error}", shim.display())),
        Ok(None) => Outcome::Unknown(format!("{} does not answer within {LIMIT:?}", shim.display())),
        Ok(Some((status, _))) if status.success() => Outcome::Yes,
        Ok(Some((_, said))) => Outcome::No(String::from_utf8_lossy(&said).trim().to_owned()),
    }
}

/// How the program ended and what it said; `None` for one that did not end.
fn ask(shim: &Path, dir: &Path) -> io::Result<Option<(ExitStatus, Vec<u8>)>> {
    let mut command = Command::new(shim);
    command.arg("--probe-user-namespace").arg(dir).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let Some(status) = ends(&mut child, LIMIT)? else {
        let _ = child.kill();
        // One that does not die, as on a file system that hangs, is nobody's to wait for.
        ends(&mut child, DEATH)?;
        return Ok(None);
    };
    let mut said = Vec::new();
    if let Some(output) = child.stdout.take() {
        // What it has started may have the other end.
        rustix::io::ioctl_fionbio(&output, true)?;
        let _ = output.take(LONGEST).read_to_end(&mut said);
    }
    Ok(Some((status, said)))
}

fn ends(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let failed = |error: sys::SysError| io::Error::from_raw_os_error(error.errno);
    let poller = Poller::new().map_err(failed)?;
    poller.add(&pidfd, 0, false).map_err(failed)?;
    poller.wait(Some(limit), &mut Vec::new()).map_err(failed)?;
    child.try_wait()
}

/// Who root of the pod is on the host, as user and group; `None` when it is the host's.
pub(crate) fn root_of(config: &SandboxConfig) -> Option<(u32, u32)> {
    let users = config.linux.security.namespaces.users.as_ref()?;
    Some((users.uids.on_host(0)?, users.gids.on_host(0)?))
}

/// Gives a file to the pod's root.
pub(crate) fn give(path: &Path, config: &SandboxConfig) -> Result<(), EngineError> {
    match root_of(config) {
        None => Ok(()),
        Some((uid, gid)) => chown(path, Some(uid), Some(gid)).map_err(EngineError::io("chown", path)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn script(dir: &Path, text: &str) -> PathBuf {
        let path = dir.join("shim");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn what_a_program_says_counts_and_one_that_cannot_be_run_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let told = |text: &str| probe(&script(dir.path(), text), &dir.path().join("trial"));
        assert_eq!(told("exit 0"), Outcome::Yes);
        assert_eq!(told("echo no such thing; exit 1"), Outcome::No("no such thing".to_owned()));
        // Somebody has its output.
        assert_eq!(told("sleep 60 2>/dev/null & echo no; exit 1"), Outcome::No("no".to_owned()));
        let absent = probe(&dir.path().join("absent"), &dir.path().join("trial"));
        assert!(
            matches!(&absent, Outcome::Unknown(reason) if reason.contains("cannot be run")),
            "{absent:?}"
        );
    }

    #[tokio::test]
    async fn nobody_waits_for_a_program_that_hangs() {
        let dir = tempfile::tempdir().unwrap();
        // It is killed by its time limit; the test does not wait for that.
        let trial = Trial::begin(script(dir.path(), "exec sleep 5 2>/dev/null"), dir.path());
        assert_eq!(trial.outcome(), Outcome::Unknown("it is being tried".to_owned()));
    }
}
