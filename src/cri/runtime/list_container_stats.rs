//! ListContainerStats.

use super::Runtime;
use crate::decode::filters;
use crate::encode::{stats, wire::Items};
use crate::proto::{ContainerStatsFilter, ListContainerStatsRequest, ListContainerStatsResponse};
use crate::{parts, status};
use tonic::{Response, Status};

pub(super) async fn answer(
    runtime: &Runtime,
    request: ListContainerStatsRequest,
) -> Result<Response<ListContainerStatsResponse>, Status> {
    parts::whole(list(runtime, request.filter).await?)
}

/// The usage of the containers that pass.
pub(super) async fn list(
    runtime: &Runtime,
    filter: Option<ContainerStatsFilter>,
) -> Result<Vec<Items>, Status> {
    let filter = filters::container_stats(filter);
    let show = |items: &mut Items, read| items.add(|to| stats::container(&read, to));
    let listed = runtime.engine.stats().list_container_stats(filter, show).await;
    listed.map_err(|error| status::engine(&error))
}
