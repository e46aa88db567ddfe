//! RunPodSandbox.

use super::{Runtime, named};
use crate::decode::{Field, sandbox, text};
use crate::proto::{RunPodSandboxRequest, RunPodSandboxResponse};
use crate::status;
use tonic::Status;
use tracing::Span;

pub(super) async fn answer(
    runtime: &Runtime,
    request: RunPodSandboxRequest,
) -> Result<RunPodSandboxResponse, Status> {
    let config =
        sandbox::sandbox(&Field::root("config"), request.config).map_err(|error| status::decode(&error))?;
    text::printable(&Field::root("runtime_handler"), &request.runtime_handler)
        .map_err(|error| status::decode(&error))?;
    let name = &config.metadata;
    Span::current().record("pod", format_args!("{}/{}", name.namespace, name.name).to_string());
    let id = runtime
        .engine
        .pods()
        .run_pod(config, request.runtime_handler)
        .await
        .map_err(|error| status::engine(&error))?;
    named::made_pod(&runtime.engine, id.as_str());
    Ok(RunPodSandboxResponse { pod_sandbox_id: id.to_string() })
}
