//! Who answers here.

use proto::containerd::version::version_server::Version;
use proto::containerd::version::{VersionRequest, VersionResponse};
use tonic::{Request, Response, Status};

pub(super) struct Answers;

#[tonic::async_trait]
impl Version for Answers {
    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            version: concat!("corten-", env!("CARGO_PKG_VERSION")).to_owned(),
            revision: "for cAdvisor only".to_owned(),
        }))
    }
}
