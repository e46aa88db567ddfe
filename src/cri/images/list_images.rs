//! ListImages.

use super::Images;
use crate::decode;
use crate::encode;
use crate::proto::{Image, ImageFilter, ListImagesRequest, ListImagesResponse};
use crate::status;
use tonic::Status;

pub(super) async fn answer(
    images: &Images,
    request: ListImagesRequest,
) -> Result<ListImagesResponse, Status> {
    Ok(ListImagesResponse { images: list(images, request.filter)? })
}

/// The images that pass.
pub(super) fn list(images: &Images, filter: Option<ImageFilter>) -> Result<Vec<Image>, Status> {
    let filter = decode::image::filter(filter).map_err(|error| status::decode(&error))?;
    if let Some(spec) = &filter {
        images.engine.images().check_handler(spec).map_err(|error| status::engine(&error))?;
    }
    let reference = filter.as_ref().map(|spec| spec.image.as_str());
    let found = images.engine.images().list_images(reference).map_err(|error| status::engine(&error))?;
    Ok(found.iter().map(|image| encode::image::image(image)).collect())
}
