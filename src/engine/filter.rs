//! Which pods and containers a list shows.

use model::{ContainerState, SandboxState};
use std::collections::BTreeMap;

/// Which pods a list shows; an empty filter shows all.
#[derive(Debug, Clone, Default)]
pub struct PodFilter {
    /// An id or a prefix of one.
    pub id: Option<String>,
    /// A state.
    pub state: Option<SandboxState>,
    /// Labels that must all be there.
    pub labels: BTreeMap<String, String>,
}

impl PodFilter {
    /// Whether a pod is shown; one that is still being made never is.
    pub(crate) fn fits(&self, id: &str, state: SandboxState, labels: &BTreeMap<String, String>) -> bool {
        state != SandboxState::Creating
            && self.id.as_ref().is_none_or(|wanted| id.starts_with(wanted.as_str()))
            && self.state.is_none_or(|wanted| state == wanted)
            && has_labels(&self.labels, labels)
    }
}

/// A container state without its data, for filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateKind {
    /// Created.
    Created,
    /// Running.
    Running,
    /// Exited.
    Exited,
}

impl StateKind {
    /// The kind of a state.
    pub fn of(state: &ContainerState) -> Self {
        match state {
            ContainerState::Created => Self::Created,
            ContainerState::Running { .. } => Self::Running,
            ContainerState::Exited { .. } => Self::Exited,
        }
    }
}

/// Which containers a list shows; an empty filter shows all.
#[derive(Debug, Clone, Default)]
pub struct ContainerFilter {
    /// An id or a prefix of one.
    pub id: Option<String>,
    /// A state.
    pub state: Option<StateKind>,
    /// The id of the pod, or a prefix of one.
    pub sandbox_id: Option<String>,
    /// Labels that must all be there.
    pub labels: BTreeMap<String, String>,
}

impl ContainerFilter {
    /// Whether a container of the pods that fit is shown.
    pub(crate) fn fits(&self, id: &str, state: StateKind, labels: &BTreeMap<String, String>) -> bool {
        self.id.as_ref().is_none_or(|wanted| id.starts_with(wanted.as_str()))
            && self.state.is_none_or(|wanted| state == wanted)
            && has_labels(&self.labels, labels)
    }
}

/// Whether all wanted labels are among those there.
fn has_labels(wanted: &BTreeMap<String, String>, there: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| there.get(key) == Some(value))
}
