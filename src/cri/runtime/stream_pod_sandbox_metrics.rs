//! StreamPodSandboxMetrics: the list in messages of bounded size.

use super::Runtime;
use super::{Messages, list_pod_sandbox_metrics};
use crate::parts;
use crate::proto::{StreamPodSandboxMetricsRequest, StreamPodSandboxMetricsResponse};
use tonic::{Response, Status};

pub(super) async fn answer(
    runtime: &Runtime,
    _: StreamPodSandboxMetricsRequest,
) -> Result<Response<Messages<StreamPodSandboxMetricsResponse>>, Status> {
    parts::messages(list_pod_sandbox_metrics::list(runtime).await?)
}
