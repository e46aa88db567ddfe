//! RemovePodSandbox.

use super::{Runtime, named};
use crate::decode::requests;
use crate::proto::{RemovePodSandboxRequest, RemovePodSandboxResponse};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: RemovePodSandboxRequest,
) -> Result<RemovePodSandboxResponse, Status> {
    let id = request.pod_sandbox_id;
    requests::id("pod_sandbox_id", &id).map_err(|error| status::decode(&error))?;
    named::pod(&runtime.engine, &id);
    runtime.engine.pods().remove_pod(&id).await.map_err(|error| status::engine(&error))?;
    Ok(RemovePodSandboxResponse {})
}
