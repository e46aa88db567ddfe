//! UpdateRuntimeConfig: the CIDRs of the node's pods.

use super::Runtime;
use crate::decode::requests;
use crate::proto::{UpdateRuntimeConfigRequest, UpdateRuntimeConfigResponse};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: UpdateRuntimeConfigRequest,
) -> Result<UpdateRuntimeConfigResponse, Status> {
    let network = request.runtime_config.and_then(|config| config.network_config).unwrap_or_default();
    let ranges = requests::pod_cidrs(&network.pod_cidr).map_err(|error| status::decode(&error))?;
    // The kubelet sends an empty range before the node has one: that takes none away.
    if !ranges.is_empty() {
        runtime.engine.update_runtime_config(&ranges).map_err(|error| status::engine(&error))?;
    }
    Ok(UpdateRuntimeConfigResponse {})
}
