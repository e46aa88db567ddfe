//! StreamPodSandboxes: the list in messages of bounded size.

use super::Runtime;
use super::{Messages, list_pod_sandbox};
use crate::encode::chunks::chunks;
use crate::proto::{StreamPodSandboxesRequest, StreamPodSandboxesResponse};
use futures::{StreamExt, stream};
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: StreamPodSandboxesRequest,
) -> Result<Messages<StreamPodSandboxesResponse>, Status> {
    let parts = chunks(list_pod_sandbox::list(runtime, request.filter)?);
    let message = |pod_sandboxes| Ok(StreamPodSandboxesResponse { pod_sandboxes });
    Ok(stream::iter(parts).map(message).boxed())
}
