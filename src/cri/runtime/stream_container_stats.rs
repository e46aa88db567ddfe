//! StreamContainerStats: the list in messages of bounded size.

use super::Runtime;
use super::{Messages, list_container_stats};
use crate::encode::wire::Items;
use crate::proto::{StreamContainerStatsRequest, StreamContainerStatsResponse};
use futures::{StreamExt, stream};
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    request: StreamContainerStatsRequest,
) -> Result<Messages<StreamContainerStatsResponse>, Status> {
    let parts = Items::messages(list_container_stats::list(runtime, request.filter).await?);
    let message = |encoded| Ok(StreamContainerStatsResponse { encoded, ..Default::default() });
    Ok(stream::iter(parts).map(message).boxed())
}
