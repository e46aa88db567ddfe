//! PodSandboxStats.

use super::Runtime;
use crate::decode::requests;
use crate::encode::{stats, wire::Items};
use crate::proto::{PodSandboxStatsRequest, PodSandboxStatsResponse};
use crate::{parts, status};
use tonic::{Response, Status};
use tracing::Span;

pub(super) async fn answer(
    runtime: &Runtime,
    request: PodSandboxStatsRequest,
) -> Result<Response<PodSandboxStatsResponse>, Status> {
    let id = request.pod_sandbox_id;
    requests::id("pod_sandbox_id", &id).map_err(|error| status::decode(&error))?;
    Span::current().record("pod_id", id.as_str());
    let read = runtime.engine.stats().pod_stats(&id).await.map_err(|error| status::engine(&error))?;
    let mut items = Items::default();
    items.add(|to| stats::pod(&read, to));
    parts::whole(vec![items])
}
