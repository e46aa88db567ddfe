//! ListPodSandboxMetrics.

use super::Runtime;
use crate::encode::wire::Items;
use crate::metrics;
use crate::proto::{ListPodSandboxMetricsRequest, ListPodSandboxMetricsResponse};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    _: ListPodSandboxMetricsRequest,
) -> Result<ListPodSandboxMetricsResponse, Status> {
    let encoded = Items::join(list(runtime).await?);
    Ok(ListPodSandboxMetricsResponse { encoded, ..Default::default() })
}

/// The metrics of the ready pods.
pub(super) async fn list(runtime: &Runtime) -> Result<Vec<Items>, Status> {
    let show = |items: &mut Items, figures| items.add(|to| metrics::pod(&figures, to));
    let listed = runtime.engine.stats().pod_figures(show).await;
    listed.map_err(|error| status::engine(&error))
}
