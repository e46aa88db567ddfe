//! The network of a node: what is in force, and the verbs on pods.

use crate::call::Caller;
use crate::conf::{ConfDir, Loaded};
use crate::configured::Configured;
use crate::host::{Host, LocalHost};
use crate::journal::Journal;
use crate::kept::Kept;
use crate::left::Left;
use crate::metrics::{Metrics, Mode};
use crate::slots::{Slots, look_after};
use crate::status::Current;
use crate::subnets::SubnetStore;
use crate::upkeep::watch_loop;
use crate::{
    Attachment, IFNAME, Namespace, NetError, NetworkSettings, NetworkStatus, PodNetwork, Result, capabilities,
};
use arc_swap::{ArcSwap, Guard};
use cni::types::{Dns, NetnsRef};
use ipnet::IpNet;
use std::sync::{Arc, Mutex, MutexGuard};
use sys::sync::lock;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// The node's network. Calls for different pods run at the same time; the caller sees to it that those for
/// one pod do not.
pub struct Network {
    settings: Arc<ArcSwap<NetworkSettings>>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) caller: Caller,
    pub(crate) journal: Journal,
    pub(crate) left: Left,
    pub(crate) kept: Kept,
    pub(crate) slots: Slots,
    pub(crate) refresh: Arc<Notify>,
    state: Mutex<State>,
    watchers: Mutex<Vec<AbortHandle>>,
}

pub(crate) struct State {
    pub(crate) dir: ConfDir,
    pub(crate) subnets: SubnetStore,
    pub(crate) configured: Configured,
    pub(crate) pod_cidrs: Vec<IpNet>,
    pub(crate) current: Current,
    /// Why the log says that there is no configuration.
    pub(crate) told_absence: Option<String>,
}

impl Network {
    /// Looks at the configuration, and goes on watching it until the last reference is dropped. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// When the state or data directory cannot be made or read, or the metrics are registered already.
    /// A missing or broken configuration is no error: [`Self::status`] reports it.
    pub fn open(settings: NetworkSettings, registry: &prometheus::Registry) -> Result<Arc<Self>> {
        Self::open_on(settings, registry, Arc::new(LocalHost::default()))
    }

    pub(crate) fn open_on(
        settings: NetworkSettings,
        registry: &prometheus::Registry,
        host: Arc<dyn Host>,
    ) -> Result<Arc<Self>> {
        let state = State {
            dir: ConfDir::new(settings.conf_dir.clone()),
            subnets: SubnetStore::open(&settings)?,
            configured: Configured::open(&settings.data_dir),
            pod_cidrs: Vec::new(),
            current: Current::default(),
            told_absence: None,
        };
        let journal = Journal::open(&settings.state_dir)?;
        let left = Left::new(settings.status_interval(), !journal.left()?.is_empty());
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let network = Arc::new(Self {
            caller: Caller::new(settings.clone(), Metrics::register(registry)?, Arc::clone(&host)),
            host,
            left,
            kept: Kept::default(),
            slots: Slots::default(),
            journal,
            state: Mutex::new(state),
            refresh: Arc::new(Notify::new()),
            watchers: Mutex::default(),
            settings,
        });
        network.reload()?;
        network.slots.keep(network.settings().warm_namespaces.into());
        let watching = tokio::spawn(watch_loop(Arc::downgrade(&network), Arc::clone(&network.refresh)));
        let filling = tokio::spawn(look_after(Arc::downgrade(&network)));
        lock(&network.watchers).extend([watching.abort_handle(), filling.abort_handle()]);
        Ok(network)
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Guard<Arc<NetworkSettings>> {
        self.settings.load()
    }

    /// Takes over other directories of configurations and plugins, and other times; the rest of the settings stay. What
    /// the directory holds is in force a moment later, as if it had been put there.
    pub fn reconfigure(&self, settings: &NetworkSettings) {
        let mut state = self.state();
        let former = self.settings.load_full();
        let next = NetworkSettings {
            conf_dir: settings.conf_dir.clone(),
            bin_dirs: settings.bin_dirs.clone(),
            plugin_timeout_seconds: settings.plugin_timeout_seconds,
            status_interval_seconds: settings.status_interval_seconds,
            warm_namespaces: settings.warm_namespaces,
            ..NetworkSettings::clone(&former)
        };
        if next == *former {
            return;
        }
        if next.conf_dir != former.conf_dir {
            state.dir = ConfDir::new(next.conf_dir.clone());
        }
        self.slots.keep(next.warm_namespaces.into());
        self.settings.store(Arc::new(next));
        self.refresh.notify_one();
    }

    /// Whether pods can get a network; answers at once from what was last found out.
    pub fn status(&self) -> NetworkStatus {
        let mut status = self.state().current.status(&self.settings().conf_dir);
        if let Some(left) = self.left.text() {
            let parts = [std::mem::take(&mut status.message), left];
            status.message = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
        }
        status
    }

    /// Takes over the node's pod CIDRs (UpdateRuntimeConfig), the primary family first: the built-in network
    /// uses them for pods to come, and plugins with the capability `ipRanges` are told them. An operator's
    /// configuration stays as it is. Whoever knows them gives them again after a restart.
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
    pub async fn attach_open(&self, pod: &PodNetwork, netns: Namespace) -> Result<Attachment> {
        self.attach_to(pod, netns.0).await
    }

    /// Whether programs will be executed to attach a pod: what they keep of it, as an address in a file, may outlive a boot.
    /// Also where no configuration is known yet.
    pub fn executes_plugins(&self) -> bool {
        self.loaded().is_none_or(|loaded| self.in_process(&loaded).contains(&false))
    }

    async fn attach_to(&self, pod: &PodNetwork, mut netns: NetnsRef) -> Result<Attachment> {
        let mut attachment = self.plan(pod)?;
        if netns.handle.is_none() && attachment.in_process.contains(&true) {
            netns = self.open_netns(netns).await?;
        }
        self.journal.write(&attachment)?;
        failpoint::reach!("net.add.recorded")?;
        match self.caller.add(&mut attachment, netns).await {
            Ok(()) => {
                if attachment.in_process.contains(&false) {
                    // Plugins of others may want to see the result when a daemon that lost it detaches.
                    self.journal.write(&attachment)?;
                }
                self.tell_shared_ports(&attachment);
                if attachment.in_process.first() == Some(&true) {
                    self.slots.attached();
                }
                Ok(attachment)
            }
            Err(error) if error.leaves_residue() => {
                // From now on it says what is left, with the result that DEL has to be given.
                if let Err(unwritten) = self.journal.write(&attachment) {
                    let (id, pod) = (&attachment.container_id, attachment.pod());
                    tracing::warn!(error = %unwritten, id, pod, "cannot record what a failed cni ADD has left");
                }
                Err(error)
            }
            Err(error) => match self.journal.remove(&attachment.container_id, &attachment.ifname) {
                Ok(()) => Err(error),
                Err(left) => Err(NetError::Residue { attach: Box::new(error), cleanup: Box::new(left) }),
            },
        }
    }

    /// Checks that a pod is attached as its ADD said (CHECK, where the configuration has it).
    ///
    /// # Errors
    /// What a plugin found broken.
    pub async fn check(&self, pod: &PodNetwork, attachment: &Attachment) -> Result<()> {
        self.caller.check(attachment, NetnsRef::new(&pod.netns)).await
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
    pub(crate) fn plan(&self, pod: &PodNetwork) -> Result<Attachment> {
        if self.loaded().is_none() {
            // It may have been written a moment ago.
            self.reload()?;
        }
        let (loaded, pod_cidrs) = {
            let state = self.state();
            let Some(loaded) = state.current.loaded.clone() else {
                return Err(NetError::NotReady { reason: state.current.absence(&self.settings().conf_dir) });
            };
            (loaded, state.pod_cidrs.clone())
        };
        Ok(Attachment {
            container_id: pod.sandbox_id.clone(),
            ifname: IFNAME.to_owned(),
            netns: pod.netns.clone(),
            args: pod.args()?,
            capability_args: capabilities::arguments(pod, &pod_cidrs)?,
            config: Arc::clone(&loaded.list),
            in_process: self.in_process(&loaded),
            result: None,
            ips: Vec::new(),
            dns: Dns::default(),
        })
    }

    /// Which of a configuration's plugins run here.
    fn in_process(&self, loaded: &Loaded) -> Vec<bool> {
        let mode = |plugin| self.caller.mode(plugin, loaded.builtin);
        loaded.list.plugins.iter().map(|plugin| mode(plugin) == Mode::InProcess).collect()
    }

    /// Opens the namespace once for all plugins; it takes a thread, since a socket is made inside.
    async fn open_netns(&self, netns: NetnsRef) -> Result<NetnsRef> {
        let (path, host) = (netns.path.clone(), Arc::clone(&self.host));
        match tokio::task::spawn_blocking(move || host.open(netns)).await {
            Ok(opened) => Ok(opened?),
            Err(error) => Err(NetError::state("open", path)(std::io::Error::other(error))),
        }
    }

    pub(crate) fn loaded(&self) -> Option<Arc<Loaded>> {
        self.state().current.loaded.clone()
    }

    #[cfg(test)]
    pub(crate) fn loaded_name(&self) -> String {
        self.loaded().map(|loaded| loaded.list.name.clone()).unwrap_or_default()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        lock(&self.watchers).iter().for_each(AbortHandle::abort);
    }
}
