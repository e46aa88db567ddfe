//! ListContainers.

use super::Runtime;
use crate::decode::filters;
use crate::encode;
use crate::proto::{Container, ContainerFilter, ListContainersRequest, ListContainersResponse};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: ListContainersRequest,
) -> Result<ListContainersResponse, Status> {
    Ok(ListContainersResponse { containers: list(runtime, request.filter)? })
}

/// The containers that pass.
pub(super) fn list(runtime: &Runtime, filter: Option<ContainerFilter>) -> Result<Vec<Container>, Status> {
    let filter = filters::containers(filter).map_err(|error| status::decode(&error))?;
    let views = filter.map(|filter| runtime.engine.containers().list_containers(&filter)).unwrap_or_default();
    Ok(views.iter().map(encode::container::listed).collect())
}
