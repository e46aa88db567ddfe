//! StopPodSandbox.

use super::{Runtime, named};
use crate::decode::requests;
use crate::proto::{StopPodSandboxRequest, StopPodSandboxResponse};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: StopPodSandboxRequest,
) -> Result<StopPodSandboxResponse, Status> {
    let id = request.pod_sandbox_id;
    requests::id("pod_sandbox_id", &id).map_err(|error| status::decode(&error))?;
    named::pod(&runtime.engine, &id);
    runtime.engine.pods().stop_pod(&id).await.map_err(|error| status::engine(&error))?;
    Ok(StopPodSandboxResponse {})
}
