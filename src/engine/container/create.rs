//! CreateContainer: image and request become a spec, the spec a plan, and the shim builds everything up to the
//! point where only exec is missing. A failure leaves nothing.

use super::draft::Draft;
use super::prepare::Prepared;
use crate::Containers;
use crate::error::{EngineError, chain};
use crate::events::EventKind;
use crate::in_memory::Pod;
use crate::names::{Claim, Ticket};
use crate::registry::ContainerName;
use model::{ContainerConfig, ContainerId, ContainerState, NamespaceMode, SandboxConfig, SandboxState};
use std::sync::Arc;

type ContainerTicket = Ticket<ContainerName, Arc<ContainerConfig>, ContainerId>;

impl Containers {
    /// Makes a container in a ready pod and returns its id. An identical request joins the one in flight, or gets
    /// the container that stands.
    pub async fn create_container(
        self: &Arc<Self>,
        sandbox_id: &str,
        config: ContainerConfig,
        sandbox_config: Option<SandboxConfig>,
    ) -> Result<ContainerId, EngineError> {
        let pod = self.core.registry.pod(sandbox_id)?;
        check_ready(&pod)?;
        if sandbox_config.is_some_and(|theirs| theirs.metadata != pod.config().metadata) {
            return Err(EngineError::Invalid {
                field: "sandbox_config.metadata",
                problem: format!("it names another pod than sandbox {}", pod.id),
            });
        }
        let mounted = config.mounts.iter().filter_map(|mount| mount.image.as_ref());
        mounted.chain([&config.image]).try_for_each(|image| self.core.check_image_handler(image))?;
        let id = ContainerId::random().map_err(EngineError::Random)?;
        let config = Arc::new(config);
        let name = (pod.id.clone(), config.metadata.clone());
        match self.names.claim(&name, config.clone(), &id) {
            Claim::New(ticket) => {
                let this = self.clone();
                let subject = format!("{} {id} in {}", config.metadata.name, pod.id);
                self.core
                    .carry_out("CreateContainer", &subject, async move {
                        this.make_container(id, pod, config, ticket).await
                    })
                    .await
            }
            Claim::Join(join) => join.wait().await,
            Claim::Held { id, same } => self.held_container(&name, id, same),
            Claim::Busy { id, stage, .. } => Err(taken(&name, &id, stage)),
        }
    }

    fn held_container(
        &self,
        name: &ContainerName,
        id: ContainerId,
        same: bool,
    ) -> Result<ContainerId, EngineError> {
        let state = self.core.registry.container(&id).map(|container| container.state());
        match state {
            Ok(ContainerState::Created | ContainerState::Running { .. }) if same => Ok(id),
            Ok(state) => Err(taken(name, &id, state.name())),
            Err(_) => Err(taken(name, &id, "being removed")),
        }
    }

    async fn make_container(
        self: Arc<Self>,
        id: ContainerId,
        pod: Arc<Pod>,
        config: Arc<ContainerConfig>,
        ticket: ContainerTicket,
    ) -> Result<ContainerId, EngineError> {
        let _pod = pod.op.read().await;
        match self.core.stage("create", self.build_container(&id, &pod, config, &ticket)).await {
            Ok(()) => {
                failpoint::pass!("engine.create.published");
                ticket.keep();
                Ok(id)
            }
            Err(error) => {
                ticket.stage("undoing a failure");
                let Some(container) = self.core.registry.any_container(id.as_str()) else {
                    drop(self.core.images.release(id.as_str()));
                    return Err(ticket.fail(error));
                };
                let undone = self.remove_held_container(&container).await;
                self.unmake_sources(&container).await;
                failpoint::pass!("engine.create.undone");
                if let Err(left) = undone {
                    container.publish();
                    tracing::error!(container_id = %id, error = chain(&left), "a failed container could not be undone: \
                        it is listed until it is removed");
                    return Err(ticket.fail_holding(error));
                }
                Err(ticket.fail(error))
            }
        }
    }

    async fn build_container(
        self: &Arc<Self>,
        id: &ContainerId,
        pod: &Arc<Pod>,
        config: Arc<ContainerConfig>,
        ticket: &ContainerTicket,
    ) -> Result<(), EngineError> {
        check_ready(pod)?;
        self.check_pid_namespace(pod, &config)?;
        ticket.stage("planning");
        let image = self
            .core
            .images
            .find(&config.image.image)?
            .ok_or_else(|| EngineError::NoSuchImage(config.image.image.clone()))?;
        self.core.images.hold(&image.id, id.as_str())?;
        let draft = Draft::new(id, pod, config, image, self.core.live.load_full());
        let prepared = self.core.stage("plan", self.prepare(draft)).await?;
        let Prepared { container, plan, section } = prepared;
        ticket.stage("setting up its root");
        let supervisor = pod.live_supervisor("create container", id.as_str())?;
        let answered = async {
            tokio::select! {
                biased;
                answer = supervisor.create(plan) => Ok(answer?),
                // A mount can keep it for ever.
                () = pod.ending.cancelled() => Err(stopping(pod)),
            }
        };
        let pid = self.core.stage("root", answered).await;
        container.set_pid(pid.map_err(|error| self.blame_limit(&container, error))?);
        failpoint::reach!("engine.create.answered")?;
        let turn = self.core.turn(&container).await;
        container.publish();
        self.core.tell_created(&container, section, turn).await;
        self.core.events.tell(&container, EventKind::Created);
        self.record(&container)?;
        Ok(failpoint::reach!("engine.create.saved")?)
    }

    /// A PID namespace that is to be shared must be there.
    fn check_pid_namespace(&self, pod: &Pod, config: &ContainerConfig) -> Result<(), EngineError> {
        let namespaces = &config.security.namespaces;
        let refuse = |problem: &str| {
            Err(EngineError::Invalid {
                field: "config.linux.security_context.namespace_options.pid",
                problem: problem.to_owned(),
            })
        };
        match namespaces.pid {
            NamespaceMode::Pod if pod.config().linux.security.namespaces.pid != NamespaceMode::Pod => {
                refuse("the pod was made without a PID namespace to share")
            }
            NamespaceMode::Target => {
                let id = namespaces.target_id.as_deref().unwrap_or_default();
                match self.core.registry.any_container(id) {
                    Some(target) if target.pod.id != pod.id => {
                        refuse("the target is a container of another pod")
                    }
                    Some(target) if matches!(target.state(), ContainerState::Running { .. }) => Ok(()),
                    Some(_) => refuse("the target container does not run"),
                    None => refuse("the target is not the whole id of a container"),
                }
            }
            NamespaceMode::Pod | NamespaceMode::Container | NamespaceMode::Node => Ok(()),
        }
    }
}

/// A container cannot be made any more.
pub(super) fn stopping(pod: &Pod) -> EngineError {
    EngineError::WrongState {
        operation: "create a container in",
        id: format!("pod sandbox {}", pod.id),
        state: "being stopped".to_owned(),
    }
}

fn check_ready(pod: &Pod) -> Result<(), EngineError> {
    match pod.state() {
        SandboxState::Ready => Ok(()),
        SandboxState::Creating => Err(EngineError::NoSuchPod(pod.id.to_string())),
        SandboxState::NotReady => Err(EngineError::WrongState {
            operation: "create a container in",
            id: format!("pod sandbox {}", pod.id),
            state: "not ready".to_owned(),
        }),
    }
}

fn taken(name: &ContainerName, holder: &str, stage: &str) -> EngineError {
    EngineError::NameTaken {
        name: format!("{} (attempt {}) in pod sandbox {}", name.1.name, name.1.attempt, name.0),
        holder: format!("container {holder}"),
        stage: stage.to_owned(),
    }
}
