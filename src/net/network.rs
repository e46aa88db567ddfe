//! The network of a node: what is in force, and the verbs on pods.

use crate::call::Caller;
use crate::conf::{ConfDir, Loaded};
use crate::journal::Journal;
use crate::metrics::{Metrics, Mode};
use crate::status::Current;
use crate::subnets::SubnetStore;
use crate::{
    Attachment, IFNAME, NetError, NetworkSettings, NetworkStatus, PodNetwork, Result, builtin, capabilities,
    watch,
};
use cni::types::{Dns, NetnsRef, ValidAttachment, Version};
use ipnet::IpNet;
use nix::sys::statfs::{FsType, statfs};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use sys::netns::Netns;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// The file system of namespace files (`NSFS_MAGIC` of linux/magic.h).
const NSFS: FsType = FsType(0x6e73_6673);

/// The node's network. Calls for different pods run at the same time; the caller sees to it that those for
/// one pod do not.
pub struct Network {
    settings: NetworkSettings,
    caller: Caller,
    journal: Journal,
    state: Mutex<State>,
    refresh: Arc<Notify>,
    watcher: Mutex<Option<AbortHandle>>,
}

struct State {
    dir: ConfDir,
    subnets: SubnetStore,
    pod_cidrs: Vec<IpNet>,
    current: Current,
    /// The log says that there is no configuration.
    told_absence: bool,
}

impl Network {
    /// Looks at the configuration, and goes on watching it until the last reference is dropped. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// When the state or data directory cannot be made or read, or the metrics are registered already.
    /// A missing or broken configuration is no error: [`Self::status`] reports it.
    pub fn open(settings: NetworkSettings, registry: &prometheus::Registry) -> Result<Arc<Self>> {
        let state = State {
            dir: ConfDir::new(settings.conf_dir.clone()),
            subnets: SubnetStore::open(&settings)?,
            pod_cidrs: Vec::new(),
            current: Current::default(),
            told_absence: false,
        };
        let network = Arc::new(Self {
            caller: Caller::new(settings.clone(), Metrics::register(registry)?),
            journal: Journal::open(&settings.state_dir)?,
            state: Mutex::new(state),
            refresh: Arc::new(Notify::new()),
            watcher: Mutex::new(None),
            settings,
        });
        network.reload()?;
        let task = tokio::spawn(watch_loop(Arc::downgrade(&network), Arc::clone(&network.refresh)));
        *network.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
        Ok(network)
    }

    /// Whether pods can get a network; answers at once from what was last found out.
    pub fn status(&self) -> NetworkStatus {
        self.state().current.status(&self.settings.conf_dir)
    }

    /// Takes over the node's pod CIDRs (UpdateRuntimeConfig), the primary family first: the built-in network
    /// uses them for pods to come, and plugins with the capability `ipRanges` are told them. An operator's
    /// configuration stays as it is. They are not remembered over a restart.
    ///
    /// # Errors
    /// When the built-in network's subnets cannot be recorded.
    pub fn set_pod_cidrs(&self, pod_cidrs: &[IpNet]) -> Result<()> {
        self.state().pod_cidrs = pod_cidrs.to_vec();
        self.reload()?;
        let builtin = self.loaded().is_some_and(|loaded| loaded.builtin);
        tracing::info!(?pod_cidrs, builtin_network = builtin, "pod CIDRs taken over");
        self.refresh.notify_one();
        Ok(())
    }

    /// Attaches a pod to the network that is in force.
    ///
    /// # Errors
    /// [`NetError::NotReady`] without a configuration; what a plugin said, after every plugin was asked to
    /// delete again; [`NetError::Residue`] when that failed and [`Self::detach`] must be called.
    pub async fn attach(&self, pod: &PodNetwork) -> Result<Attachment> {
        self.attach_to(pod, NetnsRef::new(&pod.netns)).await
    }

    /// As [`Self::attach`], for a caller that has the network namespace open: plugins in process use it
    /// instead of opening it again.
    ///
    /// # Errors
    /// Those of [`Self::attach`].
    pub async fn attach_open(&self, pod: &PodNetwork, netns: Arc<Netns>) -> Result<Attachment> {
        self.attach_to(pod, NetnsRef { path: pod.netns.clone(), handle: Some(netns) }).await
    }

    async fn attach_to(&self, pod: &PodNetwork, mut netns: NetnsRef) -> Result<Attachment> {
        let mut attachment = self.plan(pod)?;
        if netns.handle.is_none() && attachment.in_process.contains(&true) {
            netns.handle = Some(open_netns(netns.clone()).await?);
        }
        self.journal.write(&attachment)?;
        match self.caller.add(&mut attachment, netns).await {
            Ok(()) => {
                if attachment.in_process.contains(&false) {
                    // Plugins of others may want to see the result when a daemon that lost it detaches.
                    self.journal.write(&attachment)?;
                }
                Ok(attachment)
            }
            Err(error) => {
                if !error.leaves_residue() {
                    self.journal.remove(&attachment.container_id, &attachment.ifname)?;
                }
                Err(error)
            }
        }
    }

    /// Detaches a pod by the configuration with which it was attached: the attachment's, else the recorded
    /// one, else the one in force. The caller removes the network namespace afterwards, and with it the
    /// interfaces. Succeeds when nothing is attached; can be repeated.
    ///
    /// # Errors
    /// What a plugin said of a recorded attachment; the other plugins have deleted their part, and detach must be
    /// called again.
    pub async fn detach(&self, pod: &PodNetwork, attachment: Option<&Attachment>) -> Result<()> {
        let recorded = match attachment {
            Some(attachment) => Some(attachment.clone()),
            None => self.journal.read(&pod.sandbox_id, IFNAME),
        };
        let Some(recorded) = recorded else {
            self.detach_unrecorded(pod).await;
            return Ok(());
        };
        self.caller.del(&recorded, existing(&pod.netns)).await?;
        self.journal.remove(&recorded.container_id, &recorded.ifname)
    }

    /// Every ADD is recorded before it begins: without a record there should be nothing to delete, so a failure to
    /// do so keeps nobody from removing the pod.
    async fn detach_unrecorded(&self, pod: &PodNetwork) {
        let Ok(planned) = self.plan(pod) else { return };
        if let Err(error) = self.caller.del(&planned, existing(&pod.netns)).await {
            tracing::warn!(%error, id = pod.sandbox_id, "cni DEL of a pod that no ADD is recorded of");
        }
    }

    /// Checks that a pod is attached as its ADD said (CHECK, where the configuration has it).
    ///
    /// # Errors
    /// What a plugin found broken.
    pub async fn check(&self, pod: &PodNetwork, attachment: &Attachment) -> Result<()> {
        self.caller.check(attachment, NetnsRef::new(&pod.netns)).await
    }

    /// Removes what belongs to no pod: recorded attachments that are not among the valid ones (pairs of
    /// sandbox id and interface) are deleted, and the plugins in force are told the valid ones (GC). To be
    /// called while no pod is being attached.
    ///
    /// # Errors
    /// The first failure, after everything else has been tried.
    pub async fn gc(&self, valid: &[(String, String)]) -> Result<()> {
        let keep = |id: &str, ifname: &str| valid.iter().any(|(known, name)| known == id && name == ifname);
        let mut first = Ok(());
        for stale in self.journal.all()? {
            if keep(&stale.container_id, &stale.ifname) {
                continue;
            }
            tracing::info!(id = stale.container_id, "deleting a network attachment without a pod");
            let deleted = match self.caller.del(&stale, existing(&stale.netns)).await {
                Ok(()) => self.journal.remove(&stale.container_id, &stale.ifname),
                Err(error) => Err(error),
            };
            first = first.and(deleted);
        }
        let attachments: Vec<ValidAttachment> = valid
            .iter()
            .map(|(id, ifname)| ValidAttachment { container_id: id.clone(), ifname: ifname.clone() })
            .collect();
        match self.loaded() {
            Some(loaded) => first.and(self.caller.gc(&loaded, &attachments).await),
            None => first,
        }
    }

    /// Checks what a pod's request asks of any network, before anything is done for it.
    ///
    /// # Errors
    /// `InvalidArgument` naming what no plugin could be told.
    pub fn validate(&self, pod: &PodNetwork) -> Result<()> {
        pod.args()?;
        capabilities::arguments(pod, &[]).map(drop)
    }

    /// Everything that an ADD of this pod will need, and its DEL later.
    fn plan(&self, pod: &PodNetwork) -> Result<Attachment> {
        if self.loaded().is_none() {
            // It may have been written a moment ago.
            self.reload()?;
        }
        let (loaded, pod_cidrs) = {
            let state = self.state();
            let Some(loaded) = state.current.loaded.clone() else {
                return Err(NetError::NotReady { reason: state.current.absence(&self.settings.conf_dir) });
            };
            (loaded, state.pod_cidrs.clone())
        };
        let plugins = &loaded.list.plugins;
        Ok(Attachment {
            container_id: pod.sandbox_id.clone(),
            ifname: IFNAME.to_owned(),
            netns: pod.netns.clone(),
            args: pod.args()?,
            capability_args: capabilities::arguments(pod, &pod_cidrs)?,
            config: Arc::clone(&loaded.list),
            in_process: plugins
                .iter()
                .map(|plugin| self.caller.mode(plugin, loaded.builtin) == Mode::InProcess)
                .collect(),
            result: None,
            ips: Vec::new(),
            dns: Dns::default(),
        })
    }

    fn loaded(&self) -> Option<Arc<Loaded>> {
        self.state().current.loaded.clone()
    }

    #[cfg(test)]
    pub(crate) fn loaded_name(&self) -> String {
        self.loaded().map(|loaded| loaded.list.name.clone()).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the directory again.
    fn reload(&self) -> Result<()> {
        let mut guard = self.state();
        let state = &mut *guard;
        let mut next = Current { plugins: state.current.plugins.clone(), ..Current::default() };
        match state.dir.scan() {
            Ok(scan) => {
                next.loaded = scan.chosen;
                next.broken = scan.broken;
            }
            Err(error) => next.unreadable = Some(error.to_string()),
        }
        if next.loaded.is_none()
            && next.broken.is_empty()
            && next.unreadable.is_none()
            && self.settings.builtin_network
        {
            let subnets = state.subnets.select(&self.settings, &state.pod_cidrs)?;
            let list = Arc::new(builtin::configuration(&self.settings, &subnets)?);
            next.loaded = Some(Arc::new(Loaded { list, builtin: true }));
        }
        next.loaded = match (next.loaded, &state.current.loaded) {
            (Some(new), Some(old)) if new.list == old.list && new.builtin == old.builtin => {
                Some(Arc::clone(old))
            }
            (Some(new), _) => {
                next.plugins = self.unknown_yet(&new);
                log_change(&new);
                Some(new)
            }
            (None, _) => {
                next.plugins = None;
                None
            }
        };
        let is_absent = next.loaded.is_none();
        if is_absent && !state.told_absence {
            tracing::warn!("no network configuration in force");
        }
        state.told_absence = is_absent;
        if next.broken != state.current.broken {
            for broken in &next.broken {
                tracing::warn!(path = %broken.path.display(), problem = broken.problem, "broken CNI configuration");
            }
        }
        state.current = next;
        Ok(())
    }

    /// What is to be said of a network's plugins before they have been asked.
    fn unknown_yet(&self, loaded: &Loaded) -> Option<String> {
        let executes = |plugin| !loaded.builtin && self.caller.mode(plugin, loaded.builtin) == Mode::Executed;
        self.caller.missing(&loaded.list.plugins, loaded.builtin).or_else(|| {
            let asks = loaded.list.cni_version >= Version::V1_1_0 && loaded.list.plugins.iter().any(executes);
            asks.then(|| "NetworkNotReady: the CNI plugins have not answered STATUS yet".to_owned())
        })
    }

    /// Finds out whether the plugins can serve.
    async fn probe(&self) {
        let Some(loaded) = self.loaded() else { return };
        let problem = match self.caller.missing(&loaded.list.plugins, loaded.builtin) {
            Some(missing) => Some(missing),
            None => self.caller.status(&loaded).await.err().map(|error| format!("NetworkNotReady: {error}")),
        };
        let mut state = self.state();
        let is_same = state.current.loaded.as_ref().is_some_and(|current| Arc::ptr_eq(current, &loaded));
        if is_same && state.current.plugins != problem {
            match &problem {
                Some(problem) => tracing::warn!(problem, "CNI plugins cannot serve"),
                None => tracing::info!(network = loaded.list.name, "CNI plugins can serve"),
            }
            state.current.plugins = problem;
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(task) = self.watcher.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

fn log_change(loaded: &Loaded) {
    tracing::info!(
        network = loaded.list.name,
        version = %loaded.list.cni_version,
        builtin = loaded.builtin,
        "network configuration in force"
    );
}

/// Opens the namespace once for all plugins; it takes a thread, since a socket is made inside.
async fn open_netns(netns: NetnsRef) -> Result<Arc<Netns>> {
    let path = netns.path.clone();
    match tokio::task::spawn_blocking(move || netns.open()).await {
        Ok(opened) => Ok(opened?),
        Err(error) => Err(NetError::state("open", path)(std::io::Error::other(error))),
    }
}

/// The namespace, while it is pinned there.
fn existing(path: &Path) -> Option<NetnsRef> {
    let is_pinned = statfs(path).is_ok_and(|fs| fs.filesystem_type() == NSFS);
    is_pinned.then(|| NetnsRef::new(path))
}

/// Follows changes of the directory and asks the plugins for their status, until the network is dropped.
async fn watch_loop(network: Weak<Network>, refresh: Arc<Notify>) {
    loop {
        let Some(strong) = network.upgrade() else { return };
        let (dir, interval) = (strong.settings.conf_dir.clone(), strong.settings.status_interval());
        // Watched first and looked at then, so that no change falls between the two.
        let watch = watch::Watch::new(&dir);
        if let Err(error) = &watch {
            tracing::warn!(dir = %dir.display(), %error, "cannot watch the CNI configuration, polling it");
        }
        if let Err(error) = strong.reload() {
            tracing::warn!(%error, "cannot reload the network configuration");
        }
        // A plugin that hangs must not keep a change from being seen: the change ends the asking.
        let ask = async move {
            strong.probe().await;
            drop(strong);
            tokio::time::sleep(interval).await;
        };
        let change = async {
            match watch {
                Ok(mut watch) => {
                    if let Err(error) = watch.changed().await {
                        tracing::warn!(%error, "cannot read changes of the CNI configuration");
                        std::future::pending::<()>().await;
                    }
                }
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = change => {}
            () = refresh.notified() => {}
            () = ask => {}
        }
    }
}
