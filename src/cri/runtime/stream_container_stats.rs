//! StreamContainerStats: the list in messages of bounded size.

use super::Runtime;
use super::{Messages, list_container_stats};
use crate::parts;
use crate::proto::{StreamContainerStatsRequest, StreamContainerStatsResponse};
use tonic::{Response, Status};

pub(super) async fn answer(
    runtime: &Runtime,
    request: StreamContainerStatsRequest,
) -> Result<Response<Messages<StreamContainerStatsResponse>>, Status> {
    parts::messages(list_container_stats::list(runtime, request.filter).await?)
}
