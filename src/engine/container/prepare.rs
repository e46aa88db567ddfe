//! What CreateContainer decides and makes before the shim is asked: spec, record, writable layer, cgroup, plan.
//!
//! Paths of the host that the request names may never answer, so all of it happens on threads that nothing else waits for,
//! and what touches them comes first: it keeps nothing that would be left if it were given up.

use super::ahead::Ahead;
use super::create::stopping;
use super::draft::Draft;
use super::exec::ExecTemplate;
use super::volumes::Volumes;
use crate::error::EngineError;
use crate::handlers::Home;
use crate::in_memory::Container;
use crate::live::Live;
use crate::record::{self, ContainerRecord};
use crate::strangers::Lasting;
use crate::{Containers, now, operations};
use model::{ContainerConfig, ContainerState, NamespaceMode, SandboxConfig};
use nri::Section;
use nri::api::Event;
use oci_spec::runtime::Spec;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use sys::sync::lock;
use wire::plan::{CgroupPlan, ContainerPlan, PidNamespace, Stdio};

/// What the image says.
struct Found {
    user: oci::users::ResolvedUser,
    volumes: Volumes,
}

/// What is decided, and made for it outside of the container's own places.
struct Decided {
    found: Found,
    record: ContainerRecord,
    spec: Arc<Spec>,
    sources: Vec<PathBuf>,
    section: Section,
}

/// A container of which the shim is to be asked.
pub(super) struct Prepared {
    pub(super) container: Arc<Container>,
    pub(super) plan: ContainerPlan,
    /// To be committed once it is published.
    pub(super) section: Section,
}

impl Containers {
    /// Decides everything, then records it, then makes what the shim needs to find.
    pub(super) async fn prepare(self: &Arc<Self>, draft: Arc<Draft>) -> Result<Prepared, EngineError> {
        let (ahead, begun) = self.begin_cgroups(&draft).unzip();
        let (this, held) = (self.clone(), draft.clone());
        let ahead = ahead.unwrap_or_else(Ahead::nothing);
        let operation = operations::current();
        let work = move |lasting: &Lasting| {
            let made = operation.within(|| {
                let made = this.decide_and_make(&held, &ahead, lasting);
                // Also where it has failed: plugins hear of that when they have said what they are asked.
                let judged = this.judged(&held);
                made.and_then(|made| judged.map(|()| made))
            });
            if made.is_err() {
                this.untell(&held);
            }
            made
        };
        let made = self.strangers.run(&draft.pod, work).await;
        let made = made.map_err(|why| draft.blocked(&why)).flatten();
        match (made, begun) {
            (Err(failure), Some(begun)) => {
                // Nothing is taken back before all of it is there.
                let ended = begun.await.map_err(|_| EngineError::TaskDied("making cgroups"));
                // One that is registered is undone as a whole.
                let is_registered = self.core.registry.any_container(draft.id.as_str()).is_some();
                let undone = match ended {
                    Ok(()) if !is_registered => self.unmake_cgroups(&draft.pod, draft.id.as_str()).await,
                    ended => ended,
                };
                Err(failure.and_left(undone))
            }
            (made, _) => made,
        }
    }

    /// Blocks, perhaps for ever.
    fn decide_and_make(
        self: &Arc<Self>,
        draft: &Draft,
        ahead: &Ahead,
        lasting: &Lasting,
    ) -> Result<Prepared, EngineError> {
        let found = self.look_up(draft)?;
        let decided = self.outside(draft, found)?;
        if lasting.begin() {
            return self.inside(draft, decided, ahead);
        }
        self.unmake(draft.id.as_str(), &decided.sources);
        Err(stopping(&draft.pod))
    }

    fn look_up(&self, draft: &Draft) -> Result<Found, EngineError> {
        let view = oci::rootfs::RootView::of(&draft.image.rootfs);
        let request = oci::users::UserRequest::new(&draft.config.security, &draft.run.user);
        let user = oci::users::resolve(&view, &request)?;
        Ok(Found { user, volumes: self.volumes(&draft.id, &draft.config, &draft.image)? })
    }

    /// Everything that touches paths of the host which the request names: the spec, which plugins may change, and then
    /// the directories that were made for mounts. One of these may block it for ever.
    fn outside(self: &Arc<Self>, draft: &Draft, found: Found) -> Result<Decided, EngineError> {
        draft.look();
        let pod = &draft.pod;
        let mut spec = self.spec(draft, &found)?;
        let mut record = new_record(draft, &found)?;
        let mut section = self.core.section(Event::CreateContainer);
        if !section.is_idle() {
            self.adjust(draft, &mut record, &mut spec, &mut section)?;
        }
        draft.live.handlers.of(pod).check_container(&pod.config(), &spec)?;
        let mut sources = Vec::new();
        match self.furnish_outside(draft, &spec, &mut sources) {
            Ok(()) => Ok(Decided { found, record, spec: Arc::new(spec), sources, section }),
            Err(error) => {
                self.unmake(draft.id.as_str(), &sources);
                Err(error)
            }
        }
    }

    fn furnish_outside(
        &self,
        draft: &Draft,
        spec: &Spec,
        made: &mut Vec<PathBuf>,
    ) -> Result<(), EngineError> {
        if draft.pod.ending.is_cancelled() {
            return Err(stopping(&draft.pod));
        }
        oci::spec::make_sources(&draft.config.mounts, made)?;
        failpoint::reach!("engine.create.sources")?;
        crate::selinux::label_mounts(&draft.config.mounts, mount_label(spec))?;
        Ok(())
    }

    /// Records the container and makes what is its own.
    fn inside(&self, draft: &Draft, decided: Decided, ahead: &Ahead) -> Result<Prepared, EngineError> {
        let Decided { found, record, spec, sources, section } = decided;
        let (id, pod) = (&draft.id, &draft.pod);
        let container = Container::new(record, pod.clone());
        *lock(&container.sources) = sources;
        if draft.asked.get().is_some() {
            container.nri.ask(spec.clone(), draft.changed_by.get().cloned());
        }
        let _ = container.has_hooks.set(spec.hooks().is_some());
        self.core.registry.add_container(container.clone());
        // Until the record is written, the spec alone is the journal of a container under construction.
        record::write(&pod.files.spec(id.as_str()), id.as_str(), &*spec)?;
        failpoint::reach!("engine.create.recorded")?;
        self.make_layers(&container, &spec, &found.volumes.anonymous)?;
        failpoint::reach!("engine.create.layers")?;
        let plan = self.furnish(&container, &spec, &found.volumes.images, (ahead, &draft.live))?;
        let template = ExecTemplate::new(plan.process.clone(), plan.cgroup.clone());
        // Nobody else knows the container yet.
        let _ = container.exec.set(template);
        Ok(Prepared { container, plan, section })
    }

    fn spec(&self, draft: &Draft, found: &Found) -> Result<Spec, EngineError> {
        let Draft { id, pod, config, run, live, .. } = draft;
        let Found { user, volumes } = found;
        let (sandbox_id, sandbox) = (&pod.id, &*pod.config());
        let cgroup = &pod.cgroup.container(id.as_str()).to_string();
        let netns = pod.netns();
        let rootfs = self.core.paths.rootfs();
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
                self.core.registry.container(target)?.pid()
            }
            NamespaceMode::Container | NamespaceMode::Node => None,
        };
        let mut spec = oci::spec::container(&oci::spec::ContainerInputs {
            sandbox_id,
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
                shim_pid: pod.supervisor_pid(),
                pid_of,
            },
            cgroup,
            labels: &self.core.labels.of_container(pod, config)?,
            host_devices: live.handlers.host_devices(&pod.handler()),
            rlimits: &live.handlers.rlimits(&pod.handler(), crate::userns::root_of(sandbox).is_some())?,
            rootfs: &rootfs,
            unified_cgroups: self.core.cgroups.is_unified(),
            settings: &live.planning,
        })?;
        let subject = oci::adjust::Subject { sandbox_id, sandbox, container_id: id, container: config };
        live.adjusters.apply(&mut spec, &subject)?;
        Ok(spec)
    }

    /// Makes the writable layer and the volumes in it.
    fn make_layers(
        &self,
        container: &Container,
        spec: &Spec,
        volumes: &[oci::spec::AnonymousVolume],
    ) -> Result<(), EngineError> {
        let layers = self.core.paths.container(&container.id);
        for dir in [&layers, &layers.join("upper"), &layers.join("work")] {
            fs::DirBuilder::new()
                .mode(0o755)
                .create(dir)
                .map_err(EngineError::io("make the directory", dir))?;
        }
        super::root::look_like(&layers.join("upper"), container.record().rootfs.top())?;
        super::volumes::make_anonymous(volumes, &layers, &container.record().rootfs)?;
        crate::selinux::label_volumes(volumes, mount_label(spec))
    }

    /// Makes the cgroup.
    fn limit(
        &self,
        container: &Container,
        limits: &oci::cgroup::Resources,
        (ahead, live): (&Ahead, &Live),
    ) -> Result<CgroupPlan, EngineError> {
        if live.handlers.of(&container.pod).is_foreign() {
            // It makes the cgroup itself.
            return Ok(self.core.cgroups.plan(&container.cgroup()));
        }
        if ahead.stand() {
            return Ok(self.core.cgroups.limit(&container.cgroup(), limits)?);
        }
        let made = self.core.cgroups.create(&container.cgroup(), limits)?;
        failpoint::reach!("engine.create.cgroups")?;
        Ok(made)
    }

    /// Makes the cgroup, and the plan that uses it and the layers.
    fn furnish(
        &self,
        container: &Container,
        spec: &Spec,
        images: &[oci::spec::ImageVolume],
        (ahead, live): (&Ahead, &Live),
    ) -> Result<ContainerPlan, EngineError> {
        let record = container.record();
        let layers = self.core.paths.container(&record.id);
        let (upper, work) = (layers.join("upper"), layers.join("work"));
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let handler = live.handlers.of(&container.pod);
        let config = &record.config;
        let limited = resources.map(oci::cgroup::Resources::from_spec).transpose().map_err(EngineError::from);
        let limited =
            limited.and_then(|limits| self.limit(container, &limits.unwrap_or_default(), (ahead, live)));
        let cgroup = limited.map_err(|error| error.asked_by(container.nri.limited_by()))?;
        failpoint::reach!("engine.create.limited")?;
        let mut plan = oci::plan::container(
            spec,
            &oci::plan::PlanInputs {
                id: &record.id,
                stdio: Stdio {
                    log_path: marked_log_path(&container.pod.config(), config),
                    tty: config.tty,
                    stdin: config.stdin,
                    stdin_once: config.stdin_once,
                },
                cgroup,
                pid_namespace: pid_namespace(config),
                root: oci::plan::RootSource::Image { rootfs: &record.rootfs, upper: &upper, work: &work },
                images,
            },
        )?;
        plan.process.seccomp_agent = super::agent(container, spec)?;
        if !handler.is_foreign() {
            plan.cgroup.resctrl = group(&live.classes, spec)?;
        }
        handler.furnish(Home { id: &container.id, bundle: &container.bundle() }, spec, &mut plan)?;
        if !handler.is_foreign() {
            self.take_devices(container, spec)?;
        }
        Ok(plan)
    }
}

fn new_record(draft: &Draft, found: &Found) -> Result<ContainerRecord, EngineError> {
    let Draft { id, pod, config, image, run, .. } = draft;
    Ok(ContainerRecord {
        id: id.clone(),
        sandbox_id: pod.id.clone(),
        state: ContainerState::Created,
        created_at: now(),
        image_id: image.id.clone(),
        image_ref: image.reference_for(&[&config.image.image, &config.image.user_specified_image]).to_owned(),
        rootfs: image.rootfs.clone(),
        image_volumes: found.volumes.mounted.clone(),
        log_path: draft.log_path(),
        uid: found.user.uid,
        gid: found.user.gid,
        groups: found.user.groups.clone(),
        stop_signal: oci::spec::stop_signal(config, run)?,
        updated: None,
        config: config.clone(),
    })
}

/// Where the container's processes join their class of cache, as the wire has it.
pub(super) fn group(classes: &oci::classes::Classes, spec: &Spec) -> Result<Option<Vec<u8>>, EngineError> {
    let class = spec.linux().as_ref().and_then(|linux| linux.intel_rdt().as_ref());
    Ok(classes.group(class)?.map(|group| group.into_os_string().into_encoded_bytes()))
}

pub(crate) fn mount_label(spec: &Spec) -> &str {
    spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref()).unwrap_or_default()
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

/// The same as the shim takes it, which follows no link behind `/./`, and makes the directories.
fn marked_log_path(sandbox: &SandboxConfig, config: &ContainerConfig) -> Vec<u8> {
    match &sandbox.log_directory {
        Some(directory) if !config.log_path.is_empty() => {
            format!("{directory}/./{}", config.log_path).into_bytes()
        }
        _ => Vec::new(),
    }
}
