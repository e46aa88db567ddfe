//! What the engine needs of a pod's supervisor, whoever that is: the shim, or in tests one that lives in memory.

mod accounts;
mod connection;
mod dial;
mod error;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod golden;
mod greeting;
mod living;
mod native;
mod question;
mod request;
#[cfg(test)]
mod tests;
mod warm;

pub(crate) use accounts::{Accounts, Counters};
pub use error::SupervisorError;
pub use living::LivingSupervisor;
pub(crate) use native::ShimLauncher;

use crate::error::EngineError;
use crate::record::PodFiles;
use crate::stats::Interface;
use futures::future::BoxFuture;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use sys::shim_spawn::ShimProcess;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use wire::msg::{ContainerSnapshot, ExitRecord, Streams};
use wire::plan::{ContainerPlan, ExecPlan, SandboxPlan};

/// What a supervisor answers.
pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, SupervisorError>>;

/// Takes what a supervisor says unasked.
pub(crate) type Notify = Box<dyn Fn(Notice) + Send>;

/// What the engine is told unasked.
pub(crate) enum Notice {
    /// A container ended.
    Exited(ExitRecord),
    /// The connection is closed: the supervisor is gone, or has hung up.
    Lost,
}

/// What a supervisor says of itself.
pub(crate) struct Hello {
    pub(crate) pause_pid: Option<i32>,
    pub(crate) containers: Vec<ContainerSnapshot>,
}

/// A supervisor that can be asked, and what it has said of itself.
pub(crate) type Connected = (Arc<dyn Supervisor>, Hello);

/// A pod whose namespaces stand.
pub(crate) struct Standing {
    /// The pause's process, where there is one.
    pub(crate) pause_pid: Option<i32>,
    /// What the host did not allow.
    pub(crate) warnings: Vec<String>,
}

/// A container that runs.
pub(crate) struct Started {
    /// Unix time in nanoseconds.
    pub(crate) at: i64,
    /// Its first process, where the supervisor tells.
    pub(crate) pid: Option<i32>,
}

/// A command that has ended.
pub(crate) struct Executed {
    pub(crate) exit_code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// It was killed at its timeout.
    pub(crate) timed_out: bool,
}

/// A command that is to be run with streams.
pub(crate) struct Command {
    pub(crate) plan: ExecPlan,
    pub(crate) streams: Streams,
    pub(crate) tty: bool,
}

/// Streams that are open.
pub(crate) struct Opened {
    /// The command's number, to wait for it.
    pub(crate) number: u64,
    /// The engine's ends.
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// The supervisor of one pod. An answer that is given up is no request that is taken back.
pub(crate) trait Supervisor: Send + Sync {
    /// Makes the pod's namespaces.
    fn sandbox(&self, plan: SandboxPlan) -> Answer<'_, Standing>;
    /// Makes a container up to its start; the process that has built it.
    fn create(&self, plan: ContainerPlan) -> Answer<'_, i32>;
    /// Lets a container run its program.
    fn start<'a>(&'a self, id: &'a str) -> Answer<'a, Started>;
    /// Sends a signal to a container's first process, or to `all` of its processes.
    fn signal<'a>(&'a self, id: &'a str, signal: i32, all: bool) -> Answer<'a, ()>;
    /// Runs a command in a container; it is killed once it is unwanted, where the supervisor can.
    fn exec(&self, plan: ExecPlan, unwanted: CancellationToken) -> Answer<'_, Executed>;
    /// Runs a command in a container with streams, and does not wait for it.
    fn open_exec(&self, command: Command) -> Answer<'_, Opened>;
    /// Waits for such a command; its exit code.
    fn wait_exec<'a>(&'a self, id: &'a str, number: u64) -> Answer<'a, i32>;
    /// Joins a container's streams.
    fn attach<'a>(&'a self, id: &'a str, streams: Streams) -> Answer<'a, Vec<OwnedFd>>;
    /// Ends a container's stdin.
    fn close_stdin<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
    /// Opens a container's log anew.
    fn reopen_log<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
    /// Ends a container, where it has not ended, and forgets it.
    fn remove<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
    /// Ends what is left of the pod, and then itself.
    fn shutdown(&self) -> Answer<'_, ()>;
    /// Connects to a port of the pod, whose network namespace is pinned there, where it has one of its own.
    fn dial(&self, netns: Option<PathBuf>, port: u16) -> BoxFuture<'_, Result<TcpStream, EngineError>>;
    /// Who keeps the pod's accounts; `None`: the host's cgroups.
    fn accounts(&self) -> Option<Arc<dyn Accounts>> {
        None
    }
    /// What the pod's interfaces carry, its own first; none once that is counted no more. Blocks.
    fn interfaces(&self) -> io::Result<Arc<[Interface]>>;
    /// Counts no more: it would keep the network namespace.
    fn stop_counting(&self);
    /// Its process.
    fn pid(&self) -> Option<i32>;
    /// It cannot be asked any more; whether it lives is another question.
    fn is_lost(&self) -> bool;
    /// Waits until its process is gone; whether it is.
    fn gone(&self, limit: Duration) -> BoxFuture<'_, bool>;
    /// Ends one that does not answer.
    fn kill(&self);
}

/// A supervisor that was found among the processes of the host.
pub(crate) struct Stray {
    pub(crate) pod: String,
    /// Where it is, as `/proc/PID/cgroup` says.
    pub(crate) cgroups: String,
}

/// Where supervisors come from.
pub(crate) trait Launcher: Send + Sync {
    /// Starts the supervisor of a pod, whose directory is there: [`Launcher::connect`] or [`Launcher::kill`] follows.
    /// Blocks.
    fn spawn(&self, pod: &str, files: &PodFiles) -> Result<ShimProcess, EngineError>;
    /// So many may be started ahead and wait for a pod from now on. Within a runtime.
    fn keep_warm(&self, _most: usize) {}
    /// Begins with connecting to one that was started, where nothing has to be done to it before. Blocks for a moment.
    fn greet(&self, _pod: &str, _files: &PodFiles, _started: &ShimProcess) {}
    /// Connects to a pod's supervisor and hears what it holds; news come to `notify` from then on. One that was `started`
    /// just now and cannot be talked to is ended.
    fn connect<'a>(
        &'a self,
        pod: &'a str,
        files: &'a PodFiles,
        started: Option<ShimProcess>,
        notify: Notify,
    ) -> BoxFuture<'a, Result<Connected, EngineError>>;
    /// Ends a supervisor that was started and never connected to.
    fn kill(&self, process: ShimProcess) -> BoxFuture<'_, ()>;
    /// Whether a supervisor of the pod lives, whatever leads to it. Blocks.
    fn lives(&self, pod: &str) -> bool;
    /// The supervisors that live and belong to pods whose directories lie there, whether those are there or not. Blocks.
    fn strays(&self, pods: &Path) -> Vec<Stray>;
    /// Ends a supervisor that no connection leads to, such as one that a former daemon started just before it died.
    fn kill_lost<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, ()>;
}
