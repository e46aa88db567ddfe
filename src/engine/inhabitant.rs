//! What lives in a cgroup, for one who has found it and knows its name alone, which is an id: cAdvisor.

use crate::in_memory::{Container, Pod};
use crate::{Engine, EngineError, blocking};
use model::{ContainerConfig, ContainerState, Exit, SandboxConfig, SandboxId, SandboxState};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a container may be unknown whose cgroup stands already: they are made side by side.
const BIRTH: Duration = Duration::from_secs(1);
/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(2);

/// A pod, or a container, also one that clients do not see yet.
#[derive(Debug, Clone)]
pub struct Inhabitant {
    /// The sandbox id of the pod.
    pub sandbox_id: SandboxId,
    /// The pod.
    pub pod: Arc<SandboxConfig>,
    /// The container, where it is one.
    pub container: Option<Arc<ContainerConfig>>,
    /// Unix time in nanoseconds.
    pub created_at: i64,
    /// The cgroup of the pod's id holds its containers' too: it is a scope of systemd.
    pub is_enclosing: bool,
    /// Its first process; of a pod, one in the pod's network namespace.
    pub process: Option<FirstProcess>,
}

/// The first process of a pod or a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstProcess {
    /// It waits for the word to begin.
    Waits(i32),
    /// It runs.
    Runs(i32),
    /// It has ended.
    Ended(Exit),
}

impl Engine {
    /// The pod or container of a whole id.
    pub async fn inhabitant(&self, id: &str) -> Option<Inhabitant> {
        let end = Instant::now() + BIRTH;
        loop {
            // Asked before it is looked for: it may be done in between.
            let is_coming = self.containers.names.is_being_made(id);
            let found = self.find_inhabitant(id);
            if found.is_some() || !is_coming || Instant::now() > end {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn find_inhabitant(&self, id: &str) -> Option<Inhabitant> {
        let registry = &self.core.registry;
        match registry.any_container(id) {
            Some(container) => Some(of_container(&container)),
            None => registry.any_pod(id).map(|pod| of_pod(&pod)),
        }
    }

    /// The OCI runtime spec of a container as it was written, in JSON; `None` before that.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn written_spec(&self, id: &str) -> Result<Option<Vec<u8>>, EngineError> {
        let Some(container) = self.core.registry.any_container(id) else { return Ok(None) };
        let path = container.pod.files.spec(id);
        let read = move || match crate::record::bytes(&path) {
            Ok(bytes) => Ok(Some(bytes).filter(|bytes| !bytes.is_empty())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EngineError::io("read", &path)(error)),
        };
        blocking("reading a runtime spec", read).await
    }
}

fn of_pod(pod: &Pod) -> Inhabitant {
    let view = pod.view();
    // Before it is ready its supervisor may not be in its network yet.
    let process = match view.state {
        SandboxState::Ready => pod.pid().map(FirstProcess::Runs),
        SandboxState::Creating | SandboxState::NotReady => None,
    };
    Inhabitant {
        sandbox_id: view.id,
        pod: view.config,
        container: None,
        created_at: view.created_at,
        is_enclosing: pod.cgroup.scope().is_some(),
        process,
    }
}

fn of_container(container: &Container) -> Inhabitant {
    let view = container.view();
    let process = match view.state {
        ContainerState::Created => view.pid.map(FirstProcess::Waits),
        ContainerState::Running { .. } => view.pid.map(FirstProcess::Runs),
        ContainerState::Exited { exit, .. } => Some(FirstProcess::Ended(exit)),
    };
    Inhabitant {
        sandbox_id: view.sandbox_id,
        pod: container.pod.config(),
        container: Some(view.config),
        created_at: view.created_at,
        is_enclosing: false,
        process,
    }
}
