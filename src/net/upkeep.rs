//! Following what is in force: the directory of configurations, whether plugins can serve, what is left to do.

use crate::conf::Loaded;
use crate::metrics::Mode;
use crate::network::Network;
use crate::obstacle::Exception;
use crate::status::Current;
use crate::{Result, builtin, watch};
use cni::types::Version;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use tokio::sync::Notify;

/// What is said of plugins before their first answer.
const NOT_ASKED: &str = "NetworkNotReady: the CNI plugins have not answered STATUS yet";

impl Network {
    /// Looks at the directory again.
    pub(crate) fn reload(&self) -> Result<()> {
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
        if let Some(loaded) = &next.loaded {
            state.configured.note(&loaded.path);
        } else if self.settings().builtin_network && next.broken.is_empty() && next.unreadable.is_none() {
            next.was_configured = state.configured.last();
        }
        let is_untouched =
            next.broken.is_empty() && next.unreadable.is_none() && next.was_configured.is_none();
        if next.loaded.is_none() && is_untouched && self.settings().builtin_network {
            let subnets = state.subnets.select(&self.settings(), &state.pod_cidrs)?;
            let list = Arc::new(builtin::configuration(&self.settings(), &subnets)?);
            next.loaded = Some(Arc::new(Loaded { list, builtin: true, path: PathBuf::new() }));
        }
        next.loaded = match (next.loaded, &state.current.loaded) {
            (Some(new), Some(old)) if new.list == old.list && new.builtin == old.builtin => {
                Some(Arc::clone(old))
            }
            (Some(new), _) => {
                next.plugins = self.unknown_yet(&new);
                log_change(&new, next.plugins.as_deref());
                self.left.hurry(self.settings().status_interval());
                Some(new)
            }
            (None, _) => {
                next.plugins = None;
                None
            }
        };
        next.exceptions =
            next.loaded.as_ref().map(|loaded| self.caller.exceptions(loaded)).unwrap_or_default();
        let is_new = |exception: &&Exception| !state.current.exceptions.contains(exception);
        next.exceptions.iter().filter(is_new).for_each(log_exception);
        let absence = next.loaded.is_none().then(|| next.absence(&self.settings().conf_dir));
        if let Some(why) = absence.as_ref().filter(|why| state.told_absence.as_ref() != Some(why)) {
            tracing::warn!(why, "no network configuration is in force, pods have to wait");
        }
        state.told_absence = absence;
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
        self.caller.obstacle(loaded).or_else(|| {
            let asks = loaded.list.cni_version >= Version::V1_1_0 && loaded.list.plugins.iter().any(executes);
            asks.then(|| NOT_ASKED.to_owned())
        })
    }

    /// Finds out whether the plugins can serve.
    pub(crate) async fn probe(&self) {
        let Some(loaded) = self.loaded() else { return };
        let problem = match self.caller.obstacle(&loaded) {
            Some(obstacle) => Some(obstacle),
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

fn log_exception(exception: &Exception) {
    let why = &exception.text;
    if exception.is_suspect {
        tracing::warn!(why, "a CNI plugin does not run in the daemon");
    } else {
        tracing::info!(why, "a CNI plugin does not run in the daemon");
    }
}

fn log_change(loaded: &Loaded, problem: Option<&str>) {
    let (network, version) = (&loaded.list.name, loaded.list.cni_version);
    let file = loaded.path.display();
    match problem.filter(|problem| *problem != NOT_ASKED) {
        Some(problem) => {
            tracing::warn!(network, %version, %file, problem, "network configuration in force, which cannot serve");
        }
        None => {
            tracing::info!(network, %version, %file, builtin = loaded.builtin, "network configuration in force");
        }
    }
}

/// Follows changes of the directory and asks the plugins for their status, until the network is dropped.
pub(crate) async fn watch_loop(network: Weak<Network>, refresh: Arc<Notify>) {
    loop {
        let Some(strong) = network.upgrade() else { return };
        let (dir, interval) = (strong.settings().conf_dir.clone(), strong.settings().status_interval());
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
            strong.retry_left().await;
            strong.heal().await;
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
