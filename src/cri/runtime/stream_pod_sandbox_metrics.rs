//! StreamPodSandboxMetrics: the list in messages of bounded size.

use super::Runtime;
use super::{Messages, list_pod_sandbox_metrics};
use crate::encode::chunks::chunks;
use crate::proto::{StreamPodSandboxMetricsRequest, StreamPodSandboxMetricsResponse};
use futures::{StreamExt, stream};
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    _: StreamPodSandboxMetricsRequest,
) -> Result<Messages<StreamPodSandboxMetricsResponse>, Status> {
    let parts = chunks(list_pod_sandbox_metrics::list(runtime).await?);
    let message = |pod_sandbox_metrics| Ok(StreamPodSandboxMetricsResponse { pod_sandbox_metrics });
    Ok(stream::iter(parts).map(message).boxed())
}
