//! The runtime's side: who is connected.

use crate::api::Event;
use crate::error::NriResult;
use crate::node::Node;
use crate::section::Section;
use crate::settings::Settings;
use crate::status::PluginStatus;
use std::sync::Arc;

/// All plugins of a node; copies share them.
#[derive(Clone, Default)]
pub struct Nri;

impl Nri {
    /// Without plugins, until it is [started](Self::start).
    pub fn new() -> Self {
        Self
    }

    /// Lets plugins connect, and starts those that are installed in the background. To be called in a tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be opened, or is another's.
    pub fn start(&self, settings: Settings, node: Arc<dyn Node>) -> NriResult<()> {
        let _ = (settings, node);
        Ok(())
    }

    /// Opens the section in which a verb changes something, right before plugins are asked about it: they are those
    /// that are connected now. `event` is the one that they are asked about, and not one of the `Post…` kind.
    pub fn section(&self, event: Event) -> Section {
        Section::new(event)
    }

    /// Takes new settings: all but the socket, the directories and whether there are plugins at all.
    pub fn apply(&self, settings: &Settings) {
        let _ = settings;
    }

    /// The plugins, in the order in which they are asked.
    pub fn plugins(&self) -> Vec<PluginStatus> {
        Vec::new()
    }

    /// Tells plugins that the runtime goes, and ends those that it started.
    pub async fn shutdown(&self) {}
}
