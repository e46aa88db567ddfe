//! What plugins need of the engine.

use crate::api::{Container, ContainerEviction, ContainerUpdate, PodSandbox};
use std::pin::Pin;

/// What a call of the engine comes to.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The engine, as plugins see it.
pub trait Node: Send + Sync {
    /// Everything that is there: what a verb has published before this is called is in it.
    fn snapshot(&self) -> Reply<'_, (Vec<PodSandbox>, Vec<Container>)>;

    /// Changes limits of containers, and returns what could not be changed. `plugin` is for the log.
    ///
    /// A plugin may ask for this while it is itself asked about the same container, and nobody must wait for the other
    /// then without end.
    fn update<'a>(
        &'a self,
        plugin: &'a str,
        updates: Vec<ContainerUpdate>,
    ) -> Reply<'a, Vec<ContainerUpdate>>;

    /// Stops containers, with their grace, and returns before they are gone.
    fn evict<'a>(&'a self, plugin: &'a str, evictions: Vec<ContainerEviction>) -> Reply<'a, ()>;
}
