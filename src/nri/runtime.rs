//! The runtime's side: who is connected.

use crate::api::{ContainerEviction, ContainerUpdate, Event};
use crate::counters::AllCounters;
use crate::error::NriResult;
use crate::installed;
use crate::listen::{self, Listening};
use crate::node::Node;
use crate::quiet::Quiet;
use crate::roster::Roster;
use crate::section::Section;
use crate::settings::Settings;
use crate::status::{ListenStatus, Origin, PluginStatus};
use crate::validator;
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
pub struct Nri(Arc<Core>);

#[derive(Default)]
pub(crate) struct Core {
    pub(crate) roster: Roster,
    pub(crate) counters: AllCounters,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) complaints: Mutex<Quiet>,
    /// The plugins that are started here.
    pub(crate) installed: Mutex<installed::Kept>,
    listening: Mutex<Option<Listening>>,
    /// One joins at a time, as each is told of everything.
    pub(crate) joining: tokio::sync::Mutex<()>,
    node: Mutex<Option<Arc<dyn Node>>>,
    /// Plugins that are started for the first time.
    unsettled: watch::Sender<usize>,
}

/// A plugin that is started for the first time; it is there, or cannot be, once this is dropped.
pub(crate) struct Starting(Arc<Core>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.unsettled.send_modify(|unsettled| *unsettled -= 1);
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

    /// Plugins that no container is created without and that are not there; `None` where none is required.
    pub fn missing(&self) -> Option<Vec<String>> {
        let current = self.0.roster.current();
        let judge = &current.settings.validator;
        if !judge.enable || judge.required_plugins.is_empty() {
            return None;
        }
        let there = current.plugins.iter().filter(|plugin| plugin.status().connected);
        let there: Vec<_> = there.map(|plugin| (&*plugin.identity.index, &*plugin.identity.base)).collect();
        Some(validator::missing(&judge.required_plugins, &there))
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

    /// Looks again for plugins that are installed: those that have come are started, and those end that are gone or have
    /// another configuration. To be called in a tokio runtime.
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
    }

    /// The plugins, in the order in which they are asked; those that are not there, and were, or are to be, come last.
    pub fn plugins(&self) -> Vec<PluginStatus> {
        let current = self.0.roster.current();
        let mut all: Vec<_> = current.plugins.iter().map(|plugin| plugin.status()).collect();
        let absent = self.0.counters.absent().into_iter();
        let absent: Vec<_> = absent.filter(|one| all.iter().all(|there| there.name != one.name)).collect();
        all.extend(absent);
        all
    }

    /// Plugins that a change which is still at work has to be told to.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.0.roster.remembered()
    }

    /// Tells plugins that the runtime goes, and ends those that it started.
    pub async fn shutdown(&self) {
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

    /// A plugin is started for the first time.
    pub(crate) fn starting(self: &Arc<Self>) -> Starting {
        self.unsettled.send_modify(|unsettled| *unsettled += 1);
        Starting(Arc::clone(self))
    }

    /// Whether the plugins that come with the runtime are there, or cannot be.
    pub(crate) fn is_settled(&self) -> bool {
        *self.unsettled.borrow() == 0
    }

    pub(crate) async fn settled(&self) {
        // It lives as long as this.
        let _ = self.unsettled.subscribe().wait_for(|unsettled| *unsettled == 0).await;
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
