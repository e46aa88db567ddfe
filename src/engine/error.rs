//! What can go wrong in a use case, with what was being done to what.

mod words;

use crate::in_memory::Container;
use crate::settings::SettingError;
use crate::supervisor::SupervisorError;
use model::{ErrorKind, InvalidTransition};
pub use model::{chain, counted, printable};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;
use words::{advice, held, join};

const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;

/// A failed use case.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No pod has the id.
    #[error("pod sandbox {0:?} not found")]
    NoSuchPod(String),
    /// No container has the id.
    #[error("container {0:?} not found")]
    NoSuchContainer(String),
    /// An id prefix that fits several objects.
    #[error("{begin:?} is the beginning of several ids, give more of the one that is meant: {candidates}")]
    AmbiguousId {
        /// What was asked for.
        begin: String,
        /// The first of them.
        candidates: String,
    },
    /// A name that several have.
    #[error("{name:?} is the name of several: {candidates}")]
    AmbiguousName {
        /// What was asked for.
        name: String,
        /// Ids, with whole names.
        candidates: String,
    },
    /// No image fits the reference.
    #[error("image {0:?} not found: pull it first")]
    NoSuchImage(String),
    /// An image cannot be mounted as a volume; the kubelet knows the first word (cri-api `pkg/errors`).
    #[error("ImageVolumeMountFailed: config.mounts[{mount}].{field}")]
    ImageVolume {
        /// Which of the request's mounts.
        mount: usize,
        /// The field of it.
        field: &'static str,
        /// Why.
        source: Box<EngineError>,
    },
    /// A sub path of an image that is none of its directories.
    #[error("{path:?} is no directory of the image")]
    NoSuchDirectory {
        /// The path.
        path: String,
    },
    /// The name belongs to something else.
    #[error("the name {name} is held by {holder}, {}", held(stage))]
    NameTaken {
        /// The name asked for.
        name: String,
        /// Who holds it.
        holder: String,
        /// What the holder is doing.
        stage: String,
    },
    /// The name belongs to what a former daemon had half made, for as long as that is being taken down.
    #[error("the name {name} is held by {holder}, which was half made and is being taken down: ask again")]
    NameLeaving {
        /// The name asked for.
        name: String,
        /// Who holds it.
        holder: String,
    },
    /// The runtime handler does not exist.
    #[error("runtime handler {name:?} is not configured; there are {known}")]
    UnknownHandler {
        /// The name that was asked for.
        name: String,
        /// Those that can be.
        known: String,
    },
    /// A setting makes no sense.
    #[error("cannot use the settings")]
    Setting(#[from] SettingError),
    /// A handler would go, or become another, by which pods run.
    #[error("cannot use the settings")]
    HandlerInUse(#[source] SettingError),
    /// A runtime handler cannot be used as it is configured.
    #[error("runtime handler {name:?}: {problem}")]
    Handler {
        /// The handler.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The object's state does not allow the operation.
    #[error("cannot {operation} {id}: it is {state}")]
    WrongState {
        /// The verb.
        operation: &'static str,
        /// The object.
        id: String,
        /// The state it is in.
        state: String,
    },
    /// A path of the host on a filesystem that is silent.
    #[error("{field}: {} has not answered for {seconds} s: is the server of its filesystem there?", path.display())]
    Unanswered {
        /// The field's path.
        field: String,
        /// Of the host.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A request value that is wrong.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field's path.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A state change that cannot be.
    #[error(transparent)]
    Transition(#[from] InvalidTransition),
    /// Something on the filesystem.
    #[error("{operation} {path:?}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A system call of the launcher's side.
    #[error("{operation}")]
    Sys {
        /// What was being done.
        operation: String,
        /// Why it failed.
        source: sys::SysError,
    },
    /// What is kept is of another version.
    #[error(
        "{} is of version {found} of the state, and this corten reads version {}: {}",
        path.display(), crate::record::VERSION, advice(*.found)
    )]
    OtherState {
        /// A record, or what stands for the whole directory.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A record cannot be encoded or decoded.
    #[error("{operation} the record of {id}")]
    Record {
        /// What was being done.
        operation: &'static str,
        /// The object.
        id: String,
        /// Why it failed.
        source: serde_json::Error,
    },
    /// The durable store.
    #[error("{operation} the state store")]
    Store {
        /// What was being done.
        operation: &'static str,
        /// Why it failed.
        source: Box<redb::Error>,
    },
    /// The pod's supervisor did not do what it was asked for.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// Nobody takes connections at a port of a pod.
    #[error("connect to port {port} in pod sandbox {pod}: 127.0.0.1: {v4}; ::1: {v6}")]
    Dial {
        /// The pod.
        pod: String,
        /// The port.
        port: u16,
        /// Why not over IPv4.
        v4: io::Error,
        /// Why not over IPv6.
        v6: io::Error,
    },
    /// A process that survives SIGKILL.
    #[error("container {id} did not end within {seconds} s of SIGKILL: {hint}")]
    Unkillable {
        /// The container.
        id: String,
        /// How long was waited.
        seconds: u64,
        /// Where it hangs.
        hint: String,
    },
    /// An exec took too long and was killed.
    #[error("command timed out after {seconds} s in container {id}: {command:?}")]
    ExecTimeout {
        /// The container.
        id: String,
        /// Its deadline.
        seconds: u64,
        /// What ran.
        command: Vec<String>,
    },
    /// Whether the host has user namespaces for pods is not known.
    #[error("whether user namespaces work on this host is not known: {0}")]
    UserNamespacesUnknown(String),
    /// The client of an exec has left, and it was killed.
    #[error("command killed in container {0}, as its client has left: {1:?}")]
    ExecUnwanted(String, Vec<String>),
    /// Taking down went wrong in places; all other steps were carried out.
    #[error("taking down pod {pod}: {}", join(.failures))]
    Teardown {
        /// The pod.
        pod: String,
        /// One a failed step.
        failures: Vec<EngineError>,
    },
    /// Something failed, and so did taking back what had been done for it.
    #[error("{}; taking back what was done failed too: {}", chain(failure), chain(left))]
    NotUndone {
        /// What failed first.
        failure: Box<EngineError>,
        /// What was not taken back.
        left: Box<EngineError>,
    },
    /// Images.
    #[error(transparent)]
    Image(#[from] image::ImageError),
    /// Network.
    #[error(transparent)]
    Network(#[from] net::NetError),
    /// The network of a pod.
    #[error("network of pod {pod}: {source}")]
    PodNetwork {
        /// Its namespace and name.
        pod: String,
        /// What failed.
        source: Box<net::NetError>,
    },
    /// Planning.
    #[error(transparent)]
    Oci(#[from] oci::OciError),
    /// A scope or a slice.
    #[error(transparent)]
    Systemd(#[from] systemd::SystemdError),
    /// A plugin's word.
    #[error(transparent)]
    Nri(#[from] nri::Error),
    /// What a plugin wants cannot be.
    #[error(transparent)]
    NriLimit(#[from] nri::view::LimitError),
    /// What a plugin wants of a container cannot be.
    #[error(transparent)]
    NriAdjustment(#[from] nri::apply::ApplyError),
    /// What plugins ask for cannot be done.
    #[error(transparent)]
    AskedByPlugins(#[from] crate::nri::AskedByPlugins),
    /// A subscriber that does not keep up.
    #[error("the client is {missed} events behind: it has to subscribe again and to list what there is")]
    Lagging {
        /// Events that it will never get.
        missed: u64,
    },
    /// A subscription whose daemon ends.
    #[error("the daemon ends")]
    Ending,
    /// A metric that exists already.
    #[error("register the engine's metrics")]
    Metrics(#[source] prometheus::Error),
    /// The kernel's random source.
    #[error("make an id")]
    Random(#[source] getrandom::Error),
    /// A task ended by panicking; the daemon lives on.
    #[error("{0} ended unexpectedly")]
    TaskDied(&'static str),
    /// The outcome of the operation that an identical request had under way.
    #[error(transparent)]
    Joined(Arc<EngineError>),
}

impl From<failpoint::Injected> for EngineError {
    fn from(injected: failpoint::Injected) -> Self {
        Self::Sys { operation: "reach a failpoint".to_owned(), source: injected.into() }
    }
}

impl EngineError {
    /// A container that is in another state than the operation needs.
    pub(crate) fn wrong_state(operation: &'static str, container: &Container) -> Self {
        let (id, state) = (format!("container {}", container.id), container.state().describe());
        Self::WrongState { operation, id, state }
    }

    /// Adds why something could not be taken back after the failure.
    pub(crate) fn and_left(self, undone: Result<(), Self>) -> Self {
        match undone {
            Ok(()) => self,
            Err(left) => Self::NotUndone { failure: Box::new(self), left: Box::new(left) },
        }
    }

    /// Names the pod whose network failed.
    pub(crate) fn of_network(pod: &net::PodNetwork) -> impl FnOnce(net::NetError) -> Self + use<> {
        let pod = format!("{}/{}", pod.namespace, pod.name);
        move |source| Self::PodNetwork { pod, source: Box::new(source) }
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchPod(_) | Self::NoSuchContainer(_) | Self::NoSuchImage(_) => ErrorKind::NotFound,
            Self::AmbiguousId { .. }
            | Self::AmbiguousName { .. }
            | Self::Invalid { .. }
            | Self::UnknownHandler { .. }
            | Self::NoSuchDirectory { .. } => ErrorKind::InvalidArgument,
            Self::ImageVolume { source, .. } => source.kind(),
            Self::NameTaken { .. } => ErrorKind::AlreadyExists,
            Self::WrongState { .. } | Self::Transition(_) | Self::OtherState { .. } => {
                ErrorKind::FailedPrecondition
            }
            Self::UserNamespacesUnknown(_) | Self::Dial { .. } | Self::Ending | Self::NameLeaving { .. } => {
                ErrorKind::Unavailable
            }
            Self::Lagging { .. } => ErrorKind::ResourceExhausted,
            Self::Unanswered { .. } => ErrorKind::DeadlineExceeded,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::ResourceExhausted,
                _ => ErrorKind::Internal,
            },
            Self::Sys { source, .. } if matches!(source.errno, ENOSPC | EDQUOT) => {
                ErrorKind::ResourceExhausted
            }
            Self::Sys { .. }
            | Self::Record { .. }
            | Self::Store { .. }
            | Self::Unkillable { .. }
            | Self::Teardown { .. }
            | Self::Setting(_)
            | Self::HandlerInUse(_)
            | Self::Handler { .. }
            | Self::Metrics(_)
            | Self::Random(_)
            | Self::TaskDied(_) => ErrorKind::Internal,
            Self::Supervisor(error) => error.kind(),
            Self::ExecTimeout { .. } => ErrorKind::DeadlineExceeded,
            Self::ExecUnwanted(..) => ErrorKind::Cancelled,
            Self::Image(error) => error.kind(),
            Self::Network(error) => error.kind(),
            Self::PodNetwork { source, .. } => source.kind(),
            Self::NotUndone { failure, .. } => failure.kind(),
            Self::Oci(error) => error.kind(),
            Self::Systemd(error) => error.kind(),
            // Not the request is wrong, but what the node adds to it.
            Self::Nri(_) | Self::NriLimit(_) => ErrorKind::FailedPrecondition,
            Self::NriAdjustment(error) => error.kind(),
            Self::AskedByPlugins(error) => error.kind(),
            Self::Joined(error) => error.kind(),
        }
    }

    /// The exit code by which shells tell why a command was not run: 127 when it is not there, 126 when it cannot be
    /// executed. `None` when it was run, or something else is wrong.
    pub fn command_exit_code(&self) -> Option<i32> {
        match self {
            Self::Supervisor(error) => error.command_exit_code(),
            _ => None,
        }
    }

    /// For `map_err` on I/O: says what was being done to which path.
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }

    /// For `map_err` on system calls.
    pub(crate) fn sys(operation: impl Into<String>) -> impl FnOnce(sys::SysError) -> Self {
        let operation = operation.into();
        move |source| Self::Sys { operation, source }
    }
}
