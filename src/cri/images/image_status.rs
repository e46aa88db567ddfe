//! ImageStatus: an absent image is an empty answer.

use super::Images;
use crate::decode::{self, Field};
use crate::encode;
use crate::proto::{ImageStatusRequest, ImageStatusResponse};
use crate::status;
use tonic::Status;
use tracing::Span;

pub(super) async fn answer(
    images: &Images,
    request: ImageStatusRequest,
) -> Result<ImageStatusResponse, Status> {
    let spec =
        decode::image::image(&Field::root("image"), request.image).map_err(|error| status::decode(&error))?;
    Span::current().record("image", spec.image.as_str());
    images.engine.images().check_handler(&spec).map_err(|error| status::engine(&error))?;
    let image = images.engine.images().image_status(&spec.image).map_err(|error| status::engine(&error))?;
    let info = image.as_deref().filter(|_| request.verbose).map(encode::image::info).unwrap_or_default();
    Ok(ImageStatusResponse { image: image.as_deref().map(encode::image::image), info })
}
