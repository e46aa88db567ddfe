//! ReopenContainerLog.

use super::{Runtime, named};
use crate::decode::requests;
use crate::proto::{ReopenContainerLogRequest, ReopenContainerLogResponse};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: ReopenContainerLogRequest,
) -> Result<ReopenContainerLogResponse, Status> {
    let id = request.container_id;
    requests::id("container_id", &id).map_err(|error| status::decode(&error))?;
    named::container(&runtime.engine, &id);
    runtime.engine.containers().reopen_log(&id).await.map_err(|error| status::engine(&error))?;
    Ok(ReopenContainerLogResponse {})
}
