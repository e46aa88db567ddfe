//! ListPodSandboxStats.

use super::Runtime;
use crate::decode::filters;
use crate::encode;
use crate::proto::{
    ListPodSandboxStatsRequest, ListPodSandboxStatsResponse, PodSandboxStats, PodSandboxStatsFilter,
};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: ListPodSandboxStatsRequest,
) -> Result<ListPodSandboxStatsResponse, Status> {
    Ok(ListPodSandboxStatsResponse { stats: list(runtime, request.filter).await? })
}

/// The usage of the ready pods that pass.
pub(super) async fn list(
    runtime: &Runtime,
    filter: Option<PodSandboxStatsFilter>,
) -> Result<Vec<PodSandboxStats>, Status> {
    let filter = filters::pod_stats(filter);
    let listed = runtime.engine.stats().list_pod_stats(filter, |stats| encode::stats::of_pod(&stats)).await;
    listed.map_err(|error| status::engine(&error))
}
