//! ContainerStats.

use super::Runtime;
use crate::decode::requests;
use crate::encode;
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
    let stats = runtime.engine.stats().container_stats(&id).await.map_err(|error| status::engine(&error))?;
    Ok(ContainerStatsResponse { stats: Some(encode::stats::of_container(&stats)) })
}
