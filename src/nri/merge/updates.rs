//! Updates of containers that plugins ask for on the side, or of the one that is being updated.

use super::error::MergeError;
use super::owners::Claims;
use super::resources;
use crate::api::{ContainerEviction, ContainerUpdate, LinuxContainerUpdate, LinuxResources, OwningPlugins};
use std::collections::BTreeMap;

/// What plugins ask of containers other than the one at hand.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Updates {
    /// By container, in the order in which they were first asked for.
    pub updates: Vec<ContainerUpdate>,
    /// Containers that are to be stopped.
    pub evictions: Vec<Eviction>,
    /// Who asked for the updates, by container.
    askers: BTreeMap<String, Vec<String>>,
}

/// A container that a plugin wants stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// Which plugin.
    pub plugin: String,
    /// Which container.
    pub container_id: String,
    /// Why, in the plugin's words.
    pub reason: String,
}

impl Eviction {
    /// What one plugin asks for.
    pub fn of(plugin: &str, asked: ContainerEviction) -> Self {
        let ContainerEviction { container_id, reason } = asked;
        Self { plugin: plugin.to_owned(), container_id, reason }
    }
}

/// The container at hand.
pub(super) enum Subject<'a> {
    /// Being created: no update of it can be asked for.
    Created(&'a str),
    /// Being updated to these limits.
    Updated(&'a str, &'a mut LinuxResources),
    /// None that limits matter to.
    Other,
}

impl Updates {
    /// The plugins that asked for the update of a container.
    pub fn asked_by(&self, container: &str) -> &[String] {
        self.askers.get(container).map(Vec::as_slice).unwrap_or_default()
    }

    /// Takes in what one plugin asks for; `true` where limits are others for it.
    pub(super) fn take(
        &mut self,
        plugin: &str,
        asked: Vec<ContainerUpdate>,
        owners: &mut OwningPlugins,
        mut subject: Subject<'_>,
    ) -> Result<bool, MergeError> {
        let mut has_effect = false;
        for update in asked {
            let id = &update.container_id;
            match &mut subject {
                Subject::Created(created) if created == id => {
                    return Err(MergeError::OwnUpdate { plugin: plugin.to_owned(), container: id.clone() });
                }
                Subject::Updated(updated, limits) if updated == id => {
                    let before = limits.clone();
                    merged(plugin, &update, owners, limits)?;
                    has_effect |= **limits != before;
                    self.note(plugin, id);
                }
                _ => {
                    let before = self.limits(id);
                    let mut limits = before.clone();
                    if merged(plugin, &update, owners, &mut limits)? {
                        has_effect |= limits != before;
                        self.note(plugin, id);
                        self.put(update, limits);
                    }
                }
            }
        }
        Ok(has_effect)
    }

    fn note(&mut self, plugin: &str, container: &str) {
        let askers = self.askers.entry(container.to_owned()).or_default();
        if askers.iter().all(|known| known != plugin) {
            askers.push(plugin.to_owned());
        }
    }

    pub(super) fn evict(&mut self, plugin: &str, asked: Vec<ContainerEviction>) {
        self.evictions.extend(asked.into_iter().map(|one| Eviction::of(plugin, one)));
    }

    /// What has been asked for so far.
    fn limits(&self, id: &str) -> LinuxResources {
        let known = self.updates.iter().find(|update| update.container_id == id);
        known.and_then(|update| update.linux.as_ref()?.resources.clone()).unwrap_or_default()
    }

    fn put(&mut self, mut update: ContainerUpdate, limits: LinuxResources) {
        update.linux = Some(LinuxContainerUpdate { resources: Some(limits) });
        match self.updates.iter_mut().find(|known| known.container_id == update.container_id) {
            // It is harmless only as long as everybody who asks for it says so.
            Some(known) => {
                *known = ContainerUpdate {
                    ignore_failure: known.ignore_failure && update.ignore_failure,
                    ..update
                }
            }
            None => self.updates.push(update),
        }
    }
}

/// Whether an update asks for anything.
pub(crate) fn changes_limits(update: &ContainerUpdate) -> bool {
    let mut limits = update.linux.as_ref().and_then(|linux| linux.resources.clone());
    resources::tidy(&mut limits);
    limits.is_some()
}

/// Puts an update to the limits, all of it or nothing. `false`: it conflicts with another and does not mind.
fn merged(
    plugin: &str,
    update: &ContainerUpdate,
    owners: &mut OwningPlugins,
    limits: &mut LinuxResources,
) -> Result<bool, MergeError> {
    let Some(asked) = update.linux.as_ref().and_then(|linux| linux.resources.as_ref()) else {
        return Ok(true);
    };
    let known = owners.owners.get(&update.container_id).cloned();
    let mut next = limits.clone();
    let mut claims = Claims::of(owners, &update.container_id, plugin);
    match resources::merge(asked, &mut [&mut next], &mut claims) {
        Ok(()) => {
            *limits = next;
            Ok(true)
        }
        Err(_) if update.ignore_failure => {
            match known {
                Some(known) => owners.owners.insert(update.container_id.clone(), known),
                None => owners.owners.remove(&update.container_id),
            };
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
