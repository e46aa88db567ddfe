//! UpdatePodSandboxResources.

use super::{Runtime, named};
use crate::decode::{Field, requests, resources};
use crate::proto::{UpdatePodSandboxResourcesRequest, UpdatePodSandboxResourcesResponse};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: UpdatePodSandboxResourcesRequest,
) -> Result<UpdatePodSandboxResourcesResponse, Status> {
    let id = request.pod_sandbox_id;
    let decode = |name, message: Option<_>| {
        message.map(|message| resources::resources(&Field::root(name), Some(message))).transpose()
    };
    let limits = requests::id("pod_sandbox_id", &id)
        .and_then(|()| Ok((decode("overhead", request.overhead)?, decode("resources", request.resources)?)));
    let (overhead, sum) = limits.map_err(|error| status::decode(&error))?;
    named::pod(&runtime.engine, &id);
    let updated = runtime.engine.pods().update_pod(&id, overhead, sum).await;
    updated.map_err(|error| status::engine(&error))?;
    Ok(UpdatePodSandboxResourcesResponse {})
}
