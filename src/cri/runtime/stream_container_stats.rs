//! StreamContainerStats: the list in messages of bounded size.

use super::Runtime;
use super::{Messages, list_container_stats};
use crate::encode::chunks::chunks;
use crate::proto::{StreamContainerStatsRequest, StreamContainerStatsResponse};
use futures::{StreamExt, stream};
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: StreamContainerStatsRequest,
) -> Result<Messages<StreamContainerStatsResponse>, Status> {
    let parts = chunks(list_container_stats::list(runtime, request.filter).await?);
    let message = |container_stats| Ok(StreamContainerStatsResponse { container_stats });
    Ok(stream::iter(parts).map(message).boxed())
}
