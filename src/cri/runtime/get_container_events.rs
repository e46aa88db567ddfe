//! GetContainerEvents: a stream without an end. Whoever does not keep up is told so and cut off.

use super::{Messages, Runtime};
use crate::encode;
use crate::proto::{ContainerEventResponse, ContainerEventType, GetEventsRequest};
use crate::status;
use engine::{Event, EventKind};
use futures::{StreamExt, stream};
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    _: GetEventsRequest,
) -> Result<Messages<ContainerEventResponse>, Status> {
    let events = stream::unfold(Some(runtime.engine.subscribe()), |subscription| async {
        let mut subscription = subscription?;
        Some(match subscription.next().await {
            Ok(event) => (Ok(message(&event)), Some(subscription)),
            Err(error) => (Err(status::engine(&error)), None),
        })
    });
    Ok(events.boxed())
}

fn message(event: &Event) -> ContainerEventResponse {
    let kind = match event.kind {
        EventKind::Created => ContainerEventType::ContainerCreatedEvent,
        EventKind::Started => ContainerEventType::ContainerStartedEvent,
        EventKind::Stopped => ContainerEventType::ContainerStoppedEvent,
        EventKind::Deleted => ContainerEventType::ContainerDeletedEvent,
    };
    ContainerEventResponse {
        container_id: event.id().to_owned(),
        container_event_type: kind.into(),
        created_at: event.timestamp,
        pod_sandbox_status: Some(encode::sandbox::status(&event.pod)),
        containers_statuses: event.containers.iter().map(encode::container::status).collect(),
    }
}
