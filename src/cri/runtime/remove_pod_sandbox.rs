//! RemovePodSandbox.

use super::Runtime;
use crate::decode::requests;
use crate::proto::{RemovePodSandboxRequest, RemovePodSandboxResponse};
use crate::status;
use tonic::Status;
use tracing::Span;

pub(super) async fn answer(
    runtime: &Runtime,
    request: RemovePodSandboxRequest,
) -> Result<RemovePodSandboxResponse, Status> {
    let id = request.pod_sandbox_id;
    requests::id("pod_sandbox_id", &id).map_err(|error| status::decode(&error))?;
    Span::current().record("pod", id.as_str());
    runtime.engine.remove_pod(&id).await.map_err(|error| status::engine(&error))?;
    Ok(RemovePodSandboxResponse {})
}
