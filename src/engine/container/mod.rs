//! The verbs of containers.

mod ahead;
mod attach;
mod create;
mod devices;
mod draft;
mod exec;
mod list;
mod log;
mod open_exec;
mod prepare;
mod remove;
mod root;
mod sources;
mod start;
mod stop;
mod update;
mod volumes;

pub use attach::{AttachSession, SharedStdin};
pub(crate) use devices::give_back;
pub(crate) use draft::Draft;
pub use exec::ExecOutput;
pub(crate) use exec::ExecTemplate;
pub use open_exec::{ExecEnd, ExecSession, OpenExec};
pub(crate) use prepare::mount_label;
pub(crate) use stop::hint;

use crate::Core;
use crate::error::{EngineError, chain};
use crate::in_memory::{Container, Pod};
use crate::mirror::Key;
use crate::names::Names;
use crate::registry::ContainerName;
use crate::strangers::Strangers;
use crate::supervisor::SupervisorError;
use model::{Bytes, ContainerConfig, ContainerEvent, ContainerId, ContainerState, Exit};
use oci_spec::runtime::Spec;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use sys::sync::lock;
use wire::msg::{ErrorCode, ExitRecord};
use wire::plan::SeccompAgent;

/// Why a container ended whose supervisor did: said where nobody else can say it.
pub(crate) const SUPERVISOR_KILLED: &str = "the pod's supervisor was killed";

/// The use cases of containers.
pub struct Containers {
    core: Arc<Core>,
    pub(crate) names: Names<ContainerName, Arc<ContainerConfig>, ContainerId>,
    strangers: Strangers,
}

impl Containers {
    pub(crate) fn new(core: Arc<Core>) -> Result<Self, EngineError> {
        Ok(Self { core, names: Names::default(), strangers: Strangers::new()? })
    }
}

impl Container {
    /// The OCI runtime spec, as it was written when the container was made. Blocks.
    pub(crate) fn read_spec(&self) -> Result<oci_spec::runtime::Spec, EngineError> {
        let path = self.pod.files.spec(&self.id);
        let bytes = crate::record::bytes(&path).map_err(EngineError::io("read", &path))?;
        oci::json::read(&bytes).map_err(|source| EngineError::Record {
            operation: "decode",
            id: self.id.to_string(),
            source,
        })
    }
}

/// Whom the container's filter asks. Its bundle, to an agent, is where the spec lies.
fn agent(container: &Container, spec: &Spec) -> Result<Option<SeccompAgent>, EngineError> {
    Ok(oci::seccomp::agent(spec, &container.id, &container.pod.files.containers())?)
}

impl Containers {
    /// What all use cases share.
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// A shim reports an exit: the record first, then everybody who waits.
    pub(crate) fn exited(self: &Arc<Self>, record: &ExitRecord) {
        self.ended(record, "");
    }

    /// The same with a word for people on why, where the record has none.
    fn ended(self: &Arc<Self>, record: &ExitRecord, why: &str) {
        let Some(container) = self.core.registry.any_container(&record.id) else {
            tracing::debug!(container_id = %record.id, "an exit of a container that is removed");
            return;
        };
        if container.state() == ContainerState::Created && record.started_at_ns != 0 {
            // The exit overtook the answer to the start.
            self.publish(&container, ContainerEvent::Started(record.started_at_ns));
        }
        if record.log_bytes_lost > 0 {
            tracing::warn!(container_id = %record.id, bytes = record.log_bytes_lost, "log bytes could not be written");
        }
        let mut exit = exit(record);
        if exit.message.is_empty() {
            why.clone_into(&mut exit.message);
        } else {
            exit.message = told_by_runtime(&container, exit.message);
        }
        let section = self.core.section(nri::api::Event::StopContainer);
        if self.publish(&container, ContainerEvent::Exited(exit.clone())) {
            self.tell_stopped_behind(&container, section);
            failpoint::pass!("engine.exit.published");
            self.core.metrics.exit(&exit.reason, exit.code);
            tell_exit(&container, record.started_at_ns, &exit);
        }
    }

    /// A start that the shim has answered. Its record follows the answer: until that is written, the shim knows of the start,
    /// and its record of the exit.
    fn started(self: &Arc<Self>, container: &Arc<Container>, at: i64) {
        let is_news = {
            let news = lock(&container.news);
            let applied = container.apply_unwritten(ContainerEvent::Started(at));
            if applied.is_ok() && !news.ended && container.is_published() {
                self.core.events.tell_state(container);
            }
            applied.is_ok()
        };
        // Else the exit has overtaken the answer, and is on record.
        if is_news {
            let (this, held) = (self.clone(), container.clone());
            tokio::spawn(async move {
                failpoint::pass!("engine.start.told");
                if let Err(error) = this.record(&held) {
                    tell_unrecorded(&held, &error);
                }
                failpoint::pass!("engine.start.recorded");
            });
        }
    }

    /// Writes a container's record as it is, unless a client that saw it in a list has removed it meanwhile.
    fn record(&self, container: &Container) -> Result<(), EngineError> {
        let news = lock(&container.news);
        if let Some(saved) = container.save(&news)? {
            self.core.mirror.put(Key::Container(container.id.clone()), saved);
        }
        Ok(())
    }

    /// Applies an event and tells everybody who waits; says whether it was news.
    pub(crate) fn publish(&self, container: &Container, event: ContainerEvent) -> bool {
        let news = lock(&container.news);
        let applied = container.apply(event, &news);
        let is_news = !matches!(applied, Err(EngineError::Transition(_)));
        if is_news && !news.ended && container.is_published() {
            self.core.events.tell_state(container);
        }
        match applied {
            Ok(Some(bytes)) => self.core.mirror.put(Key::Container(container.id.clone()), bytes),
            Ok(None) => {}
            // The same news came on two ways: as an answer and as an event.
            Err(EngineError::Transition(error)) => tracing::debug!(container_id = %container.id, %error),
            Err(error) => tell_unrecorded(container, &error),
        }
        is_news
    }

    /// Ends what still runs in a pod without a supervisor, with the exit that the supervisor wrote where it did.
    pub(crate) async fn orphaned(self: &Arc<Self>, pod: &Arc<Pod>, why: &'static str) {
        for container in self.core.registry.containers_of(&pod.id) {
            if !matches!(container.state(), ContainerState::Exited { .. }) {
                self.bury(&container, why).await;
            }
        }
    }

    /// Kills a container that nobody supervises and records its end; `why` is for people, where the supervisor did not
    /// write how it ended.
    pub(crate) async fn bury(self: &Arc<Self>, container: &Arc<Container>, why: &'static str) {
        let (this, held) = (self.clone(), container.clone());
        let killed = crate::blocking("killing orphans", move || {
            this.core.cgroups.kill(&held.cgroup())?;
            let log = held.view().log_path;
            if let Err(error) = log::end_torn(Path::new(&log)) {
                tracing::warn!(container_id = %held.id, error = %error, "the last line of its log may be torn");
            }
            let written = crate::record::bytes(&held.pod.files.exit(&held.id)).ok();
            Ok(written.and_then(|bytes| wire::exit::decode(&bytes).ok()))
        })
        .await;
        let record = killed.unwrap_or_else(|error| {
            tracing::error!(container_id = %container.id, error = chain(&error), "orphans are not killed");
            None
        });
        match record {
            Some(record) => self.exited(&record),
            None => self.ended(&killed_record(container), why),
        }
    }
}

/// How a container ended whose supervisor cannot tell: it was killed just now.
fn killed_record(container: &Container) -> ExitRecord {
    ExitRecord {
        id: container.id.to_string(),
        code: 137,
        signal: Some(9),
        finished_at_ns: crate::now(),
        started_at_ns: match container.state() {
            ContainerState::Running { started_at } | ContainerState::Exited { started_at, .. } => started_at,
            ContainerState::Created => 0,
        },
        ..ExitRecord::default()
    }
}

/// The exit with the reason that the kubelet shows.
fn exit(record: &ExitRecord) -> Exit {
    let reason = match record {
        ExitRecord { start_error: Some(_), .. } => "StartError",
        ExitRecord { oom: true, .. } => "OOMKilled",
        ExitRecord { code: 0, .. } => "Completed",
        _ => "Error",
    };
    Exit {
        code: record.code,
        signal: record.signal,
        oom_killed: record.oom,
        finished_at: record.finished_at_ns,
        reason: reason.to_owned(),
        message: record.start_error.clone().unwrap_or_default(),
    }
}

/// Puts an exit into the log, once.
fn tell_unrecorded(container: &Container, error: &EngineError) {
    tracing::error!(container_id = %container.id, error = chain(error), "a state change is not recorded");
}

fn tell_exit(container: &Container, started_at: i64, exit: &Exit) {
    let identity = crate::identity::of_container(container);
    let name = identity.container.as_ref().map_or("", |container| container.name.as_str());
    let ran = Duration::from_nanos(exit.finished_at.saturating_sub(started_at).max(0).cast_unsigned());
    tracing::info!(
        pod = identity.pod,
        pod_id = identity.pod_id.as_str(),
        container = name,
        container_id = %container.id,
        code = exit.code,
        signal = exit.signal,
        reason = exit.reason,
        problem = (!exit.message.is_empty()).then_some(exit.message.as_str()),
        ran = (started_at != 0).then(|| format!("{:.3}s", ran.as_secs_f64())),
        "the container ended"
    );
}

impl Containers {
    /// A container that its own limit of memory has ended before it was made: the request's fault, in plain words.
    /// Others are as [`explained`].
    fn blame_limit(&self, container: &Container, error: EngineError) -> EngineError {
        const ENOMEM: i32 = 12;
        /// Below it, the kernel may refuse the first process instead of killing it.
        const TINY: i64 = 1 << 20;
        let Some(limit) = container.record().resources().memory_limit.and_then(Bytes::limit) else {
            return explained(container, error);
        };
        let starved = match &error {
            EngineError::Supervisor(SupervisorError::Refused { code: ErrorCode::Setup, errno, .. }) => {
                (*errno == ENOMEM && limit < TINY)
                    || self.core.cgroups.oom_count(&container.cgroup()).is_ok_and(|kills| kills > 0)
            }
            _ => false,
        };
        if !starved {
            return explained(container, error);
        }
        let too_small = EngineError::Invalid {
            field: "config.linux.resources.memory_limit_in_bytes",
            problem: format!("the memory limit of {limit} bytes is too small to start with"),
        };
        too_small.asked_by(container.nri.limited_by())
    }
}

/// A failure of an OCI runtime with the reason that it wrote down.
fn explained(container: &Container, error: EngineError) -> EngineError {
    match error {
        EngineError::Supervisor(SupervisorError::Refused { verb, subject, code, errno, message }) => {
            let message = told_by_runtime(container, message);
            let error = EngineError::from(SupervisorError::Refused { verb, subject, code, errno, message });
            let plugins = if code == ErrorCode::Setup { container.nri.changed_by() } else { &[] };
            error.asked_by(plugins)
        }
        other => other,
    }
}

/// A failure with the handler whose program it is of, and what that has said of it; others stay as they are.
fn told_by_runtime(container: &Container, message: String) -> String {
    let bundle = container.bundle();
    if !bundle.exists() {
        return message;
    }
    let handler = container.pod.handler();
    match crate::handlers::last_error(&bundle) {
        Some(said) => format!("handler {handler}: {message}: {said}"),
        None => format!("handler {handler}: {message}; what it printed is in the container's log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_the_kubelets() {
        let base = ExitRecord::default();
        let table = [
            (base.clone(), "Completed"),
            (ExitRecord { code: 7, ..base.clone() }, "Error"),
            (ExitRecord { code: 137, signal: Some(9), oom: true, ..base.clone() }, "OOMKilled"),
            (ExitRecord { code: 128, start_error: Some("no such file".into()), ..base }, "StartError"),
        ];
        for (record, reason) in table {
            assert_eq!(exit(&record).reason, reason);
        }
    }
}
