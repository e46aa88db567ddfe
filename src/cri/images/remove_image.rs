//! RemoveImage.

use super::Images;
use crate::decode::{self, Field};
use crate::proto::{RemoveImageRequest, RemoveImageResponse};
use crate::status;
use tonic::Status;
use tracing::Span;

pub(super) async fn answer(
    images: &Images,
    request: RemoveImageRequest,
) -> Result<RemoveImageResponse, Status> {
    let spec =
        decode::image::image(&Field::root("image"), request.image).map_err(|error| status::decode(&error))?;
    Span::current().record("image", spec.image.as_str());
    images.engine.images().check_handler(&spec).map_err(|error| status::engine(&error))?;
    images.engine.images().remove_image(&spec.image).await.map_err(|error| status::engine(&error))?;
    Ok(RemoveImageResponse {})
}
