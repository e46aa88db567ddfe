//! Exec: a URL at which a command's streams can be had.

use super::{Runtime, named};
use crate::decode::requests;
use crate::proto::{ExecRequest, ExecResponse};
use crate::status;
use engine::{OpenExec, Streams};
use stream::Ticket;
use tonic::Status;

pub(super) async fn answer(runtime: &Runtime, request: ExecRequest) -> Result<ExecResponse, Status> {
    let refused = |error| status::decode(&error);
    let ExecRequest { container_id, cmd, tty, stdin, stdout, stderr } = request;
    requests::id("container_id", &container_id).map_err(refused)?;
    let command = requests::command("cmd", cmd).map_err(refused)?;
    let streams = requests::streams(tty, Streams { stdin, stdout, stderr }).map_err(refused)?;
    named::container(&runtime.engine, &container_id);
    let container = runtime
        .engine
        .containers()
        .running_container(&container_id, "run a command in")
        .map_err(|error| status::engine(&error))?;
    let ticket = Ticket::Exec { container, exec: OpenExec { command, tty, streams, size: None } };
    let url = runtime.urls.issue(ticket).map_err(|error| status::stream(&error))?;
    Ok(ExecResponse { url })
}
