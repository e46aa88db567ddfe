//! The messages.

use crate::feature::Features;
use crate::plan::{ContainerPlan, ExecPlan, SandboxPlan};

/// What the daemon asks. Each is answered by one [`Reply`] with the same frame id; they may finish in any
/// order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one at a time is built, sent and dropped")]
pub enum Request {
    /// Who are you, and what do you hold? The first request on a connection, and the whole of a recovery.
    /// Answered by [`Reply::Hello`]. Events begin to flow on the connection with it.
    Hello,
    /// Enter the pod's namespaces and start the pause if there is to be one. Once in a shim's life.
    /// Answered by [`Reply::Sandbox`].
    Sandbox(SandboxPlan),
    /// Build a container up to the point where only `exec` is missing. Answered by [`Reply::Created`].
    Create(ContainerPlan),
    /// Let a created container run. Answered by [`Reply::Started`], or by [`Reply::Error`] with
    /// [`ErrorCode::Exec`], after which its exit is reported too (code 128).
    Start {
        /// The container id.
        id: String,
    },
    /// Send a signal. Answered by [`Reply::Ok`].
    Signal {
        /// The container id.
        id: String,
        /// The signal's number.
        signal: i32,
        /// To every process in the container's cgroup, not only to the first.
        all: bool,
    },
    /// Run a command in a running container and wait for it. Answered by [`Reply::Exec`].
    Exec(ExecPlan),
    /// Nobody waits for a command of [`Request::Exec`] any more that was asked for on the same connection: everything that
    /// it has started is killed, and it is answered as at a timeout. Answered by [`Reply::Ok`], also when it has ended.
    KillExec {
        /// The number of its frame.
        request: u64,
    },
    /// Open the log file anew, by its path. Answered by [`Reply::Ok`].
    ReopenLog {
        /// The container id.
        id: String,
    },
    /// Forget a container; one that is created or runs is killed first. Answered by [`Reply::Ok`] once nothing
    /// of it is left, also when it is unknown.
    Remove {
        /// The container id.
        id: String,
    },
    /// Close the writing end of the container's stdin. Answered by [`Reply::Ok`].
    CloseStdin {
        /// The container id.
        id: String,
    },
    /// Kill whatever is left, the pause too, and exit. Answered by [`Reply::Ok`] just before.
    Shutdown,
    /// Run a command in a running container with streams that the daemon reads and writes itself. Answered by
    /// [`Reply::Opened`] once the program runs; its descriptors are the daemon's ends of stdin, stdout and stderr, as
    /// far as they are asked for, or the master of a terminal alone.
    OpenExec {
        /// What runs; its limits of time and output mean nothing here. Its terminal has its size before the program
        /// runs.
        plan: ExecPlan,
        /// The standard streams; those not asked for are `/dev/null`.
        streams: Streams,
        /// A terminal of the container in place of the three.
        tty: bool,
    },
    /// Wait for a command of [`Request::OpenExec`] that was opened on the same connection. Answered by
    /// [`Reply::Exec`] without output when it has ended.
    WaitExec {
        /// The number that [`Reply::Opened`] told.
        number: u64,
    },
    /// Join a running container's streams from now on. Answered by [`Reply::Opened`]; its descriptors are the writing
    /// end of stdin if it is asked for and there (with a terminal: its master), then the reading ends of pipes that
    /// repeat stdout and stderr as far as they are asked for, or of one pipe that only tells the end. The client has
    /// left when the daemon closes any of these pipes; it is dropped when it does not empty them.
    Attach {
        /// The container id.
        id: String,
        /// The standard streams.
        streams: Streams,
    },
}

/// Which standard streams somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// What the shim answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The shim and everything it holds.
    Hello {
        /// The shim's [`crate::VERSION`].
        version: u32,
        /// The shim's process id in the host's PID namespace.
        pid: i32,
        /// The sandbox request has been carried out.
        sandbox_ready: bool,
        /// Every container that was created and not removed.
        containers: Vec<ContainerSnapshot>,
        /// The pause's process id, while there is one.
        pause_pid: Option<i32>,
        /// What the shim can do, and may be asked for.
        features: Features,
    },
    /// The pod's namespaces stand.
    Sandbox {
        /// The pause's process id, where there is one.
        pause_pid: Option<i32>,
        /// What the host did not allow and the pod can live without, such as a lower `oom_score_adj`.
        warnings: Vec<String>,
    },
    /// The container waits for [`Request::Start`].
    Created {
        /// The process that has built it, in the host's PID namespace.
        pid: i32,
    },
    /// The container's program runs.
    Started {
        /// Wall clock, nanoseconds since the epoch.
        started_at_ns: i64,
        /// Its first process, in the host's PID namespace: another than the one that built the container, where that
        /// joins a PID namespace; 0: as it was.
        pid: i32,
    },
    /// Done; nothing to say.
    Ok,
    /// A command has ended, or was killed at its timeout.
    Exec {
        /// 128 + signal when a signal ended it.
        exit_code: i32,
        /// What it wrote, up to the cap.
        stdout: Vec<u8>,
        /// What it wrote, up to the cap.
        stderr: Vec<u8>,
        /// The timeout passed: the whole tree was killed.
        timed_out: bool,
        /// Output beyond the cap was thrown away.
        truncated: bool,
    },
    /// Streams are open; so many descriptors travel with this frame.
    Opened {
        /// The command's number; 0 for an attached client.
        number: u64,
        /// How many.
        descriptors: u32,
    },
    /// The request failed and changed nothing.
    Error {
        /// What kind of failure.
        kind: ErrorCode,
        /// The kernel's error number; 0 when it is not the kernel's failure.
        errno: i32,
        /// Operation, path and reason.
        message: String,
    },
}

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// No such container.
    NotFound,
    /// The container or the sandbox is in a state that does not allow it.
    BadState,
    /// Namespaces, mounts, devices or cgroups could not be set up.
    Setup,
    /// The program cannot be run: absent, not executable, or its working directory or user cannot be entered.
    Exec,
    /// The request makes no sense.
    Invalid,
    /// Reading or writing a file of the shim's own, such as a log.
    Io,
}

/// What the shim says unasked, to every connection that has said hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A container's first process has ended. Its exit file is already in place, and its log complete.
    Exited(ExitRecord),
}

/// How a container ended; also the content of `<exits>/<container id>.exit` (see [`crate::exit`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExitRecord {
    /// The container id.
    pub id: String,
    /// The exit code, 128 + signal when a signal ended it, 128 when the program could not be run.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed it, or one of its processes and it ended so, for want of memory.
    pub oom: bool,
    /// Wall clock, nanoseconds since the epoch.
    pub finished_at_ns: i64,
    /// Wall clock, nanoseconds since the epoch; 0 when it never started.
    pub started_at_ns: i64,
    /// Why the program could not be run.
    pub start_error: Option<String>,
    /// Bytes of output that could not be written to the log, such as on a full disk.
    pub log_bytes_lost: u64,
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContainerState {
    /// Still being set up: its `Create` has not been answered.
    Creating,
    /// Waits for `Start`.
    Created,
    /// Its program runs.
    Running,
    /// Its first process has ended.
    Exited,
}

/// A container as a reconnecting daemon finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSnapshot {
    /// The container id.
    pub id: String,
    /// Where it stands.
    pub state: ContainerState,
    /// Its first process, in the host's PID namespace; 0 once it has ended.
    pub pid: i32,
    /// Wall clock, nanoseconds since the epoch.
    pub created_at_ns: i64,
    /// Wall clock, nanoseconds since the epoch; 0 when it never started.
    pub started_at_ns: i64,
    /// Present exactly when it has ended.
    pub exit: Option<ExitRecord>,
}
