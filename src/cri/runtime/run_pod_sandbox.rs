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
    // Before anything is refused: the log names the pod.
    if let Some(name) = request.config.as_ref().and_then(|config| config.metadata.as_ref()) {
        let pod = format!("{}/{}", name.namespace, name.name);
        Span::current().record("pod", pod.escape_debug().to_string());
    }
    let config =
        sandbox::sandbox(&Field::root("config"), request.config).map_err(|error| status::decode(&error))?;
    text::printable(&Field::root("runtime_handler"), &request.runtime_handler)
        .map_err(|error| status::decode(&error))?;
    let id = runtime
        .engine
        .pods()
        .run_pod(config, request.runtime_handler)
        .await
        .map_err(|error| status::engine(&error))?;
    named::made_pod(&runtime.engine, id.as_str());
    Ok(RunPodSandboxResponse { pod_sandbox_id: id.to_string() })
}
