//! StreamContainers: the list in messages of bounded size.

use super::Runtime;
use super::{Messages, list_containers};
use crate::encode::chunks::chunks;
use crate::proto::{StreamContainersRequest, StreamContainersResponse};
use futures::{StreamExt, stream};
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: StreamContainersRequest,
) -> Result<Messages<StreamContainersResponse>, Status> {
    let parts = chunks(list_containers::list(runtime, request.filter)?);
    let message = |containers| Ok(StreamContainersResponse { containers });
    Ok(stream::iter(parts).map(message).boxed())
}
