//! RunPodSandbox: reserve the name, journal, then network and shim side by side, then ready. A failure takes
//! everything down again by the journal, the same way that StopPodSandbox does.

use super::durable::Durable;
use super::side::{Held, Netns};
use super::{files, sysctls};
use crate::error::{EngineError, chain};
use crate::events::EventKind;
use crate::in_memory::Pod;
use crate::live::Live;
use crate::mirror::Key;
use crate::names::{Claim, Ticket};
use crate::record::PodRecord;
use crate::registry::PodName;
use crate::supervisor::{Hello, Notice, Supervisor, SupervisorError};
use crate::{Pods, blocking};
use model::{NamespaceMode, SandboxConfig, SandboxId, SandboxState};
use oci::plan::PodSysctls;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use sys::shim_spawn::ShimProcess;
use sys::sync::lock;
use tokio::sync::oneshot;
use wire::plan::CgroupPlan;

/// The kernel's OOM killer takes anything else first.
const SHIM_OOM_SCORE_ADJ: i32 = -999;

pub(crate) type PodTicket = Ticket<PodName, (Arc<SandboxConfig>, String), SandboxId>;

/// What the settings say of a pod. They are looked at once, when its request is checked: what was checked is what is done.
struct Terms {
    live: Arc<Live>,
    sysctls: PodSysctls,
    /// The network namespace that was made ahead, until it is used.
    slot: Mutex<Option<net::Slot>>,
}

impl Pods {
    /// Makes a pod ready and returns its id. An identical request joins the one in flight, or gets the pod that
    /// stands.
    pub async fn run_pod(
        self: &Arc<Self>,
        config: SandboxConfig,
        handler: String,
    ) -> Result<SandboxId, EngineError> {
        let live = self.core.live.load_full();
        live.handlers.find(&handler)?.check_pod(&config)?;
        let config = Arc::new(config);
        let slot = Held::take(&self.core.network, &config);
        let id = match slot.id() {
            Some(id) => id.clone(),
            None => SandboxId::random().map_err(EngineError::Random)?,
        };
        let record = self.new_record(&id, config.clone(), handler.clone(), &live)?;
        self.core.check_user_namespace(&config)?;
        self.core.labels.check(config.linux.security.selinux.as_ref())?;
        let sysctls = oci::plan::pod_sysctls(&config, &live.default_sysctls);
        sysctls::check(&sysctls)?;
        if let Some(network) = files::network_of(&record) {
            self.core.network.validate(&network)?;
        }
        match self.names.claim(&config.metadata, (config.clone(), handler.clone()), &id) {
            Claim::New(ticket) => {
                let slot = Mutex::new(slot.used());
                let (this, terms) = (self.clone(), Arc::new(Terms { live, sysctls, slot }));
                let subject = format!("{}/{} {id}", config.metadata.namespace, config.metadata.name);
                let make = async move { this.make_pod(record, ticket, terms).await };
                self.core.carry_out("RunPodSandbox", &subject, make).await
            }
            Claim::Join(join) => join.wait().await,
            Claim::Held { id, same } => self.held_pod(&config.metadata, id, same),
            Claim::Busy { id, leaves: true, .. } => {
                Err(EngineError::NameLeaving { name: told(&config.metadata), holder: holder(&id) })
            }
            Claim::Busy { id, stage, .. } => Err(taken(&config.metadata, &id, stage)),
        }
    }

    fn held_pod(&self, name: &PodName, id: SandboxId, same: bool) -> Result<SandboxId, EngineError> {
        let ready = self.core.registry.pod(&id).is_ok_and(|pod| pod.state() == SandboxState::Ready);
        if same && ready {
            return Ok(id);
        }
        Err(taken(name, &id, if ready { "ready" } else { "not ready" }))
    }

    fn new_record(
        &self,
        id: &SandboxId,
        config: Arc<SandboxConfig>,
        handler: String,
        live: &Live,
    ) -> Result<PodRecord, EngineError> {
        let networked = config.linux.security.namespaces.network == NamespaceMode::Pod;
        let cgroup_parent = self.core.tree.parent(id.as_str(), &config.linux.cgroup_parent)?;
        let mut record = PodRecord::new(id, config, handler, cgroup_parent);
        record.netns = networked.then(|| live.settings.netns_dir.join(netns_name(id.as_str())));
        Ok(record)
    }

    async fn make_pod(
        self: Arc<Self>,
        mut record: PodRecord,
        ticket: PodTicket,
        terms: Arc<Terms>,
    ) -> Result<SandboxId, EngineError> {
        let made = self.core.labels.choose_level(&record.config).and_then(|level| {
            record.selinux_level = level.as_ref().map_or("", oci::selinux::Reserved::level).to_owned();
            let pod = Pod::new(record, &self.core.paths)?;
            // Nobody else knows the pod yet.
            let _ = level.map(|level| pod.level.set(level));
            Ok(pod)
        });
        let pod = match made {
            Ok(pod) => pod,
            Err(error) => return Err(ticket.fail(error)),
        };
        self.core.registry.add_pod(pod.clone());
        let _op = pod.op.write().await;
        match self.build(&pod, &ticket, &terms).await {
            Ok((bytes, mut section)) => {
                self.core.mirror.put(Key::Pod(pod.id.clone()), bytes);
                pod.publish();
                self.core.tell_running_pod(&pod, &mut section).await;
                self.core.events.tell_pod(&pod, EventKind::Created);
                self.core.events.tell_pod(&pod, EventKind::Started);
                failpoint::pass!("engine.run.published");
                ticket.keep();
                Ok(pod.id.clone())
            }
            Err(error) => {
                ticket.stage("undoing a failure");
                Err(match self.unmake(&pod).await {
                    Ok(()) => ticket.fail(error),
                    Err(left) => {
                        tracing::error!(pod_id = %pod.id, error = chain(&left), "a failed pod could not be undone: \
                            it is listed as not ready until it is removed");
                        ticket.fail_holding(error)
                    }
                })
            }
        }
    }

    /// Carries out the steps; whatever stands when one fails is found again through the record.
    async fn build(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        ticket: &PodTicket,
        terms: &Arc<Terms>,
    ) -> Result<(Vec<u8>, nri::Section), EngineError> {
        ticket.stage("recording");
        // Settings that took the handler away may have come before this pod was known to hold it: those of now are asked.
        self.core.live().handlers.find(&pod.handler())?;
        let recorded = self.journal(pod, &terms.live)?;
        failpoint::reach!("engine.run.recorded")?;
        let durable = self.make_durable(pod, recorded);
        ticket.stage("setting up the network and the supervisor");
        let (ready, stands) = oneshot::channel();
        let (mut first, mut second) = (Netns::Make(ready), Netns::Await(stands));
        if crate::userns::root_of(&pod.config()).is_some() {
            // Only the supervisor can make one that the pod's user namespace owns.
            std::mem::swap(&mut first, &mut second);
        }
        // The supervisor's side takes longer, most of it elsewhere.
        let (launched, attached) = tokio::join!(
            self.core.stage("supervisor", self.launch(pod, second, terms)),
            self.core.stage("network", self.attach(pod, first, terms, durable)),
        );
        if let (Err(_), Err(second)) = (&attached, &launched) {
            tracing::warn!(pod_id = %pod.id, error = chain(second), "the supervisor failed beside the network");
        }
        let attachment = attached?;
        launched?;
        if pod.supervisor().is_none_or(|supervisor| supervisor.is_lost()) {
            let (pod, subject) = (pod.id.to_string(), pod.id.to_string());
            return Err(SupervisorError::Gone { pod, verb: "serve", subject }.into());
        }
        ticket.stage("publishing");
        let ips = attachment.as_ref().map(|attachment| attachment.ips.clone()).unwrap_or_default();
        let write = async {
            files::write_hosts(&pod.files, &pod.id, &pod.config(), &ips)?;
            Ok::<(), EngineError>(failpoint::reach!("engine.run.hosts")?)
        };
        // Plugins are asked first, and the file is written while they think.
        let (section, written) = tokio::join!(self.core.ask_run_pod(pod, &ips), write);
        written?;
        let section = section?;
        let recorded = pod.update(|record| {
            record.attachment = attachment.map(Arc::new);
            record.state = SandboxState::Ready;
        })?;
        failpoint::reach!("engine.run.ready")?;
        Ok((recorded, section))
    }

    /// Writes what is about to be made, before the first effect on the host.
    fn journal(&self, pod: &Pod, live: &Live) -> Result<Vec<u8>, EngineError> {
        for dir in [pod.files.dir().to_owned(), pod.files.containers(), pod.files.exits()] {
            files::make_private(&dir)?;
        }
        failpoint::reach!("engine.run.directories")?;
        self.protect(pod, live)?;
        let cgroups = self.core.tree.dirs(pod);
        pod.update(|record| record.cgroups = cgroups)
    }

    /// Gives the pod's directory the mode that it is to have, also where an earlier daemon gave it another.
    pub(crate) fn protect(&self, pod: &Pod, live: &Live) -> Result<(), EngineError> {
        let is_foreign = live.handlers.of(pod).is_foreign();
        files::protect(&*self.host, pod.files.dir(), &pod.config(), is_foreign)
    }

    /// Makes the network namespace and attaches it to the pod network.
    async fn attach(
        &self,
        pod: &Arc<Pod>,
        side: Netns,
        terms: &Arc<Terms>,
        durable: Durable,
    ) -> Result<Option<net::Attachment>, EngineError> {
        let Some(network) = files::network_of(&pod.record()) else {
            side.ready();
            return Ok(None);
        };
        let pin = network.netns.clone();
        let side = match side.stands().await {
            Ok(side) => side,
            // The supervisor's side reports its failure.
            Err(_) => return Ok(None),
        };
        let makes = side.is_some();
        let node = Arc::clone(&self.core.network);
        let slot = lock(&terms.slot).take();
        let is_ready = slot.as_ref().is_some_and(net::Slot::is_fresh);
        let open = move || {
            let opened = if makes { node.create_namespace(&pin, slot) } else { node.adopt_namespace(&pin) };
            opened.map_err(EngineError::sys(format!("make the network namespace {pin:?}")))
        };
        let netns = async move {
            match is_ready {
                // To pin it takes less than another thread would.
                true => open(),
                false => blocking("making a network namespace", open).await,
            }
        };
        let netns = self.core.stage("netns", netns).await?;
        failpoint::reach!("engine.run.netns")?;
        if let Some(side) = side {
            side.ready();
        }
        durable.wait(pod).await;
        let _attaching = self.attaching.read().await;
        // Boxed: executing plugins makes for a large future.
        let attach = Box::pin(self.core.network.attach_open(&network, netns.clone()));
        let attached = self.core.stage("cni_add", attach).await;
        let attachment = attached.map_err(EngineError::of_network(&network))?;
        failpoint::reach!("engine.run.attached")?;
        if !terms.sysctls.attached.is_empty() {
            let terms = terms.clone();
            let write = move || sysctls::write(&netns, &terms.sysctls.attached);
            blocking("setting a pod's parameters", write).await?;
        }
        Ok(Some(attachment))
    }

    /// Starts the shim and lets it enter the pod's namespaces.
    async fn launch(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        side: Netns,
        terms: &Arc<Terms>,
    ) -> Result<(), EngineError> {
        let (this, held, live) = (self.clone(), pod.clone(), terms.live.clone());
        let spawn = blocking("starting a supervisor", move || this.spawn(&held, &live));
        let (cgroup, process) = self.core.stage("spawn", spawn).await?;
        let cgroup = match cgroup {
            Some(cgroup) => cgroup,
            None => match self.core.stage("scope", self.core.tree.enter_scope(pod, process.pid)).await {
                Ok(cgroup) => cgroup,
                Err(error) => {
                    self.launcher.kill(process).await;
                    return Err(error);
                }
            },
        };
        let (supervisor, _) = self.connect(pod, Some(process)).await?;
        pod.set_supervisor(Some(supervisor.clone()));
        failpoint::reach!("engine.run.connected")?;
        let side = match side.stands().await {
            Ok(side) => side,
            // The network's side reports its failure.
            Err(_) => return Ok(()),
        };
        let (config, netns) = (pod.config(), pod.netns());
        let plan = oci::plan::sandbox(&oci::plan::SandboxInputs {
            id: &pod.id,
            config: &config,
            netns: netns.as_deref(),
            sysctls: terms.sysctls.first.clone(),
            hostname: &files::hostname(&pod.id, &config),
            cgroup,
            pause: &self.pause_binary,
            exits: &pod.files.exits(),
            oom_score_adj: SHIM_OOM_SCORE_ADJ,
            label: &self.core.labels.of_pod(pod).process,
        })?;
        let stands = self.core.stage("namespaces", supervisor.sandbox(plan)).await;
        let stands = match stands {
            Ok(stands) => stands,
            Err(error) => return Err(sysctls::blame(error, terms.sysctls.first.clone()).await),
        };
        pod.set_pause(stands.pause_pid);
        failpoint::reach!("engine.run.entered")?;
        self.tell_restrictions(pod, stands.warnings);
        if let Some(side) = side {
            side.ready();
        }
        Ok(())
    }

    fn tell_restrictions(&self, pod: &Pod, mut warnings: Vec<String>) {
        // The supervisor and the pause meet the same limits.
        warnings.dedup();
        for warning in warnings {
            if self.core.told_restriction.swap(true, Ordering::Relaxed) {
                tracing::debug!(pod_id = %pod.id, warning, "the host restricts a setting");
            } else {
                tracing::info!(pod_id = %pod.id, warning, "the host restricts a setting, for all pods");
            }
        }
    }

    /// Starts the shim, after its cgroup has been made; in a scope that is the other way round.
    fn spawn(&self, pod: &Pod, live: &Live) -> Result<(Option<CgroupPlan>, ShimProcess), EngineError> {
        let config = pod.config();
        let label = self.core.labels.of_pod(pod).mount;
        files::mount_own(&*self.host, &pod.files, &config, live.settings.shm_size, &label)?;
        failpoint::reach!("engine.run.mounted")?;
        files::write_names(&pod.files, &pod.id, &config)?;
        failpoint::reach!("engine.run.named")?;
        let cgroup = self.core.tree.make(pod)?;
        failpoint::reach!("engine.run.cgroups")?;
        self.limit_pod(pod, &pod.record().limits())?;
        failpoint::reach!("engine.run.limited")?;
        let process = self.launcher.spawn(&pod.id, &pod.files)?;
        failpoint::pass!("engine.run.spawned");
        if cgroup.is_some() {
            self.launcher.greet(&pod.id, &pod.files, &process);
        }
        Ok((cgroup, process))
    }

    /// Connects to the pod's supervisor, lets its exits reach the engine, and returns what it holds.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        started: Option<ShimProcess>,
    ) -> Result<(Arc<dyn Supervisor>, Hello), EngineError> {
        let this: Weak<Self> = Arc::downgrade(self);
        let held = Arc::downgrade(pod);
        let notify = move |notice| {
            let (Some(this), Some(pod)) = (this.upgrade(), held.upgrade()) else { return };
            match notice {
                Notice::Exited(record) => this.containers.exited(&record),
                Notice::Lost => this.supervisor_lost(&pod),
            }
        };
        self.launcher.connect(&pod.id, &pod.files, started, Box::new(notify)).await
    }
}

fn taken(name: &PodName, id: &str, stage: &str) -> EngineError {
    EngineError::NameTaken { name: told(name), holder: holder(id), stage: stage.to_owned() }
}

fn told(name: &PodName) -> String {
    format!("{}/{} (uid {}, attempt {})", name.namespace, name.name, name.uid, name.attempt)
}

fn holder(id: &str) -> String {
    format!("pod sandbox {id}")
}

/// What a pod's network namespace is called: `cni-` and a UUID, as other tools expect it.
pub fn netns_name(id: &str) -> String {
    let part = |range: std::ops::Range<usize>| id.get(range).unwrap_or_default();
    format!("cni-{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}
