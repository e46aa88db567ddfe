//! Attach: a URL at which a container's streams can be joined.

use super::{Runtime, named};
use crate::decode::requests;
use crate::proto::{AttachRequest, AttachResponse};
use crate::status;
use engine::Streams;
use stream::Ticket;
use tonic::Status;

pub(super) async fn answer(runtime: &Runtime, request: AttachRequest) -> Result<AttachResponse, Status> {
    let refused = |error| status::decode(&error);
    let AttachRequest { container_id, stdin, tty, stdout, stderr } = request;
    requests::id("container_id", &container_id).map_err(refused)?;
    let streams = requests::streams(tty, Streams { stdin, stdout, stderr }).map_err(refused)?;
    named::container(&runtime.engine, &container_id);
    let container = runtime
        .engine
        .containers()
        .running_container(&container_id, "attach to")
        .map_err(|error| status::engine(&error))?;
    let url = runtime.urls.issue(Ticket::Attach { container, tty, streams });
    Ok(AttachResponse { url: url.map_err(|error| status::stream(&error))? })
}
