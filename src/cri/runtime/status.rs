//! Status: whether pods can run and have a network.

use super::Runtime;
use crate::encode;
use crate::proto::{StatusRequest, StatusResponse};
use tonic::Status;

pub(super) async fn answer(runtime: &Runtime, request: StatusRequest) -> Result<StatusResponse, Status> {
    Ok(encode::runtime::status(runtime.engine.status(), request.verbose))
}
