//! StreamPodSandboxMetrics: the list in messages of bounded size.

use super::Runtime;
use super::{Messages, list_pod_sandbox_metrics};
use crate::encode::wire::Items;
use crate::proto::{StreamPodSandboxMetricsRequest, StreamPodSandboxMetricsResponse};
use futures::{StreamExt, stream};
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    _: StreamPodSandboxMetricsRequest,
) -> Result<Messages<StreamPodSandboxMetricsResponse>, Status> {
    let parts = Items::messages(list_pod_sandbox_metrics::list(runtime).await?);
    let message = |encoded| Ok(StreamPodSandboxMetricsResponse { encoded, ..Default::default() });
    Ok(stream::iter(parts).map(message).boxed())
}
