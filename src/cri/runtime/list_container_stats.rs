//! ListContainerStats.

use super::Runtime;
use crate::decode::filters;
use crate::encode;
use crate::proto::{
    ContainerStats, ContainerStatsFilter, ListContainerStatsRequest, ListContainerStatsResponse,
};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: ListContainerStatsRequest,
) -> Result<ListContainerStatsResponse, Status> {
    Ok(ListContainerStatsResponse { stats: list(runtime, request.filter).await? })
}

/// The usage of the containers that pass.
pub(super) async fn list(
    runtime: &Runtime,
    filter: Option<ContainerStatsFilter>,
) -> Result<Vec<ContainerStats>, Status> {
    let filter = filters::container_stats(filter);
    let show = |stats| encode::stats::of_container(&stats);
    let listed = runtime.engine.stats().list_container_stats(filter, show).await;
    listed.map_err(|error| status::engine(&error))
}
