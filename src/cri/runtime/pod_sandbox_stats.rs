//! PodSandboxStats.

use super::Runtime;
use crate::decode::requests;
use crate::encode;
use crate::proto::{PodSandboxStatsRequest, PodSandboxStatsResponse};
use crate::status;
use tonic::Status;
use tracing::Span;

pub(super) async fn answer(
    runtime: &Runtime,
    request: PodSandboxStatsRequest,
) -> Result<PodSandboxStatsResponse, Status> {
    let id = request.pod_sandbox_id;
    requests::id("pod_sandbox_id", &id).map_err(|error| status::decode(&error))?;
    Span::current().record("pod_id", id.as_str());
    let stats = runtime.engine.stats().pod_stats(&id).await.map_err(|error| status::engine(&error))?;
    Ok(PodSandboxStatsResponse { stats: Some(encode::stats::of_pod(&stats)) })
}
