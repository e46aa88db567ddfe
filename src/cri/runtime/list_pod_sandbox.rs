//! ListPodSandbox.

use super::Runtime;
use crate::decode::filters;
use crate::encode;
use crate::proto::{ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxFilter};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: ListPodSandboxRequest,
) -> Result<ListPodSandboxResponse, Status> {
    Ok(ListPodSandboxResponse { items: list(runtime, request.filter)? })
}

/// The pods that pass.
pub(super) fn list(runtime: &Runtime, filter: Option<PodSandboxFilter>) -> Result<Vec<PodSandbox>, Status> {
    let filter = filters::pods(filter).map_err(|error| status::decode(&error))?;
    Ok(runtime.engine.pods().list_pods(&filter).iter().map(encode::sandbox::listed).collect())
}
