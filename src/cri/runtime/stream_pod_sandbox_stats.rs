//! StreamPodSandboxStats: the list in messages of bounded size.

use super::Runtime;
use super::{Messages, list_pod_sandbox_stats};
use crate::parts;
use crate::proto::{StreamPodSandboxStatsRequest, StreamPodSandboxStatsResponse};
use tonic::{Response, Status};

pub(super) async fn answer(
    runtime: &Runtime,
    request: StreamPodSandboxStatsRequest,
) -> Result<Response<Messages<StreamPodSandboxStatsResponse>>, Status> {
    parts::messages(list_pod_sandbox_stats::list(runtime, request.filter).await?)
}
