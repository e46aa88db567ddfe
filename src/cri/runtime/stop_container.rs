//! StopContainer.

use super::Runtime;
use crate::decode::requests;
use crate::proto::{StopContainerRequest, StopContainerResponse};
use crate::status;
use tonic::Status;
use tracing::Span;

pub(super) async fn answer(
    runtime: &Runtime,
    request: StopContainerRequest,
) -> Result<StopContainerResponse, Status> {
    let id = request.container_id;
    requests::id("container_id", &id).map_err(|error| status::decode(&error))?;
    let grace = requests::seconds("timeout", request.timeout).map_err(|error| status::decode(&error))?;
    Span::current().record("container", id.as_str());
    runtime.engine.stop_container(&id, grace).await.map_err(|error| status::engine(&error))?;
    Ok(StopContainerResponse {})
}
