//! StopPodSandbox.

use super::Runtime;
use crate::decode::requests;
use crate::proto::{StopPodSandboxRequest, StopPodSandboxResponse};
use crate::status;
use tonic::Status;
use tracing::Span;

pub(super) async fn answer(
    runtime: &Runtime,
    request: StopPodSandboxRequest,
) -> Result<StopPodSandboxResponse, Status> {
    let id = request.pod_sandbox_id;
    requests::id("pod_sandbox_id", &id).map_err(|error| status::decode(&error))?;
    Span::current().record("pod", id.as_str());
    runtime.engine.stop_pod(&id).await.map_err(|error| status::engine(&error))?;
    Ok(StopPodSandboxResponse {})
}
