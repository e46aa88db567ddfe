//! UpdateContainerResources.

use super::{Runtime, named};
use crate::decode::{Field, is_set, requests, resources};
use crate::proto::{UpdateContainerResourcesRequest, UpdateContainerResourcesResponse};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: UpdateContainerResourcesRequest,
) -> Result<UpdateContainerResourcesResponse, Status> {
    let id = request.container_id;
    let change = requests::id("container_id", &id)
        .and_then(|()| Field::root("windows").refuse_if(is_set(request.windows.as_ref())))
        .and_then(|()| resources::change(&Field::root("linux"), request.linux))
        .map_err(|error| status::decode(&error))?;
    named::container(&runtime.engine, &id);
    let updated = runtime.engine.containers().update_container(&id, change, request.annotations).await;
    updated.map_err(|error| status::engine(&error))?;
    Ok(UpdateContainerResourcesResponse {})
}
