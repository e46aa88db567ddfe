//! Whether pods can get a network, as CRI Status reports it.

use crate::conf::{Broken, Loaded};
use crate::obstacle::Exception;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The condition NetworkReady.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkStatus {
    /// Whether a pod could be attached now.
    pub ready: bool,
    /// One word for programs; empty when ready.
    pub reason: String,
    /// For people: why it is not ready, which configuration files are broken beside the one in force, and which keys
    /// of that one the built-in plugins do not know.
    pub message: String,
}

/// The reason that the kubelet knows from the other runtimes.
const NOT_READY: &str = "NetworkPluginNotReady";

/// What is in force, and what is known of its plugins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Current {
    pub(crate) loaded: Option<Arc<Loaded>>,
    pub(crate) broken: Vec<Broken>,
    /// Why the directory could not be read.
    pub(crate) unreadable: Option<String>,
    /// Why the plugins cannot serve.
    pub(crate) plugins: Option<String>,
    /// The plugins that are executed though there are built-in ones.
    pub(crate) exceptions: Vec<Exception>,
    /// The built-in network would be used, but a configuration of the operator's was in force before: that one, and
    /// the file that remembers it.
    pub(crate) was_configured: Option<(String, PathBuf)>,
}

impl Current {
    pub(crate) fn status(&self, conf_dir: &Path) -> NetworkStatus {
        if self.loaded.is_none() {
            return NetworkStatus {
                ready: false,
                reason: NOT_READY.to_owned(),
                message: self.absence(conf_dir),
            };
        }
        let ready = self.plugins.is_none();
        let problem = self.plugins.clone().unwrap_or_default();
        // What is not done is no fault of a network that serves; otherwise it may explain a foreign plugin's words.
        let told = self.exceptions.iter().filter(|exception| exception.is_suspect || !ready);
        let told = told.map(|exception| exception.text.clone()).filter(|text| !problem.contains(text));
        let mut parts = vec![problem.clone()];
        parts.extend(told);
        parts.push(self.broken_text());
        parts.retain(|part| !part.is_empty());
        let reason = if ready { String::new() } else { NOT_READY.to_owned() };
        NetworkStatus { ready, reason, message: parts.join("; ") }
    }

    /// Why there is no configuration.
    pub(crate) fn absence(&self, conf_dir: &Path) -> String {
        let dir = conf_dir.display();
        if let Some(problem) = &self.unreadable {
            return format!("NetworkNotReady: cannot read {dir}: {problem}");
        }
        if let Some((before, memory)) = &self.was_configured {
            return format!(
                "NetworkNotReady: no CNI configuration in {dir}, where {before} was in force: put one there. The \
                 built-in network does not take its place; to use that, remove {}",
                memory.display()
            );
        }
        if self.broken.is_empty() {
            return format!(
                "NetworkNotReady: no CNI configuration in {dir}: install a network plugin, or set \
                 network.builtin_network = true"
            );
        }
        format!("NetworkNotReady: no valid CNI configuration in {dir}: {}", self.broken_text())
    }

    fn broken_text(&self) -> String {
        let files: Vec<_> = self
            .broken
            .iter()
            .map(|broken| format!("{}: {}", broken.path.display(), broken.problem))
            .collect();
        files.join("; ")
    }
}
