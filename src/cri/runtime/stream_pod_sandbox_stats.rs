//! StreamPodSandboxStats: the list in messages of bounded size.

use super::Runtime;
use super::{Messages, list_pod_sandbox_stats};
use crate::encode::wire::Items;
use crate::proto::{StreamPodSandboxStatsRequest, StreamPodSandboxStatsResponse};
use futures::{StreamExt, stream};
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: StreamPodSandboxStatsRequest,
) -> Result<Messages<StreamPodSandboxStatsResponse>, Status> {
    let parts = Items::messages(list_pod_sandbox_stats::list(runtime, request.filter).await?);
    let message = |encoded| Ok(StreamPodSandboxStatsResponse { encoded, ..Default::default() });
    Ok(stream::iter(parts).map(message).boxed())
}
