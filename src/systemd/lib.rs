//! Scopes and slices of systemd, over D-Bus: how a pod gets a part of the tree of cgroups where systemd owns it.
//!
//! The calls are those of `org.freedesktop.systemd1.Manager` (org.freedesktop.systemd1(5)). The connection is made
//! with the first of them and kept: to the system bus where there is one, else to systemd's own socket.

mod bus;
mod connection;
mod error;
mod jobs;
mod message;

pub use bus::BusError;
pub use error::{SystemdError, SystemdResult};

use connection::Link;
use message::{Body, Value};
use std::path::Path;
use std::time::Duration;
use tokio::sync::Mutex;

/// A start or a stop that takes longer is given up; `TimeoutStopUSec` of what is stopped here is never reached,
/// because its processes are gone.
const LIMIT: Duration = Duration::from_secs(60);

/// Whether systemd is process 1, as sd_booted(3) tells, and the tree of cgroups that is seen from here is its own from
/// the root down.
pub fn is_running() -> bool {
    let at_the_root = |text: String| text.lines().any(|line| line == "0::/init.scope");
    Path::new("/run/systemd/system").is_dir()
        && std::fs::read_to_string("/proc/1/cgroup").is_ok_and(at_the_root)
}

/// A scope for processes that somebody else than systemd has started.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Its name, `….scope`.
    pub unit: &'a str,
    /// The slice in which it lies, made when it is not there.
    pub slice: &'a str,
    /// For people.
    pub description: &'a str,
    /// The process that moves there. With its last process a scope ends.
    pub pid: u32,
}

/// The service manager.
#[derive(Debug, Default)]
pub struct Systemd {
    link: Mutex<Option<Link>>,
}

impl Systemd {
    /// Starts a scope, and waits until the process is in its cgroup.
    ///
    /// What lies below the scope is the caller's (`Delegate=`): systemd makes every controller available there and
    /// sets nothing. Without `DefaultDependencies=` its processes are not stopped before those who stop them in an
    /// orderly way have ended, and without a limit on tasks (`DefaultTasksMax=`) its users' limits are the only ones.
    ///
    /// # Errors
    /// [`SystemdError`]; the scope may be there then, and is to be stopped.
    pub async fn start_scope(&self, scope: &Scope<'_>) -> SystemdResult<()> {
        let properties = [
            ("Description", Value::Text(scope.description)),
            ("Slice", Value::Text(scope.slice)),
            ("PIDs", Value::Numbers(&[scope.pid])),
            ("Delegate", Value::Truth(true)),
            ("DefaultDependencies", Value::Truth(false)),
            ("CollectMode", Value::Text("inactive-or-failed")),
            ("TasksMax", Value::Long(u64::MAX)),
        ];
        let body = Body::with_properties([scope.unit, "fail"], &properties);
        self.link("start", scope.unit)
            .await?
            .run("start", "StartTransientUnit", scope.unit, &body, LIMIT)
            .await
    }

    /// Stops a unit and waits until it is stopped. One that systemd does not know is stopped.
    ///
    /// # Errors
    /// [`SystemdError`].
    pub async fn stop(&self, unit: &str) -> SystemdResult<()> {
        let body = Body::of(&[unit, "replace"]);
        let stopped = self.link("stop", unit).await?.run("stop", "StopUnit", unit, &body, LIMIT).await;
        match stopped {
            Err(error) if error.is_unknown_unit() => Ok(()),
            other => other,
        }
    }

    /// The connection that is there, or a new one where there is none or it has broken.
    async fn link(&self, operation: &'static str, unit: &str) -> SystemdResult<Link> {
        let mut held = self.link.lock().await;
        if let Some(link) = held.as_ref().filter(|link| !link.is_closed()) {
            return Ok(link.clone());
        }
        let made = tokio::time::timeout(LIMIT, Link::open()).await;
        let failed = |source| SystemdError::Bus { operation, unit: unit.to_owned(), source };
        let link = made
            .map_err(|_| SystemdError::Late { operation, unit: unit.to_owned(), seconds: LIMIT.as_secs() })?
            .map_err(failed)?;
        *held = Some(link.clone());
        Ok(link)
    }
}
