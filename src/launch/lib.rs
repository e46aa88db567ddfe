//! What happens between fork and exec, in the child. Every function here may allocate (the shim has one
//! thread), returns its failure as text for the daemon, and leaves cleaning up to the kernel: mounts and
//! namespaces go with the process.

mod agent;
mod birth;
pub mod channel;
mod container;
mod creds;
mod devices;
mod exec;
mod extras;
mod foreign;
mod ground;
mod groups;
mod hooks;
pub mod host;
mod images;
mod keyring;
mod labels;
mod masks;
mod mounts;
mod null;
mod pause;
mod pids;
pub mod room;
mod rootfs;
mod schedule;
mod userns;

use std::os::fd::BorrowedFd;

use sys::{SysError, fd};
use wire::msg::ErrorCode;
use wire::plan::CgroupPlan;

pub use container::{ContainerChild, run as run_container};
pub use exec::{Birthplace, ExecChild, run as run_exec};
pub use extras::{Extras, Step};
pub use foreign::{ForeignChild, Stage, run as run_foreign};
pub use ground::may_leave_early;
pub use null::Null;
pub use pause::{PauseChild, run as run_pause};
pub use pids::{Joined, Joining, Procfs};
pub use rootfs::probe_mapped;
pub use userns::ranges;

/// Why a child could not become its program.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Setup or Exec.
    pub kind: ErrorCode,
    /// The kernel's number.
    pub errno: i32,
    /// The sentence for the daemon.
    pub message: String,
}

impl From<SysError> for Failure {
    fn from(error: SysError) -> Self {
        Self { kind: ErrorCode::Setup, errno: error.errno, message: error.to_string() }
    }
}

impl From<failpoint::Injected> for Failure {
    fn from(injected: failpoint::Injected) -> Self {
        SysError::from(injected).into()
    }
}

impl Failure {
    /// A failure of setting up that the kernel has not reported.
    pub fn setup(errno: i32, message: String) -> Self {
        Self { kind: ErrorCode::Setup, errno, message }
    }
}

/// Puts what was attempted in front of the kernel's reason.
trait Context<T> {
    fn context(self, what: &str, path: &[u8]) -> Result<T, Failure>;
}

impl<T> Context<T> for Result<T, SysError> {
    fn context(self, what: &str, path: &[u8]) -> Result<T, Failure> {
        self.map_err(|error| {
            let message = format!("{what} {}: {error}", String::from_utf8_lossy(path));
            Failure { message, ..error.into() }
        })
    }
}

/// What never returns successfully.
pub enum Never {}

/// Tells the shim why, and ends.
fn fail(status: BorrowedFd<'_>, failure: &Failure) -> ! {
    // When the shim is gone nobody is left to tell.
    let _ = channel::send_failure(status, failure);
    sys::process::exit(1)
}

/// Joins the cgroups that the fork did not place the child in.
fn join_cgroups(plan: &CgroupPlan, joined_v2: bool) -> Result<(), Failure> {
    for dir in &plan.v1 {
        sys::cgroup::join_self(fd::as_path(dir), "tasks")?;
    }
    if let (Some(dir), false) = (&plan.v2, joined_v2) {
        sys::cgroup::join_self(fd::as_path(dir), "cgroup.procs")?;
    }
    if let Some(dir) = &plan.resctrl {
        sys::cgroup::join_self(fd::as_path(dir), "tasks").context("join the class of cache", dir)?;
    }
    Ok(())
}

/// Sets the OOM score; where the host does not let it be lowered, it stays what it is and a warning is sent.
fn set_oom_score(status: BorrowedFd<'_>, score: Option<i32>) -> Result<(), Failure> {
    if let Some(score) = score
        && let Some(warning) = crate::host::set_oom_score(score)?
    {
        // A warning that cannot be delivered is not worth failing for.
        let _ = channel::send_warning(status, &warning);
    }
    Ok(())
}
