//! StreamPodSandboxStats: the list in messages of bounded size.

use super::Runtime;
use super::{Messages, list_pod_sandbox_stats};
use crate::encode::chunks::chunks;
use crate::proto::{StreamPodSandboxStatsRequest, StreamPodSandboxStatsResponse};
use futures::{StreamExt, stream};
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: StreamPodSandboxStatsRequest,
) -> Result<Messages<StreamPodSandboxStatsResponse>, Status> {
    let parts = chunks(list_pod_sandbox_stats::list(runtime, request.filter).await?);
    let message = |pod_sandbox_stats| Ok(StreamPodSandboxStatsResponse { pod_sandbox_stats });
    Ok(stream::iter(parts).map(message).boxed())
}
