//! ExecSync.

use super::{Runtime, named};
use crate::decode::requests;
use crate::proto::{ExecSyncRequest, ExecSyncResponse};
use crate::status;
use tonic::Status;

pub(super) async fn answer(runtime: &Runtime, request: ExecSyncRequest) -> Result<ExecSyncResponse, Status> {
    let refused = |error| status::decode(&error);
    let id = request.container_id;
    requests::id("container_id", &id).map_err(refused)?;
    let command = requests::command("cmd", request.cmd).map_err(refused)?;
    let limit = requests::seconds("timeout", request.timeout).map_err(refused)?;
    named::container(&runtime.engine, &id);
    let output = runtime
        .engine
        .containers()
        .exec_sync(&id, command, (!limit.is_zero()).then_some(limit))
        .await
        .map_err(|error| status::engine(&error))?;
    Ok(ExecSyncResponse { stdout: output.stdout, stderr: output.stderr, exit_code: output.exit_code })
}
