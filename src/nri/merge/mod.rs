//! What several plugins ask for, brought together: each sees the request as those before it have changed it, and no
//! two of them set the same field.

mod adjust;
mod entries;
mod error;
mod owners;
mod removal;
mod resources;
#[cfg(test)]
mod tests;
mod updates;

pub(crate) use adjust::tidy;
pub use error::MergeError;
pub use removal::{mark, marked};
pub(crate) use updates::changes_limits;
pub use updates::{Eviction, Updates};

use crate::api::{
    Container, ContainerAdjustment, CreateContainerRequest, CreateContainerResponse, LinuxResources,
    OwningPlugins, StopContainerResponse, UpdateContainerRequest, UpdateContainerResponse,
};
use crate::ttrpc;
use owners::Claims;
use prost::Message as _;
use updates::Subject;

/// The creation of a container.
#[derive(Debug, Clone, Default)]
pub struct Creation {
    request: CreateContainerRequest,
    arguments: Vec<String>,
    adjustment: ContainerAdjustment,
    updates: Updates,
    owners: OwningPlugins,
}

/// What plugins make of a creation.
#[derive(Debug, Clone, Default)]
pub struct Created {
    /// What changes of the container itself.
    pub adjustment: ContainerAdjustment,
    /// What changes of others.
    pub updates: Updates,
    /// Who asked for it.
    pub owners: OwningPlugins,
}

impl Created {
    /// Whether no plugin changes anything.
    pub(crate) fn is_nothing(&self) -> bool {
        self.adjustment == ContainerAdjustment::default() && self.updates == Updates::default()
    }
}

impl Creation {
    /// The request as the runtime has it.
    pub fn new(request: CreateContainerRequest) -> Self {
        let arguments =
            request.container.as_ref().map(|container| container.args.clone()).unwrap_or_default();
        Self { request, arguments, ..Self::default() }
    }

    /// The request as the next plugin is to see it.
    pub fn request(&self) -> &CreateContainerRequest {
        &self.request
    }

    /// Takes in a plugin's reply; `true` where something is another for it.
    ///
    /// # Errors
    /// [`MergeError`] naming the plugins and the field; the creation is to fail then.
    pub fn take(&mut self, plugin: &str, reply: CreateContainerResponse) -> Result<bool, MergeError> {
        let length = self.request.encoded_len();
        let container: &mut Container = self.request.container.get_or_insert_default();
        let id = container.id.clone();
        let mut has_effect = !reply.evict.is_empty();
        if let Some(adjustment) = reply.adjust {
            let before = self.adjustment.clone();
            let mut claims = Claims::of(&mut self.owners, &id, plugin);
            adjust::merge(adjustment, &mut self.adjustment, container, &self.arguments, &mut claims)?;
            adjust::tidy(&mut self.adjustment);
            has_effect |= self.adjustment != before;
        }
        has_effect |= self.updates.take(plugin, reply.update, &mut self.owners, Subject::Created(&id))?;
        if reply.evict.iter().any(|evicted| evicted.container_id == id) {
            return Err(MergeError::OwnEviction { plugin: plugin.to_owned(), container: id });
        }
        self.updates.evict(plugin, reply.evict);
        let (container, bytes) = (id, self.request.encoded_len());
        if bytes > ttrpc::LIMIT - ttrpc::ENVELOPE && bytes > length {
            return Err(MergeError::Oversized { plugin: plugin.to_owned(), container, bytes });
        }
        Ok(has_effect)
    }

    /// What comes of it.
    pub fn finish(self) -> Created {
        Created { adjustment: self.adjustment, updates: self.updates, owners: self.owners }
    }
}

/// The update of a container.
#[derive(Debug, Clone, Default)]
pub struct Update {
    request: UpdateContainerRequest,
    updates: Updates,
    owners: OwningPlugins,
}

impl Update {
    /// The request as the runtime has it.
    pub fn new(request: UpdateContainerRequest) -> Self {
        Self { request, ..Self::default() }
    }

    /// The request as the next plugin is to see it.
    pub fn request(&self) -> &UpdateContainerRequest {
        &self.request
    }

    /// Takes in a plugin's reply; `true` where something is another for it.
    ///
    /// # Errors
    /// [`MergeError`] naming the plugins and the field; the update is to fail then.
    pub fn take(&mut self, plugin: &str, reply: UpdateContainerResponse) -> Result<bool, MergeError> {
        let evicts = !reply.evict.is_empty();
        let id = self.request.container.as_ref().map(|container| container.id.as_str()).unwrap_or_default();
        let limits = self.request.linux_resources.get_or_insert_default();
        let updates =
            self.updates.take(plugin, reply.update, &mut self.owners, Subject::Updated(id, limits))?;
        self.updates.evict(plugin, reply.evict);
        Ok(updates || evicts)
    }

    /// The limits that the container is to have, and what changes of others.
    pub fn finish(self) -> (LinuxResources, Updates) {
        (self.request.linux_resources.unwrap_or_default(), self.updates)
    }
}

/// The end of a container, in which plugins change others.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    updates: Updates,
    owners: OwningPlugins,
}

impl Stop {
    /// Takes in a plugin's reply; `true` where something is another for it.
    ///
    /// # Errors
    /// [`MergeError`] naming the plugins and the field.
    pub fn take(&mut self, plugin: &str, reply: StopContainerResponse) -> Result<bool, MergeError> {
        self.updates.take(plugin, reply.update, &mut self.owners, Subject::Other)
    }

    /// What changes of others.
    pub fn finish(self) -> Updates {
        self.updates
    }
}
