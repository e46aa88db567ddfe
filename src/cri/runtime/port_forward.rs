//! PortForward: a URL at which ports of a pod can be connected to.

use super::{Runtime, named};
use crate::decode::requests;
use crate::proto::{PortForwardRequest, PortForwardResponse};
use crate::status;
use stream::Ticket;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: PortForwardRequest,
) -> Result<PortForwardResponse, Status> {
    let refused = |error| status::decode(&error);
    requests::id("pod_sandbox_id", &request.pod_sandbox_id).map_err(refused)?;
    let ports = requests::ports("port", &request.port).map_err(refused)?;
    named::pod(&runtime.engine, &request.pod_sandbox_id);
    let pod = runtime
        .engine
        .pods()
        .ready_pod(&request.pod_sandbox_id, "forward a port of")
        .map_err(|error| status::engine(&error))?;
    let url = runtime.urls.issue(Ticket::PortForward { pod, ports });
    Ok(PortForwardResponse { url: url.map_err(|error| status::stream(&error))? })
}
