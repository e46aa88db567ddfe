//! ListPodSandboxStats.

use super::Runtime;
use crate::decode::filters;
use crate::encode::{stats, wire::Items};
use crate::proto::{ListPodSandboxStatsRequest, ListPodSandboxStatsResponse, PodSandboxStatsFilter};
use crate::{parts, status};
use tonic::{Response, Status};

pub(super) async fn answer(
    runtime: &Runtime,
    request: ListPodSandboxStatsRequest,
) -> Result<Response<ListPodSandboxStatsResponse>, Status> {
    parts::whole(list(runtime, request.filter).await?)
}

/// The usage of the ready pods that pass.
pub(super) async fn list(
    runtime: &Runtime,
    filter: Option<PodSandboxStatsFilter>,
) -> Result<Vec<Items>, Status> {
    let filter = filters::pod_stats(filter);
    let show = |items: &mut Items, read| items.add(|to| stats::pod(&read, to));
    let listed = runtime.engine.stats().list_pod_stats(filter, show).await;
    listed.map_err(|error| status::engine(&error))
}
