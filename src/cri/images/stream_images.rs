//! StreamImages: the list in messages of bounded size.

use super::Images;
use super::{Messages, list_images};
use crate::encode::chunks::chunks;
use crate::proto::{StreamImagesRequest, StreamImagesResponse};
use futures::{StreamExt, stream};
use tonic::Status;

pub(super) async fn answer(
    images: &Images,
    request: StreamImagesRequest,
) -> Result<Messages<StreamImagesResponse>, Status> {
    let parts = chunks(list_images::list(images, request.filter)?);
    let message = |images| Ok(StreamImagesResponse { images });
    Ok(stream::iter(parts).map(message).boxed())
}
