//! ContainerStatus.

use super::Runtime;
use crate::decode::requests;
use crate::encode;
use crate::proto::{ContainerStatusRequest, ContainerStatusResponse};
use crate::status;
use tonic::Status;
use tracing::Span;

pub(super) async fn answer(
    runtime: &Runtime,
    request: ContainerStatusRequest,
) -> Result<ContainerStatusResponse, Status> {
    let id = request.container_id;
    requests::id("container_id", &id).map_err(|error| status::decode(&error))?;
    Span::current().record("container_id", id.as_str());
    let engine = &runtime.engine;
    let container = engine.containers().container_status(&id).map_err(|error| status::engine(&error))?;
    let info = if request.verbose {
        engine.containers().container_info(&container.id).await.map_err(|error| status::engine(&error))?
    } else {
        Default::default()
    };
    Ok(ContainerStatusResponse { status: Some(encode::container::status(&container)), info })
}
