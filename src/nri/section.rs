//! What lies between asking plugins about a change and its being seen from outside.

mod containers;
mod late;
mod pods;
mod verdict;

use crate::api::Event;
use crate::error::NriResult;
use crate::plugin::{Plugin, Subject};
use crate::roster::Generation;
use crate::runtime::Core;
use std::sync::Arc;
pub use verdict::Verdict;

/// One change of one pod or container.
///
/// ```text
/// let mut section = nri.section(Event::CreateContainer);
/// if !section.is_idle() { (adjusted, verdict) = section.create_container(pod(), container()).await?; }
/// … what is made for it so far can be taken back …
/// verdict.wait().await?;
/// … the container is made, and then listed …
/// section.commit(|| (pod(), Some(container()))).await;
/// if !section.is_idle() { section.post(Event::PostCreateContainer, pod(), container()).await?; }
/// ```
///
/// A section that is dropped without [`commit`](Self::commit) has changed nothing.
#[must_use = "plugins that join meanwhile miss what is not committed"]
pub struct Section {
    core: Arc<Core>,
    event: Event,
    generation: Arc<Generation>,
    /// Those that joined since, and have been told.
    late: Vec<Arc<Plugin>>,
}

impl Section {
    pub(crate) fn new(core: &Arc<Core>, event: Event) -> Self {
        Self { core: Arc::clone(core), event, generation: core.roster.current(), late: Vec::new() }
    }

    /// Whether nobody is to be asked: no message needs to be made then.
    pub fn is_idle(&self) -> bool {
        let judges = self.event == Event::CreateContainer && self.generation.settings.validator.enable;
        self.generation.plugins.is_empty() && self.late.is_empty() && !judges && self.core.is_settled()
    }

    /// Whether anybody has subscribed to an event.
    pub fn wants(&self, event: Event) -> bool {
        self.everybody().any(|plugin| plugin.wants(event)) || !self.core.is_settled()
    }

    fn everybody(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.generation.plugins.iter().chain(&self.late)
    }

    /// Waits until the plugins that come with the runtime are there.
    async fn settle(&mut self) {
        if !self.core.is_settled() {
            self.core.settled().await;
            self.generation = self.core.roster.current();
        }
    }

    /// Tells everybody of an event that nobody can change anything of.
    async fn tell(&mut self, event: Event, subject: Subject<'_>, payload: &[u8]) -> NriResult<()> {
        self.settle().await;
        let limit = self.generation.settings.request_timeout;
        for plugin in self.everybody() {
            if plugin.wants(event) && plugin.is_ready().await {
                Box::pin(plugin.tell((event, subject), payload.to_vec(), limit)).await?;
            }
        }
        Ok(())
    }
}
