//! Filters of lists.

use super::{DecodeError, Field};
use crate::proto;
use engine::{ContainerFilter, PodFilter, StateKind};
use model::SandboxState;

/// Which pods.
pub(crate) fn pods(message: Option<proto::PodSandboxFilter>) -> Result<PodFilter, DecodeError> {
    let message = message.unwrap_or_default();
    let root = Field::root("filter");
    let outer = root.child("state");
    let field = outer.child("state");
    let state = message.state.map(|state| {
        Ok(match field.enumeration(state.state)? {
            proto::PodSandboxState::SandboxReady => SandboxState::Ready,
            proto::PodSandboxState::SandboxNotready => SandboxState::NotReady,
        })
    });
    Ok(PodFilter { id: non_empty(message.id), state: state.transpose()?, labels: message.label_selector })
}

/// Which containers; `None` when no container can match.
pub(crate) fn containers(
    message: Option<proto::ContainerFilter>,
) -> Result<Option<ContainerFilter>, DecodeError> {
    let message = message.unwrap_or_default();
    let root = Field::root("filter");
    let outer = root.child("state");
    let state = match message.state {
        None => None,
        Some(state) => match outer.child("state").enumeration(state.state)? {
            proto::ContainerState::ContainerCreated => Some(StateKind::Created),
            proto::ContainerState::ContainerRunning => Some(StateKind::Running),
            proto::ContainerState::ContainerExited => Some(StateKind::Exited),
            // Every container's state is known here.
            proto::ContainerState::ContainerUnknown => return Ok(None),
        },
    };
    Ok(Some(ContainerFilter {
        id: non_empty(message.id),
        state,
        sandbox_id: non_empty(message.pod_sandbox_id),
        labels: message.label_selector,
    }))
}

/// Whose usage, of containers.
pub(crate) fn container_stats(message: Option<proto::ContainerStatsFilter>) -> ContainerFilter {
    let message = message.unwrap_or_default();
    ContainerFilter {
        id: non_empty(message.id),
        state: None,
        sandbox_id: non_empty(message.pod_sandbox_id),
        labels: message.label_selector,
    }
}

/// Whose usage, of pods.
pub(crate) fn pod_stats(message: Option<proto::PodSandboxStatsFilter>) -> PodFilter {
    let message = message.unwrap_or_default();
    PodFilter { id: non_empty(message.id), state: None, labels: message.label_selector }
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_match_all() {
        let filter = pods(None).unwrap();
        assert!(filter.id.is_none() && filter.state.is_none() && filter.labels.is_empty());
        let filter = containers(Some(proto::ContainerFilter::default())).unwrap().unwrap();
        assert!(filter.id.is_none() && filter.state.is_none() && filter.sandbox_id.is_none());
    }

    #[test]
    fn states() {
        let pod = |state| {
            let state = Some(proto::PodSandboxStateValue { state });
            pods(Some(proto::PodSandboxFilter { state, ..Default::default() })).map(|filter| filter.state)
        };
        assert_eq!(pod(0), Ok(Some(SandboxState::Ready)));
        assert_eq!(pod(1), Ok(Some(SandboxState::NotReady)));
        assert!(pod(2).unwrap_err().to_string().starts_with("filter.state.state: "));
        let container = |state| {
            let state = Some(proto::ContainerStateValue { state });
            let filter = proto::ContainerFilter { state, ..Default::default() };
            containers(Some(filter)).map(|filter| filter.map(|filter| filter.state))
        };
        assert_eq!(container(2), Ok(Some(Some(StateKind::Exited))));
        assert_eq!(container(3), Ok(None));
        assert!(container(4).is_err());
    }
}
