//! PullImage.

use super::Images;
use crate::decode::{self, Field, sandbox};
use crate::proto::{PullImageRequest, PullImageResponse};
use crate::status;
use tonic::Status;
use tracing::Span;

pub(super) async fn answer(images: &Images, request: PullImageRequest) -> Result<PullImageResponse, Status> {
    let refused = |error| status::decode(&error);
    let spec = decode::image::image(&Field::root("image"), request.image).map_err(refused)?;
    let credentials = decode::image::credentials(&Field::root("auth"), request.auth).map_err(refused)?;
    // Images are the same for every pod: its configuration is only checked.
    sandbox::optional(&Field::root("sandbox_config"), request.sandbox_config).map_err(refused)?;
    Span::current().record("image", spec.image.as_str());
    images.engine.images().check_handler(&spec).map_err(|error| status::engine(&error))?;
    // Informational: who asked for it, and in which words.
    tracing::debug!(requested = spec.user_specified_image, annotations = ?spec.annotations, "pulling");
    let image_ref = images
        .engine
        .images()
        .pull_image(&spec.image, credentials)
        .await
        .map_err(|error| status::pull(&error))?;
    Span::current().record("image_id", image_ref.as_str());
    Ok(PullImageResponse { image_ref })
}
