//! ListPodSandboxMetrics.

use super::Runtime;
use crate::metrics;
use crate::proto::{ListPodSandboxMetricsRequest, ListPodSandboxMetricsResponse, PodSandboxMetrics};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    _: ListPodSandboxMetricsRequest,
) -> Result<ListPodSandboxMetricsResponse, Status> {
    Ok(ListPodSandboxMetricsResponse { pod_metrics: list(runtime).await? })
}

/// The metrics of the ready pods.
pub(super) async fn list(runtime: &Runtime) -> Result<Vec<PodSandboxMetrics>, Status> {
    let listed = runtime.engine.stats().pod_figures(|figures| metrics::of_pod(&figures)).await;
    listed.map_err(|error| status::engine(&error))
}
