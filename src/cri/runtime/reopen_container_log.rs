//! ReopenContainerLog.

use super::Runtime;
use crate::decode::requests;
use crate::proto::{ReopenContainerLogRequest, ReopenContainerLogResponse};
use crate::status;
use tonic::Status;
use tracing::Span;

pub(super) async fn answer(
    runtime: &Runtime,
    request: ReopenContainerLogRequest,
) -> Result<ReopenContainerLogResponse, Status> {
    let id = request.container_id;
    requests::id("container_id", &id).map_err(|error| status::decode(&error))?;
    Span::current().record("container", id.as_str());
    runtime.engine.reopen_log(&id).await.map_err(|error| status::engine(&error))?;
    Ok(ReopenContainerLogResponse {})
}
