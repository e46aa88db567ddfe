//! ListMetricDescriptors.

use super::Runtime;
use crate::metrics;
use crate::proto::{ListMetricDescriptorsRequest, ListMetricDescriptorsResponse};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    _: ListMetricDescriptorsRequest,
) -> Result<ListMetricDescriptorsResponse, Status> {
    let counted = runtime.engine.stats().counted().await.map_err(|error| status::engine(&error))?;
    Ok(ListMetricDescriptorsResponse { descriptors: metrics::descriptors(&counted) })
}
