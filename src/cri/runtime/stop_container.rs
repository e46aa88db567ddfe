//! StopContainer.

use super::{Runtime, named};
use crate::decode::requests;
use crate::proto::{StopContainerRequest, StopContainerResponse};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: StopContainerRequest,
) -> Result<StopContainerResponse, Status> {
    let id = request.container_id;
    requests::id("container_id", &id).map_err(|error| status::decode(&error))?;
    let grace = requests::seconds("timeout", request.timeout).map_err(|error| status::decode(&error))?;
    named::container(&runtime.engine, &id);
    runtime.engine.containers().stop_container(&id, grace).await.map_err(|error| status::engine(&error))?;
    Ok(StopContainerResponse {})
}
