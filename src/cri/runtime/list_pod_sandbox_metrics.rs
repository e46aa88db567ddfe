//! ListPodSandboxMetrics.

use super::Runtime;
use crate::encode::wire::Items;
use crate::metrics::{self, DeviceNames};
use crate::proto::{ListPodSandboxMetricsRequest, ListPodSandboxMetricsResponse};
use crate::{parts, status};
use tonic::{Response, Status};

pub(super) async fn answer(
    runtime: &Runtime,
    _: ListPodSandboxMetricsRequest,
) -> Result<Response<ListPodSandboxMetricsResponse>, Status> {
    parts::whole(list(runtime).await?)
}

/// The metrics of the ready pods.
pub(super) async fn list(runtime: &Runtime) -> Result<Vec<Items>, Status> {
    let show = |(items, devices): &mut (Items, DeviceNames), figures| {
        items.add(|to| metrics::pod(&figures, devices, to));
    };
    let listed = runtime.engine.stats().pod_figures(show).await.map_err(|error| status::engine(&error))?;
    Ok(listed.into_iter().map(|(items, _)| items).collect())
}
