//! ImageFsInfo.

use super::Images;
use crate::encode;
use crate::proto::{ImageFsInfoRequest, ImageFsInfoResponse};
use crate::status;
use tonic::Status;

pub(super) async fn answer(images: &Images, _: ImageFsInfoRequest) -> Result<ImageFsInfoResponse, Status> {
    let (of_images, of_containers) =
        images.engine.images().image_fs().await.map_err(|error| status::engine(&error))?;
    let usage = encode::image::filesystem;
    Ok(ImageFsInfoResponse {
        image_filesystems: vec![usage(&of_images)],
        container_filesystems: vec![usage(&of_containers)],
    })
}
