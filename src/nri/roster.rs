//! Which plugins there are, in generations: whatever is asked of plugins is asked of those of one generation, and a
//! plugin that joins later is noted in every generation that is still at work. So nobody waits for anybody else's
//! change to be finished, and nobody misses one.

use crate::api::{Container, ContainerState, PodSandbox};
use crate::plugin::Plugin;
use crate::settings::Settings;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// The plugins of a time.
#[derive(Default)]
pub(crate) struct Generation {
    /// In the order in which they are asked.
    pub(crate) plugins: Vec<Arc<Plugin>>,
    pub(crate) settings: Arc<Settings>,
    /// Those that came later, and are still there.
    joined: Mutex<Vec<Arc<Joined>>>,
}

/// A plugin that came later than a generation.
pub(crate) struct Joined {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) known: OnceLock<Known>,
}

/// What a plugin was told of when it joined.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) pods: BTreeSet<String>,
    pub(crate) containers: BTreeMap<String, ContainerState>,
}

impl Known {
    pub(crate) fn of(pods: &[PodSandbox], containers: &[Container]) -> Self {
        Self {
            pods: pods.iter().map(|pod| pod.id.clone()).collect(),
            containers: containers.iter().map(|one| (one.id.clone(), one.state())).collect(),
        }
    }
}

impl Generation {
    pub(crate) fn joined(&self) -> MutexGuard<'_, Vec<Arc<Joined>>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The generation that is, and those before it that are still at work.
#[derive(Default)]
pub(crate) struct Roster(Mutex<State>);

#[derive(Default)]
struct State {
    current: Arc<Generation>,
    older: Vec<Weak<Generation>>,
}

impl State {
    fn replace(&mut self, plugins: Vec<Arc<Plugin>>, settings: Arc<Settings>) {
        let next = Arc::new(Generation { plugins, settings, joined: Mutex::default() });
        let old = std::mem::replace(&mut self.current, next);
        self.older.push(Arc::downgrade(&old));
        drop(old);
        self.older.retain(|generation| generation.strong_count() > 0);
    }

    fn older(&self) -> impl Iterator<Item = Arc<Generation>> {
        self.older.iter().filter_map(Weak::upgrade)
    }
}

impl Roster {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plugins of now.
    pub(crate) fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.state().current)
    }

    /// Takes a plugin in: from now on it is asked, once it is ready.
    pub(crate) fn join(&self, plugin: &Arc<Plugin>) -> Arc<Joined> {
        let joined = Arc::new(Joined { plugin: Arc::clone(plugin), known: OnceLock::new() });
        let mut state = self.state();
        for generation in state.older().chain([Arc::clone(&state.current)]) {
            generation.joined().push(Arc::clone(&joined));
        }
        let mut plugins = state.current.plugins.clone();
        let at = plugins.partition_point(|known| known.identity.index <= plugin.identity.index);
        plugins.insert(at, Arc::clone(plugin));
        let settings = Arc::clone(&state.current.settings);
        state.replace(plugins, settings);
        joined
    }

    /// Lets a plugin go.
    pub(crate) fn leave(&self, plugin: &Arc<Plugin>) {
        let mut state = self.state();
        for generation in state.older() {
            generation.joined().retain(|joined| !Arc::ptr_eq(&joined.plugin, plugin));
        }
        let plugins = state.current.plugins.iter().filter(|known| !Arc::ptr_eq(known, plugin));
        let (plugins, settings) = (plugins.cloned().collect(), Arc::clone(&state.current.settings));
        state.replace(plugins, settings);
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.state().older().map(|generation| generation.joined().len()).sum()
    }

    /// Takes new settings.
    pub(crate) fn set(&self, settings: Settings) {
        let mut state = self.state();
        let plugins = state.current.plugins.clone();
        state.replace(plugins, Arc::new(settings));
    }
}
