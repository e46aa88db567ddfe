//! Version: who answers here.

use super::Runtime;
use crate::proto::{VersionRequest, VersionResponse};
use tonic::Status;

/// The version of the interface's version message that the kubelet expects.
const KUBELET_API: &str = "0.1.0";

pub(super) async fn answer(_: &Runtime, _: VersionRequest) -> Result<VersionResponse, Status> {
    Ok(VersionResponse {
        version: KUBELET_API.to_owned(),
        runtime_name: "corten".to_owned(),
        runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime_api_version: "v1".to_owned(),
    })
}
