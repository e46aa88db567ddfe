//! CreateContainer: image and request become a spec, the spec a plan, and the shim builds everything up to the
//! point where only exec is missing. A failure leaves nothing.

use super::container_key;
use super::volumes::Volumes;
use crate::error::{EngineError, chain};
use crate::events::EventKind;
use crate::names::{Claim, Ticket};
use crate::objects::{Container, ExecTemplate, Pod};
use crate::record::{self, ContainerRecord};
use crate::registry::ContainerName;
use crate::{Engine, blocking, now};
use image::Image;
use model::{
    ContainerConfig, ContainerId, ContainerState, NamespaceMode, SandboxConfig, SandboxId, SandboxState,
};
use oci::spec::AnonymousVolume;
use oci_spec::runtime::Spec;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wire::msg::{Reply, Request};
use wire::plan::{ContainerPlan, PidNamespace, Stdio};

type ContainerTicket = Ticket<ContainerName, Arc<ContainerConfig>>;

impl Engine {
    /// Makes a container in a ready pod and returns its id. An identical request joins the one in flight, or gets
    /// the container that stands.
    pub async fn create_container(
        self: &Arc<Self>,
        sandbox_id: &str,
        config: ContainerConfig,
        sandbox_config: Option<SandboxConfig>,
    ) -> Result<ContainerId, EngineError> {
        let pod = self.registry.pod(sandbox_id)?;
        check_ready(&pod)?;
        if sandbox_config.is_some_and(|theirs| theirs.metadata != pod.config().metadata) {
            return Err(EngineError::Invalid {
                field: "sandbox_config.metadata",
                problem: format!("it names another pod than sandbox {}", pod.id),
            });
        }
        let mounted = config.mounts.iter().filter_map(|mount| mount.image.as_ref());
        mounted.chain([&config.image]).try_for_each(|image| self.check_image_handler(image))?;
        let id = ContainerId::random().map_err(EngineError::Random)?;
        let config = Arc::new(config);
        let name = (pod.id.clone(), config.metadata.clone());
        match self.container_names.claim(&name, config.clone(), id.as_str()) {
            Claim::New(ticket) => {
                let engine = self.clone();
                let subject = format!("{} {id} in {}", config.metadata.name, pod.id);
                self.carry_out("CreateContainer", &subject, async move {
                    engine.make_container(id, pod, config, ticket).await
                })
                .await
            }
            Claim::Join(join) => join.wait().await.map(ContainerId::new),
            Claim::Held { id, same } => self.held_container(&name, id, same),
            Claim::Busy { id, stage } => Err(taken(&name, &id, stage)),
        }
    }

    fn held_container(
        &self,
        name: &ContainerName,
        id: String,
        same: bool,
    ) -> Result<ContainerId, EngineError> {
        let state = self.registry.container(&id).map(|container| container.state());
        match state {
            Ok(ContainerState::Created | ContainerState::Running { .. }) if same => Ok(ContainerId::new(id)),
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
        match self.stage("create", self.build_container(&id, &pod, config, &ticket)).await {
            Ok(()) => {
                ticket.keep();
                Ok(id)
            }
            Err(error) => {
                ticket.stage("undoing a failure");
                let Some(container) = self.registry.any_container(id.as_str()) else {
                    self.images.release(id.as_str());
                    return Err(ticket.fail(error));
                };
                let undone = self.remove_held_container(&container).await;
                self.unmake_sources(&container);
                if let Err(left) = undone {
                    container.publish();
                    tracing::error!(container = %id, error = chain(&left), "a failed container could not be undone: \
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
            .images
            .find(&config.image.image)?
            .ok_or_else(|| EngineError::NoSuchImage(config.image.image.clone()))?;
        self.images.hold(&image.id, id.as_str())?;
        let (engine, held, name) = (self.clone(), pod.clone(), id.clone());
        let prepare = move || engine.prepare(&name, &held, config, &image);
        let (container, plan) = self.stage("plan", blocking("planning a container", prepare)).await?;
        ticket.stage("setting up its root");
        let shim = pod.live_shim("create a container")?;
        let reply =
            self.stage("root", shim.ask("create container", id.as_str(), &Request::Create(plan))).await;
        let reply = reply.map_err(|error| self.blame_limit(&container, error))?;
        if let Reply::Created { pid } = reply {
            container.set_pid(pid);
        }
        container.publish();
        self.tell(&container, EventKind::Created);
        self.mirror.put(container_key(id.as_str()), container.save()?);
        Ok(())
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
                match self.registry.any_container(id) {
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

    /// Decides everything, then records it, then makes what the shim needs to find.
    fn prepare(
        &self,
        id: &ContainerId,
        pod: &Arc<Pod>,
        config: Arc<ContainerConfig>,
        image: &Image,
    ) -> Result<(Arc<Container>, ContainerPlan), EngineError> {
        let sandbox = pod.config();
        let run = run_config(image);
        let view = oci::rootfs::RootView::new(image.layers.iter().cloned());
        let user = oci::users::resolve(&view, &oci::users::UserRequest::new(&config.security, &run.user))?;
        let cgroup = pod.cgroup.container(id.as_str());
        let volumes = self.volumes(id, &config, image)?;
        let spec = self.spec(id, pod, &config, &sandbox, &run, &user, &cgroup.to_string(), &volumes)?;
        if let Some(runtime) = self.handlers.runtime(&pod.handler()) {
            runtime.check_mounts(&spec)?;
        }
        self.check_hooks(pod, &spec)?;
        let log_path = log_path(&sandbox, &config);
        let record = ContainerRecord {
            version: ContainerRecord::version(),
            id: id.to_string(),
            sandbox_id: pod.id.clone(),
            state: ContainerState::Created,
            created_at: now(),
            image_id: image.id.clone(),
            image_ref: image
                .reference_for(&[&config.image.image, &config.image.user_specified_image])
                .to_owned(),
            layers: image.layers.clone(),
            image_volumes: volumes.mounted,
            log_path,
            uid: user.uid,
            gid: user.gid,
            groups: user.groups,
            stop_signal: stop_signal(&config, &run)?,
            updated: None,
            config,
        };
        let container = Container::new(record, pod.clone());
        // Until the record is written, the spec alone is the journal of a container under construction.
        record::write(&pod.files.spec(id.as_str()), id.as_str(), &spec)?;
        self.registry.add_container(container.clone());
        let plan = self.furnish(&container, &spec, &volumes.anonymous)?;
        let template = ExecTemplate::new(plan.process.clone(), plan.cgroup.clone());
        // Nobody else knows the container yet.
        let _ = container.exec.set(template);
        Ok((container, plan))
    }

    #[allow(clippy::too_many_arguments, reason = "what a spec is made of, all of it already decided")]
    fn spec(
        &self,
        id: &ContainerId,
        pod: &Pod,
        config: &ContainerConfig,
        sandbox: &SandboxConfig,
        run: &oci::spec::ImageConfig,
        user: &oci::users::ResolvedUser,
        cgroup: &str,
        volumes: &Volumes,
    ) -> Result<Spec, EngineError> {
        let netns = pod.netns();
        let rootfs = self.paths.rootfs();
        let (resolv_conf, hostname, hosts) =
            (pod.files.resolv_conf(), pod.files.hostname(), pod.files.hosts());
        let shm = match sandbox.linux.security.namespaces.ipc {
            NamespaceMode::Node => PathBuf::from("/dev/shm"),
            _ => pod.files.shm(),
        };
        let pid_of = match config.security.namespaces.pid {
            NamespaceMode::Pod => pod.pid(),
            NamespaceMode::Target => {
                let target = config.security.namespaces.target_id.as_deref().unwrap_or_default();
                self.registry.container(target)?.pid()
            }
            NamespaceMode::Container | NamespaceMode::Node => None,
        };
        let mut spec = oci::spec::container(&oci::spec::ContainerInputs {
            sandbox_id: &SandboxId::new(pod.id.as_str()),
            container_id: id,
            sandbox,
            container: config,
            image: run,
            image_name: &config.image.image,
            user,
            hostname: &crate::pod::hostname(&pod.id, sandbox),
            files: oci::spec::PodFiles {
                resolv_conf: Some(&resolv_conf),
                hostname: Some(&hostname),
                hosts: Some(&hosts),
                shm: Some(&shm),
            },
            volumes: oci::spec::Volumes { images: &volumes.images, anonymous: &volumes.anonymous },
            namespaces: oci::spec::PodNamespaces {
                network: netns.as_deref(),
                shim_pid: pod.shim().and_then(|shim| shim.pid()),
                pid_of,
            },
            cgroup,
            labels: &self.container_labels(pod, config)?,
            host_devices: self.handlers.host_devices(&pod.handler()),
            rlimits: &self.handlers.rlimits(&pod.handler(), crate::userns::root_of(sandbox).is_some())?,
            rootfs: &rootfs,
            unified_cgroups: self.cgroups.is_unified(),
            settings: &self.planning,
        })?;
        self.cdi.inject(&mut spec, &config.cdi_devices)?;
        Ok(spec)
    }

    /// Makes the writable layer, the volumes, the log's directory and the cgroup, and the plan that uses them.
    fn furnish(
        &self,
        container: &Container,
        spec: &Spec,
        volumes: &[AnonymousVolume],
    ) -> Result<ContainerPlan, EngineError> {
        let record = container.record();
        let layers = self.paths.container(&record.id);
        let (upper, work) = (layers.join("upper"), layers.join("work"));
        for dir in [&layers, &upper, &work] {
            // The upper layer's mode is what every user of the container meets at `/`.
            fs::DirBuilder::new()
                .mode(0o755)
                .create(dir)
                .map_err(EngineError::io("make the directory", dir))?;
        }
        super::volumes::make_anonymous(volumes, &layers, &record.layers)?;
        self.make_sources(container)?;
        let label =
            spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref()).unwrap_or_default();
        crate::selinux::label_mounts(&record.config.mounts, volumes, label)?;
        if let Some(dir) = Path::new(&record.log_path).parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::create_dir_all(dir).map_err(EngineError::io("make the log directory", dir))?;
        }
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let resources = resources.map(oci::cgroup::Resources::from_spec).unwrap_or_default();
        let config = &record.config;
        let runtime = self.handlers.runtime(&container.pod.handler());
        let cgroup = match runtime {
            // It makes the cgroup itself.
            Some(_) => self.cgroups.plan(&container.cgroup()),
            None => self.cgroups.create(&container.cgroup(), &resources)?,
        };
        let mut plan = oci::plan::container(
            spec,
            &oci::plan::PlanInputs {
                id: &record.id,
                stdio: Stdio {
                    log_path: record.log_path.clone().into_bytes(),
                    tty: config.tty,
                    stdin: config.stdin,
                    stdin_once: config.stdin_once,
                },
                cgroup,
                pid_namespace: pid_namespace(config),
                root: oci::plan::RootSource::Overlay { layers: &record.layers, upper: &upper, work: &work },
            },
        )?;
        plan.process.seccomp_agent = super::agent(container, spec)?;
        if let Some(runtime) = runtime {
            let bundle = container.pod.files.bundle(&record.id);
            plan.runtime = Some(runtime.prepare(&bundle, spec, &plan)?);
        } else {
            plan.hooks = self.hooks(container, spec)?;
        }
        Ok(plan)
    }
}

/// The part of the image that decides how it runs.
fn run_config(image: &Image) -> oci::spec::ImageConfig {
    let config = &image.config;
    oci::spec::ImageConfig {
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        user: config.user.clone(),
        working_dir: config.working_dir.clone(),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
    }
}

fn stop_signal(config: &ContainerConfig, image: &oci::spec::ImageConfig) -> Result<i32, EngineError> {
    const SIGTERM: i32 = 15;
    match config.stop_signal {
        Some(signal) => Ok(signal),
        None if image.stop_signal.is_empty() => Ok(SIGTERM),
        None => Ok(oci::signal::parse(&image.stop_signal)?),
    }
}

fn pid_namespace(config: &ContainerConfig) -> PidNamespace {
    let namespaces = &config.security.namespaces;
    match namespaces.pid {
        NamespaceMode::Pod => PidNamespace::Pod,
        NamespaceMode::Container => PidNamespace::New,
        NamespaceMode::Node => PidNamespace::Host,
        NamespaceMode::Target => PidNamespace::Container(namespaces.target_id.clone().unwrap_or_default()),
    }
}

fn check_ready(pod: &Pod) -> Result<(), EngineError> {
    match pod.state() {
        SandboxState::Ready => Ok(()),
        SandboxState::Creating => Err(EngineError::NoSuchPod(pod.id.clone())),
        SandboxState::NotReady => Err(EngineError::WrongState {
            operation: "create a container in",
            id: format!("pod sandbox {}", pod.id),
            state: "not ready".to_owned(),
        }),
    }
}

/// Absolute; empty where the pod or the container names none.
fn log_path(sandbox: &SandboxConfig, config: &ContainerConfig) -> String {
    if sandbox.log_directory.is_empty() || config.log_path.is_empty() {
        return String::new();
    }
    Path::new(&sandbox.log_directory).join(&config.log_path).to_string_lossy().into_owned()
}

fn taken(name: &ContainerName, holder: &str, stage: &str) -> EngineError {
    EngineError::NameTaken {
        name: format!("{} (attempt {}) in pod sandbox {}", name.1.name, name.1.attempt, name.0),
        holder: format!("container {holder}"),
        stage: stage.to_owned(),
    }
}
