//! Plugins that are required: without them no container is created, and whoever reads the log learns of it.

use crate::api::PodSandbox;
use crate::runtime::{Core, Nri};
use crate::settings::Settings;
use crate::validator;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Those that the log has told to be missing; `None` while nothing is to be told: plugins may still register, or the runtime
/// ends.
#[derive(Default)]
pub(crate) struct Required(Mutex<Option<BTreeSet<String>>>);

impl Required {
    fn told(&self) -> MutexGuard<'_, Option<BTreeSet<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn say_no_more(&self) {
        *self.told() = None;
    }
}

impl Nri {
    /// Plugins that no container is created without and that are not there; `None` where none is required.
    pub fn missing(&self) -> Option<Vec<String>> {
        self.0.missing()
    }

    /// Why no container of a pod is created, where that is for want of plugins.
    pub fn lack_of(&self, pod: PodSandbox) -> Option<String> {
        let current = self.0.roster.current();
        validator::lack(&current.settings.validator, pod, self.0.there())
    }
}

impl Core {
    fn missing(&self) -> Option<Vec<String>> {
        let current = self.roster.current();
        let judge = &current.settings.validator;
        if !judge.enable || judge.required_plugins.is_empty() {
            return None;
        }
        let there = self.there();
        let there: Vec<_> = there.iter().map(|(index, base)| (index.as_str(), base.as_str())).collect();
        Some(validator::missing(&judge.required_plugins, &there))
    }

    /// Index and name of each plugin that is connected.
    fn there(&self) -> Vec<(String, String)> {
        let current = self.roster.current();
        let there = current.plugins.iter().filter(|plugin| plugin.status().connected);
        there.map(|plugin| (plugin.identity.index.clone(), plugin.identity.base.clone())).collect()
    }

    /// Tells of those that are missing once all have had the time to register.
    pub(crate) fn watch_required(self: &Arc<Self>) {
        if self.missing().is_none() {
            return self.required.say_no_more();
        }
        let (core, limit) = (Arc::clone(self), self.roster.current().settings.registration_timeout);
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(limit) => {}
                () = core.stop.cancelled() => return,
            }
            core.required.told().get_or_insert_default();
            core.tell_required();
        });
    }

    /// Tells of those that are missing since it was last asked, and of those that are back.
    pub(crate) fn tell_required(&self) {
        let mut told = self.required.told();
        let Some(told) = &mut *told else { return };
        let missing = self.missing().unwrap_or_default();
        told.retain(|plugin| {
            let is_back = !missing.contains(plugin);
            if is_back && missing.is_empty() {
                tracing::info!(plugin, "a required plugin is connected, containers are created");
            } else if is_back {
                let missing = missing.join(", ");
                tracing::info!(plugin, missing, "a required plugin is connected, others are not");
            }
            !is_back
        });
        let settings = Arc::clone(&self.roster.current().settings);
        for plugin in missing {
            if told.contains(&plugin) {
                continue;
            }
            let annotation = settings.validator.tolerate_missing_plugins_annotation.as_str();
            let unless_annotated = Some(annotation).filter(|annotation| !annotation.is_empty());
            tracing::warn!(
                plugin,
                why = self.why_missing(&plugin, &settings),
                unless_annotated,
                "a required plugin is not connected: no container is created until it is"
            );
            told.insert(plugin);
        }
    }

    /// Why a plugin that is called so is not there.
    fn why_missing(&self, name: &str, settings: &Settings) -> String {
        let plugins = self.plugins();
        let mut own = plugins.iter().filter(|plugin| validator::is_called(name, &plugin.name));
        if let Some(absence) = own.find_map(|plugin| plugin.absence.as_ref()) {
            return absence.why.clone();
        }
        let (directory, socket) = (settings.plugins.display(), settings.socket.display());
        match settings.external {
            true => format!("it is not in {directory}, and has not connected to {socket}"),
            false => format!("it is not in {directory}, and others cannot connect (nri.disable_connections)"),
        }
    }
}
