//! The engine, as plugins see it.

use super::view;
use crate::Containers;
use crate::error::chain;
use nri::api::{Container, ContainerEviction, ContainerUpdate, PodSandbox};
use nri::merge::Eviction;
use nri::{Node, Reply};
use std::sync::{Arc, Weak};

/// Updates of one request that are told each where they fail.
const TOLD: usize = 8;

/// The node of an engine; it does not keep that.
pub(crate) struct EngineNode(pub(crate) Weak<Containers>);

impl EngineNode {
    async fn all(&self) -> (Vec<PodSandbox>, Vec<Container>) {
        let Some(containers) = self.0.upgrade() else { return Default::default() };
        let core = containers.core().clone();
        let look = move || {
            let all = (core.pods_for_plugins(), view::all(&core.registry.containers()));
            failpoint::pass!("engine.plugins.all_gathered");
            Ok(all)
        };
        crate::blocking("looking for plugins", look).await.unwrap_or_else(|error| {
            tracing::error!(error = chain(&error), "a plugin is told of nothing");
            Default::default()
        })
    }

    async fn change(&self, plugin: &str, updates: Vec<ContainerUpdate>) -> Vec<ContainerUpdate> {
        let Some(containers) = self.0.upgrade() else { return updates };
        let mut failed = Vec::new();
        for update in updates {
            if let Err(error) = containers.update_for_plugin(&update).await {
                if failed.len() < TOLD {
                    tracing::debug!(
                        plugin,
                        container_id = update.container_id,
                        error = chain(&error),
                        "its update fails"
                    );
                }
                failed.push(update);
            }
        }
        if failed.len() > TOLD {
            tracing::debug!(plugin, updates = failed.len(), "so many of its updates fail");
        }
        failed
    }
}

impl Node for EngineNode {
    fn snapshot(&self) -> Reply<'_, (Vec<PodSandbox>, Vec<Container>)> {
        Box::pin(self.all())
    }

    fn update<'a>(
        &'a self,
        plugin: &'a str,
        updates: Vec<ContainerUpdate>,
    ) -> Reply<'a, Vec<ContainerUpdate>> {
        Box::pin(self.change(plugin, updates))
    }

    fn evict<'a>(&'a self, plugin: &'a str, evictions: Vec<ContainerEviction>) -> Reply<'a, ()> {
        Box::pin(async move {
            if let Some(containers) = self.0.upgrade() {
                let asked = evictions.into_iter().map(|one| Eviction::of(plugin, one)).collect();
                Arc::clone(&containers).evict(asked, "UpdateContainers");
            }
        })
    }
}
