//! The runtime's side: who is connected.

use crate::api::{ContainerEviction, ContainerUpdate, Event};
use crate::counters::AllCounters;
use crate::error::NriResult;
use crate::installed;
use crate::listen::{self, Listening};
use crate::node::Node;
use crate::quiet::Quiet;
use crate::required::Required;
use crate::roster::Roster;
use crate::section::Section;
use crate::settings::Settings;
use crate::status::{ListenStatus, Origin, PluginStatus};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For so long are plugins waited for that are told of the end.
const FAREWELL: Duration = Duration::from_millis(500);
/// For so long are those that were started here, until they have ended.
const ENDING: Duration = Duration::from_secs(3);

/// All plugins of a node; copies share them.
#[derive(Clone, Default)]
pub struct Nri(pub(crate) Arc<Core>);

#[derive(Default)]
pub(crate) struct Core {
    pub(crate) roster: Roster,
    pub(crate) counters: AllCounters,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) complaints: Mutex<Quiet>,
    /// The plugins that are started here.
    pub(crate) installed: Mutex<installed::Kept>,
    /// What lies beside them and is not started.
    pub(crate) unfit: Mutex<Vec<PluginStatus>>,
    pub(crate) required: Required,
    listening: Mutex<Option<Listening>>,
    /// One joins at a time, as each is told of everything.
    pub(crate) joining: tokio::sync::Mutex<()>,
    node: Mutex<Option<Arc<dyn Node>>>,
    /// Plugins that are started for the first time.
    unsettled: watch::Sender<Vec<String>>,
}

/// A plugin that is started for the first time; it is there, or cannot be, once this is dropped.
pub(crate) struct Starting {
    core: Arc<Core>,
    plugin: String,
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.core.unsettled.send_modify(|unsettled| {
            if let Some(at) = unsettled.iter().position(|plugin| *plugin == self.plugin) {
                unsettled.swap_remove(at);
            }
        });
    }
}

impl Nri {
    /// Without plugins, until it is [started](Self::start).
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets plugins connect, and starts those that are installed in the background. A socket that cannot be opened, or is
    /// another's, is tried again; [`listening`](Self::listening) tells. To be called in a tokio runtime.
    pub fn start(&self, settings: Settings, node: Arc<dyn Node>) {
        let core = &self.0;
        *core.node.lock().unwrap_or_else(PoisonError::into_inner) = Some(node);
        let settings = settings.in_force();
        let listening = socket(&settings).map(|socket| listen::insist(core, &socket));
        *core.listening.lock().unwrap_or_else(PoisonError::into_inner) = listening;
        self.take(settings);
    }

    /// How the socket is that plugins connect to, where they may.
    pub fn listening(&self) -> Option<ListenStatus> {
        let listening = self.0.listening.lock().unwrap_or_else(PoisonError::into_inner);
        listening.as_ref().map(Listening::status)
    }

    /// Opens the section in which a verb changes something, right before plugins are asked about it: they are those
    /// that are connected now. `event` is the one that they are asked about, and not one of the `Post…` kind.
    pub fn section(&self, event: Event) -> Section {
        Section::new(&self.0, event)
    }

    /// Takes new settings, for what begins from now on: plugins that they do not let in go, those that are installed are
    /// started and ended as the directories say, and the socket is where they have it. To be called in a tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be opened, or is another's. Then nothing has changed.
    pub fn apply(&self, settings: Settings) -> NriResult<()> {
        let core = &self.0;
        let settings = settings.in_force();
        let wanted = socket(&settings);
        let mut listening = core.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if listening.as_ref().map(Listening::path) != wanted.as_deref() {
            // The new one first: it may fail. The old one closes with this.
            *listening = wanted.map(|socket| listen::open(core, &socket)).transpose()?;
        }
        drop(listening);
        self.take(settings);
        Ok(())
    }

    /// Looks again for plugins that are installed: those that have come are started, and those end that are gone, have
    /// another configuration or have been replaced. To be called in a tokio runtime.
    pub fn look_again(&self) {
        installed::reconcile(&self.0);
    }

    fn take(&self, settings: Settings) {
        let core = &self.0;
        core.roster.set(settings);
        for plugin in &core.roster.current().plugins {
            if !core.lets_in(plugin.identity.origin) {
                plugin.end("the settings let it in no more");
            }
        }
        installed::reconcile(core);
        core.watch_required();
    }

    /// The plugins, in the order in which they are asked; those that are not there, and were, or are to be, come last.
    pub fn plugins(&self) -> Vec<PluginStatus> {
        self.0.plugins()
    }

    /// Plugins that have been started for the first time, and that the first pods wait for.
    pub fn awaited(&self) -> Vec<String> {
        self.0.unsettled.borrow().clone()
    }

    /// Plugins that a change which is still at work has to be told to.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.0.roster.remembered()
    }

    /// Tells plugins that the runtime goes, and ends those that it started.
    pub async fn shutdown(&self) {
        self.0.required.say_no_more();
        let mut told = JoinSet::new();
        for plugin in &self.0.roster.current().plugins {
            let plugin = Arc::clone(plugin);
            told.spawn(async move {
                // Whether it heard it is its own business.
                let _ = plugin.call("Shutdown", Vec::new(), FAREWELL).await;
                plugin.end("the runtime goes away");
            });
        }
        told.join_all().await;
        self.0.stop.cancel();
        self.0.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.0.tasks.close();
        if tokio::time::timeout(ENDING, self.0.tasks.wait()).await.is_err() {
            tracing::warn!("plugins are left behind that do not end");
        }
        self.0.node.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Where plugins may connect.
fn socket(settings: &Settings) -> Option<PathBuf> {
    (settings.enable && settings.external).then(|| settings.socket.clone())
}

impl Core {
    /// Whether the settings let such a plugin in.
    pub(crate) fn lets_in(&self, origin: Origin) -> bool {
        let settings = &self.roster.current().settings;
        settings.enable && (settings.external || origin == Origin::Installed)
    }

    pub(crate) fn node(&self) -> Option<Arc<dyn Node>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn plugins(&self) -> Vec<PluginStatus> {
        let mut all: Vec<_> = self.roster.current().plugins.iter().map(|plugin| plugin.status()).collect();
        let unfit = self.unfit.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for absent in self.counters.absent().into_iter().chain(unfit) {
            if all.iter().all(|there| there.name != absent.name) {
                all.push(absent);
            }
        }
        all
    }

    /// A plugin is started for the first time.
    pub(crate) fn starting(self: &Arc<Self>, plugin: String) -> Starting {
        self.unsettled.send_modify(|unsettled| unsettled.push(plugin.clone()));
        Starting { core: Arc::clone(self), plugin }
    }

    /// Whether the plugins that come with the runtime are there, or cannot be.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled.borrow().is_empty()
    }

    pub(crate) async fn settled(&self) {
        // It lives as long as this.
        let _ = self.unsettled.subscribe().wait_for(Vec::is_empty).await;
    }

    /// Changes what a plugin wants changed of other containers; what could not be comes back.
    pub(crate) async fn change(
        &self,
        plugin: &str,
        updates: Vec<ContainerUpdate>,
        evictions: Vec<ContainerEviction>,
    ) -> Vec<ContainerUpdate> {
        let Some(node) = self.node() else { return updates };
        let mut failed = Vec::new();
        if !updates.is_empty() {
            failed = node.update(plugin, updates).await;
        }
        if !evictions.is_empty() {
            node.evict(plugin, evictions).await;
        }
        failed
    }
}
