//! CreateContainer.

use super::{Runtime, named};
use crate::decode::{Field, container, pod_fit, requests, sandbox};
use crate::proto::{CreateContainerRequest, CreateContainerResponse};
use crate::status;
use tonic::Status;
use tracing::Span;

pub(super) async fn answer(
    runtime: &Runtime,
    request: CreateContainerRequest,
) -> Result<CreateContainerResponse, Status> {
    let refused = |error| status::decode(&error);
    let engine = &runtime.engine;
    let id = request.pod_sandbox_id;
    requests::id("pod_sandbox_id", &id).map_err(refused)?;
    let config = container::container(&Field::root("config"), request.config).map_err(refused)?;
    let pod_config =
        sandbox::optional(&Field::root("sandbox_config"), request.sandbox_config).map_err(refused)?;
    named::pod(engine, &id);
    Span::current().record("container", config.metadata.name.as_str());
    let pod = engine.pods().pod_status(&id).map_err(|error| status::engine(&error))?;
    pod_fit::check(&config, &pod.config).map_err(refused)?;
    let container = engine
        .containers()
        .create_container(&id, config, pod_config)
        .await
        .map_err(|error| status::engine(&error))?;
    named::made_container(engine, container.as_str());
    Ok(CreateContainerResponse { container_id: container.to_string() })
}
