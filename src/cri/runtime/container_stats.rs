//! ContainerStats.

use super::Runtime;
use crate::decode::requests;
use crate::encode::{stats, wire::Wire};
use crate::proto::{ContainerStatsRequest, ContainerStatsResponse};
use crate::status;
use tonic::Status;
use tracing::Span;

pub(super) async fn answer(
    runtime: &Runtime,
    request: ContainerStatsRequest,
) -> Result<ContainerStatsResponse, Status> {
    let id = request.container_id;
    requests::id("container_id", &id).map_err(|error| status::decode(&error))?;
    Span::current().record("container_id", id.as_str());
    let read = runtime.engine.stats().container_stats(&id).await.map_err(|error| status::engine(&error))?;
    let mut to = Wire::default();
    stats::container(&read, &mut to);
    Ok(ContainerStatsResponse { encoded: vec![to.into_bytes()], ..Default::default() })
}
