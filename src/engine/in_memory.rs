//! Pods and containers as the daemon holds them in memory; `record` is what it writes of them.

mod views;

use crate::container::ExecTemplate;
use crate::error::EngineError;
use crate::nri::{ContainerMarks, PodMarks};
use crate::record::{self, ContainerRecord, PodFiles, PodRecord, Updated};
use crate::settings::Paths;
use crate::stats::{Layer, Load, Sampler};
use crate::supervisor::{Accounts, Supervisor, SupervisorError};
use model::{ContainerEvent, ContainerId, ContainerState, Resources, SandboxId, SandboxState};
use oci::cgroup::{CgroupPath, Driver, PodCgroup};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use sys::sync::lock;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// A pod.
pub(crate) struct Pod {
    pub(crate) id: SandboxId,
    pub(crate) files: PodFiles,
    /// Where the pod's cgroups lie.
    pub(crate) cgroup: PodCgroup,
    /// Written by what changes the pod as a whole, read by what works in it.
    pub(crate) op: tokio::sync::RwLock<()>,
    /// Cancelled when the pod is to be stopped: what is being made in it is given up.
    pub(crate) ending: CancellationToken,
    /// For work that paths of the host can block.
    pub(crate) strangers: Arc<Semaphore>,
    pub(crate) sampler: Sampler,
    /// Held while something that happened is told, so that later events of the pod show later states.
    pub(crate) telling: Mutex<()>,
    /// Nobody else's while the pod is there (SELinux).
    pub(crate) level: OnceLock<oci::selinux::Reserved>,
    /// What plugins know of it.
    pub(crate) nri: PodMarks,
    /// Clients know its id.
    published: AtomicBool,
    /// Its supervisor lives, and cannot be talked to.
    stranded: AtomicBool,
    /// It has a cgroup by its id, or is about to get one.
    pub(crate) plated: AtomicBool,
    /// It is not ready any more.
    left: watch::Sender<bool>,
    record: Mutex<PodRecord>,
    supervisor: Mutex<Option<Arc<dyn Supervisor>>>,
    pause: AtomicI32,
}

impl Pod {
    /// A pod of a daemon that did not record its parent has the one that it asked for, or cgroupfs's default.
    pub(crate) fn new(record: PodRecord, paths: &Paths) -> Result<Arc<Self>, EngineError> {
        let parent = match (&record.cgroup_parent, &record.config.linux.cgroup_parent) {
            (recorded, _) if !recorded.is_empty() => recorded.clone(),
            (_, asked) if !asked.is_empty() => asked.clone(),
            _ => CgroupPath::parse("cgroup_parent", Driver::Cgroupfs.default_parent())?
                .join(&record.id)
                .to_string(),
        };
        let cgroup = PodCgroup::new("config.linux.cgroup_parent", &parent, &record.id)?;
        Ok(Arc::new(Self {
            id: record.id.clone(),
            files: PodFiles::new(paths, &record.id),
            cgroup,
            op: tokio::sync::RwLock::new(()),
            ending: CancellationToken::new(),
            strangers: Arc::new(Semaphore::new(crate::strangers::OF_A_POD)),
            sampler: Sampler::default(),
            telling: Mutex::new(()),
            level: OnceLock::new(),
            nri: PodMarks::default(),
            published: AtomicBool::new(record.state != SandboxState::Creating),
            stranded: AtomicBool::new(false),
            plated: AtomicBool::new(false),
            left: watch::Sender::new(record.state == SandboxState::NotReady),
            record: Mutex::new(record),
            supervisor: Mutex::new(None),
            pause: AtomicI32::new(0),
        }))
    }

    pub(crate) fn record(&self) -> PodRecord {
        lock(&self.record).clone()
    }

    /// Whether a client knows its id, or is about to.
    pub(crate) fn is_published(&self) -> bool {
        self.published.load(Ordering::Acquire)
    }

    pub(crate) fn publish(&self) {
        self.published.store(true, Ordering::Release);
    }

    /// Shows a half-made pod whose supervisor cannot be talked to as not ready, so that a client can remove it. On record
    /// it stays half made: a daemon that can talk to the supervisor takes it down.
    pub(crate) fn strand(&self) {
        lock(&self.record).state = SandboxState::NotReady;
        self.left.send_replace(true);
        self.stranded.store(true, Ordering::Release);
        self.publish();
    }

    /// Whether it has a supervisor that can only be killed.
    pub(crate) fn is_stranded(&self) -> bool {
        self.stranded.load(Ordering::Acquire)
    }

    pub(crate) fn state(&self) -> SandboxState {
        lock(&self.record).state
    }

    /// The name of its handler.
    pub(crate) fn handler(&self) -> String {
        lock(&self.record).handler.clone()
    }

    pub(crate) fn config(&self) -> Arc<model::SandboxConfig> {
        lock(&self.record).config.clone()
    }

    /// Changes the record on a way down, where a full disk must not keep anything from being freed.
    pub(crate) fn update_regardless(&self, change: impl Fn(&mut PodRecord)) -> Option<Vec<u8>> {
        match self.update(&change) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                tracing::error!(pod_id = %self.id, error = crate::chain(&error), "a state change is not recorded");
                let mut held = lock(&self.record);
                change(&mut held);
                self.left.send_replace(held.state == SandboxState::NotReady);
                None
            }
        }
    }

    /// Changes the record, on disk before in memory; returns what was written.
    pub(crate) fn update(&self, change: impl FnOnce(&mut PodRecord)) -> Result<Vec<u8>, EngineError> {
        let mut held = lock(&self.record);
        let mut next = held.clone();
        change(&mut next);
        let bytes = record::save(&self.files.pod(), &self.id, &next)?;
        *held = next;
        self.left.send_replace(held.state == SandboxState::NotReady);
        Ok(bytes)
    }

    /// Returns when the pod is not ready any more.
    pub(crate) async fn left(&self) {
        let mut left = self.left.subscribe();
        // The sender lives as long as the pod, which is held.
        let _ = left.wait_for(|left| *left).await;
    }

    pub(crate) fn supervisor(&self) -> Option<Arc<dyn Supervisor>> {
        lock(&self.supervisor).clone()
    }

    /// The supervisor of a pod, which is to be asked for something.
    pub(crate) fn live_supervisor(
        &self,
        verb: &'static str,
        subject: &str,
    ) -> Result<Arc<dyn Supervisor>, SupervisorError> {
        self.supervisor().ok_or_else(|| SupervisorError::Gone {
            pod: self.id.to_string(),
            verb,
            subject: subject.to_owned(),
        })
    }

    /// Who keeps the pod's accounts.
    pub(crate) fn accounts(&self, host: &Arc<oci::cgroup::Host>) -> Arc<dyn Accounts> {
        let own = lock(&self.supervisor).as_ref().and_then(|supervisor| supervisor.accounts());
        own.unwrap_or_else(|| host.clone())
    }

    /// The supervisor's process.
    pub(crate) fn supervisor_pid(&self) -> Option<i32> {
        lock(&self.supervisor).as_ref().and_then(|supervisor| supervisor.pid())
    }

    /// Closes what counts the pod's usage: it would keep the network namespace.
    pub(crate) fn stop_counting(&self) {
        self.sampler.close();
        if let Some(supervisor) = self.supervisor() {
            supervisor.stop_counting();
        }
    }

    pub(crate) fn set_supervisor(&self, supervisor: Option<Arc<dyn Supervisor>>) {
        *lock(&self.supervisor) = supervisor;
    }

    pub(crate) fn set_pause(&self, pid: Option<i32>) {
        self.pause.store(pid.unwrap_or(0), Ordering::Relaxed);
    }

    /// Where the pod's network namespace is pinned.
    pub(crate) fn netns(&self) -> Option<std::path::PathBuf> {
        lock(&self.record).netns.clone()
    }

    /// Whether nothing of the pod is left on the host.
    pub(crate) fn is_released(&self) -> bool {
        lock(&self.record).released
    }

    /// The process that stands for the pod: the pause where there is one, else the supervisor.
    pub(crate) fn pid(&self) -> Option<i32> {
        match self.pause.load(Ordering::Relaxed) {
            0 => self.supervisor_pid(),
            pid => Some(pid),
        }
    }

    /// Whether it has a network namespace of its own.
    pub(crate) fn has_netns(&self) -> bool {
        lock(&self.record).netns.is_some()
    }
}

/// What is still to be told of a container.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Its record is removed: what comes late, as the exit of one that was never started, would bring it back.
    pub(crate) ended: bool,
}

/// A container.
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) pod: Arc<Pod>,
    pub(crate) op: tokio::sync::Mutex<()>,
    /// Directories of the host that were made for its mounts.
    pub(crate) sources: Mutex<Vec<std::path::PathBuf>>,
    /// The stop signal goes out once, however often stop is asked for.
    pub(crate) stop_sent: AtomicBool,
    /// A start is under way.
    pub(crate) starting: AtomicBool,
    pub(crate) exec: tokio::sync::OnceCell<ExecTemplate>,
    /// Its stdin has been ended; who holds an end of it lets go.
    pub(crate) stdin_closed: watch::Sender<bool>,
    /// Held while a state changes and is told of, so that events come in the order of the states.
    pub(crate) news: Mutex<News>,
    pub(crate) sampler: Sampler,
    pub(crate) layer: Layer,
    pub(crate) load: Load,
    /// What plugins know of it.
    pub(crate) nri: ContainerMarks,
    /// Whether its spec has hooks; unset after a restart.
    pub(crate) has_hooks: OnceLock<bool>,
    /// Clients see it: its creation has been answered, or will be.
    published: AtomicBool,
    record: Mutex<ContainerRecord>,
    state: watch::Sender<ContainerState>,
    pid: AtomicI32,
}

impl Container {
    pub(crate) fn new(record: ContainerRecord, pod: Arc<Pod>) -> Arc<Self> {
        let (state, _) = watch::channel(record.state.clone());
        Arc::new(Self {
            id: record.id.clone(),
            pod,
            op: tokio::sync::Mutex::new(()),
            stop_sent: AtomicBool::new(false),
            starting: AtomicBool::new(false),
            exec: tokio::sync::OnceCell::new(),
            sources: Mutex::default(),
            stdin_closed: watch::Sender::new(false),
            news: Mutex::default(),
            sampler: Sampler::default(),
            layer: Layer::default(),
            load: Load::default(),
            nri: ContainerMarks::default(),
            has_hooks: OnceLock::new(),
            published: AtomicBool::new(false),
            record: Mutex::new(record),
            state,
            pid: AtomicI32::new(0),
        })
    }

    pub(crate) fn cgroup(&self) -> CgroupPath {
        self.pod.cgroup.container(&self.id)
    }

    /// The directory of its handler, where that has one for it.
    pub(crate) fn bundle(&self) -> std::path::PathBuf {
        self.pod.files.bundle(&self.id)
    }

    pub(crate) fn record(&self) -> ContainerRecord {
        lock(&self.record).clone()
    }

    pub(crate) fn state(&self) -> ContainerState {
        self.state.borrow().clone()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(*self.state.borrow(), ContainerState::Exited { .. })
    }

    /// For waiting on a state.
    pub(crate) fn watch(&self) -> watch::Receiver<ContainerState> {
        self.state.subscribe()
    }

    pub(crate) fn set_pid(&self, pid: i32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Its first process on the host, until it has ended.
    pub(crate) fn pid(&self) -> Option<i32> {
        let pid = self.pid.load(Ordering::Relaxed);
        (pid > 0 && !self.has_ended()).then_some(pid)
    }

    /// Applies an event: compute, write, publish. Returns the bytes written, if its record is not removed.
    pub(crate) fn apply(&self, event: ContainerEvent, news: &News) -> Result<Option<Vec<u8>>, EngineError> {
        let mut held = lock(&self.record);
        let mut next = held.clone();
        next.state = held.state.apply(event)?;
        let written = self.write(&next, news);
        // An exit is published even where the disk refuses it: the shim's own exit record is durable.
        *held = next;
        self.show(&held.state);
        written
    }

    /// The same for an event of which the record may follow.
    pub(crate) fn apply_unwritten(&self, event: ContainerEvent) -> Result<(), EngineError> {
        let mut held = lock(&self.record);
        held.state = held.state.apply(event)?;
        self.show(&held.state);
        Ok(())
    }

    fn show(&self, state: &ContainerState) {
        self.state.send_replace(state.clone());
        if matches!(state, ContainerState::Exited { .. }) {
            self.sampler.close();
        }
    }

    /// Records new limits, on disk before in memory; returns what was written.
    pub(crate) fn set_resources(
        &self,
        resources: Resources,
        annotations: BTreeMap<String, String>,
    ) -> Result<Vec<u8>, EngineError> {
        let mut held = lock(&self.record);
        let mut next = held.clone();
        next.updated = Some(Updated { resources, annotations });
        let bytes = record::save(&self.pod.files.container(&self.id), &self.id, &next)?;
        *held = next;
        Ok(bytes)
    }

    /// Shows the container to clients.
    pub(crate) fn publish(&self) {
        self.published.store(true, Ordering::Release);
    }

    /// Whether clients see it.
    pub(crate) fn is_published(&self) -> bool {
        self.published.load(Ordering::Acquire)
    }

    /// Writes the record as it is, if it is not removed.
    pub(crate) fn save(&self, news: &News) -> Result<Option<Vec<u8>>, EngineError> {
        self.write(&lock(&self.record), news)
    }

    fn write(&self, record: &ContainerRecord, news: &News) -> Result<Option<Vec<u8>>, EngineError> {
        let path = self.pod.files.container(&self.id);
        (!news.ended).then(|| record::save(&path, &self.id, record)).transpose()
    }
}
