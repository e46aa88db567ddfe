//! ContainerStats.

use super::Runtime;
use crate::decode::requests;
use crate::encode::{stats, wire::Items};
use crate::proto::{ContainerStatsRequest, ContainerStatsResponse};
use crate::{parts, status};
use tonic::{Response, Status};
use tracing::Span;

pub(super) async fn answer(
    runtime: &Runtime,
    request: ContainerStatsRequest,
) -> Result<Response<ContainerStatsResponse>, Status> {
    let id = request.container_id;
    requests::id("container_id", &id).map_err(|error| status::decode(&error))?;
    Span::current().record("container_id", id.as_str());
    let read = runtime.engine.stats().container_stats(&id).await.map_err(|error| status::engine(&error))?;
    let mut items = Items::default();
    items.add(|to| stats::container(&read, to));
    parts::whole(vec![items])
}
