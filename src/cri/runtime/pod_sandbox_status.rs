//! PodSandboxStatus: a pod with its containers, as of one moment.

use super::Runtime;
use crate::decode::requests;
use crate::encode;
use crate::proto::{PodSandboxStatusRequest, PodSandboxStatusResponse};
use crate::status;
use tonic::Status;
use tracing::Span;

pub(super) async fn answer(
    runtime: &Runtime,
    request: PodSandboxStatusRequest,
) -> Result<PodSandboxStatusResponse, Status> {
    let id = request.pod_sandbox_id;
    requests::id("pod_sandbox_id", &id).map_err(|error| status::decode(&error))?;
    Span::current().record("pod_id", id.as_str());
    let engine = &runtime.engine;
    // Taken first: an event that comes while the views are made is newer than this answer.
    let timestamp = encode::now();
    let pod = engine.pods().pod_status(&id).map_err(|error| status::engine(&error))?;
    let info = if request.verbose {
        engine.pods().pod_info(&pod.id).map_err(|error| status::engine(&error))?
    } else {
        Default::default()
    };
    Ok(PodSandboxStatusResponse {
        status: Some(encode::sandbox::status(&pod)),
        info,
        containers_statuses: engine
            .containers()
            .container_statuses(&pod.id)
            .iter()
            .map(encode::container::status)
            .collect(),
        timestamp,
    })
}
