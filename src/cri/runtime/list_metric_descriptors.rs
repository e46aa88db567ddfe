//! ListMetricDescriptors.

use super::Runtime;
use crate::metrics;
use crate::proto::{ListMetricDescriptorsRequest, ListMetricDescriptorsResponse};
use tonic::Status;

pub(super) async fn answer(
    _: &Runtime,
    _: ListMetricDescriptorsRequest,
) -> Result<ListMetricDescriptorsResponse, Status> {
    Ok(ListMetricDescriptorsResponse { descriptors: metrics::descriptors() })
}
