//! ExecSync.

use super::Runtime;
use crate::decode::requests;
use crate::proto::{ExecSyncRequest, ExecSyncResponse};
use crate::status;
use tonic::Status;
use tracing::Span;

pub(super) async fn answer(runtime: &Runtime, request: ExecSyncRequest) -> Result<ExecSyncResponse, Status> {
    let refused = |error| status::decode(&error);
    let id = request.container_id;
    requests::id("container_id", &id).map_err(refused)?;
    requests::command("cmd", &request.cmd).map_err(refused)?;
    let limit = requests::seconds("timeout", request.timeout).map_err(refused)?;
    Span::current().record("container", id.as_str());
    let output = runtime
        .engine
        .exec_sync(&id, request.cmd, (!limit.is_zero()).then_some(limit))
        .await
        .map_err(|error| status::engine(&error))?;
    Ok(ExecSyncResponse { stdout: output.stdout, stderr: output.stderr, exit_code: output.exit_code })
}
