//! RemoveContainer.

use super::{Runtime, named};
use crate::decode::requests;
use crate::proto::{RemoveContainerRequest, RemoveContainerResponse};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: RemoveContainerRequest,
) -> Result<RemoveContainerResponse, Status> {
    let id = request.container_id;
    requests::id("container_id", &id).map_err(|error| status::decode(&error))?;
    named::container(&runtime.engine, &id);
    runtime.engine.containers().remove_container(&id).await.map_err(|error| status::engine(&error))?;
    Ok(RemoveContainerResponse {})
}
